"""The index of a repository: a pack of each file, and in how many files each word stands. Contract: `context.md`.

A file's pack belongs to its path and the SHA-256 of its bytes; word counts belong to a git tree. So nothing is ever
stale: another content is another key. Bringing the index to a new tree reads the files that git says differ.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from handshake.config.failpoints import failpoint
from handshake.domain.canonical import sha256_hex
from handshake.domain.context import ContextPack
from handshake.source.languages import Import, language_of
from handshake.source.packs import FileDigest, digest_file, is_minified, toolchain_hash
from handshake.source.store import IndexStore
from handshake.source.text import MAX_INDEXED_BYTES, lines_of
from handshake.source.words import distinct_terms

BATCH = 200
KEPT_IN_MEMORY = 512
NEW_BASE_ABOVE = 0.2  # of the files changed since the base: counting anew is cheaper than carrying the difference

Progress = Callable[[int, int], None]


class Changed(Protocol):
    """A path with its blob before and after."""

    @property
    def path(self) -> str: ...
    @property
    def before(self) -> str | None: ...
    @property
    def after(self) -> str | None: ...


class IndexedTree(Protocol):
    """A git tree, as `handshake.repo.tree.TreeView` is one."""

    @property
    def tree_id(self) -> str:
        """The id of the root tree."""
        ...

    def ids(self) -> dict[str, str]:
        """Each file's blob."""
        ...

    def blob(self, blob_id: str, most: int | None = None) -> bytes | None:
        """The bytes of a blob; None where there are more than `most`."""
        ...

    def changed_since(self, tree_id: str) -> Sequence[Changed] | None:
        """The files that differ from another tree; None where that is gone."""
        ...


@dataclass(frozen=True)
class Refreshed:
    """What bringing the index to a tree took: the tree's files, and how many were read and parsed for it."""

    files: int
    read: int
    parsed: int


@dataclass(frozen=True)
class WordCounts:
    """In how many of `files` files each asked word stands."""

    tree_id: str
    files: int
    holding: dict[str, int]


class SourceIndex:
    """The index of one repository; any number of processes may use the same folder.

    Args:
        folder: where the file is kept, outside of every worktree, e.g. `.git/handshake/context`; None keeps
            all of it in the memory of this process.
    """

    def __init__(self, folder: Path | None) -> None:
        self._store = IndexStore(folder, toolchain_hash())
        self._memory: OrderedDict[tuple[str, str], FileDigest] = OrderedDict()

    @property
    def problem(self) -> str | None:
        """Why there is no index on disk to use, in a line; None while all is well."""
        return self._store.problem

    @property
    def path(self) -> Path | None:
        """The index's file, where there is one."""
        return self._store.path

    def digest(
        self, path: str, lines: Sequence[str], digest: str, *, complete: bool = True
    ) -> tuple[FileDigest, bool]:
        """A file's digest, and whether it was there already.

        Args:
            path: repo-relative.
            lines: the file's text as it is now.
            digest: SHA-256 of its bytes.
            complete: whether the lines are all of it; what was cut is never stored.
        """
        key = (path, digest)
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key], True
        stored = self._store.packs([key]).get(key) if complete else None
        found = _unpacked(stored, key) if stored is not None else None
        made = found or digest_file(path, lines, digest, complete=complete)
        if complete:
            if found is None:
                self._store.put_packs([(path, digest, _packed(made))])
            self._remember(key, made)
        return made, found is not None

    def _remember(self, key: tuple[str, str], digest: FileDigest) -> None:
        self._memory[key] = digest
        if len(self._memory) > KEPT_IN_MEMORY:
            self._memory.popitem(last=False)

    def knows(self, tree_id: str) -> bool:
        """Whether the words of a tree are counted."""
        return self._store.tree_files(tree_id) is not None

    def stage(self, key: str) -> bytes | None:
        """What was kept under exactly this key."""
        return self._store.stage(key)

    def put_stage(self, key: str, payload: bytes) -> None:
        """Keep an answer under its key."""
        self._store.put_stage(key, payload)

    def counts(self, tree_id: str, words: Iterable[str]) -> WordCounts | None:
        """In how many files of a tree each word stands; None where the index was not brought to that tree."""
        files = self._store.tree_files(tree_id)
        holding = self._store.frequencies(tree_id, sorted(set(words))) if files is not None else None
        return None if files is None or holding is None else WordCounts(tree_id, files, holding)

    def refresh(self, tree: IndexedTree, said: Progress | None = None, *, packs: bool = False) -> Refreshed:
        """Bring the word counts to a tree. Where they are there already, one look into the file is all.

        Killed in the middle it leaves no counts of that tree, and what it left is whole.

        Args:
            tree: the commit's files.
            said: told how many files of how many are read.
            packs: also make the pack of each file that is read; else packs are made when they are asked for.
        """
        known = self._store.tree_files(tree.tree_id)
        if known is not None or self._store.problem is not None:
            return Refreshed(known or 0, 0, 0)
        with self._store.writing():  # a second run waits, and finds the work done
            known = self._store.tree_files(tree.tree_id)
            if known is not None:
                return Refreshed(known, 0, 0)
            base = self._store.last_base()
            changes = tree.changed_since(base[0]) if base else None
            if base is not None and changes is not None and len(changes) <= NEW_BASE_ABOVE * max(50, base[1]):
                return self._follow(_Reader(tree, self._store, said, packs), base, changes, tree.tree_id)
            return self._count_whole(_Reader(tree, self._store, said, packs), tree)

    def _count_whole(self, reader: _Reader, tree: IndexedTree) -> Refreshed:
        counts: Counter[str] = Counter()
        files = reader.read([(path, blob) for path, blob in sorted(tree.ids().items())], counts.update)
        self._store.put_base(tree.tree_id, files, counts)
        return Refreshed(files, reader.files_read, reader.parsed)

    def _follow(self, reader: _Reader, base: tuple[str, int], changes: Sequence[Changed], tree_id: str) -> Refreshed:
        counts: Counter[str] = Counter()
        gone = reader.read([(c.path, c.before) for c in changes if c.before], counts.subtract)
        came = reader.read([(c.path, c.after) for c in changes if c.after], counts.update)
        files = base[1] - gone + came
        self._store.put_delta(tree_id, base[0], files, counts)
        return Refreshed(files, came, reader.parsed)

    def close(self) -> None:
        """Close the file."""
        self._store.close()


class _Reader:
    """Reads blobs for the index: words of each, packs of those that have none yet."""

    def __init__(self, tree: IndexedTree, store: IndexStore, said: Progress | None, packs: bool) -> None:
        self._tree = tree
        self._store = store
        self._said = said
        self._packs = packs
        self.files_read = 0
        self.parsed = 0

    def read(self, files: Sequence[tuple[str, str]], count: Callable[[set[str]], None]) -> int:
        """Count the words of each text file, once each; how many were texts."""
        texts = 0
        for start in range(0, len(files), BATCH):
            batch = []
            for path, blob in files[start : start + BATCH]:
                data = self._tree.blob(blob, MAX_INDEXED_BYTES)
                self.files_read += 1
                lines = lines_of(data) if data is not None else None
                if data is None or lines is None or is_minified(lines):
                    continue
                texts += 1
                count(distinct_terms(path + "\n" + "\n".join(lines)))
                if self._packs and language_of(path) is not None:
                    batch.append((path, sha256_hex(data), lines))
            self._pack(batch)
            if self._said is not None:
                self._said(min(start + BATCH, len(files)), len(files))
        return texts

    def _pack(self, batch: Sequence[tuple[str, str, tuple[str, ...]]]) -> None:
        known = self._store.packs([(path, digest) for path, digest, _ in batch])
        missing = [row for row in batch if (row[0], row[1]) not in known]
        rows = [(path, digest, _packed(digest_file(path, lines, digest))) for path, digest, lines in missing]
        self.parsed += len(rows)
        if rows:
            failpoint("index.batch:before")
            self._store.put_packs(rows)
            failpoint("index.batch:after")


def _packed(digest: FileDigest) -> bytes:
    imports = [[item.module, item.name, item.local, item.child] for item in digest.imports]
    text = f'{{"imports":{json.dumps(imports, ensure_ascii=False)},"pack":{digest.pack.model_dump_json()}}}'
    return zlib.compress(text.encode("utf-8"), 1)


def _unpacked(payload: bytes, key: tuple[str, str]) -> FileDigest | None:
    """The stored digest; None where the row is not one of this file, content and toolchain."""
    try:
        raw = json.loads(zlib.decompress(payload))
        pack = ContextPack.model_validate(raw["pack"])
        imports = tuple(Import(*item) for item in raw["imports"])
    except (zlib.error, ValueError, ValidationError, KeyError, TypeError):
        return None
    fits = pack.path == key[0] and pack.toolchain_hash == toolchain_hash()
    return FileDigest(pack, imports) if fits else None


__all__ = ["MAX_INDEXED_BYTES", "IndexedTree", "Refreshed", "SourceIndex", "WordCounts"]
