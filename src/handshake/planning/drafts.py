"""Drafts: groups on their way to being micro-tasks, and the split of a file that is too much for one.

Contract: `micro-tasks.md`, Generation 3 and 6.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from handshake.planning.assign import Assignment
from handshake.planning.cut import MOST_CRITERIA
from handshake.source.project import Project


@dataclass(frozen=True)
class Draft:
    """One MT to be. `part` of `parts` counts the MTs that share one file; `focus` are this part's definitions."""

    modify: tuple[str, ...]
    create: tuple[str, ...]
    bullets: tuple[int, ...]
    focus: tuple[str, ...] = ()
    part: int = 1
    parts: int = 1

    @property
    def files(self) -> tuple[str, ...]:
        """Every file it writes, sorted."""
        return tuple(sorted((*self.modify, *self.create)))

    @property
    def key(self) -> tuple[str, int]:
        """What ties are broken by."""
        return (self.files[0], self.part)


@dataclass(frozen=True)
class SplitRules:
    """When a file is split: `tokens` of one MT, `finely` for one named definition in each MT."""

    tokens: int
    finely: bool = False
    never: frozenset[str] = frozenset()


def drafts_of(
    groups: Sequence[tuple[str, ...]], project: Project, assignment: Assignment, rules: SplitRules
) -> tuple[Draft, ...]:
    """The drafts of all groups; a file too large or with too many bullets gives several, one after another."""
    drafts: list[Draft] = []
    for group in groups:
        bullets = tuple(sorted({bullet for path in group for bullet in assignment.bullets_of(path)}))
        modify = tuple(path for path in group if project.has(path))
        create = tuple(path for path in group if not project.has(path))
        if len(group) == 1:
            drafts += _split_file(group[0], bullets, project, assignment, rules)
        else:
            drafts.append(Draft(modify, create, bullets))
    return tuple(sorted(drafts, key=lambda draft: draft.key))


def _split_file(
    path: str, bullets: tuple[int, ...], project: Project, assignment: Assignment, rules: SplitRules
) -> list[Draft]:
    is_new = not project.has(path)
    too_large = project.tokens(path) > rules.tokens
    finely = rules.finely and path not in rules.never
    pieces = [(bullets, tuple(_all_definitions(path, bullets, assignment)))]
    if len(bullets) > 1 and (too_large or finely or len(bullets) > MOST_CRITERIA):
        clusters = _clusters(path, bullets, project, assignment)
        pieces = clusters if finely else _packed(path, clusters, project, rules.tokens if too_large else None)
    pieces = [
        (chunk, focus)
        for numbers, focus in pieces
        for chunk in (_chunks(numbers, MOST_CRITERIA) if len(numbers) > MOST_CRITERIA else [numbers])
    ]
    drafts = []
    for part, (numbers, focus) in enumerate(pieces, start=1):
        makes = is_new and part == 1
        drafts.append(Draft(() if makes else (path,), (path,) if makes else (), numbers, focus, part, len(pieces)))
    return drafts


def _all_definitions(path: str, bullets: Collection[int], assignment: Assignment) -> list[str]:
    return sorted({name for bullet in bullets for name in assignment.definitions_of(path, bullet)})


def _chunks(numbers: tuple[int, ...], size: int) -> list[tuple[int, ...]]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def _clusters(
    path: str, bullets: tuple[int, ...], project: Project, assignment: Assignment
) -> list[tuple[tuple[int, ...], tuple[str, ...]]]:
    """Bullets that name a common definition together; callees before callers, then by line; the rest last."""
    clusters: list[tuple[set[int], set[str]]] = []
    rest: set[int] = set()
    for bullet in bullets:
        names = set(assignment.definitions_of(path, bullet))
        if not names:
            rest.add(bullet)
            continue
        merged: tuple[set[int], set[str]] = ({bullet}, names)
        for cluster in [c for c in clusters if c[1] & names]:
            clusters.remove(cluster)
            merged[0].update(cluster[0])
            merged[1].update(cluster[1])
        clusters.append(merged)
    if rest and clusters:
        clusters.sort(key=lambda cluster: _first_line(path, cluster[1], project))
        ordered = _callees_first(path, clusters, project)
        ordered[-1][0].update(rest)
    elif rest:
        return [(tuple(sorted(rest)), ())]
    else:
        clusters.sort(key=lambda cluster: _first_line(path, cluster[1], project))
        ordered = _callees_first(path, clusters, project)
    return [(tuple(sorted(numbers)), tuple(sorted(names))) for numbers, names in ordered]


def _first_line(path: str, names: Collection[str], project: Project) -> int:
    return min((d.start for d in project.outline(path).definitions if d.qualified in names), default=0)


def _body(path: str, names: Collection[str], project: Project) -> str:
    lines = (project.text(path) or "").splitlines()
    spans = [d for d in project.outline(path).definitions if d.qualified in names]
    return "\n".join("\n".join(lines[d.start - 1 : d.end]) for d in spans)


def _callees_first(
    path: str, clusters: list[tuple[set[int], set[str]]], project: Project
) -> list[tuple[set[int], set[str]]]:
    """Move a cluster behind those whose definitions it uses, where that is no circle."""
    waiting, ordered = list(clusters), []
    while waiting:
        for cluster in waiting:
            words = set(re.findall(r"\w+", _body(path, cluster[1], project)))
            others = {name.split(".")[-1] for other in waiting if other is not cluster for name in other[1]}
            if not words & others:
                break
        else:
            cluster = waiting[0]
        waiting.remove(cluster)
        ordered.append(cluster)
    return ordered


def _packed(
    path: str, clusters: list[tuple[tuple[int, ...], tuple[str, ...]]], project: Project, tokens: int | None
) -> list[tuple[tuple[int, ...], tuple[str, ...]]]:
    """Clusters that follow each other in one MT, as many as its budget and its criteria hold."""
    packed: list[tuple[tuple[int, ...], tuple[str, ...]]] = []
    for numbers, names in clusters:
        if packed:
            joined = (tuple(sorted((*packed[-1][0], *numbers))), tuple(sorted((*packed[-1][1], *names))))
            fits = tokens is None or project.count(_body(path, joined[1], project)) <= tokens
            if fits and len(joined[0]) <= MOST_CRITERIA:
                packed[-1] = joined
                continue
        packed.append((numbers, names))
    return packed
