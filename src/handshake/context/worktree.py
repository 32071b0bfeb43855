"""The worktree as the import graph asks for it: each file looked at once, and only if an import leads there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from handshake.context.sources import SourceFile, read_source
from handshake.source.imports import ImportGraph
from handshake.source.index import SourceIndex
from handshake.source.languages import Outline
from handshake.source.packs import FileDigest, outline_definitions

MOST_IN_FOLDER = 200
MOST_BETWEEN = 30
READ_TOKENS = 40_000


class WorktreeView:
    """Files of a worktree by name, and their outlines from the index.

    Args:
        worktree: its folder.
        index: where packs are kept.
        known: the files that were read already.
    """

    def __init__(self, worktree: Path, index: SourceIndex, known: Iterable[SourceFile] = ()) -> None:
        self._worktree = worktree
        self._root = os.fspath(worktree)
        self._index = index
        self._sources: dict[str, SourceFile | None] = {source.path: source for source in known}
        self._there: dict[str, bool] = {}

    def has(self, path: str) -> bool:
        """Whether a plain file is there."""
        if path not in self._there:
            # asked a thousand times a prompt: pathlib takes four times as long
            there = bool(path) and ".." not in path and os.path.isfile(os.path.join(self._root, path))  # noqa: PTH113, PTH118
            self._there[path] = there
        return self._there[path]

    def in_folder(self, folder: str) -> tuple[str, ...]:
        """The first files directly in a folder, sorted."""
        place = self._worktree.joinpath(folder) if folder else self._worktree
        try:
            names = sorted(entry.name for entry in place.iterdir())[:MOST_IN_FOLDER]
        except OSError:
            return ()
        paths = [f"{folder}/{name}" if folder else name for name in names]
        return tuple(path for path in paths if self.has(path))

    def text(self, path: str) -> str | None:
        """The file's text, its first part where it is large."""
        source = self._source(path)
        return None if source is None else source.text

    def outline(self, path: str) -> Outline:
        """Definitions and imports of the file."""
        source = self._source(path)
        if source is None or source.pack is None:
            return Outline()
        return Outline(outline_definitions(FileDigest(source.pack)), source.imports)

    def _source(self, path: str) -> SourceFile | None:
        if path not in self._sources:
            found = read_source(self._worktree, path, READ_TOKENS).source
            self._sources[path] = None if found is None else with_pack(found, self._index)
        return self._sources[path]


def with_pack(source: SourceFile, index: SourceIndex) -> SourceFile:
    """The file with its pack, from the index or made now."""
    from dataclasses import replace

    digest, known = index.digest(source.path, source.lines, source.digest, complete=not source.cut)
    return replace(source, pack=digest.pack, imports=digest.imports, pack_known=known)


def import_edges(worktree: Path, index: SourceIndex, sources: Iterable[SourceFile]) -> dict[str, frozenset[str]]:
    """Which of the files import which of them, directly or through one file between (a package's front)."""
    known = {source.path: source for source in sources}
    graph = ImportGraph(WorktreeView(worktree, index, known.values()))
    edges: dict[str, frozenset[str]] = {}
    between: dict[str, frozenset[str]] = {}
    for path in sorted(known):
        found: set[str] = set()
        for target in graph.direct(path):
            if target in known:
                found.add(target)
                continue
            if target not in between and len(between) < MOST_BETWEEN:
                between[target] = frozenset(graph.direct(target)) & known.keys()
            found |= between.get(target, frozenset())
        edges[path] = frozenset(found - {path})
    return edges
