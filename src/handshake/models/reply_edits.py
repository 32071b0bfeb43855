"""The edits of a reply: `FILE: path` and a fenced block. Contract: `models.md`, The reply."""

from __future__ import annotations

import re

from handshake.domain.reply import Edit, SearchReplace
from handshake.models.reply_signal import is_signal_block
from handshake.models.reply_text import Piece

_LEAD = re.compile(r"^[ \t]*(?:(?:[-*+]|\d{1,3}[.)]|#{1,6})[ \t]+)?")
_FILE = re.compile(r"^[*_`]{0,4}file[*_`]{0,3}[ \t]*[:：][*_`]{0,3}[ \t]*(?P<path>\S.*)$", re.IGNORECASE)
_PART_OF_FILE = re.compile(r"[ \t]*\(lines \d+-\d+ of \d+\)$")
_SEARCH = re.compile(r"^<{5,9} ?SEARCH[ \t]*$")
_REPLACE = re.compile(r"^>{5,9} ?REPLACE[ \t]*$")
_DIVIDER = re.compile(r"^={7}[ \t]*$")
_LOOSE_DIVIDER = re.compile(r"^={5,9}[ \t]*$")
_NO_FILE = frozenset(
    {"bash", "sh", "shell", "shell-session", "console", "zsh", "powershell", "diff", "patch", "output"}
)
_COMMANDS = (".sh", ".bash", ".zsh", ".ps1", ".diff", ".patch")
_MOST_ERRORS = 8
_LONGEST_FILE_LINE = 1000
_MARKUP = (".md", ".markdown", ".mdx", ".rst")


class _Unreadable(Exception):
    """An edit that cannot be read; the text is one line for the next prompt."""


def read_edits(
    pieces: tuple[Piece, ...], single_file: str | None
) -> tuple[tuple[Edit, ...], tuple[str, ...], tuple[Piece, ...]]:
    """Edits in order, one-line reasons for those that could not be read, and the pieces that are no edit.

    Args:
        pieces: the reply.
        single_file: the path that a fence without `FILE:` line is for, if no fence has one.
    """
    owned, errors = _owned_fences(pieces)
    if not owned and not errors and single_file is not None:
        owned = _first_fence(pieces, single_file)
    edits: list[Edit] = []
    for index, path in owned.items():
        try:
            _add(edits, _edit(path, pieces[index]))
        except _Unreadable as problem:
            errors.append(str(problem))
    errors += _strays(pieces, owned)
    rest = tuple(piece for index, piece in enumerate(pieces) if index not in owned)
    if len(errors) > _MOST_ERRORS:
        errors = [*errors[:_MOST_ERRORS], f"and {len(errors) - _MOST_ERRORS} more"]
    return tuple(edits), tuple(errors), rest


def file_line(line: str) -> str | None:
    """The path of a `FILE: path` line, None if it is none. Emphasis, backticks and list marks are dropped."""
    match = _FILE.match(_LEAD.sub("", line, count=1)) if len(line) <= _LONGEST_FILE_LINE else None
    if match is None:
        return None
    path = match["path"].strip().rstrip("*_").strip()
    ticked = re.match(r"^(`+)(.+?)\1[*_:]*$", path)
    path = ticked[2] if ticked else path.rstrip("`:").rstrip("*_").lstrip("`")
    path = path.strip().strip("\"'").strip().replace("\\", "/")
    # `./a.py` and `a.py` are one file, to be given once; a path from the root stays one, and is refused
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return ("/" if path.startswith("/") else "") + "/".join(parts) or None


def _owned_fences(pieces: tuple[Piece, ...]) -> tuple[dict[int, str], list[str]]:
    """Index of each fence that a `FILE:` line stands right before, with its path."""
    owned: dict[int, str] = {}
    errors: list[str] = []
    waiting: str | None = None

    def without_block(path: str | None) -> None:
        if path is not None and " " not in path:  # with white space in it, it is prose about a file
            errors.append(f"FILE: {path} is not followed by a fenced block with its content")

    for index, piece in enumerate(pieces):
        if piece.kind == "fence":
            if waiting is not None:
                owned[index] = waiting
            waiting = None
            continue
        if not piece.lines[0].strip():
            continue
        without_block(waiting)
        waiting = file_line(piece.lines[0]) if piece.kind == "prose" else None
    without_block(waiting)
    return owned, errors


def _first_fence(pieces: tuple[Piece, ...], path: str) -> dict[int, str]:
    for index, piece in enumerate(pieces):
        if piece.kind == "fence" and not is_signal_block(piece) and not _only_commands(piece, path):
            named = file_line(piece.lines[0]) if piece.lines else None
            return {index: named or path}
    return {}


def _only_commands(fence: Piece, path: str) -> bool:
    """A block of commands or a diff is not the content of a file that is neither."""
    word = next(iter(fence.info.split()), "").lower()
    return word in _NO_FILE and "." in path.rpartition("/")[2] and not path.lower().endswith(_COMMANDS)


def _edit(path: str, fence: Piece) -> Edit:
    if not fence.closed:
        raise _Unreadable(
            f"the fenced block of {path} is not closed: the reply ended inside it, or its content "
            "holds fences and needs a longer one around it"
        )
    part = _PART_OF_FILE.search(path)
    path = _PART_OF_FILE.sub("", path)
    lines = fence.lines
    if lines and file_line(lines[0]) == path:
        lines = lines[1:]
    first = next((line for line in lines if line.strip()), "")
    if _SEARCH.match(first):
        return Edit(path=path, form="search_replace", replacements=_replacements(path, lines))
    if any(_SEARCH.match(line) for line in lines) and any(_REPLACE.match(line) for line in lines):
        raise _Unreadable(f"the block of {path} has other lines before its first SEARCH")
    if part:
        raise _Unreadable(f"{path} was shown in part: change it with search/replace")
    return Edit(path=path, form="whole", content="".join(f"{line}\n" for line in lines))


def _replacements(path: str, lines: tuple[str, ...]) -> tuple[SearchReplace, ...]:
    parts: list[SearchReplace] = []
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        if not _SEARCH.match(lines[at]):
            raise _Unreadable(
                f"the block of {path} has lines outside its SEARCH/REPLACE parts: {lines[at].strip()!r}"
            )
        end = next((i for i in range(at + 1, len(lines)) if _REPLACE.match(lines[i])), None)
        again = next((i for i in range(at + 1, len(lines)) if _SEARCH.match(lines[i])), len(lines))
        if end is None or again < end:
            raise _Unreadable(f"part {len(parts) + 1} of the block of {path} has no closing >>>>>>> REPLACE")
        parts.append(_part(path, lines[at + 1 : end], len(parts) + 1))
        at = end + 1
    return tuple(parts)


def _part(path: str, body: tuple[str, ...], number: int) -> SearchReplace:
    dividers = [i for i, line in enumerate(body) if _DIVIDER.match(line)]
    dividers = dividers or [i for i, line in enumerate(body) if _LOOSE_DIVIDER.match(line)]
    if len(dividers) != 1:
        found = "no" if not dividers else "more than one"
        raise _Unreadable(f"part {number} of the block of {path} has {found} ======= line")
    search, replace = body[: dividers[0]], body[dividers[0] + 1 :]
    return SearchReplace(
        search="".join(f"{line}\n" for line in search), replace="".join(f"{line}\n" for line in replace)
    )


def _add(edits: list[Edit], edit: Edit) -> None:
    """Append, or join the parts of one file; the same whole content twice is one edit."""
    for index, known in enumerate(edits):
        if known.path != edit.path:
            continue
        if known.form == edit.form == "search_replace":
            joined = known.replacements + edit.replacements
            edits[index] = known.model_copy(update={"replacements": joined})
            return
        if known == edit:
            return
        raise _Unreadable(f"{edit.path} is given twice: give each file once")
    edits.append(edit)


def _strays(pieces: tuple[Piece, ...], owned: dict[int, str]) -> list[str]:
    """Blocks that look like edits and belong to no file: dropping them would apply half a reply."""
    errors = []
    last_markup: str | None = None
    for index, piece in enumerate(pieces):
        if index in owned:
            last_markup = owned[index] if owned[index].lower().endswith(_MARKUP) else None
        elif piece.kind == "fence" and not is_signal_block(piece):
            if any(_SEARCH.match(line) for line in piece.lines):
                errors.append(f"a SEARCH/REPLACE block (line {piece.number}) has no FILE: line right before it")
            elif (
                piece.lines
                and piece.lines[0].startswith("FILE:")
                and (named := file_line(piece.lines[0])) is not None
            ):
                errors.append(f"FILE: {named} stands inside the fenced block; it belongs on the line before it")
            elif last_markup or (owned and not piece.closed):
                name = last_markup or next(iter(owned.values()))
                errors.append(
                    f"the fences around {name} do not pair (line {piece.number}): content that holds fences "
                    "needs a longer fence around it"
                )
        elif piece.kind == "prose" and _SEARCH.match(piece.lines[0]):
            errors.append(f"SEARCH/REPLACE parts (line {piece.number}) must stand in a fenced block")
    return errors
