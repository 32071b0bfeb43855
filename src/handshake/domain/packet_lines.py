"""A packet as lines: what is text, what stands in a fence or a comment, and where the sections are.

The bytes stay as they are; each line is decoded on its own, so that one wrong byte costs one character and
an edit can name the bytes it changes. What the lines are is a Markdown parser's word (`handshake.domain.markdown`);
labels, lists and blocks of a packet are read on the lines of a section that it calls text.
Contract: `packets-and-gates.md`, The packet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from handshake.domain.mangled_fences import read_mended
from handshake.domain.markdown import Cut, Fence

__all__ = ["SECTIONS", "Fence", "Heading", "LineKind", "PacketLines", "read_lines"]

SECTIONS = (
    "METADATA",
    "TECHNICAL_REFINEMENT",
    "SCOPE",
    "WAIVERS GRANTED",
    "QUALITY_GATE",
    "TEST_PLAN",
    "DONE_MEANS",
    "ROLLBACK_HINT",
    "EXECUTION_POLICY",
    "AUTHORITY",
    "LINEAGE_AUDIT",
    "BOOTSTRAP",
    "SKELETON",
    "IMPLEMENTATION",
    "HYGIENE",
    "VALIDATION",
    "STATUS_HANDOFF",
    "EVIDENCE",
    "VALIDATION_REPORTS",
    "IDENTITY",
)

_BOM = b"\xef\xbb\xbf"
_HEADING = re.compile(r"^ {0,3}(#{1,6})(?=[ \t]|$)")
_BACKTICKS = re.compile(r"`+")


class LineKind(Enum):
    """What a line is: text that counts, the edge or the inside of a fence, or a comment."""

    TEXT = "text"
    FENCE_EDGE = "fence edge"
    FENCED = "fenced"
    COMMENT = "comment"


class Heading(NamedTuple):
    """A heading that counts. `section` is the known section it opens, if it opens one. `line` is 0-based."""

    level: int
    text: str
    line: int
    section: str | None


@dataclass(frozen=True)
class PacketLines:
    """The lines of a packet. `raw` keeps each line's bytes with its ending; `texts` has neither ending nor BOM."""

    raw: tuple[bytes, ...]
    texts: tuple[str, ...]
    live: tuple[str, ...]
    kinds: tuple[LineKind, ...]
    fences: tuple[Fence, ...]
    headings: tuple[Heading, ...]
    not_utf8: tuple[int, ...]
    not_ascii: tuple[int, ...]
    open_comment: int | None = None

    def section(self, name: str) -> range | None:
        """The lines below the first heading of that section, up to the next heading that ends it."""
        return next(iter(self.sections(name)), None)

    def sections(self, name: str) -> list[range]:
        """Every section of that name, as ranges of 0-based lines without the heading."""
        wanted = name.replace(" ", "_")
        return [
            range(heading.line + 1, self._end_of(position))
            for position, heading in enumerate(self.headings)
            if heading.section == wanted
        ]

    def heading_of(self, name: str) -> Heading | None:
        """The first heading that opens the section `name`."""
        wanted = name.replace(" ", "_")
        return next((heading for heading in self.headings if heading.section == wanted), None)

    def _end_of(self, position: int) -> int:
        level = self.headings[position].level
        for later in range(position + 1, len(self.headings)):
            heading = self.headings[later]
            if heading.level <= level or heading.section is not None:
                return heading.line
        return len(self.texts)

    def newline(self) -> bytes:
        """The line ending most of the file uses."""
        crlf = sum(1 for line in self.raw if line.endswith(b"\r\n"))
        return b"\r\n" if crlf * 2 > len(self.raw) - 1 and crlf else b"\n"


def read_lines(data: bytes) -> PacketLines:
    """Cut a packet into lines and say what each of them is. Never fails, whatever the bytes."""
    raw = _split(data)
    texts, not_utf8, not_ascii = _decode_lines(raw, ascii_only=data.isascii())
    structure = read_mended(texts, _opens_section)
    kinds = _kinds(texts, structure.fences)
    live = _without_cuts(texts, kinds, structure.cuts)
    return PacketLines(
        raw=tuple(raw),
        texts=tuple(texts),
        live=tuple(live),
        kinds=tuple(kinds),
        fences=tuple(structure.fences),
        headings=tuple(_headings(live, structure.headings)),
        not_utf8=tuple(not_utf8),
        not_ascii=tuple(not_ascii),
        open_comment=structure.open_comment,
    )


def without_code_spans(text: str) -> str:
    """The text with inline code blanked, so that what it quotes is not taken for meant."""
    kept, position = "", 0
    for start, _, _, end in code_spans(text):
        kept, position = kept + text[position:start] + " " * (end - start), end
    return kept + text[position:]


def code_spans(text: str) -> list[tuple[int, int, int, int]]:
    """Inline code as (start, start of content, end of content, end): a run of backticks to the next as long."""
    if "`" not in text:
        return []
    runs = [found.span() for found in _BACKTICKS.finditer(text)]
    closing: dict[int, list[int]] = {}
    for index in range(len(runs) - 1, -1, -1):
        closing.setdefault(runs[index][1] - runs[index][0], []).append(index)
    spans, index = [], 0
    while index < len(runs):
        candidates = closing[runs[index][1] - runs[index][0]]
        while candidates and candidates[-1] <= index:
            candidates.pop()
        if candidates:
            other = candidates[-1]
            spans.append((runs[index][0], runs[index][1], runs[other][0], runs[other][1]))
            index = other
        index += 1
    return spans


def section_named(text: str) -> str | None:
    """The known section that a heading's text opens: any case, `_` or blank, bold, numbered, with a suffix."""
    cleaned = re.sub(r"^\d+[.)]\s*", "", text.replace("*", "").strip()).upper()
    found = _SECTION_NAME.match(cleaned)
    return re.sub(r"[ _-]+", "_", found.group(1)) if found else None


_SECTION_NAME = re.compile(
    "("
    + "|".join(re.sub(r"[ _]", "[ _-]+", name) for name in sorted(SECTIONS, key=len, reverse=True))
    + r")(?:$|\s*[:([]|\s+[-\u2013\u2014])"
)


def _split(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    ended = [line + b"\n" for line in lines[:-1]]
    return [*ended, lines[-1]] if lines[-1] or not ended else ended


def _decode_lines(raw: list[bytes], *, ascii_only: bool) -> tuple[list[str], list[int], list[int]]:
    if ascii_only:
        return [line.decode("ascii").rstrip("\r\n") for line in raw], [], []
    texts: list[str] = []
    not_utf8: list[int] = []
    not_ascii: list[int] = []
    for number, line in enumerate(raw):
        text, is_utf8 = _decode(line.removeprefix(_BOM) if number == 0 else line)
        texts.append(text.rstrip("\r\n"))
        if not is_utf8:
            not_utf8.append(number)
        if not text.isascii():
            not_ascii.append(number)
    return texts, not_utf8, not_ascii


def _decode(line: bytes) -> tuple[str, bool]:
    try:
        return line.decode("utf-8"), True
    except UnicodeDecodeError:
        try:
            return line.decode("cp1252"), False
        except UnicodeDecodeError:
            return line.decode("latin-1"), False


def _opens_section(text: str) -> bool:
    heading = heading_of_line(text)
    return heading is not None and section_named(heading[1]) is not None


def _kinds(texts: list[str], fences: list[Fence]) -> list[LineKind]:
    kinds = [LineKind.TEXT] * len(texts)
    for fence in fences:
        kinds[fence.opened] = LineKind.FENCE_EDGE
        kinds[fence.start : fence.end] = [LineKind.FENCED] * (fence.end - fence.start)
        if fence.closed:
            kinds[fence.end] = LineKind.FENCE_EDGE
    return kinds


def _without_cuts(texts: list[str], kinds: list[LineKind], cuts: list[Cut]) -> list[str]:
    """The text that counts of each line: without what is hidden, and nothing of fences."""
    live = [text if kind is LineKind.TEXT else "" for text, kind in zip(texts, kinds, strict=True)]
    for cut in sorted(cuts, reverse=True):
        live[cut.line] = (live[cut.line][: cut.start] + live[cut.line][cut.end :]).rstrip()
        if not live[cut.line].strip() and kinds[cut.line] is LineKind.TEXT:
            kinds[cut.line] = LineKind.COMMENT
    return live


def heading_of_line(text: str) -> tuple[int, str] | None:
    """Level and text of a heading line, without closing `#`; None for any other line."""
    mark = _HEADING.match(text)
    if not mark:
        return None
    name = text[mark.end() :].strip(" \t")
    bare = name.rstrip("#")
    return len(mark.group(1)), (bare.rstrip() if bare != name and (not bare or bare[-1] in " \t") else name)


def _headings(live: list[str], numbers: list[int]) -> list[Heading]:
    found = []
    for number in sorted(numbers):
        heading = heading_of_line(live[number])
        if heading:
            found.append(Heading(heading[0], heading[1], number, section_named(heading[1])))
    return _only_real_sections(found)


def _only_real_sections(headings: list[Heading]) -> list[Heading]:
    """Below VALIDATION_REPORTS a report may quote deeper headings: they open no section."""
    reports = next((h for h in headings if h.section == "VALIDATION_REPORTS"), None)
    if reports is None:
        return headings
    return [
        Heading(h.level, h.text, h.line, None) if h.line > reports.line and h.level > reports.level else h
        for h in headings
    ]
