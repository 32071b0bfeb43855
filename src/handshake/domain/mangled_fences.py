"""Fences that an editor broke, put back before a parser sees them. Only what is parsed changes, never the file.

Two things happen to real packets: a line of three backticks is left with one, and the closing line of a
fence in a list loses its indentation, so that to Markdown it opens another. Contract:
`packets-and-gates.md`, The packet ("fences that an editor mangled").
"""

from __future__ import annotations

import re
from collections.abc import Callable

from handshake.domain.markdown import Structure, read_structure

_FENCE = re.compile(r"^([ \t]*+(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)(`{3,}|~{3,})([^`]*|(?<=~).*)$")
_LONE = re.compile(r"^([ \t]*+)`([A-Za-z0-9_+-]*)[ \t]*$")
_MOST_TRIES = 20
_MOST_LINES = 20_000

OpensSection = Callable[[str], bool]


def read_mended(texts: list[str], opens_section: OpensSection) -> Structure:
    """The structure of the lines, as if no fence in them were mangled.

    Args:
        opens_section: whether a line is the heading of a section: no fence reaches over one.
    """
    mended = _with_whole_marks(texts, opens_section) if any(map(_LONE.match, texts)) else texts
    structure = read_structure(mended)
    for _ in range(_MOST_TRIES if len(texts) <= _MOST_LINES else 0):
        place = _lost_indentation(structure, mended)
        if place is None:
            break
        closing, opened = place
        indent = re.match(r"[ \t]*", mended[opened])
        head = _FENCE.match(mended[opened])
        blank = " " * len(head.group(1)) if head else indent.group(0) if indent else ""
        mended = [*mended[:closing], blank + mended[closing].lstrip(), *mended[closing + 1 :]]
        structure = read_structure(mended)
    return structure


def _lost_indentation(structure: Structure, texts: list[str]) -> tuple[int, int] | None:
    """The first fence without an end that is followed by a bare mark further left: (that mark, the fence)."""
    for fence, following in zip(structure.fences, structure.fences[1:], strict=False):
        if fence.closed or following.info or following.opened < fence.end:
            continue
        between = texts[fence.end : following.opened]
        mark, bare = texts[fence.opened].lstrip(" \t-*+0123456789.)"), texts[following.opened]
        same = bare.strip()[:3] == mark[:3] and not bare.strip().strip(mark[:1])
        if (
            same
            and not any(text.strip() for text in between)
            and _indent(bare) < len(texts[fence.opened]) - len(mark)
        ):
            return following.opened, fence.opened
    return None


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip(" \t"))


def _with_whole_marks(texts: list[str], opens_section: OpensSection) -> list[str]:
    """The lines with three backticks where a lone one stands for a fence."""
    mended = list(texts)
    upcoming = _next_marks(texts, opens_section)
    number = 0
    while number < len(texts):
        mark, lone = _FENCE.match(texts[number]), _LONE.match(texts[number])
        if mark:
            end, whole = _end_of_fence(texts, number, mark.group(2), opens_section)
            if not whole:
                mended[end] = mark.group(1) + mark.group(2) if mark.group(1).isspace() else mark.group(2)
            number = end + 1
        elif lone and upcoming[number] is not None:
            end = upcoming[number] or number
            mended[number] = f"{lone.group(1)}```{lone.group(2)}"
            mended[end] = f"{lone.group(1)}```"
            number = end + 1
        else:
            number += 1
    return mended


def _next_marks(texts: list[str], opens_section: OpensSection) -> list[int | None]:
    """For each line, the next line that is a lone or bare mark, with no section's heading between."""
    following: list[int | None] = [None] * len(texts)
    upcoming: int | None = None
    for number in range(len(texts) - 1, -1, -1):
        following[number] = upcoming
        text = texts[number]
        if text.strip() in ("`", "```", "~~~"):
            upcoming = number
        elif _opens_something(text, opens_section):
            upcoming = None
    return following


def _opens_something(text: str, opens_section: OpensSection) -> bool:
    """Whether the line can hardly stand inside a fence: a section's heading, or a fence with a language."""
    if text.startswith("#"):
        return opens_section(text)
    if text.lstrip(" \t-*+0123456789.)")[:3] not in ("```", "~~~"):
        return False
    mark = _FENCE.match(text)
    return bool(mark and mark.group(3).strip())


def _end_of_fence(texts: list[str], opened: int, fence: str, opens_section: OpensSection) -> tuple[int, bool]:
    """The line that ends it, and whether that line needs no mending.

    A lone backtick ends it if a section or another fence with a language comes before any real mark.
    """
    lone = None
    for number in range(opened + 1, len(texts)):
        text = texts[number].strip(" \t")
        if text.startswith(fence) and not text.strip(fence[0]):
            return number, True
        if text == "`" and lone is None:
            lone = number
        elif lone is not None and _opens_something(text if text.startswith("#") else texts[number], opens_section):
            return lone, False
    return (len(texts), True) if lone is None else (lone, False)
