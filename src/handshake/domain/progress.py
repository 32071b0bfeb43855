"""ProgressArtifact: the loop's state. Contract: `state.md`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from handshake.domain.artifact import ArtifactHandle
from handshake.domain.policy import ExecutionPolicy
from handshake.domain.record import Record


class ProgressStatus(StrEnum):
    """Where the whole packet stands."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    COMPLETED_WITH_ISSUES = "completed_with_issues"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"


class MtStatus(StrEnum):
    """Where one MT stands."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    BLOCKED = "blocked"


class IterationOutcome(StrEnum):
    """How one iteration ended."""

    SUCCESS = "SUCCESS"
    RETRY = "RETRY"
    ESCALATE = "ESCALATE"
    BLOCKED = "BLOCKED"
    SKIPPED = "SKIPPED"


class IterationRecord(Record):
    """One fresh prompt and what came of it. `iteration` counts within the level, from 1."""

    iteration: int = Field(ge=1)
    model_id: str
    lora_id: str | None = None
    escalation_level: int
    started_at: datetime
    completed_at: datetime
    duration_ms: int
    tokens_prompt: int
    tokens_completion: int
    claimed_complete: bool
    validation_passed: bool | None = None
    validation_evidence_ref: ArtifactHandle | None = None
    outcome: IterationOutcome
    failure_category: str | None = None
    error_summary: str | None = None
    context_snapshot_id: str
    step_id: str
    cost: float | None = None
    """At the price of the model when it was asked, in the currency of the prices; None for a model without one."""


class DistillationProgress(Record):
    """What became of an MT's distillation candidate."""

    eligible: bool
    skill_log_entry_id: str | None = None
    task_type_tags: tuple[str, ...] = ()
    candidate_ref: str | None = None


class MtProgress(Record):
    """One MT's entry. `iterations` is append-only."""

    mt_id: str
    name: str
    status: MtStatus = MtStatus.PENDING
    iterations: tuple[IterationRecord, ...] = ()
    already_satisfied: bool | None = None
    final_iteration: int | None = None
    final_model_level: int | None = None
    escalation_record_ref: str | None = None
    summary_ref: ArtifactHandle | None = None
    evidence_refs: tuple[ArtifactHandle, ...] = ()
    distillation_candidate: DistillationProgress | None = None
    commit: str | None = None
    extra_notes: tuple[str, ...] = ()
    pause_passed: bool | None = None


class LearningContext(Record):
    """What was known of the skills when the run started."""

    skill_bank_snapshot_at_start: datetime
    loras_available: tuple[str, ...] = ()
    pending_distillation_jobs: int = 0


class CurrentState(Record):
    """The few figures a reader wants first."""

    active_mt: str | None = None
    active_model_level: int = 0
    total_iterations: int = 0
    total_escalations: int = 0
    total_drop_backs: int = 0


class LevelUse(Record):
    """What one level did with one model, and took. `cost` is None while no call of it had a price."""

    level: int
    model_id: str
    iterations: int
    passed: int
    false_claims: int
    tokens_prompt: int
    tokens_completion: int
    cost: float | None
    duration_ms: int


class AggregateStats(Record):
    """A fold over `micro_tasks`; see `aggregate`."""

    total_mts: int = 0
    by_status: dict[str, int] = Field(default_factory=dict)
    total_iterations: int = 0
    iterations_per_level: dict[str, int] = Field(default_factory=dict)
    tokens_prompt: int = 0
    tokens_completion: int = 0
    duration_ms: int = 0
    escalations: int = 0
    drop_backs: int = 0
    distillation_candidates: int = 0
    success_rate_level_0: float = 0.0


class ProgressArtifact(Record):
    """The state of one job, folded from its events."""

    schema_version: Literal["1.0"] = "1.0"
    wp_id: str
    job_id: str
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None = None
    status: ProgressStatus = ProgressStatus.IN_PROGRESS
    policy: ExecutionPolicy
    learning_context: LearningContext
    current_state: CurrentState = Field(default_factory=CurrentState)
    micro_tasks: tuple[MtProgress, ...]
    aggregate_stats: AggregateStats = Field(default_factory=AggregateStats)

    def entry(self, mt_id: str) -> MtProgress:
        """The entry of that MT.

        Raises:
            KeyError: there is none.
        """
        for entry in self.micro_tasks:
            if entry.mt_id == mt_id:
                return entry
        raise KeyError(mt_id)

    def with_entry(self, entry: MtProgress) -> ProgressArtifact:
        """A copy in which that MT's entry is replaced and the aggregates are folded anew."""
        rows = tuple(entry if row.mt_id == entry.mt_id else row for row in self.micro_tasks)
        changed = self.model_copy(update={"micro_tasks": rows})
        return changed.model_copy(update={"aggregate_stats": aggregate(changed)})


def aggregate(progress: ProgressArtifact) -> AggregateStats:
    """The aggregate statistics: nothing but a fold over the entries and the current state."""
    by_status: dict[str, int] = {}
    per_level: dict[str, int] = {}
    prompt = completion = duration = first_level = 0
    for entry in progress.micro_tasks:
        by_status[entry.status.value] = by_status.get(entry.status.value, 0) + 1
        for row in entry.iterations:
            per_level[str(row.escalation_level)] = per_level.get(str(row.escalation_level), 0) + 1
            prompt += row.tokens_prompt
            completion += row.tokens_completion
            duration += row.duration_ms
        first_level += entry.status is MtStatus.COMPLETED and entry.final_model_level == 0
    done = by_status.get(MtStatus.COMPLETED.value, 0)
    return AggregateStats(
        total_mts=len(progress.micro_tasks),
        by_status=by_status,
        total_iterations=sum(per_level.values()),
        iterations_per_level=per_level,
        tokens_prompt=prompt,
        tokens_completion=completion,
        duration_ms=duration,
        escalations=progress.current_state.total_escalations,
        drop_backs=progress.current_state.total_drop_backs,
        distillation_candidates=sum(e.distillation_candidate is not None for e in progress.micro_tasks),
        success_rate_level_0=first_level / done if done else 0.0,
    )


def total_cost(rows: Iterable[IterationRecord]) -> float | None:
    """What iterations cost together; None where none of them had a price."""
    priced = [row.cost for row in rows if row.cost is not None]
    return round(sum(priced), 6) if priced else None


def use_by_level(rows: Iterable[IterationRecord]) -> tuple[LevelUse, ...]:
    """What each level and model did and took, by level."""
    groups: dict[tuple[int, str], list[IterationRecord]] = {}
    for row in rows:
        groups.setdefault((row.escalation_level, row.model_id), []).append(row)
    return tuple(
        LevelUse(
            level=level,
            model_id=model,
            iterations=len(group),
            passed=sum(bool(row.validation_passed) for row in group),
            false_claims=sum(row.claimed_complete and not row.validation_passed for row in group),
            tokens_prompt=sum(row.tokens_prompt for row in group),
            tokens_completion=sum(row.tokens_completion for row in group),
            cost=total_cost(group),
            duration_ms=sum(row.duration_ms for row in group),
        )
        for (level, model), group in sorted(groups.items())
    )
