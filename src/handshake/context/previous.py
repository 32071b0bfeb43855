"""PREVIOUS ITERATION: what came of the last reply, where it fails, and the lines there. Contract: `context.md`, 7."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from handshake.context.fences import fenced
from handshake.context.render import Templates
from handshake.context.request import ContextRequest, PreviousIteration
from handshake.context.scope import Scope
from handshake.domain.reply import EditOutcome

PREVIOUS_TOKENS = 200
INLINE_CHARACTERS = 2000
NEAR_LINES = 2
MESSAGE, SHORT_MESSAGE = 200, 60

Count = Callable[[str], int]


class PreviousSection(NamedTuple):
    """The section (empty on a first attempt), flags for what was cut, and the tool outputs that stand in it.

    `outputs` are `(name, text, whether the artifact that holds it whole is known)`; `quoted` are the places of
    files outside the MT that are shown, as `(path, text)`.
    """

    text: str = ""
    flags: tuple[str, ...] = ()
    outputs: tuple[tuple[str, str, bool], ...] = ()
    quoted: tuple[tuple[str, str], ...] = ()


def previous_section(request: ContextRequest, templates: Templates, scope: Scope) -> PreviousSection:
    """The section in its share of tokens, most useful first."""
    previous = request.previous
    if previous is None:
        return PreviousSection()
    kept = _Kept(request.count_tokens)
    if previous.malformed:
        kept.add("malformed", f"The closing block made no claim: {' '.join(previous.malformed.split())}")
    quoted = _add_locations(kept, previous, scope)
    for outcome in previous.edit_outcomes:
        if not outcome.applied:
            kept.add("edits", _edit_item(outcome), cut=True)
    tail = previous.validation_tail[-INLINE_CHARACTERS:].strip("\n")
    if tail.strip():
        kept.add("output", "The checks printed:\n" + fenced(tail), cut=True)
    for outcome in previous.edit_outcomes:
        if outcome.applied:
            kept.add("edits", _edit_item(outcome))
    if previous.reply_summary.strip():
        kept.add("summary", "The last reply in short:\n" + fenced(" ".join(previous.reply_summary.split())))
    known = previous.evidence_ref is not None
    outputs = [("validation output", tail, False)] if tail else []
    outputs += [("lines near an edit", "\n".join(o.nearest), known) for o in previous.edit_outcomes if o.nearest]
    shown = tuple(output for output in outputs if output[1][-80:] in "\n".join(kept.items))
    return PreviousSection(templates.render("previous", items=kept.items), tuple(kept.flags), shown, quoted)


class _Kept:
    """The items that fit so far."""

    def __init__(self, count: Count) -> None:
        self.items: list[str] = []
        self.flags: list[str] = []
        self._count = count

    def fits(self, item: str) -> bool:
        """Whether the item still fits the section's share."""
        return self._count("\n".join((*self.items, item))) <= PREVIOUS_TOKENS

    def add(self, name: str, item: str, *, cut: bool = False) -> None:
        """Keep the item, or (`cut`) its end, or flag that it is left out."""
        short = item if self.fits(item) else self._shortened(item) if cut else None
        if short is not None:
            self.items.append(short)
        if short != item:
            self.flags.append(f"previous: {name}")

    def _shortened(self, item: str) -> str | None:
        """A fenced item with the first lines of its data dropped until it fits; None if nothing would be left."""
        lines = item.split("\n")
        if len(lines) < 4:
            return None
        head, data, foot = lines[:2], lines[2:-1], lines[-1]
        for skip in range(1, len(data)):
            short = "\n".join((*head, *data[skip:], foot))
            if self.fits(short):
                return short
        return None


def _add_locations(kept: _Kept, previous: PreviousIteration, scope: Scope) -> tuple[tuple[str, str], ...]:
    """The failing places, each with its lines: as much of each as lets all of them in, then as many as fit."""
    places = list(dict.fromkeys(previous.locations))
    if not places:
        return ()
    outside = {source.path for source in scope.quoted}
    rows: list[str] = []
    for near, message in ((NEAR_LINES, MESSAGE), (0, MESSAGE), (0, SHORT_MESSAGE), (0, 0)):
        rows = [_row(place, scope, near if place[0] in outside else 0, message) for place in places]
        if kept.fits(_fails_here(rows)):
            break
    while rows and not kept.fits(_fails_here(rows)):
        rows.pop()
    if rows:
        kept.items.append(_fails_here(rows))
    if len(rows) < len(places):
        kept.flags.append("previous: locations")
    shown = zip(places, rows, strict=False)
    return tuple((path, row) for (path, _, _), row in shown if path in outside and "\n" in row)


def _row(place: tuple[str, int, str], scope: Scope, near: int, message: int) -> str:
    """A place, what was said there cut to `message` characters, and under it the lines within `near`."""
    path, line, said = place
    flat = " ".join(said.split())
    short = flat if len(flat) <= message else flat[:message].rstrip() + "…" if message else ""
    return _with_lines(f"{path}:{line}: {short}".rstrip(": "), scope.around(path, line, near), line)


def _fails_here(rows: list[str]) -> str:
    return "It fails here:\n" + fenced("\n".join(rows))


def _with_lines(said: str, lines: tuple[tuple[int, str], ...], failing: int) -> str:
    """The place, and under it the failing line; with lines around it, each with its number."""
    if len(lines) == 1 and lines[0][1].strip():
        return f"{said}\n    {lines[0][1].strip()}"
    shown = [f"    {number}{'>' if number == failing else '|'} {text}" for number, text in lines]
    return "\n".join((said, *shown)) if any(text.strip() for _, text in lines) else said


def _edit_item(outcome: EditOutcome) -> str:
    if outcome.applied:
        return f"Applied: {outcome.path}" + (
            "" if outcome.changed else ", but it changed nothing: the file is the same"
        )
    text = f"Not applied: {outcome.path}: {outcome.error or 'no reason given'}"
    return f"{text}. The nearest real lines:\n{fenced(chr(10).join(outcome.nearest))}" if outcome.nearest else text
