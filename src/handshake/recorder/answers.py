"""The database that a question is asked of: the views over files and lines, and every way out of it closed.

Contract: `events.md`, Queries ("read-only views") and Retention ("says what is missing and why").
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from handshake.domain.errors import RecorderFailed
from handshake.recorder.holdings import Holding, Index, Missing
from handshake.recorder.loading import BASE, globbed
from handshake.recorder.views import VIEW_SQL

if TYPE_CHECKING:
    import duckdb

MEMORY = "2GB"
COLUMNS = ", ".join((*BASE, "place", "owner"))
_CLOSED = (
    "enable_external_access = false",
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "allow_community_extensions = false",
    "python_enable_replacements = false",
    "lock_configuration = true",
)


@dataclass(frozen=True)
class Opened:
    """A database that holds the views, and what it does not count."""

    database: duckdb.DuckDBPyConnection
    missing: tuple[Missing, ...]


@contextmanager
def empty_database() -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """A database in memory and a folder that is gone with it; what does not fit in memory goes there."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="handshake-events-", ignore_cleanup_errors=True) as spool:
        (Path(spool) / "spill").mkdir()
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY,
            "temp_directory": str(Path(spool) / "spill"),
        }
        with duckdb.connect(":memory:", config=settings) as database:
            database.execute("SET TimeZone = 'UTC'")
            yield database, Path(spool)


def with_views(
    database: duckdb.DuckDBPyConnection, directory: Path, index: Index, *, oldest: str, days: int
) -> Opened:
    """Make the views over the store's files and the lines in `raw`, then close the database.

    Args:
        directory: the store's.
        oldest: jobs whose last event is before this moment are left out; `days` says why.

    Raises:
        RecorderFailed: a file of the store is no Parquet file any more.
    """
    import duckdb

    missing = (*_too_old(database, index, oldest, days), *_damaged(index))
    parts = [h.part for h in index.holdings.values() if h.part is not None and h.last >= oldest]
    filed = f"SELECT {COLUMNS} FROM {read_parts(directory, parts)} UNION ALL " if parts else ""
    try:
        database.execute(f"CREATE VIEW recorded AS {filed}SELECT {COLUMNS} FROM raw")
    except duckdb.Error as error:
        said = str(error).strip().splitlines()[0]
        raise RecorderFailed(f"the store cannot be read: {said}", next_step="handshake recorder rebuild") from error
    database.execute(f"CREATE VIEW events AS SELECT {', '.join(BASE)} FROM recorded")
    database.execute(VIEW_SQL)
    # DuckDB asks for the pattern and for the file that fits it
    paths = {name for part in parts for name in (str(directory / part), globbed(str(directory / part)))}
    database.execute(f"SET allowed_paths = [{', '.join(quoted(path) for path in sorted(paths))}]")
    for setting in _CLOSED:
        database.execute(f"SET {setting}")
    return Opened(database, missing)


def _too_old(database: duckdb.DuckDBPyConnection, index: Index, oldest: str, days: int) -> list[Missing]:
    """What the retention leaves out, filed or not; such lines are taken out of `raw`."""
    said = f"older than recorder.retention_days ({days}): see its branch, or keep more days"
    found = [
        Missing(job_id=owner, wp_id=h.wp_id, events=h.events, first=h.first, last=h.last, why="retention", said=said)
        for owner, h in index.holdings.items()
        if h.last < oldest
    ]
    rows = database.execute(
        "SELECT owner, min(wp_id), count(*), min(timestamp), max(timestamp) FROM raw GROUP BY owner"
        " HAVING max(timestamp) < CAST(CAST(? AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS TIMESTAMP) ORDER BY owner",
        [oldest],
    ).fetchall()
    for owner, wp_id, events, first, last in rows:
        dates = {"first": moment_text(first), "last": moment_text(last)}
        found.append(Missing(job_id=owner, wp_id=wp_id, events=events, why="retention", said=said, **dates))
    database.execute("DELETE FROM raw WHERE owner IN (SELECT unnest(?))", [[row[0] for row in rows]])
    return found


def _damaged(index: Index) -> list[Missing]:
    """The lines that a person accepted as lost."""
    return [
        Missing(
            job_id=damage.owner,
            wp_id=index.holdings.get(damage.owner, Holding()).wp_id,
            events=1,
            why="damaged",
            said=f"{damage.where}: line {damage.line} {damage.why}",
        )
        for damage in index.damaged
    ]


def read_parts(directory: Path, parts: Sequence[str]) -> str:
    """The table function that reads these files of the store."""
    return f"read_parquet([{', '.join(quoted(globbed(str(directory / part))) for part in parts)}])"


def moment_text(moment: datetime) -> str:
    """A UTC moment without a zone, as DuckDB gives it, in the recorder's form."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def quoted(text: str) -> str:
    """A SQL string."""
    return "'" + text.replace("'", "''") + "'"
