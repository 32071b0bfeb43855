"""Questions to the recorder, answered by DuckDB in memory over journal lines. Contract: `events.md`, Queries.

Each question gets its own in-memory database: there is no file to lock, so a query while a run writes never
fails and never holds it up. Lines come from tracking branches and local journals alike; one event counts once.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handshake.domain.canonical import utc_text
from handshake.domain.errors import RecorderFailed, UsageError
from handshake.domain.events import EVENT_TYPES, Event, read_event
from handshake.domain.record import Record
from handshake.recorder.journal import whole_lines

if TYPE_CHECKING:
    import duckdb

Source = Path | bytes | Iterable[bytes]

VIEWS = ("events", "iterations")

_COLUMNS = {
    "event_id": "VARCHAR",
    "event_type": "VARCHAR",
    "event_name": "VARCHAR",
    "timestamp": "VARCHAR",
    "actor": "VARCHAR",
    "trace_id": "VARCHAR",
    "job_id": "VARCHAR",
    "workflow_run_id": "VARCHAR",
    "wp_id": "VARCHAR",
    "mt_id": "VARCHAR",
    "iteration": "BIGINT",
    "payload": "JSON",
}

# `place` keeps the order of writing among events of one millisecond
_LOAD = """
CREATE TABLE recorded AS
WITH numbered AS (SELECT *, row_number() OVER () AS place FROM read_json(?, format='newline_delimited', columns=?))
SELECT * FROM numbered QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY place) = 1
"""

_VIEW_SQL = """
CREATE VIEW events AS
SELECT * EXCLUDE (place) REPLACE (CAST(timestamp AS TIMESTAMP) AS timestamp)
FROM recorded ORDER BY recorded.timestamp, place;
CREATE VIEW iterations AS SELECT
    wp_id, job_id, workflow_run_id, mt_id, iteration, timestamp,
    payload->>'$.model.base' AS model_id,
    payload->>'$.model.lora' AS lora_id,
    CAST(payload->>'$.execution.escalation_level' AS INTEGER) AS escalation_level,
    CAST(payload->>'$.execution.tokens_prompt' AS BIGINT) AS tokens_prompt,
    CAST(payload->>'$.execution.tokens_completion' AS BIGINT) AS tokens_completion,
    CAST(payload->>'$.execution.duration_ms' AS BIGINT) AS duration_ms,
    CAST(payload->>'$.outcome.claimed_complete' AS BOOLEAN) AS claimed_complete,
    CAST(payload->>'$.outcome.validation_passed' AS BOOLEAN) AS validation_passed,
    payload->>'$.outcome.status' AS status,
    payload->>'$.outcome.failure_category' AS failure_category,
    payload->>'$.outcome.error_summary' AS error_summary,
    payload->>'$.decision' AS decision,
    payload->>'$.context_snapshot_id' AS context_snapshot_id
FROM events WHERE event_type = 'FR-EVT-MT-003';
"""


class Table(Record):
    """The answer to a question: column names, and rows of plain values."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def journal_files(directory: Path) -> list[Path]:
    """The journal files below a folder, sorted."""
    return sorted(directory.rglob("*.jsonl"))


def query_events(
    sources: Iterable[Source],
    *,
    wp: str | None = None,
    mt: str | None = None,
    event_type: str | None = None,
    since: datetime | None = None,
) -> list[Event]:
    """The events that fit all filters given, in the order of time, each once.

    Args:
        sources: journal files, the bytes of one (a chunk of a tracking branch), or lines.
        event_type: an id (`FR-EVT-MT-003`), an id's beginning ending in `*` (`FR-EVT-MT-*`), or a name.
        since: events at this moment or later.

    Raises:
        UsageError: no such event type.
        InvalidEvent: an event that fits has a wrong shape.
        RecorderFailed: a file cannot be read, or a line is not JSON.
    """
    conditions: list[str] = []
    values: list[Any] = []
    for column, value in (("wp_id", wp), ("mt_id", mt)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if event_type is not None:
        conditions.append("list_contains(?, event_type)")
        values.append(_types(event_type))
    if since is not None:
        conditions.append("timestamp >= ?")
        values.append(utc_text(since))
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    names = ", ".join(_COLUMNS)
    with _opened(sources) as database:
        rows = database.execute(
            f"SELECT {names} FROM recorded {where} ORDER BY timestamp, place",  # noqa: S608 - names are ours
            values,
        ).fetchall()
    return [_event(dict(zip(_COLUMNS, row, strict=True))) for row in rows]


def read_events(sources: Iterable[Source]) -> list[Event]:
    """All events of the sources in the order of time, each once. Arguments and errors as `query_events`."""
    return query_events(sources)


def sql(query: str, sources: Iterable[Source]) -> Table:
    """The answer to one SELECT over the views `events` and `iterations`. It can read nothing else.

    Raises:
        UsageError: not one SELECT, or DuckDB refuses it.
        RecorderFailed: as `query_events`.
    """
    import duckdb

    with _opened(sources) as database:
        try:
            statements = database.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise UsageError("only one SELECT is answered", next_step="write one SELECT over the views")
            answer = database.execute(statements[0])
            columns = tuple(str(column[0]) for column in answer.description or ())
            return Table(columns=columns, rows=tuple(tuple(row) for row in answer.fetchall()))
        except duckdb.Error as error:
            first = str(error).strip().splitlines()[0]
            raise UsageError(f"the query fails: {first}", next_step=f"views: {', '.join(VIEWS)}") from None


@contextmanager
def _opened(sources: Iterable[Source]) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory database of its own with all events; the outside is shut once they are in."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="handshake-events-", ignore_cleanup_errors=True) as folder:
        spool = Path(folder) / "events.jsonl"
        try:
            with spool.open("wb") as file:
                for source in sources:
                    file.writelines(line + b"\n" for line in _lines_of(source) if line.strip())
        except OSError as error:
            raise RecorderFailed(f"cannot gather the journals: {error}", next_step="handshake doctor") from error
        with duckdb.connect(":memory:") as database:
            try:
                database.execute(_LOAD, [str(spool), _COLUMNS])
            except duckdb.Error as error:
                first = str(error).strip().splitlines()[0]
                raise RecorderFailed(
                    f"a journal line cannot be read: {first}", next_step="handshake recorder rebuild"
                ) from error
            database.execute(_VIEW_SQL)
            database.execute("SET enable_external_access = false; SET lock_configuration = true")
            yield database


def _lines_of(source: Source) -> Iterable[bytes]:
    if isinstance(source, Path):
        return whole_lines(source.read_bytes())
    if isinstance(source, bytes):
        return whole_lines(source)
    return (line.rstrip(b"\n") for line in source)


def _event(row: dict[str, Any]) -> Event:
    given = {name: value for name, value in row.items() if value is not None}
    return read_event({**given, "payload": json.loads(row["payload"] or "{}")})


def _types(wanted: str) -> Sequence[str]:
    if wanted.endswith("*"):
        found = sorted(name for name in EVENT_TYPES if name.startswith(wanted[:-1]))
    else:
        found = sorted(name for name, kind in EVENT_TYPES.items() if wanted in (name, kind.name))
    if not found:
        raise UsageError(f"there is no event type {wanted!r}", next_step=f"use one of: {', '.join(EVENT_TYPES)}")
    return found
