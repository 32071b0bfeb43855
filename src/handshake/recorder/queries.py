"""Questions to the recorder: events by filter, and one SELECT over the views. Contract: `events.md`, Queries."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from handshake.domain.canonical import utc_text
from handshake.domain.errors import UsageError
from handshake.domain.events import EVENT_TYPES, Event, read_event
from handshake.domain.record import Record
from handshake.recorder.holdings import Missing
from handshake.recorder.loading import BASE
from handshake.recorder.store import EventStore
from handshake.recorder.views import VIEWS

if TYPE_CHECKING:
    import duckdb

MOST_CELLS = 2_000_000  # an answer is held in memory as a whole
_AT_ONCE = 1_000  # rows
_HEARS_EVERY_S = 0.1


class Table(Record):
    """The answer to a question: column names, rows of plain values, and what it does not count."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    missing: tuple[Missing, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """Which events are asked for; None asks for all.

    Args:
        event_type: an id (`FR-EVT-MT-003`), an id's beginning ending in `*` (`FR-EVT-MT-*`), or a name.
        since: events at this moment or later.

    Raises:
        UsageError: no such event type.
    """

    wp: str | None = None
    mt: str | None = None
    event_type: str | None = None
    since: datetime | None = None

    def __post_init__(self) -> None:
        self.types()

    def types(self) -> Sequence[str] | None:
        """The ids that fit, or None for all."""
        wanted = self.event_type
        if wanted is None:
            return None
        if wanted.endswith("*"):
            found = sorted(name for name in EVENT_TYPES if name.startswith(wanted[:-1]))
        else:
            found = sorted(name for name, kind in EVENT_TYPES.items() if wanted in (name, kind.name))
        if not found:
            raise UsageError(f"there is no event type {wanted!r}", next_step=f"use one of: {', '.join(EVENT_TYPES)}")
        return found

    def fits(self, event: Event) -> bool:
        """Whether an event is asked for."""
        types = self.types()
        return (
            (self.wp is None or event.wp_id == self.wp)
            and (self.mt is None or event.mt_id == self.mt)
            and (types is None or event.event_type in types)
            and (self.since is None or event.timestamp >= self.since)
        )


def query_events(store: EventStore, wanted: Wanted | None = None) -> tuple[list[Event], tuple[Missing, ...]]:
    """The events that fit, in the order of time, each once; and what the store leaves out.

    Raises:
        InvalidEvent: a line of a journal is no event.
        RecorderFailed: a journal or the store cannot be read.
    """
    wanted = wanted or Wanted()
    conditions: list[str] = []
    values: list[Any] = []
    for column, value in (("wp_id", wanted.wp), ("mt_id", wanted.mt)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if (types := wanted.types()) is not None:
        conditions.append("list_contains(?, event_type)")
        values.append(list(types))
    if wanted.since is not None:
        conditions.append("timestamp >= CAST(? AS TIMESTAMP)")
        values.append(utc_text(wanted.since).removesuffix("Z"))
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    names = ", ".join(BASE)
    with store.opened() as opened:
        rows = opened.database.execute(
            f"SELECT {names} FROM recorded {where} ORDER BY timestamp, owner, place",
            values,
        ).fetchall()
        return [_event(dict(zip(BASE, row, strict=True))) for row in rows], opened.missing


def sql(store: EventStore, query: str) -> Table:
    """The answer to one SELECT over the views. It can read nothing else and change nothing.

    Raises:
        UsageError: not one SELECT, DuckDB refuses it, or it answers with more than `MOST_CELLS` values.
        InvalidEvent, RecorderFailed: as `query_events`.
    """
    import duckdb

    with store.opened() as opened:
        database = opened.database
        try:
            statements = database.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise UsageError("only one SELECT is answered", next_step="write one SELECT over the views")
            database.execute("BEGIN TRANSACTION READ ONLY")  # a SELECT may begin with a DELETE that returns rows
            columns, rows = _answered(database, statements[0])
        except duckdb.Error as error:
            first = str(error).strip().splitlines()[0]
            raise UsageError(f"the query fails: {first}", next_step=f"views: {', '.join(VIEWS)}") from None
        return Table(columns=columns, rows=rows, missing=opened.missing)


def _answered(
    database: duckdb.DuckDBPyConnection, statement: duckdb.Statement
) -> tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]:
    """Column names and rows. DuckDB does not hear Ctrl-C while it works, so it works in a thread and is told."""

    def work() -> tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]:
        answer = database.execute(statement)
        columns = tuple(str(column[0]) for column in answer.description or ())
        return columns, tuple(_rows(answer, len(columns)))

    with ThreadPoolExecutor(max_workers=1) as pool:
        running = pool.submit(work)
        try:
            while not running.done():
                wait([running], timeout=_HEARS_EVERY_S)
        except BaseException:
            database.interrupt()
            raise
        return running.result()


def _rows(answer: duckdb.DuckDBPyConnection, width: int) -> Iterator[tuple[Any, ...]]:
    """The rows of an answer, as long as they fit in memory."""
    most = MOST_CELLS // max(1, width)
    count = 0
    while some := answer.fetchmany(_AT_ONCE):
        count += len(some)
        if count > most:
            raise UsageError(f"the answer has more than {most:,} rows", next_step="ask for less: GROUP BY, LIMIT")
        yield from some


def _event(row: dict[str, Any]) -> Event:
    given = {name: value for name, value in row.items() if value is not None}
    moment = row["timestamp"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return read_event({**given, "timestamp": moment, "payload": json.loads(row["payload"] or "{}")})
