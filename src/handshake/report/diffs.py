"""Unified diffs as lines with syntax colours. Whatever is in them comes out escaped.

A hunk's old and new side are each coloured as a whole, so that a string or comment over several lines is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from handshake.report.plain_text import visible

if TYPE_CHECKING:
    from pygments.lexer import Lexer

LARGEST = 200_000
_HUNK = re.compile(r"^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")


@dataclass(frozen=True)
class DiffLine:
    """A line of a diff: `kind` is `add`, `del`, `ctx`, `hunk` or `meta`; `html` is escaped and coloured."""

    kind: str
    sign: str
    html: str


@dataclass(frozen=True)
class FileDiff:
    """What a patch does to one file."""

    path: str
    added: int
    removed: int
    lines: tuple[DiffLine, ...]


def file_diffs(patch: str) -> tuple[FileDiff, ...]:
    """A patch, file by file."""
    parts = [part for part in re.split(r"^(?=diff --git )", patch, flags=re.MULTILINE) if part.strip()]
    return tuple(_file(part) for part in parts)


def _file(part: str) -> FileDiff:
    rows = part.split("\n")
    path = _path(rows)
    lexer = _lexer(path) if len(part) <= LARGEST else None
    lines = tuple(_lines(rows, lexer))
    added, removed = (sum(line.kind == kind for line in lines) for kind in ("add", "del"))
    return FileDiff(visible(path), added, removed, lines)


def _path(rows: list[str]) -> str:
    """The file's name from the `+++` or `---` line before the first hunk, else from the first line."""
    for row in rows:
        if row.startswith("@@"):
            break
        if row.startswith(("+++ b/", "--- a/")) and row[6:] != "/dev/null":
            name = row[6:]
            if row.startswith("+++"):
                return name
    return next((row[6:] for row in rows if row.startswith("--- a/")), rows[0].rpartition(" b/")[2])


def _lines(rows: list[str], lexer: Lexer | None) -> Iterator[DiffLine]:
    place = 0
    while place < len(rows):
        found = _HUNK.match(rows[place])
        if found is None:
            if rows[place] and not rows[place].startswith(("diff --git", "index ", "--- ", "+++ ")):
                yield DiffLine("meta", "", escape(visible(rows[place])))
            place += 1
            continue
        yield DiffLine("hunk", "", escape(visible(rows[place])))
        old, new = (int(group) if group else 1 for group in found.groups())
        end = _hunk_end(rows, place + 1, old, new)
        yield from _hunk(rows[place + 1 : end], lexer)
        place = end


def _hunk_end(rows: list[str], start: int, old: int, new: int) -> int:
    """Where a hunk of that many old and new lines ends."""
    place = start
    while place < len(rows) and (old > 0 or new > 0 or rows[place].startswith("\\")):
        sign = rows[place][:1]
        old -= sign in ("-", " ", "")
        new -= sign in ("+", " ", "")
        place += 1
    return place


def _hunk(rows: list[str], lexer: Lexer | None) -> Iterator[DiffLine]:
    before = _coloured([row[1:] for row in rows if row[:1] in ("-", " ", "")], lexer)
    after = _coloured([row[1:] for row in rows if row[:1] in ("+", " ", "")], lexer)
    for row in rows:
        match row[:1]:
            case "+":
                yield DiffLine("add", "+", next(after))
            case "-":
                yield DiffLine("del", "-", next(before))
            case "\\":
                yield DiffLine("meta", "", escape(visible(row)))
            case _:
                next(before)
                yield DiffLine("ctx", " ", next(after))


def _coloured(lines: list[str], lexer: Lexer | None) -> Iterator[str]:
    """Each line as HTML; plain where there is no lexer or it counts lines otherwise."""
    shown = [visible(line) for line in lines]
    if lexer is not None and shown:
        from pygments import highlight
        from pygments.formatters.html import HtmlFormatter

        html = highlight("\n".join(shown), lexer, HtmlFormatter(nowrap=True, classprefix="p-"))
        rows = html.removesuffix("\n").split("\n")
        if len(rows) == len(shown):
            return iter(rows)
    return iter([escape(line) for line in shown])


def _lexer(path: str) -> Lexer | None:
    from pygments.lexers import get_lexer_for_filename
    from pygments.util import ClassNotFound

    try:
        return get_lexer_for_filename(path.rpartition("/")[2], stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None
