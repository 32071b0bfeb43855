"""The queryable store: Parquet for what is finished, journal lines for what is not, no lock in anyone's way.

Each question opens a DuckDB of its own in memory over immutable files. What was read once is kept as one Parquet
file for each finished (or large) job; who finds the store's lock taken leaves that to the other and reads lines.
Contract: `events.md`, Queries and Retention.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from handshake.domain.canonical import sha256_hex, utc_text
from handshake.domain.clock import Clock
from handshake.domain.errors import LockHeld, RecorderFailed
from handshake.recorder.answers import COLUMNS, Opened, empty_database, moment_text, quoted, read_parts, with_views
from handshake.recorder.holdings import Holding, Index, Missing, read_index, write_index
from handshake.recorder.loading import Unread, damaged_lines, load
from handshake.recorder.sources import JobSource, job_sources
from handshake.repo.atomic import disk_error
from handshake.repo.git import Repository

if TYPE_CHECKING:
    import duckdb
    from filelock import BaseFileLock

ENDS = ("FR-EVT-MT-009", "FR-EVT-MT-010", "FR-EVT-MT-011")
LARGE = 5_000  # lines of a job that still runs, from which on they are kept as Parquet too
GRACE_S = 3600.0  # a file that no index names any more may still be read by somebody
_PATIENCE_S = 10.0
_AGAIN = "handshake recorder rebuild, in a moment"


class Rebuilt(NamedTuple):
    """What `rebuild` made."""

    jobs: int
    events: int
    missing: tuple[Missing, ...]


class EventStore:
    """The recorder's events of one clone.

    Args:
        repo: whose branches and journals.
        namespace: of the tracking branches.
        retention_days: jobs whose last event is older are left out, and said to be.
        clock: tells today.
    """

    def __init__(self, repo: Repository, namespace: str, retention_days: int, clock: Clock) -> None:
        self.repo = repo
        self.namespace = namespace
        self.retention_days = retention_days
        self.directory = repo.state_dir / "recorder"
        self._clock = clock

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        """The views over all events, in a database of its own that can reach nothing else.

        Raises:
            InvalidEvent: a line of a journal is no event; file and line are named, nothing is changed.
            RecorderFailed: a journal or the store cannot be read.
        """
        with empty_database() as (database, spool):
            stored = read_index(self.directory)
            sources = job_sources(self.repo, self.namespace)
            index = self._forgetting(stored, sources)
            unread = _unread(index, sources)
            load(database, unread, spool)
            self._leave_out_known(database, index)
            if self._ripe(database) or self._aged(index):
                index = self._compacted(database, stored, index, unread)
            yield self._shown(database, index)

    def rebuild(self) -> Rebuilt:
        """Make the store again from the journals of branches and clone; lines that are no events are left out.

        Raises:
            LockHeld: another process makes it.
            RecorderFailed: as `opened`.
        """
        sources = job_sources(self.repo, self.namespace)
        damaged = [row for item in _unread(Index(), sources) for row in damaged_lines(item)]
        fresh = Index(damaged=tuple(damaged))
        with self._lock(wait=_PATIENCE_S) as lock, empty_database() as (database, spool):
            if lock is None:
                raise LockHeld(f"{self.directory} cannot be written, or another process does", next_step=_AGAIN)
            unread = _unread(fresh, sources)
            load(database, unread, spool)
            index = self._write_parts(database, fresh, unread)
            missing = self._shown(database, index).missing
            jobs, events = database.execute("SELECT count(DISTINCT owner), count(*) FROM recorded").fetchall()[0]
        return Rebuilt(jobs, events, missing)

    def _shown(self, database: duckdb.DuckDBPyConnection, index: Index) -> Opened:
        return with_views(database, self.directory, index, oldest=self._oldest, days=self.retention_days)

    # -- what is kept ----------------------------------------------------------------------------

    @property
    def _oldest(self) -> str:
        """The moment before which a job's last event is too old, as text that sorts."""
        return utc_text(self._clock.now() - timedelta(days=self.retention_days))

    def _forgetting(self, index: Index, sources: Mapping[str, JobSource]) -> Index:
        """The index without what does not hold any more: files cut short, parts gone, news of what is too old."""
        kept = {}
        for owner, holding in index.holdings.items():
            source = sources.get(owner) or JobSource(owner)
            sizes = {str(path): size for path, size in source.files.items()}
            shrunk = any(sizes.get(name, start) < start for name, start in holding.files.items())
            lost = holding.part is not None and not (self.directory / holding.part).is_file()
            grown = set(source.chunks) - set(holding.chunks) or any(
                size > holding.files.get(name, 0) for name, size in sizes.items()
            )
            again = holding.expired and (grown or holding.last >= self._oldest)
            if not (shrunk or lost or again):
                kept[owner] = holding
        return index.model_copy(update={"holdings": kept})

    def _leave_out_known(self, database: duckdb.DuckDBPyConnection, index: Index) -> None:
        """Lines that stand in a job's file already are no news: a chunk that grew is read again as a whole."""
        for (owner,) in database.execute("SELECT DISTINCT owner FROM raw").fetchall():
            holding = index.holdings.get(owner)
            if holding is not None and holding.part is not None:
                known = f"SELECT event_id FROM {read_parts(self.directory, [holding.part])}"
                database.execute(f"DELETE FROM raw WHERE owner = ? AND event_id IN ({known})", [owner])
                database.execute("UPDATE raw SET place = place + ? WHERE owner = ?", [holding.events, owner])

    def _ripe(self, database: duckdb.DuckDBPyConnection) -> list[str]:
        """The jobs whose new lines end them, or are so many that reading them again would be felt."""
        rows = database.execute(
            "SELECT owner FROM raw GROUP BY owner HAVING count(*) >= ? OR bool_or(event_type IN (SELECT unnest(?))"
            " OR (event_type = 'FR-EVT-GOV-WP-001' AND payload->>'$.state' = 'finished')) ORDER BY owner",
            [LARGE, list(ENDS)],
        ).fetchall()
        return [row[0] for row in rows if not row[0].startswith("packet-")]

    def _aged(self, index: Index) -> bool:
        return any(h.part is not None and h.last < self._oldest for h in index.holdings.values())

    def _compacted(
        self, database: duckdb.DuckDBPyConnection, stored: Index, index: Index, unread: Sequence[Unread]
    ) -> Index:
        """The index after ripe jobs were written as Parquet; the same one where another process is at it."""
        with self._lock(wait=0) as lock:
            if lock is None or read_index(self.directory) != stored:
                return index
            return self._write_parts(database, index, unread)

    def _write_parts(self, database: duckdb.DuckDBPyConnection, index: Index, unread: Sequence[Unread]) -> Index:
        """Write one file for each ripe job, drop what is too old, replace the index. The lock is held."""
        ripe = self._ripe(database)
        by_owner = {item.source.job_id: item for item in unread}
        holdings = dict(index.holdings)
        try:
            with tempfile.TemporaryDirectory(prefix=".new-", dir=self.directory) as folder:
                for owner, holding, made in self._exported(database, index, ripe, by_owner, Path(folder)):
                    holdings[owner] = holding
                    if holding.part is not None:
                        made.replace(self.directory / holding.part)
                for owner, holding in holdings.items():
                    if holding.last < self._oldest:
                        holdings[owner] = holding.model_copy(update={"part": None, "expired": True})
                fresh = index.model_copy(update={"holdings": dict(sorted(holdings.items()))})
                write_index(self.directory, fresh)
            self._sweep(fresh)
        except OSError as error:
            said = disk_error(error, f"cannot write {self.directory}").what
            raise RecorderFailed(said, next_step="handshake doctor") from error
        database.execute("DELETE FROM raw WHERE owner IN (SELECT unnest(?))", [ripe])
        return fresh

    def _exported(
        self,
        database: duckdb.DuckDBPyConnection,
        index: Index,
        ripe: Sequence[str],
        unread: Mapping[str, Unread],
        folder: Path,
    ) -> Iterator[tuple[str, Holding, Path]]:
        """Each ripe job's holding and the file made for it: its old lines, then its new ones."""
        if not ripe:
            return
        old = [h.part for owner in ripe if (h := index.holdings.get(owner)) is not None and h.part is not None]
        if old:
            database.execute(f"INSERT INTO raw BY NAME SELECT {COLUMNS} FROM {read_parts(self.directory, old)}")
        database.execute(
            "CREATE OR REPLACE TEMP TABLE ripe AS SELECT owner, (row_number() OVER () - 1)::INTEGER AS job"
            " FROM (SELECT unnest(?) AS owner)",
            [list(ripe)],
        )
        database.execute("SET threads = 1")  # one file for each job, in order
        database.execute(
            f"COPY (SELECT {COLUMNS}, job FROM raw JOIN ripe USING (owner) ORDER BY job, timestamp, place)"
            f" TO {quoted(str(folder))} (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (job), OVERWRITE_OR_IGNORE)"
        )
        database.execute("RESET threads")
        rows = database.execute(
            "SELECT job, owner, min(wp_id), count(*), min(timestamp), max(timestamp) FROM raw JOIN ripe USING (owner)"
            " GROUP BY job, owner ORDER BY job"
        ).fetchall()
        for job, owner, wp_id, events, first, last in rows:
            before, news = index.holdings.get(owner, Holding()), unread[owner]
            holding = Holding(
                wp_id=wp_id,
                events=events,
                first=moment_text(first),
                last=moment_text(last),
                chunks=tuple(sorted({*before.chunks, *news.chunks})),
                files=dict(sorted({**before.files, **{str(p): end for p, end in news.ends.items()}}.items())),
            )
            name = sha256_hex(f"{owner}\n{holding.model_dump_json()}")[:32]
            (made,) = sorted((folder / f"job={job}").glob("*.parquet"))
            yield owner, holding.model_copy(update={"part": f"{name}.parquet"}), made

    def _sweep(self, index: Index) -> None:
        """Take away files that no index has named for a while."""
        named = {holding.part for holding in index.holdings.values()}
        limit = time.time() - GRACE_S
        for path in self.directory.glob("*.parquet"):
            if path.name not in named and path.stat().st_mtime < limit:
                path.unlink(missing_ok=True)

    @contextmanager
    def _lock(self, *, wait: float) -> Iterator[BaseFileLock | None]:
        """The lock of those who write the store; None where another has it. Readers never ask for it."""
        from filelock import FileLock, Timeout

        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.directory / ".lock")
            lock.acquire(timeout=wait)
        except Timeout:
            yield None
            return
        except OSError:
            yield None  # a read-only clone: questions are answered all the same
            return
        try:
            yield lock
        finally:
            lock.release()


def _unread(index: Index, sources: Mapping[str, JobSource]) -> list[Unread]:
    """What of each source no Parquet file holds."""
    found = []
    for owner, source in sources.items():
        holding = index.holdings.get(owner, Holding())
        known = set(holding.chunks)
        found.append(
            Unread(
                source,
                chunks=tuple(sha for sha in source.chunks if sha not in known),
                files={
                    path: holding.files.get(str(path), 0)
                    for path, size in source.files.items()
                    if size > holding.files.get(str(path), 0)
                },
                lost=index.lost_lines(owner),
            )
        )
    return found
