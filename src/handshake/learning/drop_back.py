"""What drop-backs came to, by failure category and tag. Contract: `learning.md`, Drop-back learning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from handshake.domain.learning import DropBackOutcome
from handshake.learning.records import recorded_jobs
from handshake.repo.git import Repository

ENOUGH = 5
DROP_FROM = 0.7
STAY_BELOW = 0.4

_UNTAGGED = "untagged"


@dataclass(frozen=True)
class Rate:
    """How often a drop-back after this failure category, at tasks with this tag, held."""

    failure_category: str
    tag: str
    succeeded: int
    escalated_again: int

    @property
    def count(self) -> int:
        """Drop-backs whose outcome is known."""
        return self.succeeded + self.escalated_again

    @property
    def success_rate(self) -> float:
        """0 to 1."""
        return round(self.succeeded / self.count, 6) if self.count else 0.0


@dataclass(frozen=True)
class DropBackRates:
    """All rates, by category and tag. Empty where nothing was learnt, or where learning is off."""

    rows: dict[tuple[str, str], Rate] = field(default_factory=dict)

    def verdict(self, category: str, tags: Iterable[str]) -> tuple[bool, str] | None:
        """Whether to drop back after that category at a task with these tags, and the words for it.

        None where fewer than `ENOUGH` outcomes are known or they speak neither way. The tag with the lowest
        rate decides: one more try at the lower level costs less than one more escalation only if it holds.
        """
        known = [self.rows[category, tag] for tag in _keys(tags) if (category, tag) in self.rows]
        enough = [rate for rate in known if rate.count >= ENOUGH]
        if not enough:
            return None
        worst = min(enough, key=lambda rate: (rate.success_rate, rate.tag))
        said = f"learned: {worst.succeeded} of {worst.count} drop-backs after {category} at {worst.tag} held"
        if worst.success_rate >= DROP_FROM:
            return True, said
        return (False, said) if worst.success_rate < STAY_BELOW else None


def rates_of(outcomes: Iterable[DropBackOutcome]) -> DropBackRates:
    """The rates of drop-backs whose outcome is known; each counts once for every tag of its task."""
    counts: dict[tuple[str, str], list[int]] = {}
    for row in outcomes:
        if row.outcome is None:
            continue
        for tag in _keys(row.task_tags):
            pair = counts.setdefault((row.failure_category, tag), [0, 0])
            pair[row.outcome == "ESCALATED_AGAIN"] += 1
    return DropBackRates({key: Rate(*key, *counts[key]) for key in sorted(counts)})


def recorded_outcomes(repo: Repository, namespace: str = "handshake/track") -> Iterator[DropBackOutcome]:
    """Every drop-back on the tracking branches, by packet, job and micro-task.

    Raises:
        StateCorruption: a record on a branch cannot be read.
    """
    for job in recorded_jobs(repo, namespace):
        for path in job.micro_task_files("drop_backs"):
            yield job.read(path, DropBackOutcome)


def _keys(tags: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tags)) or (_UNTAGGED,)
