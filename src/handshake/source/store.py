"""The index on disk: one SQLite file that any run may read, write, or lose. Contract: `context.md`, Cache.

SQLite's write-ahead log makes each batch whole or absent after `kill -9`, and lets several runs read while one
writes. Nothing here is the truth: what cannot be read is a miss, a file that is broken is moved aside and begun
anew, and a disk that is full or read-only means that this process goes on without an index, and says so.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

BUSY_TIMEOUT_S = 10.0
STAGES_KEPT = 2_000
PACKS_KEPT = 400_000
OLD_AFTER_S = 30 * 86_400

T = TypeVar("T")

_SCHEMA = """
create table if not exists pack (path text not null, digest text not null, payload blob not null,
                                 unique (path, digest));
create table if not exists tree (id text primary key, base text not null, files int not null) without rowid;
create table if not exists df (base text not null, term text not null, n int not null,
                               primary key (base, term)) without rowid;
create table if not exists delta (tree text not null, term text not null, d int not null,
                                  primary key (tree, term)) without rowid;
create table if not exists stage (key text primary key, payload blob not null);
"""


class IndexStore:
    """One file, `index-<toolchain>.sqlite`: what another toolchain wrote is never read.

    `problem` says in a line why the store is not used any more, None while all is well.
    """

    def __init__(self, folder: Path | None, toolchain: str) -> None:
        self.path = None if folder is None else folder / f"index-{toolchain[:16]}.sqlite"
        self.problem: str | None = None
        self._connected: sqlite3.Connection | None = None
        self._healed = False

    # -- packs -----------------------------------------------------------------------------------

    def packs(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """The payloads of those (path, digest) pairs that are stored."""

        def read(db: sqlite3.Connection) -> dict[tuple[str, str], bytes]:
            found = {}
            for key in keys:
                row = db.execute("select payload from pack where path = ? and digest = ?", key).fetchone()
                if row is not None:
                    found[key] = row[0]
            return found

        return self._try(read, {})

    def put_packs(self, rows: Iterable[tuple[str, str, bytes]]) -> None:
        """Store packs as (path, digest, payload), all or none; the oldest make room."""
        kept = list(rows)

        def write(db: sqlite3.Connection) -> None:
            with _transaction(db):
                db.executemany("insert or replace into pack values (?, ?, ?)", kept)
                db.execute("delete from pack where rowid <= (select max(rowid) from pack) - ?", (PACKS_KEPT,))

        self._try(write, None)

    def count_packs(self) -> int:
        """How many packs are stored."""
        return self._try(lambda db: int(db.execute("select count(*) from pack").fetchone()[0]), 0)

    # -- how many files hold a word ----------------------------------------------------------------

    def tree_files(self, tree: str) -> int | None:
        """How many files of a tree were counted; None where it was not, or not to its end."""
        row = self._try(lambda db: db.execute("select files from tree where id = ?", (tree,)).fetchone(), None)
        return None if row is None else int(row[0])

    def last_base(self) -> tuple[str, int] | None:
        """The tree that was counted whole, and its number of files; there is one at most."""
        query = "select id, files from tree where id = base"
        row = self._try(lambda db: db.execute(query).fetchone(), None)
        return None if row is None else (str(row[0]), int(row[1]))

    def put_base(self, tree: str, files: int, counts: dict[str, int]) -> None:
        """Store a tree that was counted whole; it takes the place of what was counted before."""

        def write(db: sqlite3.Connection) -> None:
            with _transaction(db):
                for table in ("tree", "df", "delta"):
                    db.execute(f"delete from {table}")  # noqa: S608 - the three names above
                db.executemany("insert into df values (?, ?, ?)", ((tree, t, n) for t, n in counts.items()))
                db.execute("insert into tree values (?, ?, ?)", (tree, tree, files))

        self._try(write, None)

    def put_delta(self, tree: str, base: str, files: int, changes: dict[str, int]) -> None:
        """Store a tree as what differs from a base."""

        def write(db: sqlite3.Connection) -> None:
            with _transaction(db):
                db.executemany(
                    "insert or replace into delta values (?, ?, ?)", ((tree, t, d) for t, d in changes.items() if d)
                )
                db.execute("insert or replace into tree values (?, ?, ?)", (tree, base, files))

        self._try(write, None)

    def frequencies(self, tree: str, words: Sequence[str]) -> dict[str, int] | None:
        """In how many files of the tree each word stands; None where the tree was not counted."""

        def read(db: sqlite3.Connection) -> dict[str, int] | None:
            row = db.execute("select base from tree where id = ?", (tree,)).fetchone()
            if row is None:
                return None
            found = {}
            for word in words:
                n = db.execute("select n from df where base = ? and term = ?", (row[0], word)).fetchone()
                d = db.execute("select d from delta where tree = ? and term = ?", (tree, word)).fetchone()
                found[word] = (n[0] if n else 0) + (d[0] if d else 0)
            return found

        return self._try(read, None)

    # -- stages ----------------------------------------------------------------------------------

    def stage(self, key: str) -> bytes | None:
        """What a stage gave for exactly this key."""
        row = self._try(lambda db: db.execute("select payload from stage where key = ?", (key,)).fetchone(), None)
        return None if row is None else bytes(row[0])

    def put_stage(self, key: str, payload: bytes) -> None:
        """Keep what a stage gave; the oldest make room."""

        def write(db: sqlite3.Connection) -> None:
            with _transaction(db):
                db.execute("insert or ignore into stage values (?, ?)", (key, payload))
                db.execute("delete from stage where rowid <= (select max(rowid) from stage) - ?", (STAGES_KEPT,))

        self._try(write, None)

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        if self._connected is not None:
            self._connected.close()
            self._connected = None

    # -- the file --------------------------------------------------------------------------------

    def _try(self, act: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Do it, or do without: a broken file is begun anew once, anything else ends the store's use."""
        if self.problem is not None:
            return otherwise
        try:
            return act(self._connection())
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):  # another run is writing: this once, do without
                self._give_up(str(error))
        except sqlite3.DatabaseError as error:
            if self._healed:
                self._give_up(str(error))
                return otherwise
            self._healed = True
            if self._move_aside():
                return self._try(act, otherwise)
            self._give_up(str(error))
        except OSError as error:
            self._give_up(error.strerror or str(error))
        return otherwise

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock of long work, which one process does at a time; a killed one lets it go."""
        if self.path is None:
            yield
            return
        from filelock import FileLock

        with FileLock(self.path.with_suffix(".lock")):
            yield

    def _connection(self) -> sqlite3.Connection:
        if self._connected is None and self.path is None:
            self._connected = sqlite3.connect(":memory:", isolation_level=None)
            self._connected.executescript(_SCHEMA)
        elif self._connected is None and self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not self.path.exists()
            db = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self._connected = db
            db.execute("pragma journal_mode = wal")
            # a power loss may take the last batches, never the file: they are made again
            db.execute("pragma synchronous = normal")
            db.executescript(_SCHEMA)
            if is_new:
                self._drop_old(self.path)
        assert self._connected is not None
        return self._connected

    def _move_aside(self) -> bool:
        self.close()
        if self.path is None:
            return False
        try:
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            self.path.replace(self.path.with_suffix(".broken"))
        except OSError:
            return False
        return True

    @staticmethod
    def _drop_old(path: Path) -> None:
        """Remove indexes of toolchains that nobody used for a month."""
        for old in path.parent.glob("index-*.sqlite*"):
            with contextlib.suppress(OSError):
                if not old.name.startswith(path.name) and time.time() - old.stat().st_mtime > OLD_AFTER_S:
                    old.unlink()

    def _give_up(self, why: str) -> None:
        self.problem = f"the index {self.path.name if self.path else 'in memory'} is not used: {why}"
        with contextlib.suppress(sqlite3.Error):
            self.close()


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it or none, and the write lock from the start: two writers wait for each other, none fails late."""
    db.execute("begin immediate")
    try:
        yield
    except BaseException:
        db.execute("rollback")
        raise
    db.execute("commit")
