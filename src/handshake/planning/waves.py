"""Waves: Kahn levels of the dependency graph. Contract: `micro-tasks.md`, Waves."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import TopologicalSorter

from handshake.domain.microtask import MicroTaskDefinition


def waves_of(definitions: Sequence[MicroTaskDefinition]) -> tuple[tuple[str, ...], ...]:
    """The MTs whose dependencies are met at the same time, level by level, each level sorted by `mt_id`.

    Raises:
        graphlib.CycleError: the graph has a cycle (rule MT-VAL-004 finds it first).
    """
    sorter = TopologicalSorter({mt.mt_id: mt.depends_on for mt in definitions})
    sorter.prepare()
    levels = []
    while sorter.is_active():
        level = tuple(sorted(sorter.get_ready()))
        sorter.done(*level)
        levels.append(level)
    return tuple(levels)
