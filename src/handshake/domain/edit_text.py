"""Applying one edit to one file's bytes. Pure. Contract: `models.md`, The reply.

Matching ladder of a search: exact lines, then lines but for trailing white space, then a uniform
indent shift; nothing fuzzier. Line endings, final newline, BOM and encoding of the file are kept.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from handshake.domain.elision import elided_line
from handshake.domain.file_text import (
    FileText,
    NotText,
    decode_text,
    encode_text,
    line_matcher,
    new_file_text,
    text_lines,
)
from handshake.domain.reply import Edit, EditOutcome, SearchReplace

SHRINK_LINES = 6
"""Files with fewer lines that hold something are judged by characters: halving three lines says nothing."""
SHRINK_CHARACTERS = 400
NEAREST_LINES = 14
_BOM = "\ufeff"
"""A reply's own mark of the byte order: the file's is kept, beside the text, and never given twice."""


@dataclass(frozen=True)
class ResolvedEdit:
    """The bytes to write, None if the edit is rejected, and what became of it."""

    data: bytes | None
    outcome: EditOutcome


class _Rejected(Exception):
    def __init__(self, category: str, error: str, nearest: tuple[str, ...] = ()) -> None:
        super().__init__(error)
        self.category = category
        self.error = error
        self.nearest = nearest


def resolve_edit(original: bytes | None, edit: Edit, *, allow_shrink: bool = False) -> ResolvedEdit:
    """What the file becomes. Never raises for what a model may write.

    Args:
        original: the file's bytes now; None if there is no file.
        edit: one file's change.
        allow_shrink: the task asks for a deletion, so a whole file may lose more than half.

    Returns:
        `data` is None exactly when `outcome.applied` is false. `outcome.category` is then one of
        `missing_file` `binary_file` `empty_search` `not_found` `ambiguous` `elision` `shrink`
        `encoding`; `nearest` are the real lines closest to a search that was not found.
    """
    try:
        data = _whole(original, edit, allow_shrink) if edit.form == "whole" else _replaced(original, edit)
    except _Rejected as rejected:
        return ResolvedEdit(
            None,
            EditOutcome(
                path=edit.path,
                form=edit.form,
                applied=False,
                error=rejected.error,
                category=rejected.category,
                nearest=rejected.nearest,
            ),
        )
    changed = data != original
    return ResolvedEdit(data, EditOutcome(path=edit.path, form=edit.form, applied=True, changed=changed))


def _decoded(original: bytes) -> FileText:
    try:
        return decode_text(original)
    except NotText:
        raise _Rejected("binary_file", "it is a binary file: those are never edited") from None


def _encoded(text: FileText) -> bytes:
    if any("\0" in line for line in text.lines):
        raise _Rejected("encoding", "the new content holds a NUL character")
    try:
        data = encode_text(text)
    except UnicodeEncodeError as error:
        sign = ascii(error.object[error.start : error.start + 1])
        raise _Rejected(
            "encoding", f"the file is {text.encoding} and cannot hold the character {sign}: leave it out"
        ) from None
    try:
        decode_text(data)
    except NotText:
        raise _Rejected("encoding", "the new content is full of control characters: it is no text") from None
    return data


def _whole(original: bytes | None, edit: Edit, allow_shrink: bool) -> bytes:
    before = _decoded(original) if original else new_file_text(())
    after = text_lines((edit.content or "").removeprefix(_BOM))
    _refuse_elision("the content given", before.lines, after)
    if not allow_shrink and _shrinks(before.lines, after):
        raise _Rejected(
            "shrink",
            f"the content given has {len(after)} lines where the file has "
            f"{len(before.lines)}: give all of it, or use search/replace",
        )
    if not original:
        return _encoded(new_file_text(after))
    return _encoded(before.with_lines(_kept_endings(before, after)))


def _kept_endings(before: FileText, after: tuple[str, ...]) -> list[tuple[str, str]]:
    """The new lines, each with the ending its old self had; new lines get the file's usual one."""
    usual = before.usual_ending
    rows = [(line, usual) for line in after]
    if len(set(before.endings)) <= 1:
        return rows
    matcher = line_matcher(before.lines, after)
    for old, new, size in matcher.get_matching_blocks():
        rows[new : new + size] = list(zip(after[new : new + size], before.endings[old : old + size], strict=True))
    return rows


def _shrinks(before: tuple[str, ...], after: tuple[str, ...]) -> bool:
    held = sum(1 for line in before if line.strip())
    if held >= SHRINK_LINES:
        return sum(1 for line in after if line.strip()) * 2 < held
    characters = sum(map(len, before))
    return characters > SHRINK_CHARACTERS and sum(map(len, after)) * 2 < characters


def _refuse_elision(name: str, before: tuple[str, ...], after: tuple[str, ...]) -> None:
    known = {line.strip() for line in before}
    for number, line in enumerate(after, 1):
        if line.strip() not in known and elided_line(line, shrunk=len(after) < len(before)):
            raise _Rejected("elision", f"line {number} of {name} stands for code left out: {line.strip()!r}")


def _replaced(original: bytes | None, edit: Edit) -> bytes:
    if original is None:
        raise _Rejected("missing_file", "the file does not exist: give its whole content")
    if not edit.replacements:
        raise _Rejected("empty_search", "the edit holds no SEARCH part")
    text = _decoded(original)
    rows = list(zip(text.lines, text.endings, strict=True))
    many = len(edit.replacements) > 1
    for number, part in enumerate(edit.replacements, 1):
        rows = _one_replacement(rows, part, f"SEARCH part {number}" if many else "SEARCH part", text)
    return _encoded(text.with_lines(rows))


def _one_replacement(
    rows: list[tuple[str, str]], part: SearchReplace, name: str, text: FileText
) -> list[tuple[str, str]]:
    lines = [line for line, _ in rows]
    search, replace = (text_lines(given.removeprefix(_BOM)) for given in (part.search, part.replace))
    _refuse_elision(f"the REPLACE of {name}", tuple(lines) + search, replace)
    if not any(line.strip() for line in search):
        if any(line.strip() for line in lines) or not search == () == tuple(lines):
            raise _Rejected("empty_search", f"{name} is empty: name the lines to replace")
        return [(line, text.usual_ending) for line in replace]
    at, shift = _find(lines, search, name)
    found = rows[at : at + len(search)]
    usual = found[0][1] or text.usual_ending
    new = [(_shifted(line, shift, name), usual) for line in replace]
    # lines that the part only repeats stay as they are in the file, white space and ending included
    for old, fresh, size in line_matcher(search, replace).get_matching_blocks():
        new[fresh : fresh + size] = found[old : old + size]
    return rows[:at] + new + rows[at + len(search) :]


def _find(lines: list[str], search: tuple[str, ...], name: str) -> tuple[int, tuple[str, str]]:
    """Where the search stands, and the indent shift `(taken away, put before)`."""
    for hits in (_equal_at(lines, search), _equal_at(_bare(lines), _bare(search)), _shifted_at(lines, search)):
        if len(hits) == 1:
            return hits[0]
        if hits:
            places = ", ".join(str(at + 1) for at, _ in hits[:5])
            raise _Rejected(
                "ambiguous",
                f"{name} fits {len(hits)} places (lines {places}): add lines around it until it fits one",
            )
    raise _Rejected("not_found", f"{name} is not in the file: copy the lines exactly", _nearest(lines, search))


def _bare(lines: list[str] | tuple[str, ...]) -> list[str]:
    return [line.rstrip() for line in lines]


def _equal_at(lines: list[str], search: list[str] | tuple[str, ...]) -> list[tuple[int, tuple[str, str]]]:
    wanted = list(search)
    return [
        (at, ("", ""))
        for at in range(len(lines) - len(wanted) + 1)
        if lines[at] == wanted[0] and lines[at : at + len(wanted)] == wanted
    ]


def _shifted_at(lines: list[str], search: tuple[str, ...]) -> list[tuple[int, tuple[str, str]]]:
    found = []
    real, wanted = _bare(lines), _bare(search)
    for at in range(len(real) - len(wanted) + 1):
        shift = _uniform_shift(real[at : at + len(wanted)], wanted)
        if shift is not None:
            found.append((at, shift))
    return found


def _uniform_shift(real: list[str], wanted: list[str]) -> tuple[str, str] | None:
    shift: tuple[str, str] | None = None
    for real_line, wanted_line in zip(real, wanted, strict=True):
        if real_line.lstrip() != wanted_line.lstrip():
            return None
        if not real_line:
            continue
        has = real_line[: len(real_line) - len(real_line.lstrip())]
        given = wanted_line[: len(wanted_line) - len(wanted_line.lstrip())]
        if has.endswith(given):
            this = ("", has[: len(has) - len(given)])
        elif given.endswith(has):
            this = (given[: len(given) - len(has)], "")
        else:
            return None
        if shift is not None and this != shift:
            return None
        shift = this
    return shift


def _shifted(line: str, shift: tuple[str, str], name: str) -> str:
    away, before = shift
    if not line.strip():
        return line if not (away or before) else ""
    if not line.startswith(away):
        raise _Rejected("not_found", f"{name} fits only with another indent, and its REPLACE does not: {line!r}")
    return before + line[len(away) :]


def _nearest(lines: list[str], search: tuple[str, ...]) -> tuple[str, ...]:
    """The window of real lines that shares most with the search; else that around the closest single line."""
    wanted = {line.strip() for line in search if line.strip()}
    size = min(max(len(search), 3), NEAREST_LINES)
    scores = [int(line.strip() in wanted) for line in lines]
    best_at, best = 0, 0
    for at in range(max(1, len(lines) - size + 1)):
        score = sum(scores[at : at + size])
        if score > best:
            best_at, best = at, score
    if not best:
        longest = max(wanted, key=lambda line: (len(line), line))
        stripped = [line.strip() for line in lines]
        close = difflib.get_close_matches(longest, stripped, n=1, cutoff=0.5)
        if not close:
            return ()
        best_at = max(0, min(stripped.index(close[0]) - size // 2, len(lines) - size))
    return tuple(lines[best_at : best_at + size])
