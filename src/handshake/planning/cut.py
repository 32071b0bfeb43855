"""The cut: files into groups along import edges, so that few edges cross.

Contract: `micro-tasks.md`, Generation 3.
"""

from __future__ import annotations

import heapq
import posixpath
from collections.abc import Mapping, Sequence

from handshake.planning.groups import CutLimits, Edges, Groups, WorkFile
from handshake.planning.refine import improve

SHARED_CRITERION, TEST_OF, IMPORT = 3, 2, 1


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


def cut_into_groups(files: Sequence[WorkFile], edges: Edges, limits: CutLimits) -> tuple[tuple[str, ...], ...]:
    """Groups of paths, each sorted, in the order of their first path.

    The two groups with the most between them are joined first, while they fit together; then single files move or
    change places where fewer edges cross; then files that no bullet names join a neighbour in their folder. Work
    that could stand apart is never all put into one group: a packet decomposes.
    """
    ordered = sorted(files, key=lambda file: file.path)
    groups = _joined(ordered, edges, limits, lightest=IMPORT)
    if len(groups.members) == 1 and _stands_apart(ordered):
        groups = _joined(ordered, edges, limits, lightest=IMPORT + 1)
    else:
        improve(groups, edges)
    _settle_unnamed(groups)
    return tuple(sorted(tuple(sorted(members)) for members in groups.members.values()))


def _joined(files: Sequence[WorkFile], edges: Edges, limits: CutLimits, *, lightest: int) -> Groups:
    groups = Groups(files, limits)
    between: dict[str, dict[str, int]] = {path: {} for path in groups.files}
    for (one, other), weight in edges.items():
        if weight >= lightest:
            between[one][other] = between[other][one] = weight
    heap = [(-weight, one, other) for one, near in between.items() for other, weight in near.items() if one < other]
    heapq.heapify(heap)
    while heap:
        weight, one, other = heapq.heappop(heap)
        # an entry is stale once one of the two is gone or has more between them
        if between.get(one, {}).get(other) != -weight or not groups.merge(one, other):
            continue
        kept = groups.home[one]
        gone = other if kept == one else one
        for near, more in between.pop(gone).items():
            del between[near][gone]
            if near != kept:
                total = between[kept].get(near, 0) + more
                between[kept][near] = between[near][kept] = total
                heapq.heappush(heap, (-total, min(kept, near), max(kept, near)))
    return groups


def _stands_apart(files: Sequence[WorkFile]) -> bool:
    """Whether at least two source files have a bullet that the other has not."""
    own = [set(file.bullets) for file in files if file.bullets and not file.is_test]
    return len(own) > 1 and any(one - other and other - one for one in own for other in own)


def _settle_unnamed(groups: Groups) -> None:
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
