"""Groups of files in the making, and what one group may hold. Contract: `micro-tasks.md`, MicroTaskDefinition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MOST_MODIFIED = 5
MOST_CREATED = 3
MOST_CRITERIA = 8

Edges = Mapping[tuple[str, str], int]


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


class Groups:
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
