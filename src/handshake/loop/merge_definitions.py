"""A reply that gave only some of a file's definitions, read as the file with those in it.

Asked for the complete file, small models often give the function they wrote and forget the rest. By their names the
definitions find their places: the file stays as it was, what the reply defines takes the place of what has its name,
and what is new goes where the reply has it. Lines of the reply outside of definitions must be the file's own, or
imports: what else they might mean is not guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field, replace
from itertools import pairwise

from handshake.domain.file_text import text_lines
from handshake.gates.code_lines import held_lines
from handshake.source.languages import outline_of


@dataclass(frozen=True)
class Merged:
    """The merged file. `moved` has (first, last, to): the reply's lines `first` to `last` (1-based) start at `to`."""

    lines: tuple[str, ...]
    moved: tuple[tuple[int, int, int], ...]

    def place_of(self, start: int, end: int) -> tuple[int, int]:
        """Where lines of the reply are now; as given if none of them was taken over."""
        places = [
            (to + max(start, first) - first, to + min(end, last) - first)
            for first, last, to in self.moved
            if first <= end and start <= last
        ]
        return (min(a for a, _ in places), max(b for _, b in places)) if places else (start, end)


@dataclass(frozen=True)
class _Block:
    """A definition with what is directly in it; `start` counts the comments and decorators right above."""

    name: str
    qualified: str
    start: int
    end: int
    inner: dict[str, _Block] = field(default_factory=dict)


@dataclass(frozen=True)
class _Side:
    """One of the two files."""

    path: str
    lines: list[str]
    held: frozenset[int]

    def outside(self, block: _Block) -> Iterator[str]:
        """The code lines of a block that are in none of its definitions."""
        within = {number for child in block.inner.values() for number in range(child.start, child.end + 1)}
        for number in range(block.start, block.end + 1):
            if number in self.held and number not in within:
                yield self.lines[number - 1].strip()


@dataclass(frozen=True)
class _Piece:
    """A definition in the merged block: the lines before it, its own, and where the reply had them."""

    gap: list[str]
    body: list[str]
    moved: tuple[tuple[int, int, int], ...]
    name: str


def merge_definitions(path: str, old: str, reply: str, lasting: Set[str]) -> Merged | None:
    """The old file with the reply's definitions; None where it is not plain how they fit.

    Args:
        lasting: qualified names of definitions of the old file that may not be gone with the reply.
    """
    there, given = (_side(path, list(text_lines(text))) for text in (old, reply))
    whole, part = _tree(there), _tree(given)
    if whole is None or part is None or not part.inner:
        return None
    return _merge(there, whole, given, part, lasting)


def _side(path: str, lines: list[str]) -> _Side:
    return _Side(path, lines, held_lines(path, lines))


def _tree(side: _Side) -> _Block | None:
    """The file's definitions, nested; None where two share a line or a name."""
    root = _Block("", "", 1, len(side.lines))
    open_blocks = [root]
    for found in outline_of(side.path, "\n".join(side.lines)).definitions:
        while open_blocks[-1].end < found.start:
            open_blocks.pop()
        around = open_blocks[-1]
        last = next(reversed(around.inner.values()), None)
        before = last.end if last else around.start - (around is root)
        if found.end > around.end or found.start <= before or found.name in around.inner:
            return None
        start = found.start
        while start - 1 > before and _belongs_below(side, start - 1):
            start -= 1
        block = _Block(found.name, found.qualified, start, found.end)
        around.inner[found.name] = block
        open_blocks.append(block)
    return root


def _belongs_below(side: _Side, number: int) -> bool:
    line = side.lines[number - 1].strip()
    return bool(line) and (number not in side.held or line.startswith(("@", "#[")))


def _merge(there: _Side, old: _Block, given: _Side, new: _Block, lasting: Set[str]) -> Merged | None:
    known = set(there.outside(old))
    strange = [line for line in given.outside(new) if line not in known]
    if strange and (old.name or not all(_is_import(there.path, line) for line in strange)):
        return None
    pieces: list[_Piece] = []
    at = old.start
    for block in old.inner.values():
        gap, at = there.lines[at - 1 : block.start - 1], block.end + 1
        if block.name in new.inner:
            merged = _one(there, block, given, new.inner[block.name], lasting)
            if merged is None:
                return None
            pieces.append(_Piece(gap, list(merged.lines), merged.moved, block.name))
        elif block.qualified in lasting:
            pieces.append(_Piece(gap, there.lines[block.start - 1 : block.end], (), block.name))
        elif not pieces:  # the head of the file stays
            pieces.append(_Piece(gap, [], (), block.name))
    tail = there.lines[at - 1 : old.end]
    if not pieces:
        pieces, tail = [_Piece(tail, [], (), "")], []
    space = (
        _space(there, old) or _space(given, new) or [""] * (1 if old.name or not there.path.endswith(".py") else 2)
    )
    _add_imports(there.path, pieces, strange, space)
    _insert_new(pieces, given, new, old, space)
    return _joined(pieces, tail)


def _one(there: _Side, old: _Block, given: _Side, new: _Block, lasting: Set[str]) -> Merged | None:
    """What stands for a definition that both have: the reply's, or a merge if it lost some of what is in it."""
    if any(block.name not in new.inner and block.qualified in lasting for block in old.inner.values()):
        return _merge(there, old, given, new, lasting)
    return Merged(tuple(given.lines[new.start - 1 : new.end]), ((new.start, new.end, 1),))


def _is_import(path: str, line: str) -> bool:
    return bool(outline_of(path, line).imports)


def _space(side: _Side, block: _Block) -> list[str]:
    """The blank lines between the first two definitions that nothing else is between."""
    for one, two in pairwise(block.inner.values()):
        between = side.lines[one.end : two.start - 1]
        if between and not any(line.strip() for line in between):
            return between
    return []


def _add_imports(path: str, pieces: list[_Piece], imports: list[str], space: list[str]) -> None:
    if not imports:
        return
    head = pieces[0].gap
    last = max((number for number, line in enumerate(head, 1) if _is_import(path, line.strip())), default=0)
    if last:
        head = [*head[:last], *imports, *head[last:]]
    else:
        while head and not head[-1].strip():
            head = head[:-1]
        head = [*head, *([""] if head else []), *imports, *space]
    pieces[0] = replace(pieces[0], gap=head)


def _insert_new(pieces: list[_Piece], given: _Side, new: _Block, old: _Block, space: list[str]) -> None:
    """Put each new definition behind the one it follows in the reply, or before the one it leads, or last."""
    order = list(new.inner)
    for place, block in enumerate(new.inner.values()):
        if block.name in old.inner:
            continue
        names = [piece.name for piece in pieces]
        body = given.lines[block.start - 1 : block.end]
        piece = _Piece(space, body, ((block.start, block.end, 1),), block.name)
        follows = order[place - 1] if place else None
        leads = next((later for later in order[place + 1 :] if later in names), None)
        if follows in names:
            at = names.index(follows) + 1
        elif leads is not None:
            at = names.index(leads)
        else:
            at = len(pieces)
        if at == 0:  # the head of the file stays the head
            piece, pieces[0] = replace(piece, gap=pieces[0].gap), replace(pieces[0], gap=space)
        pieces.insert(at, piece)


def _joined(pieces: list[_Piece], tail: list[str]) -> Merged:
    lines: list[str] = []
    moved: list[tuple[int, int, int]] = []
    for piece in pieces:
        lines += piece.gap if any(lines) or any(piece.gap) else []
        moved += [(first, last, to + len(lines)) for first, last, to in piece.moved]
        lines += piece.body
    return Merged((*lines, *tail), tuple(moved))
