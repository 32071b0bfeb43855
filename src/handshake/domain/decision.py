"""Decisions: the loop's own after each iteration, and a human's at a gate. Contract: `loop.md`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from handshake.domain.record import Record


class Action(StrEnum):
    """What happens next to the MT."""

    COMPLETE = "complete"
    SKIP = "skip"
    ESCALATE = "escalate"
    RETRY = "retry"
    HARD_GATE = "hard_gate"
    ABORT = "abort"


class GateReason(StrEnum):
    """Why a job stands at a hard gate."""

    MAX_TOTAL_ITERATIONS = "max_total_iterations"
    MAX_DURATION = "max_duration"
    MAX_TOTAL_TOKENS = "max_total_tokens"
    ESCALATION_EXHAUSTED = "escalation_exhausted"
    CLOUD_ESCALATION_DISALLOWED = "cloud_escalation_disallowed"
    TOKEN_OVERRUN = "token_overrun"  # noqa: S105 - a gate's name, not a secret
    RESOURCE_EXHAUSTED = "resource_exhausted"


class Decision(Record):
    """What the loop decided after an iteration, and by which row of the table."""

    action: Action
    rule: int
    reason: str
    gate: GateReason | None = None


class HumanDecision(Record):
    """A decision file, `decisions/<nnn>.yaml`.

    `number` is the gate it answers, or, for the `pause` or `cancel` of a job that runs, the next one.
    """

    schema_version: Literal["1.0"] = "1.0"
    wp_id: str
    job_id: str
    number: int = Field(ge=1)
    decision: Literal["continue", "skip", "abort", "pause", "cancel"]
    decided_by: str = Field(min_length=1)
    decided_at: datetime
    note: str | None = None
    add_iterations: int | None = Field(default=None, ge=1)
    add_minutes: int | None = Field(default=None, ge=1)
    add_tokens: int | None = Field(default=None, ge=1)
    add_cost: float | None = Field(default=None, gt=0)
    level: int | None = Field(default=None, ge=0)

    @property
    def by(self) -> str:
        """Who decided, and why, in a few words."""
        return self.decided_by + (f": {self.note}" if self.note else "")
