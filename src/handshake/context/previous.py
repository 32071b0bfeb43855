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
    """The failing places, first ones first, each with its lines: as many as fit, and at least where they are."""
    rows: list[str] = []
    quoted: list[tuple[str, str]] = []
    outside = {source.path for source in scope.quoted}
    left_out = False
    for path, line, message in dict.fromkeys(previous.locations):
        said = f"{path}:{line}: {' '.join(message.split())}".rstrip(": ")
        near = NEAR_LINES if path in outside else 0
        forms = dict.fromkeys((_with_lines(said, scope.around(path, line, near), line), said))
        if near:
            forms = dict.fromkeys((*list(forms)[:1], _with_lines(said, scope.around(path, line, 0), line), said))
        for form in forms:
            if kept.fits(_fails_here([*rows, form])):
                rows.append(form)
                if path in outside and form != said:
                    quoted.append((path, form))
                break
        else:
            left_out = True
    if rows:
        kept.items.append(_fails_here(rows))
    if left_out:
        kept.flags.append("previous: locations")
    return tuple(quoted)


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
