"""What a Markdown parser says of a text: which lines are headings and fences, and what is hidden from a reader.

The parser is pulldown-cmark (through pyromark): CommonMark, and linear in the size of the text. See the
decision "The structure of packets comes from a Markdown parser".
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

# HTML blocks whose content is not text to a reader; comments are cut out by themselves
_HIDDEN = re.compile(rb"<(?:\?|![A-Za-z\[]|(?:pre|script|style|textarea)\b)", re.IGNORECASE)
_INLINE_LINK = re.compile(r"\]\(([^()\s]+)\)")
_HTML_KIND = "HtmlBlock"


class Fence(NamedTuple):
    """A fenced block. `start` and `end` are the 0-based lines of its content, `end` exclusive."""

    start: int
    end: int
    info: str
    opened: int
    closed: bool = True


class Cut(NamedTuple):
    """Columns `start` to `end` of a 0-based line, hidden from a reader."""

    line: int
    start: int
    end: int


@dataclass
class Structure:
    """Lines are 0-based. `headings` are lines that begin with `#` and stand in no list, quote or fence.

    `open_comment` is the line where a comment begins that never ends.
    """

    headings: list[int] = field(default_factory=list)
    fences: list[Fence] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    open_comment: int | None = None


def read_structure(texts: list[str]) -> Structure:
    """Parse lines (without their endings). Never fails, whatever they hold."""
    import pyromark

    # a lone CR would end a line to the parser and not to us
    text = "\n".join(texts).replace("\r", " ")
    return _Reader(text, texts).read(pyromark.events_with_range(text))


def read_links(texts: list[str]) -> list[tuple[str, int]]:
    """Where the links and images of some lines lead, as written, with the 0-based line of each.

    What a renderer takes for HTML counts as text: `<fill this in>` would hide the links below it.
    """
    import pyromark

    text = "\n".join(texts).replace("\r", " ")
    starts = [0, *accumulate(len(line.encode("utf-8", "surrogatepass")) + 1 for line in texts)]
    found: list[tuple[str, int]] = []
    for event, place in pyromark.events_with_range(text):
        if not isinstance(event, dict):
            continue
        line = bisect_right(starts, place["start"]) - 1
        tag: Any = event.get("Start")
        link = (tag.get("Link") or tag.get("Image")) if isinstance(tag, dict) else None
        if link and link["link_type"] not in ("Autolink", "Email"):
            found.append((link["dest_url"], line))
        found += [(dest, line) for dest in _INLINE_LINK.findall(str(event.get("Html", "")))]
    return found


class _Reader:
    """Places are byte offsets in UTF-8, as the parser gives them."""

    def __init__(self, text: str, texts: list[str]) -> None:
        self._data = text.encode("utf-8")
        self._texts = texts
        lengths = map(len, texts) if text.isascii() else (len(line.encode("utf-8")) for line in texts)
        self._starts = [0, *accumulate(length + 1 for length in lengths)]
        self._found = Structure()

    def read(self, events: Any) -> Structure:
        depth = 0
        for event, place in events:
            if not isinstance(event, dict):
                continue  # a break or a rule
            if "End" in event:
                depth -= 1
            elif "Start" in event:
                self._block(event["Start"], place["start"], place["end"], depth)
                depth += 1
            elif "InlineHtml" in event and event["InlineHtml"].startswith("<!--"):
                self._cut(place["start"], place["end"])
        return self._found

    def _block(self, tag: Any, start: int, end: int, depth: int) -> None:
        if tag == _HTML_KIND:
            self._html(start, end, depth)
        elif not isinstance(tag, dict):
            return
        elif "Heading" in tag and depth == 0:
            line = self._line(start)
            if self._texts[line].lstrip(" ").startswith("#"):  # else it is underlined, as prose often is by accident
                self._found.headings.append(line)
        elif "CodeBlock" in tag and isinstance(tag["CodeBlock"], dict):  # else it is only indented
            self._fence(tag["CodeBlock"].get("Fenced", ""), start, end)

    def _fence(self, info: str, start: int, end: int) -> None:
        opened, last = self._line(start), self._line(max(start, end - 1))
        marks = re.match(rb"[ \t]*(`+|~+)", self._data[start:end])
        run = marks.group(1).decode("ascii") if marks else "```"
        closing = self._texts[last].lstrip(" \t>").rstrip(" \t")
        closed = last > opened and len(closing) >= len(run) and not closing.strip(run[0])
        self._found.fences.append(Fence(opened + 1, last if closed else last + 1, info.strip(), opened, closed))

    def _html(self, start: int, end: int, depth: int) -> None:
        block = self._data[start:end]
        if _HIDDEN.match(block.lstrip()):
            self._cut(start, end)
            return
        position, before = 0, len(self._found.cuts)
        while (opening := block.find(b"<!--", position)) >= 0:
            closing = block.find(b"-->", opening + 4)
            if closing < 0:
                self._found.open_comment = self._line(start + opening)
                self._cut(start + opening, end)
                return
            position = closing + 3
            self._cut(start + opening, start + position)
        if depth == 0:
            # `<fill this in>` above a heading makes the heading HTML to the parser, and to nobody else
            hidden = {cut.line for cut in self._found.cuts[before:]}
            lines = range(self._line(start), self._line(max(start, end - 1)) + 1)
            self._found.headings += [n for n in lines if n not in hidden and self._texts[n].startswith("#")]

    def _cut(self, start: int, end: int) -> None:
        first, last = self._line(start), self._line(max(start, end - 1))
        for line in range(first, last + 1):
            begin, text = self._starts[line], self._texts[line]
            columns = (max(0, start - begin), end - begin)
            if not text.isascii():
                raw = text.encode("utf-8")
                columns = (len(raw[: columns[0]].decode("utf-8")), len(raw[: columns[1]].decode("utf-8")))
            if columns[0] < min(columns[1], len(text)):
                self._found.cuts.append(Cut(line, columns[0], min(columns[1], len(text))))

    def _line(self, offset: int) -> int:
        return min(bisect_right(self._starts, offset) - 1, len(self._texts) - 1)
