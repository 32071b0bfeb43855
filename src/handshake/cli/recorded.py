"""What the verbs of the flight recorder share: its store, tables on a terminal, and what is missing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from handshake.cli.options import Globals, note, open_surroundings, write

if TYPE_CHECKING:
    from handshake.recorder.holdings import Missing
    from handshake.recorder.store import EventStore

WIDEST = 60


def open_store(options: Globals) -> EventStore:
    """The recorder's store of the repository at hand."""
    from handshake.recorder.store import EventStore

    around = open_surroundings(options)
    settings = around.settings
    return EventStore(around.repo, settings.tracking.namespace, settings.recorder.retention_days, around.clock)


def tell_missing(options: Globals, missing: Sequence[Missing]) -> None:
    """What an answer does not count goes to stderr, in a line for each reason."""
    old = [row for row in missing if row.why == "retention"]
    if old:
        events = sum(row.events for row in old)
        note(options, f"handshake: not counted: {len(old)} jobs, {events} events, {old[0].said}")
    for row in missing:
        if row.why == "damaged":
            note(options, f"handshake: not counted: {row.said}")


def write_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns side by side; numbers to the right. Nothing in a cell reaches the terminal as a control code."""
    texts = [[cell_text(value) for value in row] for row in rows]
    limit = None if not sys.stdout.isatty() else WIDEST
    texts = [[text if limit is None or len(text) <= limit else text[: limit - 1] + "…" for text in r] for r in texts]
    widths = [max([len(name), *(len(row[n]) for row in texts)]) for n, name in enumerate(columns)]
    right = [all(isinstance(row[n], int | float | None) for row in rows) and bool(rows) for n in range(len(columns))]
    for row in [list(columns), *texts]:
        cells = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
        write("  ".join(cells).rstrip())


def cell_text(value: Any) -> str:
    """A value on one line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    text = " ".join(str(value).split())
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
