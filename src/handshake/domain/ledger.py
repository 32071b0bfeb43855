"""RunLedger: idempotency and recovery. Contract: `state.md`. Append-only: steps are added and move forward."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from handshake.domain.artifact import ArtifactHandle
from handshake.domain.canonical import hash_of
from handshake.domain.errors import IllegalTransition
from handshake.domain.record import Record


class StepStatus(StrEnum):
    """Where a step stands."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


# in_progress may become pending again: recovery found no stored reply
_FORWARD = {
    StepStatus.PENDING: {StepStatus.IN_PROGRESS},
    StepStatus.IN_PROGRESS: {StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.PENDING},
    StepStatus.FAILED: {StepStatus.IN_PROGRESS},
    StepStatus.COMPLETED: set(),
}


def step_id(mt_id: str, number: int) -> str:
    """`<mt_id>_iter-<NNN>`; NNN counts the MT's iterations across levels, 000 is the untouched tree."""
    return f"{mt_id}_iter-{number:03d}"


def idempotency_key(mt_id: str, iteration: int, model_id: str, lora_id: str | None, prompt_hash: str) -> str:
    """SHA-256 over what makes a step the same step."""
    return hash_of([mt_id, iteration, model_id, lora_id, prompt_hash])


class LedgerStep(Record):
    """One step of the run."""

    step_id: str
    idempotency_key: str
    status: StepStatus
    started_at: datetime | None = None
    completed_at: datetime | None = None
    output_artifact_ref: ArtifactHandle | None = None
    error: str | None = None
    recoverable: bool = True


class RunLedger(Record):
    """All steps of a job, in the order they began."""

    ledger_id: str
    wp_id: str
    job_id: str
    created_at: datetime
    steps: tuple[LedgerStep, ...] = ()
    resume_point: str | None = None
    resume_reason: str | None = None

    def step(self, wanted: str) -> LedgerStep | None:
        """The step of that id, if it is there."""
        return next((step for step in self.steps if step.step_id == wanted), None)

    def with_step(self, step: LedgerStep) -> RunLedger:
        """A copy with the step added, or moved forward.

        Raises:
            IllegalTransition: the step would move back.
        """
        known = self.step(step.step_id)
        if known is None:
            return self.model_copy(update={"steps": (*self.steps, step)})
        if step.status != known.status and step.status not in _FORWARD[known.status]:
            raise IllegalTransition(f"ledger step {step.step_id}: {known.status} cannot become {step.status}")
        rows = tuple(step if row.step_id == step.step_id else row for row in self.steps)
        return self.model_copy(update={"steps": rows})
