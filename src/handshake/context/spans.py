"""Which lines of the files are shown under a token budget. Contract: `context.md`, File contents and Spans.

A file to modify that fits its share is shown whole. Of any other, the best blocks with their neighbour lines
are shown, and the signatures of the rest. A cut is always flagged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from handshake.context.fences import fenced, language_of
from handshake.context.retrieve import Place
from handshake.context.sources import SourceFile

NEIGHBOUR_LINES = 20
READ_SHARE = 0.25  # of the budget, kept for files to read where the files to modify do not fit whole

RATE_LINES = 120
HEADING_TOKENS = 20

WORTH_SHOWING = 0.2  # of the file's best score: a block below that gives way to the signatures of the rest

Count = Callable[[str], int]


@dataclass(frozen=True)
class Piece:
    """Something that is shown of a file: lines `start` to `end`, or (`outline`) its other signatures."""

    source: SourceFile
    start: int
    end: int
    writable: bool
    why: str
    score: float = 0.0
    outline: str = ""
    withheld: bool = False

    @property
    def whole(self) -> bool:
        """Whether this is all of the file."""
        return not self.outline and not self.source.cut and self.start <= 1 and self.end >= len(self.source.lines)

    @cached_property
    def text(self) -> str:
        """The piece as it stands in the prompt."""
        path = self.source.path
        if self.outline and not self.withheld:
            return f"OUTLINE: {path}\n{fenced(self.outline)}"
        place = "" if self.whole else f" (lines {self.start}-{self.end} of {len(self.source.lines)})"
        body = "".join(line + "\n" for line in self.source.lines[self.start - 1 : self.end])
        if self.withheld:
            body = f"(kept on this machine; SHA-256 of the file {self.source.digest})\n"
        return f"FILE: {path}{place}\n{fenced(body, language_of(path))}"


@dataclass(frozen=True)
class Chosen:
    """The pieces in the order they are shown, and what was cut."""

    pieces: tuple[Piece, ...] = ()
    truncation_flags: tuple[str, ...] = ()
    tokens: int = 0


def choose(
    modify: Sequence[SourceFile],
    read: Sequence[SourceFile],
    places: Sequence[Place],
    budget: int,
    count: Count,
    max_snippets: int,
    max_per_file: int,
) -> Chosen:
    """Spend at most `budget` tokens: first on the files to modify, then on those to read, best first."""
    best = {place.source.path: place.candidate.base_score for place in reversed(places)}
    ordered = sorted(read, key=lambda source: (-best.get(source.path, 0.0), source.path))
    rows = _Rows(places, count, max_snippets, max_per_file)
    whole_cost = sum(rows.cost(rows.whole(source, True)) for source in modify)
    for_modify = budget if whole_cost <= budget or not read else budget - int(budget * READ_SHARE)
    rows.fill(modify, for_modify, writable=True)
    rows.fill(ordered, budget - rows.tokens, writable=False)
    return Chosen(tuple(rows.pieces), tuple(rows.flags), rows.tokens)


class _Rows:
    """The pieces chosen so far."""

    def __init__(self, places: Sequence[Place], count: Count, max_snippets: int, max_per_file: int) -> None:
        self.pieces: list[Piece] = []
        self.flags: list[str] = []
        self.tokens = 0
        self._places = places
        self._count = count
        self._max_snippets = max_snippets
        self._max_per_file = max_per_file
        self._whole: dict[tuple[str, bool], Piece] = {}
        self._rates: dict[str, float] = {}

    def cost(self, *pieces: Piece) -> int:
        """Tokens of the pieces, the blank line after each included."""
        return sum(self._count(piece.text + "\n\n") for piece in pieces)

    def whole(self, source: SourceFile, writable: bool) -> Piece:
        if (source.path, writable) not in self._whole:
            why = "whole: an edit needs it" if writable else "whole: it fits"
            piece = Piece(source, 1, len(source.lines), writable, why, self._best_score(source.path))
            self._whole[source.path, writable] = piece
        return self._whole[source.path, writable]

    def fill(self, sources: Sequence[SourceFile], budget: int, *, writable: bool) -> None:
        """Give each file its share: whole where it fits, and what one leaves over goes to the others."""
        pending = list(sources)
        shown: dict[str, list[Piece]] = {}
        left = budget
        while pending:
            share = left // len(pending)
            fits = [s for s in pending if not s.cut and self.cost(self.whole(s, writable)) <= share]
            if not fits:
                break
            for source in fits:
                shown[source.path] = [self.whole(source, writable)]
                left -= self.cost(*shown[source.path])
            pending = [source for source in pending if source.path not in shown]
        for position, source in enumerate(pending):
            share = left // (len(pending) - position)
            shown[source.path] = self._parts(source, share, writable)
            left -= self.cost(*shown[source.path])
        self._keep([piece for source in sources for piece in shown[source.path]])
        self._flag(sources, shown)

    def _keep(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            if len(self.pieces) >= self._max_snippets:
                self.flags.append(f"snippets: {piece.source.path}")
                continue
            self.pieces.append(piece)
            self.tokens += self.cost(piece)

    def _flag(self, sources: Sequence[SourceFile], shown: dict[str, list[Piece]]) -> None:
        for source in sources:
            pieces = shown[source.path]
            if not pieces:
                self.flags.append(f"left out: {source.path}")
            elif not pieces[0].whole:
                self.flags.append(f"read: {source.path}" if source.cut else f"spans: {source.path}")

    def _best_score(self, path: str) -> float:
        return max((p.candidate.base_score for p in self._places if p.source.path == path), default=0.0)

    def _parts(self, source: SourceFile, budget: int, writable: bool) -> list[Piece]:
        """The best blocks that fit, with neighbours where these fit too, then the signatures of the rest."""
        shown: set[int] = set()
        taken: list[set[int]] = []
        last = len(source.lines)
        ranked = [place for place in self._places if place.source.path == source.path]
        least = WORTH_SHOWING * ranked[0].evidence if ranked else 0.0
        ranked = [place for place in ranked if place.evidence >= least][: self._max_per_file]
        for place in ranked:
            block = place.block
            near = range(max(1, block.start - NEIGHBOUR_LINES), min(last, block.end + NEIGHBOUR_LINES) + 1)
            for lines in (set(near), set(range(block.start, block.end + 1))):
                if self._about(source, shown | lines) <= budget:
                    taken.append(lines)
                    shown = shown | lines
                    break
        # a server's tokenizer is slow to ask: what was reckoned is counted once, and the last gives way
        while taken and self.cost(*self._spans(source, shown, writable, ranked)) > budget:
            taken.pop()
            shown = set().union(*taken)
        if not shown and ranked:
            shown = self._cut(source, ranked[0], budget, writable)
        pieces = self._spans(source, shown, writable, ranked)
        outline = self._outline(source, shown, writable, budget - self.cost(*pieces)) if pieces else None
        return [*pieces, outline] if outline else pieces

    def _about(self, source: SourceFile, lines: set[int]) -> float:
        """Tokens of those lines with their headings, reckoned from what the file's first lines cost."""
        if source.path not in self._rates:
            sample = "".join(line + "\n" for line in source.lines[:RATE_LINES])
            self._rates[source.path] = self._count(sample) / max(1, len(sample))
        characters = sum(len(source.lines[line - 1]) + 1 for line in lines)
        return self._rates[source.path] * characters + HEADING_TOKENS * len(_runs(lines))

    def _spans(self, source: SourceFile, shown: set[int], writable: bool, ranked: Sequence[Place]) -> list[Piece]:
        pieces = []
        for start, end in _runs(shown):
            inside = [p for p in ranked if start <= p.block.start and p.block.end <= end]
            names = ", ".join(sorted({p.block.name for p in inside if p.block.name})[:5])
            score = max((p.candidate.base_score for p in inside), default=0.0)
            pieces.append(Piece(source, start, end, writable, f"best match: {names or 'lines'}", score))
        return pieces

    def _cut(self, source: SourceFile, place: Place, budget: int, writable: bool) -> set[int]:
        """As many first lines of the best block as fit: found by halving."""
        low, high = 0, place.block.end - place.block.start + 1
        while low < high:
            middle = (low + high + 1) // 2
            lines = set(range(place.block.start, place.block.start + middle))
            if self.cost(*self._spans(source, lines, writable, (place,))) <= budget:
                low = middle
            else:
                high = middle - 1
        if low:
            self.flags.append(f"cut: {source.path}:{place.block.start + low}")
        return set(range(place.block.start, place.block.start + low))

    def _outline(self, source: SourceFile, shown: set[int], writable: bool, budget: int) -> Piece | None:
        """The signatures of what is not shown, without those inside a definition where all do not fit."""
        anchors = source.pack.anchors if source.pack is not None else ()
        rest = [anchor for anchor in anchors if anchor.excerpt_hint and anchor.start not in shown]
        for most in (1000, 0):
            kept = [anchor for anchor in rest if anchor.depth <= most]
            text = "".join(f"{a.start}: {'  ' * a.depth}{a.excerpt_hint}\n" for a in kept)
            if kept:
                piece = Piece(source, kept[0].start, kept[-1].end, writable, "signatures: its pack", 0.0, text)
                if self.cost(piece) <= budget:
                    return piece
        return None


def _runs(numbers: set[int]) -> list[tuple[int, int]]:
    """The numbers as ranges without gaps, in order."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
