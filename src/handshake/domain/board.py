"""The task board as text: which packet stands where, and an edit that touches one packet's line alone.

Contract: `packets-and-gates.md`, Board. Fences and comments do not count; every other byte stays as it was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from handshake.domain.packet import PacketStatus
from handshake.domain.packet_lines import PacketLines, read_lines


class BoardTag(StrEnum):
    """What the board says of a packet."""

    IN_PROGRESS = "IN_PROGRESS"
    READY_FOR_DEV = "READY_FOR_DEV"
    STUB = "STUB"
    VALIDATED = "VALIDATED"
    FAIL = "FAIL"
    OUTDATED_ONLY = "OUTDATED_ONLY"
    SUPERSEDED = "SUPERSEDED"


# tag to the section that holds it, in the order in which a board shows the sections
SECTION_OF: Mapping[BoardTag, str] = MappingProxyType(
    {
        BoardTag.IN_PROGRESS: "In Progress",
        BoardTag.READY_FOR_DEV: "Ready",
        BoardTag.STUB: "Stubs",
        BoardTag.VALIDATED: "Done",
        BoardTag.FAIL: "Done",
        BoardTag.OUTDATED_ONLY: "Done",
        BoardTag.SUPERSEDED: "Superseded",
    }
)
SECTIONS = tuple(dict.fromkeys(SECTION_OF.values()))

_ENTRY = re.compile(
    r"^(?P<head>[ \t]*[-*+][ \t]+)\*\*\[(?P<wp>[^\]]+)\]\*\*(?P<mid>[ \t]*-?[ \t]*)\[(?P<tag>[^\]]*)\]"
)
_NAMES = {"in progress": "In Progress", "ready": "Ready", "ready for dev": "Ready", "stub": "Stubs", "stubs": "Stubs"}
_NAMES |= {"done": "Done", "superseded": "Superseded"}


@dataclass(frozen=True, kw_only=True)
class BoardEntry:
    """One line `- **[WP_ID]** - [TAG]`. `section` is a name of `SECTIONS`, or None for another; `line` from 1."""

    wp_id: str
    tag: str
    section: str | None
    line: int


def read_board(data: bytes) -> tuple[BoardEntry, ...]:
    """The entries of a board, in order. Lines that are no entries are nobody's business."""
    lines = read_lines(data)
    sections = _sections(lines)
    found = []
    for number, text in enumerate(lines.live):
        entry = _ENTRY.match(text)
        if entry is not None:
            section = next((name for start, end, name in sections if start < number < end), None)
            found.append(BoardEntry(wp_id=entry["wp"].strip(), tag=entry["tag"], section=section, line=number + 1))
    return tuple(found)


def tag_of_status(
    status: PacketStatus | None, verdict: str | None = None, *, needs_review: bool = False
) -> BoardTag | None:
    """The tag that a packet's status asks for, or None where the board does not show such packets.

    Args:
        verdict: of the newest report; a FAIL shows as such.
        needs_review: nothing is validated before a review said so: what is done and has no verdict is in progress.
    """
    if status is PacketStatus.DONE and verdict is not None and verdict.upper().startswith("FAIL"):
        return BoardTag.FAIL
    if status is PacketStatus.DONE and verdict is None and needs_review:
        return BoardTag.IN_PROGRESS
    return _TAGS.get(status) if status is not None else None


def with_entry(data: bytes, wp_id: str, tag: BoardTag) -> bytes:
    """The board with this packet standing once, under the section of its tag, and nothing else changed.

    A line that is in its section already keeps its place; one that moves goes before the first later name of
    the new section, with what a person wrote behind its tag. A section that is missing is made, unless the
    board ends in an open fence or comment, which would hide it: then the board is left as it is.
    """
    lines = read_lines(data)
    mine = [entry for entry in read_board(data) if entry.wp_id == wp_id]
    target = SECTION_OF[tag]
    text = _retagged(lines, mine[0].line - 1, tag) if mine else f"- **[{wp_id}]** - [{tag.value}]".encode()
    keeps = next((entry.line - 1 for entry in mine if entry.section == target), None)
    gone = {entry.line - 1 for entry in mine} - {keeps}
    raw: list[bytes] = list(lines.raw)
    if keeps is not None:
        raw[keeps] = _retagged(lines, keeps, tag) + _ending(raw[keeps])
        return b"".join(line for number, line in enumerate(raw) if number not in gone)
    place = _place_for(lines, data, wp_id, target, gone)
    newline = lines.newline()
    if place is None:
        kept = b"".join(line for number, line in enumerate(raw) if number not in gone)
        lead = b"" if not kept else newline if kept.endswith(b"\n") else newline * 2
        grown = kept + lead + f"## {target}".encode() + newline + text + newline
        return grown if any(entry.wp_id == wp_id for entry in read_board(grown)) else data
    head = b"".join(line for number, line in enumerate(raw[:place]) if number not in gone)
    tail = b"".join(line for number, line in enumerate(raw[place:], place) if number not in gone)
    if head and not head.endswith(b"\n"):
        return head + newline + text + tail
    return head + text + newline + tail


def moves_only(before: bytes | None, after: bytes | None, wp_id: str) -> bool:
    """Whether a change of a board moves this packet's line and nothing else: that is the packet's own business."""
    if before is None or after is None or before == after:
        return False
    tags = {entry.tag for entry in read_board(after) if entry.wp_id == wp_id}
    return len(tags) == 1 and tags <= set(BoardTag) and with_entry(before, wp_id, BoardTag(tags.pop())) == after


_TAGS = {
    PacketStatus.STUB: BoardTag.STUB,
    PacketStatus.IN_PROGRESS: BoardTag.IN_PROGRESS,
    PacketStatus.READY_FOR_DEV: BoardTag.READY_FOR_DEV,
    PacketStatus.DONE: BoardTag.VALIDATED,
}


def _sections(lines: PacketLines) -> list[tuple[int, int, str | None]]:
    """(heading line, line after the last, name) of each section; deeper headings belong to the one above."""
    known = [
        (heading.line, _NAMES.get(" ".join(heading.text.replace("*", "").lower().split())), heading.level)
        for heading in lines.headings
    ]
    marks = [(line, name) for line, name, level in known if name is not None or level <= 2]
    ends = [line for line, _ in marks[1:]] + [len(lines.texts)] if marks else []
    return [(line, end, name) for (line, name), end in zip(marks, ends, strict=True)]


def _retagged(lines: PacketLines, number: int, tag: BoardTag) -> bytes:
    """The line, without its ending, with its tag replaced and every other byte kept."""
    raw = lines.raw[number]
    body = raw[: len(raw) - len(_ending(raw))]
    start = body.index(b"]**") + len(b"]**")
    opened = body.index(b"[", start)
    return body[: opened + 1] + tag.value.encode() + body[body.index(b"]", opened) :]


def _ending(raw: bytes) -> bytes:
    return raw[len(raw.rstrip(b"\r\n")) :]


def _place_for(lines: PacketLines, data: bytes, wp_id: str, target: str, gone: set[int]) -> int | None:
    """The line before which the entry belongs, or None where the board has no such section."""
    section = next(((start, end) for start, end, name in _sections(lines) if name == target), None)
    if section is None:
        return None
    there = [e for e in read_board(data) if section[0] < e.line - 1 < section[1] and e.line - 1 not in gone]
    later = next((entry for entry in there if entry.wp_id > wp_id), None)
    if later is not None:
        return later.line - 1
    if there:
        return there[-1].line
    after = section[0] + 1
    return after + 1 if after < section[1] and not lines.texts[after].strip() and after + 1 < section[1] else after
