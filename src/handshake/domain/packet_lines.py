"""A packet as lines: what is text, what stands in a fence or a comment, and where the sections are.

The bytes stay as they are; each line is read on its own, so that one wrong byte costs one character and
an edit can name the bytes it changes. One pass, linear in the size: nothing a packet holds makes it slow.
Contract: `packets-and-gates.md`, The packet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

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
_FENCE = re.compile(r"^([ \t]*+)((?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)(`{3,}|~{3,})([^`]*|(?<=~).*)$")
_MANGLED = re.compile(r"^[ \t]*+`([A-Za-z0-9_+-]*)[ \t]*$")
_BULLET = re.compile(r"^([ \t]*+)(?:[-*+]|\d{1,9}[.)])(?:[ \t]+|$)")


class LineKind(Enum):
    """What a line is: text that counts, the edge or the inside of a fence, or a comment."""

    TEXT = "text"
    FENCE_EDGE = "fence edge"
    FENCED = "fenced"
    COMMENT = "comment"


class Fence(NamedTuple):
    """A fenced block. `start` and `end` are the 0-based lines of its content, `end` exclusive."""

    start: int
    end: int
    info: str
    opened: int
    closed: bool = True


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
        for heading in self.headings[position + 1 :]:
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
    kinds, fences = _fences(texts)
    live, open_comment = _strip_comments(texts, kinds)
    return PacketLines(
        raw=tuple(raw),
        texts=tuple(texts),
        live=tuple(live),
        kinds=tuple(kinds),
        fences=tuple(fences),
        headings=tuple(_headings(live)),
        not_utf8=tuple(not_utf8),
        not_ascii=tuple(not_ascii),
        open_comment=open_comment,
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


def _indent(text: str) -> int:
    expanded = text.expandtabs(4)
    return len(expanded) - len(expanded.lstrip(" "))


def _fences(texts: list[str]) -> tuple[list[LineKind], list[Fence]]:
    """Mark fences: in lists, with tildes, longer ones, unclosed ones that end with their list item."""
    kinds = [LineKind.TEXT] * len(texts)
    fences: list[Fence] = []
    next_lone = _next_lone_backtick(texts)
    columns: list[int] = []
    number, in_comment = 0, False
    while number < len(texts):
        text = texts[number]
        in_comment = _comment_goes_on(text, in_comment)
        if in_comment or not text.strip():
            number += 1
            continue
        quoting = "`" in text or "~" in text
        mark = _FENCE.match(text) if quoting else None
        lone = _MANGLED.match(text) if quoting and mark is None else None
        if mark is None and (lone is None or next_lone[number] is None):
            _follow_list(columns, text)
            number += 1
            continue
        column = _container(columns, text, bool(mark and mark.group(2)))
        if mark is not None:
            end, closed = _end_of_fence(texts, number, mark.group(3), column)
            info = mark.group(4).strip()
        else:
            assert lone is not None
            end, closed = next_lone[number] or number, True
            info = lone.group(1)
        kinds[number] = LineKind.FENCE_EDGE
        kinds[number + 1 : end] = [LineKind.FENCED] * (end - number - 1)
        if closed:
            kinds[end] = LineKind.FENCE_EDGE
        fences.append(Fence(number + 1, end, info, number, closed))
        number = end + 1 if closed else max(end, number + 1)
    return kinds, fences


def _next_lone_backtick(texts: list[str]) -> list[int | None]:
    """For each line, the next line that is a mangled or bare closing fence, with no section heading between."""
    following: list[int | None] = [None] * len(texts)
    upcoming: int | None = None
    for number in range(len(texts) - 1, -1, -1):
        following[number] = upcoming
        text = texts[number]
        if text.strip() in ("`", "```", "~~~"):
            upcoming = number
        elif _opens_something(text):
            upcoming = None
    return following


def _opens_something(text: str) -> bool:
    """Whether the line can hardly stand inside a fence: a section's heading, or a fence with a language."""
    if text.startswith("#"):
        heading = heading_of_line(text)
        return heading is not None and section_named(heading[1]) is not None
    if text.lstrip(" \t-*+0123456789.)")[:3] not in ("```", "~~~"):
        return False
    mark = _FENCE.match(text)
    return bool(mark and mark.group(4).strip())


def _end_of_fence(texts: list[str], opened: int, fence: str, column: int) -> tuple[int, bool]:
    """The closing line, or where the list item or the file ends.

    An editor may have left one backtick of the closing line: it closes if a section or another fence
    with a language comes before any real closing line.
    """
    sign, lone = fence[0], None
    for number in range(opened + 1, len(texts)):
        text = texts[number].strip(" \t")
        closes = text.startswith(fence) and not text.strip(sign)
        if closes or (column and text and _indent(texts[number]) < column):
            # where the list item ends its fence ends; a badly indented closing line is still one
            return number, closes
        if text == "`" and lone is None:
            lone = number
        elif lone is not None and _opens_something(text):
            return lone, True
    return (len(texts), False) if lone is None else (lone, True)


def _follow_list(columns: list[int], text: str) -> None:
    bullet = _BULLET.match(text)
    indent = _indent(text)
    if bullet:
        while columns and columns[-1] > indent:
            columns.pop()
        columns.append(len(bullet.group(0).expandtabs(4)) or indent + 2)
    elif indent == 0:
        columns.clear()


def _container(columns: list[int], text: str, in_bullet: bool) -> int:
    """The column that text must reach to stay in the fence's list item; 0 outside lists."""
    if in_bullet:
        _follow_list(columns, text)
        return columns[-1]
    if not columns:
        return 0
    indent = _indent(text)
    while columns and columns[-1] > indent:
        columns.pop()
    return columns[-1] if columns else 0


def _comment_goes_on(text: str, inside: bool) -> bool:
    """Whether the line ends inside a comment (`<!--` in inline code opens none)."""
    if not inside and "<!--" not in text:
        return False
    cleaned = text if inside else without_code_spans(text)
    position = 0
    while True:
        position = cleaned.find("-->" if inside else "<!--", position)
        if position < 0:
            return inside
        inside = not inside
        position += 3


def _strip_comments(texts: list[str], kinds: list[LineKind]) -> tuple[list[str], int | None]:
    """The text that counts of each line: without comments, and nothing of fences."""
    live: list[str] = []
    opened: int | None = None
    for number, text in enumerate(texts):
        if kinds[number] is not LineKind.TEXT:
            live.append("")
            continue
        if opened is None and "<!--" not in text:
            live.append(text)
            continue
        kept, opened = _outside_comments(text, number, opened)
        if not kept.strip():
            kinds[number] = LineKind.COMMENT
        live.append(kept.rstrip())
    return live, opened


def _outside_comments(text: str, number: int, opened: int | None) -> tuple[str, int | None]:
    cleaned = text if opened is not None else without_code_spans(text)
    kept, position = "", 0
    while True:
        if opened is not None:
            end = cleaned.find("-->", position)
            if end < 0:
                return kept, opened
            position, opened = end + 3, None
        start = cleaned.find("<!--", position)
        if start < 0:
            return kept + text[position:], None
        kept, position, opened = kept + text[position:start], start + 4, number


def heading_of_line(text: str) -> tuple[int, str] | None:
    """Level and text of a heading line, without closing `#`; None for any other line."""
    mark = _HEADING.match(text)
    if not mark:
        return None
    name = text[mark.end() :].strip(" \t")
    bare = name.rstrip("#")
    return len(mark.group(1)), (bare.rstrip() if bare != name and (not bare or bare[-1] in " \t") else name)


def _headings(live: list[str]) -> list[Heading]:
    found = []
    for number, text in enumerate(live):
        heading = heading_of_line(text) if "#" in text[:4] else None
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
