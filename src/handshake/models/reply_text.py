"""Cutting a reply into prose lines, quotations, fenced blocks and reasoning. Contract: `models.md`, The reply."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_FENCE = re.compile(r"^(?P<indent>[ \t]*)(?P<mark>`{3,}|~{3,})[ \t]*(?P<info>.*?)[ \t]*$")
_THINK = re.compile(r"<(?P<close>/?)(?:think|thinking)>", re.IGNORECASE)
_QUOTE = re.compile(r"^ {0,3}>")
_END_OF_TURN = re.compile(r"(?:<\|[A-Za-z_]{1,32}\|>|</s>)\Z")


@dataclass(frozen=True)
class Piece:
    """A line of prose or quotation, or a whole fenced block. `lines` of a fence are its content."""

    kind: Literal["prose", "quote", "fence"]
    lines: tuple[str, ...]
    number: int
    """The first line's number in the reply, 1-based."""
    info: str = ""
    closed: bool = True


def split_reply(text: str) -> tuple[tuple[Piece, ...], str]:
    """The pieces in order, and the reasoning that was taken out.

    Reasoning is what stands in `<think>` outside fences; unclosed, it goes to the end; a `</think>`
    without a beginning (the prompt held it) ends reasoning that began with the reply. Fences follow
    CommonMark, but a block opened inside a block by an info string must be closed too, so that a
    file that holds fenced examples is read whole.
    """
    splitter = _Splitter(_without_end_marks(text.replace("\r\n", "\n")).split("\n"))
    splitter.run()
    reasoning = splitter.lines[: splitter.dropped] + splitter.reasoning
    return tuple(splitter.pieces), "\n".join(reasoning).strip("\n")


def _without_end_marks(text: str) -> str:
    """The text without the `<|im_end|>` and its like that some servers leave at the end."""
    text = text.rstrip()
    while (mark := _END_OF_TURN.search(text, max(0, len(text) - 40))) is not None:
        text = text[: mark.start()].rstrip()
    return text


class _Splitter:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.pieces: list[Piece] = []
        self.reasoning: list[str] = []
        self.thinking = False
        self.dropped = 0
        """How many lines at the start turned out to be reasoning."""

    def run(self) -> None:
        at = 0
        while at < len(self.lines):
            rest = self._outside_reasoning(self.lines[at], at)
            opened = None if rest is None else _opening(rest)
            if rest is None:
                at += 1
            elif opened is not None:
                at = self._fence(opened, at)
            else:
                kind: Literal["prose", "quote"] = "quote" if _QUOTE.match(rest) else "prose"
                self.pieces.append(Piece(kind, (rest,), at + 1))
                at += 1

    def _outside_reasoning(self, line: str, at: int) -> str | None:
        """What of a line is not reasoning; None if nothing is. Fences inside reasoning mean nothing."""
        if not self.thinking and (_opening(line) is not None or _QUOTE.match(line)):
            return line
        kept = ""
        position = 0
        took = self.thinking
        for tag in _THINK.finditer(line):
            before = line[position : tag.start()]
            position = tag.end()
            took = True
            if self.thinking:
                self.reasoning.append(before)
                self.thinking = tag["close"] == ""
            elif tag["close"]:
                self._drop_all_before(at)
                self.reasoning.append(kept + before)
                kept = ""
            else:
                kept += before
                self.thinking = True
        tail = line[position:]
        if self.thinking:
            self.reasoning.append(tail)
            tail = ""
        kept += tail
        return None if took and not kept.strip() else kept

    def _drop_all_before(self, at: int) -> None:
        self.dropped = at
        self.reasoning.clear()
        self.pieces.clear()

    def _fence(self, opened: re.Match[str], at: int) -> int:
        """Take the block that `opened` begins; the index of the line after it."""
        indent = len(opened["indent"])
        open_marks = [opened["mark"]]
        content: list[str] = []
        index = at + 1
        while index < len(self.lines):
            line = self.lines[index]
            index += 1
            inner = _FENCE.match(line)
            if inner is not None and len(inner["indent"]) <= indent + 3 and _as_long(inner["mark"], open_marks[-1]):
                if not inner["info"]:
                    open_marks.pop()
                    if not open_marks:
                        self._add_fence(opened, content, at, closed=True)
                        return index
                elif _is_info(inner):
                    open_marks.append(inner["mark"])
            content.append(_dedented(line, indent))
        self._add_fence(opened, content, at, closed=False)
        return index

    def _add_fence(self, opened: re.Match[str], content: list[str], at: int, *, closed: bool) -> None:
        self.pieces.append(Piece("fence", tuple(content), at + 1, info=opened["info"], closed=closed))


def _opening(line: str) -> re.Match[str] | None:
    # to CommonMark a carriage return alone ends a line (spec 0.31, 2.1): a fence may begin behind one
    before, _, last = line.rpartition("\r")
    match = _FENCE.match(line if _THINK.search(before) else last)
    return match if match is not None and _is_info(match) else None


def _is_info(match: re.Match[str]) -> bool:
    """Backticks in the info string of a backtick fence make it inline code."""
    return match["mark"][0] == "~" or "`" not in match["info"]


def _as_long(mark: str, opened: str) -> bool:
    return mark[0] == opened[0] and len(mark) >= len(opened)


def _dedented(line: str, indent: int) -> str:
    leading = len(line) - len(line.lstrip(" \t"))
    return line[min(indent, leading) :]
