"""The traceability registry: base work packet to the one active packet.

Contract: `packets-and-gates.md`, Around a packet, `WP_TRACEABILITY_REGISTRY.md`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from handshake.domain.packet_lines import read_lines

_WP = re.compile(r"(?<![A-Za-z0-9_-])WP-[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PAIR = re.compile(r"^[ \t]*+(?:[-*+][ \t]++)?[`*]*(WP-[A-Za-z0-9._-]*[A-Za-z0-9])[`*]*[ \t]*(?:->|:)[ \t]*(.*)$")


@dataclass(frozen=True, kw_only=True)
class RegistryEntry:
    """One row. `is_stub` says that it leads to a stub, which is never run. `line` is 1-based."""

    base_wp_id: str
    active: str
    is_stub: bool
    line: int


def wp_ids_in(text: str) -> tuple[str, ...]:
    """The packet ids a text names, each once, without the `.md` of a file name."""
    return tuple(dict.fromkeys(name.removesuffix(".md") for name in _WP.findall(text)))


def read_registry(data: bytes) -> tuple[RegistryEntry, ...]:
    """Every row, in order: table rows, `base -> packet`, or `base: packet`. Prose is left alone."""
    found = []
    for number, text in enumerate(read_lines(data).live):
        row = _row(text)
        names = wp_ids_in(row[1]) if row else ()
        if row and names:
            stub = "/stubs/" in row[1].partition(names[0])[0].replace("\\", "/")
            found.append(RegistryEntry(base_wp_id=row[0], active=names[0], is_stub=stub, line=number + 1))
    return tuple(found)


def _row(text: str) -> tuple[str, str] | None:
    """The base id, and the cell or text that names its packet."""
    if text.lstrip().startswith("|"):
        cells = [cell.strip(" \t`*") for cell in text.strip().strip("|").split("|")]
        if len(cells) >= 2 and _WP.fullmatch(cells[0]):
            return cells[0], cells[1]
        return None
    pair = _PAIR.match(text)
    return (pair.group(1), pair.group(2)) if pair else None


def active_packets(entries: tuple[RegistryEntry, ...], base_wp_id: str) -> tuple[str, ...]:
    """The packets the registry names for a base id, each once; used rightly it is one."""
    return tuple(dict.fromkeys(entry.active for entry in entries if entry.base_wp_id == base_wp_id))
