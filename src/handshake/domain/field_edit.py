"""One `KEY: value` line of a governance file changed in place; every other byte stays as it was."""

from __future__ import annotations

import re

from handshake.domain.errors import PacketRefused
from handshake.domain.packet_lines import read_lines
from handshake.domain.packet_lists import key_of_line

_FIELD = re.compile(rb"^(?P<head>[^:]*:[ \t]*\**[ \t]*)(?P<value>[^\r\n]*?)(?P<tail>[ \t]*\**[ \t]*)(?P<end>\r?\n?)$")


def with_field(data: bytes, names: tuple[str, ...], value: str) -> bytes:
    """The text with the first line of one of these keys saying `value`.

    Raises:
        PacketRefused: there is no such line.
    """
    lines = read_lines(data)
    for number, text in enumerate(lines.live):
        pair = key_of_line(text, number)
        if pair is None or pair.key not in names:
            continue
        found = _FIELD.match(lines.raw[number])
        if found is None:
            continue
        # `**KEY:** old` keeps its signs; where bold wraps key and value both, its end stays behind the value
        wraps_all = b"**" in found["tail"] and found["head"].count(b"**") % 2 == 1
        changed = found["head"] + value.encode() + (found["tail"] if wraps_all else b"") + found["end"]
        if not found["head"].endswith((b" ", b"\t")):
            changed = found["head"] + b" " + changed[len(found["head"]) :]
        return b"".join([*lines.raw[:number], changed, *lines.raw[number + 1 :]])
    raise PacketRefused(f"there is no line {names[0]}", next_step=f"add `- {names[0]}: {value}` under ## METADATA")
