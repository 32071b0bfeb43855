"""Journal lines into a DuckDB table, each checked, each event once. Contract: `events.md`, Base.

The check of many lines is done by DuckDB: known id with its name, all fields of the base and no other, the fields
of the payload. Which line it was, and what is wrong with it, is then said by the same code that checks on writing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from handshake.domain.errors import InvalidEvent, RecorderFailed
from handshake.domain.events import EVENT_TYPES, Event, read_event
from handshake.recorder.holdings import Damage
from handshake.recorder.sources import JobSource, numbered_lines

if TYPE_CHECKING:
    import duckdb

_TEXTS = (
    "event_id",
    "event_type",
    "event_name",
    "timestamp",
    "actor",
    "trace_id",
    "job_id",
    "workflow_run_id",
    "wp_id",
    "mt_id",
)
BASE = (*_TEXTS, "iteration", "payload")
LONGEST_LINE = 1 << 26
LEAVE_OUT = "handshake recorder rebuild leaves it out, says so from then on, and changes no journal"

# what a line is checked by is not kept: a million lists of keys would be most of the memory. The order is asked for:
# a partitioned window gives its rows in whatever order its threads end
_READ = """
CREATE TABLE raw AS
WITH lines AS (
    SELECT json AS line, row_number() OVER () AS place, filename
    FROM read_ndjson_objects(?, filename = true, maximum_object_size = {longest})
), parts AS (
    SELECT {texts}, TRY_CAST(line->>'$.iteration' AS BIGINT) AS iteration, line->'$.payload' AS payload,
        json_keys(line) AS keys, json_keys(line, '$.payload') AS payload_keys, filename, place,
        TRY_CAST(line->>'$.timestamp' AS TIMESTAMPTZ) AS moment
    FROM lines
), judged AS (
    SELECT {columns}, place, owner, CAST(moment AT TIME ZONE 'UTC' AS TIMESTAMP) AS timestamp, coalesce(
        shapes.event_type IS NULL OR parts.event_name IS DISTINCT FROM shapes.event_name
        OR actor IS NULL OR NOT list_contains(shapes.actors, actor)
        OR coalesce(trace_id, '') = '' OR coalesce(job_id, '') = '' OR wp_id IS NULL OR workflow_run_id IS NULL
        OR event_id IS NULL OR moment IS NULL
        OR NOT list_has_all({base}, keys) OR (iteration IS NULL AND list_contains(keys, 'iteration'))
        OR NOT list_has_all(shapes.known, payload_keys) OR NOT list_has_all(payload_keys, shapes.required)
        OR (NOT starts_with(owner, 'packet-') AND job_id != owner), false) AS bad
    FROM parts JOIN owners USING (filename) LEFT JOIN shapes ON shapes.event_type = parts.event_type
)
SELECT * FROM judged QUALIFY row_number() OVER (PARTITION BY owner, event_id ORDER BY place) = 1
ORDER BY owner, place
"""


@dataclass
class Unread:
    """What of a job's sources is not in the store yet: chunks by object id, files from an offset on.

    `ends` tells, once it was read, up to where each file holds whole lines.
    """

    source: JobSource
    chunks: tuple[str, ...] = ()
    files: dict[Path, int] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()
    ends: dict[Path, int] = field(default_factory=dict)

    def blocks(self) -> Iterator[tuple[str, bytes]]:
        """Each block of bytes with the words that name its place.

        Raises:
            RecorderFailed: a journal cannot be read.
        """
        for sha in self.chunks:
            view, path, where = self.source.chunks[sha]
            yield where, view.read(path) or b""
        for place, start in self.files.items():
            try:
                with place.open("rb") as file:
                    file.seek(start)
                    data = file.read()
            except OSError as error:
                raise RecorderFailed(f"cannot read the journal {place}: {error.strerror or error}") from error
            data = data[: data.rfind(b"\n") + 1]
            self.ends[place] = start + len(data)
            yield str(place), data

    @property
    def is_empty(self) -> bool:
        """Whether all was read before."""
        return not self.chunks and not self.files


def load(database: duckdb.DuckDBPyConnection, unread: Iterable[Unread], spool: Path) -> None:
    """Read what is unread into the table `raw`.

    Args:
        spool: an empty folder that is the caller's to remove.

    Raises:
        InvalidEvent: a line is no event; file and line are named.
        RecorderFailed: a source cannot be read.
    """
    import duckdb

    wanted = [item for item in unread if not item.is_empty]
    if not wanted:
        kinds = ", ".join(f"{name} VARCHAR" for name in _TEXTS if name != "timestamp")
        rest = "iteration BIGINT, payload JSON, place BIGINT, owner VARCHAR, timestamp TIMESTAMP"
        database.execute(f"CREATE TABLE raw ({kinds}, {rest})")
        return
    database.execute("CREATE TABLE owners (owner VARCHAR, filename VARCHAR)")
    _make_shapes(database)
    files = []
    for number, item in enumerate(wanted):
        place = spool / f"{number:06d}.jsonl"
        _spool(item, place)
        files.append(str(place))
        database.execute("INSERT INTO owners VALUES (?, ?)", [item.source.job_id, str(place)])
    texts = ", ".join(f"line->>'$.{name}' AS {name}" for name in _TEXTS if name != "timestamp")
    columns = ", ".join(f"parts.{name}" for name in BASE if name != "timestamp")
    try:
        reading = _READ.format(texts=texts, columns=columns, base=list(BASE), longest=LONGEST_LINE)
        database.execute(reading, [[globbed(name) for name in files]])
        bad = database.execute("SELECT owner FROM raw WHERE bad LIMIT 1").fetchone()
    except duckdb.Error as error:
        raise _first_bad(wanted) or RecorderFailed(
            f"the journals cannot be read: {str(error).strip().splitlines()[0]}", next_step="handshake doctor"
        ) from error
    if bad is not None:
        found = _first_bad([item for item in wanted if item.source.job_id == bad[0]])
        raise found or InvalidEvent(f"a journal of job {bad[0]} holds a line that is no event")
    database.execute("ALTER TABLE raw DROP COLUMN bad")


def _spool(item: Unread, place: Path) -> None:
    try:
        with place.open("wb") as file:
            for _, data in item.blocks():
                if not item.lost:
                    file.write(data[: data.rfind(b"\n") + 1])
                    continue
                for _, line in numbered_lines(data):
                    if hashlib.sha256(line).hexdigest() not in item.lost:
                        file.write(line + b"\n")
    except OSError as error:
        raise RecorderFailed(f"cannot gather the journals: {error}", next_step="handshake doctor") from error


def _make_shapes(database: duckdb.DuckDBPyConnection) -> None:
    """The table of ids, names and payload fields."""
    database.execute(
        "CREATE TABLE shapes (event_type VARCHAR, event_name VARCHAR, actors VARCHAR[], required VARCHAR[],"
        " known VARCHAR[])"
    )
    actors = ["human", "agent", "system"]
    rows = [
        [name, kind.name, [kind.actor] if kind.actor else actors, sorted(kind.required), sorted(kind.known)]
        for name, kind in EVENT_TYPES.items()
    ]
    database.executemany("INSERT INTO shapes VALUES (?, ?, ?, ?, ?)", rows)


def globbed(path: str) -> str:
    """A path as DuckDB's glob takes it literally."""
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in path)


def damaged_lines(item: Unread) -> Iterator[Damage]:
    """Every line that is no event, found one by one."""
    owner = item.source.job_id
    for where, data in item.blocks():
        for number, line in numbered_lines(data, _first_line(item, where)):
            digest = hashlib.sha256(line).hexdigest()
            if digest not in item.lost and (why := _wrong(line, owner)):
                yield Damage(owner=owner, where=where, line=number, sha256=digest, why=why)


def _first_line(item: Unread, where: str) -> int:
    """The number of a block's first line in its file."""
    start = item.files.get(Path(where), 0)
    if not start:
        return 1
    with Path(where).open("rb") as file:
        return file.read(start).count(b"\n") + 1


def _first_bad(unread: Iterable[Unread]) -> InvalidEvent | None:
    """The error for the first line that is no event."""
    for item in unread:
        for found in damaged_lines(item):
            return InvalidEvent(
                f"{found.where}: line {found.line} {found.why}",
                next_step=LEAVE_OUT,
            )
    return None


def _wrong(line: bytes, owner: str) -> str | None:
    """What is wrong with a line, or None."""
    try:
        data = json.loads(line)
    except ValueError as error:
        return f"is not JSON: {error}"
    try:
        event = checked(data)
    except InvalidEvent as error:
        return f"is no event of this version: {error.what}"
    if not owner.startswith("packet-") and event.job_id != owner:
        return f"is an event of another job ({event.job_id[:60]})"
    return None


def parsed(line: bytes, where: str) -> Event:
    """The event of a journal line.

    Raises:
        InvalidEvent: it is none; `where` is named.
    """
    try:
        return checked(json.loads(line))
    except ValueError as error:
        raise InvalidEvent(f"{where}: a line is not JSON: {error}", next_step=LEAVE_OUT) from None
    except InvalidEvent as error:
        raise InvalidEvent(f"{where}: {error.what}", next_step=LEAVE_OUT) from None


def checked(data: object) -> Event:
    """An event from parsed JSON.

    Raises:
        InvalidEvent: its shape is wrong.
    """
    if not isinstance(data, Mapping):
        raise InvalidEvent("not an object")
    return read_event(dict(data))
