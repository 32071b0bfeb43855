"""Drafts: groups on their way to being micro-tasks, and the split of a file that is too much for one.

Contract: `micro-tasks.md`, Generation 3 and 6.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from handshake.planning.assign import Assignment
from handshake.planning.focus import Focus
from handshake.planning.groups import MOST_CRITERIA
from handshake.source.project import Project

Piece = tuple[tuple[int, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Draft:
    """One MT to be. `part` of `parts` counts the MTs that share one file.

    `focus` are the definitions that it is about, qualified, in a file that several MTs share or that is too large to
    be shown whole.
    """

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


class Splitter:
    """Turns groups into drafts; a file too large or with too many bullets gives several, one after another.

    Args:
        finely: one named definition in each MT, as the smallest models need it.
        never: files that stay in one piece all the same.
    """

    def __init__(
        self, project: Project, assignment: Assignment, focus: Focus, *, finely: bool, never: frozenset[str]
    ) -> None:
        self._project = project
        self._assignment = assignment
        self._focus = focus
        self._finely = finely
        self._never = never

    def drafts_of(self, groups: Sequence[tuple[str, ...]]) -> tuple[Draft, ...]:
        """The drafts of all groups, sorted by their key."""
        drafts: list[Draft] = []
        for group in groups:
            if len(group) == 1:
                drafts += self._split(group[0])
                continue
            bullets = tuple(sorted({bullet for path in group for bullet in self._assignment.bullets_of(path)}))
            modify = tuple(path for path in group if self._project.has(path))
            create = tuple(path for path in group if not self._project.has(path))
            large = [path for path in modify if self._focus.is_large(path)]
            names = {name for path in large for name in self._focus.all_of(path, self._assignment.bullets_of(path))}
            drafts.append(Draft(modify, create, bullets, tuple(sorted(names))))
        return tuple(sorted(drafts, key=lambda draft: draft.key))

    def _split(self, path: str) -> list[Draft]:
        bullets = self._assignment.bullets_of(path)
        pieces = [
            (chunk, names)
            for numbers, names in self._pieces(path, bullets)
            for chunk in _chunks(numbers, MOST_CRITERIA)
        ]
        drafts = []
        for part, (numbers, names) in enumerate(pieces, start=1):
            makes = part == 1 and not self._project.has(path)
            modify, create = ((), (path,)) if makes else ((path,), ())
            drafts.append(Draft(modify, create, numbers, names, part, len(pieces)))
        return drafts

    def _pieces(self, path: str, bullets: tuple[int, ...]) -> list[Piece]:
        large = bool(bullets) and self._focus.is_large(path)
        finely = self._finely and path not in self._never
        if not large and not finely and len(bullets) <= MOST_CRITERIA:
            return [(bullets, self._focus.all_of(path, bullets))]
        clusters = self._clusters(path, bullets)
        if large and not any(names for _, names in clusters):
            # nothing says where: each piece of the file is looked at
            return [(bullets, names) for names in self._focus.pieces(path)] or [(bullets, ())]
        if large:
            clusters = [piece for cluster in clusters for piece in self._small_enough(path, cluster)]
        return clusters if finely else self._packed(path, clusters, large=large)

    def _clusters(self, path: str, bullets: tuple[int, ...]) -> list[Piece]:
        """Bullets about a common definition together; callees before callers, then by line; the rest last."""
        clusters: list[tuple[set[int], set[str]]] = []
        rest: set[int] = set()
        for bullet in bullets:
            names = set(self._focus.of(path, bullet))
            if not names:
                rest.add(bullet)
                continue
            merged: tuple[set[int], set[str]] = ({bullet}, names)
            for cluster in [c for c in clusters if c[1] & names]:
                clusters.remove(cluster)
                merged[0].update(cluster[0])
                merged[1].update(cluster[1])
            clusters.append(merged)
        if not clusters:
            return [(tuple(sorted(rest)), ())]
        clusters.sort(key=lambda cluster: _first_line(path, cluster[1], self._project))
        ordered = _callees_first(path, clusters, self._project)
        ordered[-1][0].update(rest)
        return [(tuple(sorted(numbers)), tuple(sorted(names))) for numbers, names in ordered]

    def _small_enough(self, path: str, cluster: Piece) -> list[Piece]:
        """A cluster in pieces of definitions that fit the budget, each with the bullets that are about it."""
        numbers, names = cluster
        room = self._focus.limit - self._focus.signature_tokens(path)
        if self._focus.body_tokens(path, names) <= room:
            return [cluster]
        ordered = sorted(names, key=lambda name: _first_line(path, [name], self._project))
        found: list[list[str]] = [[]]
        for name in ordered:
            if found[-1] and self._focus.body_tokens(path, [*found[-1], name]) > room:
                found.append([])
            found[-1].append(name)
        pieces = []
        for piece in found:
            about = tuple(n for n in numbers if set(self._focus.of(path, n)) & set(piece))
            unnamed = tuple(n for n in numbers if not self._focus.of(path, n)) if piece is found[-1] else ()
            pieces.append((tuple(sorted((*about, *unnamed))), tuple(sorted(piece))))
        return pieces

    def _packed(self, path: str, clusters: list[Piece], *, large: bool) -> list[Piece]:
        """Clusters that follow each other in one MT, as many as its budget and its criteria hold."""
        room = self._focus.limit - self._focus.signature_tokens(path)
        packed: list[Piece] = []
        for numbers, names in clusters:
            if packed:
                joined = (tuple(sorted({*packed[-1][0], *numbers})), tuple(sorted({*packed[-1][1], *names})))
                fits = not large or self._focus.body_tokens(path, joined[1]) <= room
                if fits and len(joined[0]) <= MOST_CRITERIA:
                    packed[-1] = joined
                    continue
            packed.append((numbers, names))
        return packed


def _chunks(numbers: tuple[int, ...], size: int) -> list[tuple[int, ...]]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)] or [()]


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
