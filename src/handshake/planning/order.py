"""The order: who waits for whom, and ids along it. Contract: `micro-tasks.md`, Generation 4."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter

from handshake.planning.drafts import Draft

CHAIN, TEST_OF, IMPORT = 0, 1, 2


def dependencies_of(
    drafts: Sequence[Draft], imports: Mapping[str, frozenset[str]], tested: Mapping[str, frozenset[str]]
) -> tuple[frozenset[int], ...]:
    """For each draft, the positions of the drafts it waits for; a circle of imports is opened at its weakest edge.

    Args:
        drafts: the drafts, sorted by their key.
        imports: for each file, the owned files it imports.
        tested: for each test file, the owned files it tests.
    """
    last_part = {path: index for index, draft in enumerate(drafts) for path in draft.files}
    wanted: set[tuple[int, int, int]] = set()
    for index, draft in enumerate(drafts):
        if draft.part > 1:
            wanted.add((CHAIN, index, index - 1))
            continue
        for path in draft.files:
            for kind, targets in ((TEST_OF, tested.get(path, ())), (IMPORT, imports.get(path, ()))):
                wanted.update((kind, index, last_part[t]) for t in targets if t in last_part and t not in draft.files)
    waits: list[set[int]] = [set() for _ in drafts]
    for _, index, target in sorted(wanted):
        if not _reaches(waits, target, index):
            waits[index].add(target)
    return tuple(frozenset(targets) for targets in waits)


def _reaches(waits: Sequence[set[int]], start: int, goal: int) -> bool:
    seen, front = {start}, [start]
    while front:
        here = front.pop()
        if here == goal:
            return True
        fresh = waits[here] - seen
        seen |= fresh
        front.extend(fresh)
    return False


def ordered(drafts: Sequence[Draft], waits: Sequence[frozenset[int]]) -> tuple[int, ...]:
    """Positions in a topological order, ties broken by path."""
    sorter = TopologicalSorter(dict(enumerate(waits)))
    sorter.prepare()
    ready: list[tuple[tuple[str, int], int]] = []
    order = []
    while sorter.is_active():
        for index in sorter.get_ready():
            heapq.heappush(ready, (drafts[index].key, index))
        _, index = heapq.heappop(ready)
        order.append(index)
        sorter.done(index)
    return tuple(order)


def ancestors_of(waits: Sequence[frozenset[int]], order: Sequence[int]) -> tuple[frozenset[int], ...]:
    """For each draft, everything that is done before it, itself included."""
    done: dict[int, frozenset[int]] = {}
    for index in order:
        done[index] = frozenset({index}).union(*(done[target] for target in waits[index]))
    return tuple(done[index] for index in range(len(waits)))
