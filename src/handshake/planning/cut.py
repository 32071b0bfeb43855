"""The cut: files into groups along import edges, so that few edges cross.

Contract: `micro-tasks.md`, Generation 3.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MOST_MODIFIED = 5
MOST_CREATED = 3
MOST_CRITERIA = 8
SHARED_CRITERION, TEST_OF, IMPORT = 3, 2, 1


@dataclass(frozen=True)
class WorkFile:
    """A file that needs work: how large, whether it is new, and which bullets (by index) it must satisfy."""

    path: str
    is_new: bool
    is_test: bool
    tokens: int
    bullets: tuple[int, ...]


@dataclass(frozen=True)
class CutLimits:
    """What one group may hold."""

    tokens: int
    files: int | None = None


Edges = Mapping[tuple[str, str], int]


def edges_between(
    files: Sequence[WorkFile], imports: Mapping[str, frozenset[str]], tested: Mapping[str, frozenset[str]]
) -> dict[tuple[str, str], int]:
    """Weights of undirected edges (smaller path first): shared bullets, a test and what it tests, imports.

    Args:
        files: the files to cut.
        imports: for each file, the work files it imports.
        tested: for each test file among them, the work files it tests.
    """
    weights: dict[tuple[str, str], int] = {}

    def add(one: str, other: str, weight: int) -> None:
        if one != other:
            key = (min(one, other), max(one, other))
            weights[key] = weights.get(key, 0) + weight

    owners: dict[int, list[str]] = {}
    for file in files:
        for bullet in file.bullets:
            owners.setdefault(bullet, []).append(file.path)
        for target in sorted(imports.get(file.path, frozenset())):
            add(file.path, target, IMPORT)
        for target in sorted(tested.get(file.path, frozenset())):
            add(file.path, target, TEST_OF)
    for paths in owners.values():
        for position, one in enumerate(paths):
            for other in paths[position + 1 :]:
                add(one, other, SHARED_CRITERION)
    return weights


class _Groups:
    """Groups in the making: who is where."""

    def __init__(self, files: Sequence[WorkFile], limits: CutLimits) -> None:
        self.files = {file.path: file for file in files}
        self.limits = limits
        self.home = {path: path for path in self.files}
        self.members: dict[str, set[str]] = {path: {path} for path in self.files}

    def fits(self, paths: set[str]) -> bool:
        files = [self.files[path] for path in paths]
        new = sum(file.is_new for file in files)
        most = self.limits.files
        criteria = {bullet for file in files for bullet in file.bullets}
        return (
            len(files) - new <= MOST_MODIFIED
            and new <= MOST_CREATED
            and (most is None or len(files) <= most)
            and len(criteria) <= MOST_CRITERIA
            and sum(file.tokens for file in files) <= self.limits.tokens
        )

    def merge(self, one: str, other: str) -> bool:
        """Join the groups of two files, if they fit together."""
        first, second = sorted((self.home[one], self.home[other]))
        if first == second or not self.fits(self.members[first] | self.members[second]):
            return False
        for path in self.members[second]:
            self.home[path] = first
        self.members[first] |= self.members.pop(second)
        return True

    def move(self, path: str, target: str) -> None:
        """Put one file into another group."""
        old = self.home[path]
        self.members[old].discard(path)
        self.members[target].add(path)
        self.home[path] = target
        if not self.members[old]:
            del self.members[old]

    def bullets(self, home: str) -> set[int]:
        return {bullet for path in self.members[home] for bullet in self.files[path].bullets}


def cut_into_groups(files: Sequence[WorkFile], edges: Edges, limits: CutLimits) -> tuple[tuple[str, ...], ...]:
    """Groups of paths, each sorted, in the order of their first path.

    Heaviest edges are joined first while the group fits; then single files move where fewer edges cross; then
    files that no bullet names join a neighbour in their folder. Work that could stand apart is never all put
    into one group: a packet decomposes.
    """
    ordered = sorted(files, key=lambda file: file.path)
    groups = _joined(ordered, edges, limits, lightest=IMPORT)
    if len(groups.members) == 1 and _stands_apart(ordered):
        groups = _joined(ordered, edges, limits, lightest=IMPORT + 1)
    else:
        _improve(groups, edges)
    _settle_unnamed(groups)
    return tuple(sorted(tuple(sorted(members)) for members in groups.members.values()))


def _joined(files: Sequence[WorkFile], edges: Edges, limits: CutLimits, *, lightest: int) -> _Groups:
    groups = _Groups(files, limits)
    for (one, other), weight in sorted(edges.items(), key=lambda edge: (-edge[1], edge[0])):
        if weight >= lightest:
            groups.merge(one, other)
    return groups


def _stands_apart(files: Sequence[WorkFile]) -> bool:
    """Whether at least two source files have a bullet that the other has not."""
    own = [set(file.bullets) for file in files if file.bullets and not file.is_test]
    return len(own) > 1 and any(one - other and other - one for one in own for other in own)


def _improve(groups: _Groups, edges: Edges) -> None:
    """Move single files to a neighbouring group where that crosses less weight."""
    near: dict[str, list[tuple[str, int]]] = {path: [] for path in groups.files}
    for (one, other), weight in edges.items():
        near[one].append((other, weight))
        near[other].append((one, weight))
    for _ in range(3):
        moved = False
        for path in sorted(groups.files):
            pull: dict[str, int] = {}
            for other, weight in near[path]:
                pull[groups.home[other]] = pull.get(groups.home[other], 0) + weight
            here = pull.get(groups.home[path], 0)
            for target in sorted(pull, key=lambda home: (-pull[home], home)):
                if pull[target] <= here or target == groups.home[path] or len(groups.members) <= 2:
                    continue
                if groups.fits(groups.members[target] | {path}):
                    groups.move(path, target)
                    moved = True
                    break
        if not moved:
            return


def _settle_unnamed(groups: _Groups) -> None:
    """Groups that no bullet names join another one of the same folder: first one with bullets, else each other."""
    folders: dict[str, list[str]] = {}
    for path in sorted(groups.files):
        folders.setdefault(posixpath.dirname(path), []).append(path)
    for path in sorted(groups.files) if groups.limits.files != 1 else ():
        home = groups.home[path]
        if path != min(groups.members[home]) or groups.bullets(home):
            continue
        homes = {groups.home[other] for other in folders[posixpath.dirname(path)]} - {home}
        for other in sorted(homes, key=lambda one: (not groups.bullets(one), one)):
            if groups.merge(path, other):
                break
