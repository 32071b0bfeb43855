"""EscalationRecord, DropBackDecision, DropBackOutcome, DistillationCandidate. Contract: `learning.md`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from handshake.domain.artifact import ArtifactHandle, handle_for
from handshake.domain.record import Record


def _handle_of_old(value: Any) -> Any:
    """Version 0.1.0 named a snapshot by its path alone: its hash fits nothing, so it is never exported."""
    if isinstance(value, str):
        return handle_for("file", value, b"").model_copy(update={"content_hash": "0" * 64})
    return value


Snapshot = Annotated[ArtifactHandle, BeforeValidator(_handle_of_old)]


class ChainStep(Record):
    """What one level did for an MT."""

    level: int
    model_id: str
    lora_id: str | None = None
    lora_version: str | None = None
    iterations: int
    failure_pattern: str | None = None
    last_error: str | None = None
    tokens_used: int
    outcome: Literal["ESCALATE", "SUCCESS", "HARD_GATE"]


class DropBackDecision(Record):
    """Whether the next MT starts lower again. Contract: `loop.md`, Smart drop-back."""

    action: Literal["DROP_BACK", "STAY_ESCALATED"]
    target_level: int | None = None
    reason: str
    confidence: Literal["HIGH", "MEDIUM", "LOW"]


class DropBackOutcome(Record):
    """A drop-back and what came of it: `outcome` is None until the next MT that a model tried has ended.

    `task_tags` are those of `mt_id`, the MT after which the run dropped back.
    """

    mt_id: str
    wp_id: str
    created_at: datetime
    failure_category: str
    task_tags: tuple[str, ...] = ()
    from_level: int
    to_level: int
    reason: str
    next_mt_id: str | None = None
    outcome: Literal["SUCCEEDED", "ESCALATED_AGAIN"] | None = None


class Remediation(Record):
    """What helped in the end."""

    success_level: int | None = None
    success_model_id: str | None = None
    success_lora_id: str | None = None
    failure_category: str | None = None
    contributing_factors: tuple[str, ...] = ()
    drop_back_decision: DropBackDecision | None = None


class EscalationRecord(Record):
    """One per escalated MT; the chain grows, the remediation is filled when it is known."""

    mt_id: str
    wp_id: str
    created_at: datetime
    escalation_chain: tuple[ChainStep, ...]
    remediation: Remediation = Field(default_factory=Remediation)


class StudentAttempt(Record):
    """The lower level's failed attempt."""

    model_id: str
    lora_id: str | None = None
    lora_version: str | None = None
    prompt_snapshot_ref: Snapshot
    output_snapshot_ref: Snapshot
    outcome: Literal["VALIDATION_FAILED", "INCOMPLETE", "ERROR"]
    iterations: int


class TeacherSuccess(Record):
    """The higher level's validated one."""

    model_id: str
    lora_id: str | None = None
    prompt_snapshot_ref: Snapshot
    output_snapshot_ref: Snapshot
    outcome: Literal["VALIDATION_PASSED"] = "VALIDATION_PASSED"
    iterations: int


class DistillationCandidate(Record):
    """A pair to learn from: pending with the student's side, final once a teacher succeeded."""

    skill_log_entry_id: str
    mt_id: str
    wp_id: str
    status: Literal["pending", "final"] = "pending"
    student_attempt: StudentAttempt
    teacher_success: TeacherSuccess | None = None
    task_type_tags: tuple[str, ...] = ()
    contributing_factors: tuple[str, ...] = ()
    data_trust_score: float = Field(default=0.0, ge=0.0, le=1.0)
    distillation_eligible: bool = False
