"""Edits of a packet that touch only the lines they mean to: every other byte stays as it was.

Contract: `packets-and-gates.md`, The packet, last sentence of its first paragraph.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from handshake.domain.errors import PacketRefused
from handshake.domain.packet import ManifestEntry
from handshake.domain.packet_fields import deciding_status, status_lines
from handshake.domain.packet_lines import SECTIONS, PacketLines, read_lines
from handshake.domain.packet_manifest import PARTS, ManifestBlock, block_text, manifest_blocks

_STATUS = re.compile(
    rb"^(?P<head>[^:]*:[ \t]*\**[ \t]*)(?P<value>[^\r\n]*?)(?P<tail>[ \t]*\**[ \t]*)(?P<end>\r?\n?)$"
)


def set_status(data: bytes, new: str) -> bytes:
    """The packet with its deciding Status line saying `new`.

    Raises:
        PacketRefused: there is no Status line.
    """
    lines = read_lines(data)
    status = deciding_status(status_lines(lines))
    found = _STATUS.match(lines.raw[status.line]) if status else None
    if status is None or found is None:
        raise PacketRefused("the packet has no Status line", next_step="add `- **Status:** Draft` under ## METADATA")
    head, tail = found.group("head"), found.group("tail")
    wraps_all = b"**" in tail and head.count(b"**") % 2 == 1
    changed = head + new.encode("utf-8") + (tail if wraps_all else b"") + found.group("end")
    return b"".join([*lines.raw[: status.line], changed, *lines.raw[status.line + 1 :]])


def with_manifest(data: bytes, entries: Iterable[ManifestEntry], drop: Collection[str] = ()) -> bytes:
    """The packet with these entries as blocks under VALIDATION; blocks of other files stay to the byte.

    The blocks of one file stand where its first one stood; new ones follow the last block. A template block
    gives way to the first new one. Blocks of the files in `drop` are taken out. Of a block that gives way or goes,
    the lines that are none of its own stay: somebody wrote them.
    """
    wanted: dict[str, list[ManifestEntry]] = {}
    for entry in entries:
        wanted.setdefault(entry.target_file, []).append(entry)
    lines = read_lines(data)
    blocks = manifest_blocks(lines)
    newline = lines.newline()
    pending = dict(wanted)
    there = {block.target for block in blocks if not block.is_template}
    new_files = [path for path in wanted if path not in there]
    out: list[bytes] = []
    position = 0
    for block in blocks:
        rows: list[ManifestEntry] | None = None
        if block.is_template and new_files:
            rows = pending.pop(new_files.pop(0))
        elif not block.is_template and block.target in wanted:
            rows = pending.pop(block.target, [])
        elif not block.is_template and block.target in drop:
            rows = []
        if rows is None:
            continue
        text = _in_place_of(lines, block, rows, newline)
        out += [*lines.raw[position : block.start], text]
        position = _end_with_blank(lines, block) if not text else block.end
    edited = b"".join([*out, *lines.raw[position:]])
    rest = [_encoded(pending[path], newline) for path in new_files]
    return _append_blocks(edited, rest) if rest else edited


def _encoded(entries: Sequence[ManifestEntry], newline: bytes) -> bytes:
    blocks = [newline.join(line.encode("utf-8") for line in block_text(entry)) + newline for entry in entries]
    return newline.join(blocks)


def _in_place_of(lines: PacketLines, block: ManifestBlock, entries: Sequence[ManifestEntry], newline: bytes) -> bytes:
    """The entries as text, the first one with the remarks of the block that it replaces, each behind its own line."""
    remarks: dict[str, list[bytes]] = {}
    tails: dict[str, bytes] = {}
    part = PARTS[0]
    for number in range(block.start, block.end):
        own = block.own.get(number)
        if own is None:
            remarks.setdefault(part, []).append(lines.raw[number])
        elif own in PARTS:
            part = own
            tails.setdefault(part, _hidden_tail(lines, number))
    if not entries:
        return b"".join(raw for raws in remarks.values() for raw in raws if raw.strip())
    text = b""
    for part, line in zip(PARTS, block_text(entries[0]), strict=True):
        text += line.encode("utf-8") + tails.get(part, b"") + newline + b"".join(remarks.get(part, ()))
    return text + (newline + _encoded(entries[1:], newline) if entries[1:] else b"")


def _hidden_tail(lines: PacketLines, number: int) -> bytes:
    """The comment that ends a line, with the blanks before it, as it stands."""
    text, live = lines.texts[number], lines.live[number]
    tail = text[len(live) :]
    if not tail.strip() or not live or not text.startswith(live):
        return b""
    # a line that is not UTF-8 was read byte by byte
    size = len(tail) if number in lines.not_utf8 else len(tail.encode("utf-8"))
    return lines.raw[number].rstrip(b"\r\n")[-size:]


def _end_with_blank(lines: PacketLines, block: ManifestBlock) -> int:
    end = block.end
    return end + 1 if end < len(lines.texts) and not lines.texts[end].strip() else end


def _append_blocks(data: bytes, blocks: list[bytes]) -> bytes:
    lines = read_lines(data)
    newline = lines.newline()
    text = newline.join(blocks)
    there = manifest_blocks(lines)
    if there:
        place = there[-1].end
        return _inserted(lines, place, newline + text)
    section = lines.section("VALIDATION")
    if section is None:
        return _with_section(lines, "VALIDATION", text)
    place = _last_filled(lines, section)
    blank = newline if place > section.start else b""
    return _inserted(lines, place, blank + text)


def append_section_line(data: bytes, section: str, lines: Sequence[str]) -> bytes:
    """The packet with `lines` at the end of that section, which is made where it is missing.

    Raises:
        PacketRefused: the lines would open or hide sections (headings, an open fence or comment).
    """
    before = read_lines(data)
    newline = before.newline()
    text = b"".join(" ".join(line.splitlines()).encode("utf-8") + newline for line in lines)
    place = before.section(section)
    if place is None:
        edited = _with_section(before, section, text)
    else:
        edited = _inserted(before, _last_filled(before, place), text)
    _same_sections(before, read_lines(edited), section)
    return edited


def _same_sections(before: PacketLines, after: PacketLines, section: str) -> None:
    old = [(heading.level, heading.text) for heading in before.headings]
    new = [(heading.level, heading.text) for heading in after.headings]
    if before.section(section) is None and (2, section) in new:
        new.remove((2, section))
    if old != new or (after.open_comment is not None and before.open_comment is None):
        raise PacketRefused(
            f"the lines for {section} would change the packet's sections",
            next_step="take headings, fences and comment signs out of them",
        )


def _last_filled(lines: PacketLines, section: range) -> int:
    """The line after the last one of the section that is not blank."""
    for number in reversed(section):
        if lines.texts[number].strip():
            return number + 1
    return section.start


def _with_section(lines: PacketLines, name: str, text: bytes) -> bytes:
    """The packet with a new section, before the first section that comes after it in the order of packets."""
    newline = lines.newline()
    rank = [section.replace(" ", "_") for section in SECTIONS]
    later = set(rank[rank.index(name.replace(" ", "_")) + 1 :])
    after = next((heading for heading in lines.headings if heading.section in later and heading.level <= 2), None)
    block = f"## {name}".encode() + newline + text
    if after is None:
        return _inserted(lines, len(lines.raw), newline + block)
    return _inserted(lines, after.line, block + newline)


def _inserted(lines: PacketLines, place: int, text: bytes) -> bytes:
    head, tail = b"".join(lines.raw[:place]), b"".join(lines.raw[place:])
    if head and not head.endswith(b"\n"):
        # the file had no newline at its end and keeps none
        newline = lines.newline()
        return head + newline + text.removesuffix(newline)
    return head + text + tail
