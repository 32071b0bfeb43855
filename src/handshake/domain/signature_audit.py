"""The log of signatures that were used. Contract: `packets-and-gates.md`, Around a packet, `SIGNATURE_AUDIT.md`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from handshake.domain.packet_fields import is_unsigned, plain_value
from handshake.domain.packet_lines import PacketLines, read_lines
from handshake.domain.registry import wp_ids_in

_BULLET = re.compile(r"^[ \t]*+[-*+][ \t]+`?([^\s`|:]+)`?[ \t]*(?::|->|\||--?[ \t])(.*)$")


@dataclass(frozen=True, kw_only=True)
class SignatureUse:
    """One line of the log: a signature, and the packets that the line names. `line` is 1-based."""

    signature: str
    wp_ids: tuple[str, ...]
    text: str
    line: int


def read_signature_audit(data: bytes) -> tuple[SignatureUse, ...]:
    """Every use that is on record, in order: rows of tables, and items `- signature: WP_ID`."""
    lines = read_lines(data)
    found = []
    for number, text in enumerate(lines.live):
        signature = _signature_of(lines, number)
        if signature:
            found.append(
                SignatureUse(signature=signature, wp_ids=wp_ids_in(text), text=text.strip(), line=number + 1)
            )
    return tuple(found)


def _signature_of(lines: PacketLines, number: int) -> str | None:
    text = lines.live[number].strip()
    if text.startswith("|"):
        first = plain_value(text.strip("|").split("|")[0])
        if not first.strip("-: ") or _is_header(lines, number) or is_unsigned(first) or " " in first:
            return None
        return first
    item = _BULLET.match(lines.live[number])
    if item and wp_ids_in(item.group(2)) and not wp_ids_in(item.group(1)):
        return item.group(1).strip("*")
    return None


def _is_header(lines: PacketLines, number: int) -> bool:
    following = lines.live[number + 1].strip() if number + 1 < len(lines.live) else ""
    return following.startswith("|") and not following.strip("|-: ")


def uses_of(signature: str, audit: tuple[SignatureUse, ...]) -> tuple[SignatureUse, ...]:
    """The lines on which a signature was used; used rightly it is one."""
    return tuple(use for use in audit if use.signature == signature)
