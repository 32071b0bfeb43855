"""What each kind of event carries, beside the base. Contract: `events.md`.

The fields of the contract stand first; those after a blank line are ours: optional, so that a journal that
another tool wrote is read as well. Values are plain JSON; nothing is coerced.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Text = str | None
Status = Literal["SUCCESS", "RETRY", "ESCALATE", "BLOCKED", "SKIPPED"]


class Payload(BaseModel):
    """A payload: unknown fields and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=(), defer_build=True)


class MtFacts(Payload):
    """What is known of a micro-task before it runs: for figures by tag and by size."""

    mt_id: str
    task_tags: list[str]
    token_budget: int
    files: int


class LoopStarted(Payload):
    """FR-EVT-MT-001."""

    total_mts: int
    execution_policy: dict[str, Any]
    mt_ids: list[str]
    execution_waves: list[list[str]]

    micro_tasks: list[MtFacts] | None = None


class IterationStarted(Payload):
    """FR-EVT-MT-002."""

    model_id: str
    lora_id: Text = None
    escalation_level: int
    step_id: str

    context_snapshot_id: Text = None


class ModelUsed(Payload):
    """Who answered. `context_window` in tokens."""

    base: str
    lora: Text = None
    lora_version: Text = None
    quantization: Text = None
    context_window: int | None = None


class Execution(Payload):
    """What the iteration cost."""

    tokens_prompt: int = Field(ge=0)
    tokens_completion: int = Field(ge=0)
    duration_ms: int = Field(ge=0)
    escalation_level: int = Field(ge=0)

    cost: float | None = Field(default=None, ge=0)


class Outcome(Payload):
    """How it ended."""

    claimed_complete: bool
    validation_passed: bool | None = None
    status: Status
    failure_category: Text = None
    error_summary: Text = None


class IterationComplete(Payload):
    """FR-EVT-MT-003."""

    model: ModelUsed
    execution: Execution
    outcome: Outcome
    decision: dict[str, Any] | str
    context_snapshot_id: str
    evidence_artifact_ref: Text = None

    step_id: Text = None


class MtComplete(Payload):
    """FR-EVT-MT-004."""

    final_iteration: int
    final_model_level: int
    commit: str
    summary_ref: str


class Escalated(Payload):
    """FR-EVT-MT-005."""

    from_model: str
    from_lora: Text = None
    from_level: int
    to_model: str
    to_lora: Text = None
    to_level: int
    reason: str
    failure_category: str
    iterations_at_previous_level: int
    escalation_record_ref: str


class HardGate(Payload):
    """FR-EVT-MT-006."""

    reason: str
    figures: dict[str, Any]
    answers: list[str]


class PauseRequested(Payload):
    """FR-EVT-MT-007."""


class Resumed(Payload):
    """FR-EVT-MT-008."""

    decision: str
    decided_by: str
    note: Text = None


class LoopCompleted(Payload):
    """FR-EVT-MT-009."""

    outcome: str
    statistics: dict[str, Any]


class LoopFailed(Payload):
    """FR-EVT-MT-010."""

    reason: str
    error_category: str


class LoopCancelled(Payload):
    """FR-EVT-MT-011."""

    reason: str


class Validation(Payload):
    """FR-EVT-MT-012."""

    passed: bool
    sample: int = Field(ge=0)
    spec_results: list[dict[str, Any]]
    evidence_artifact_ref: str
    op_ids: list[str]
    reasons: list[str]


class LoraSelection(Payload):
    """FR-EVT-MT-013."""

    model_id: str
    lora_id: Text = None
    selector: str
    scores: dict[str, Any] | list[Any]


class DropBack(Payload):
    """FR-EVT-MT-014."""

    from_level: int
    to_level: int | None
    reason: str
    confidence: str


class Candidate(Payload):
    """FR-EVT-MT-015."""

    candidate_ref: str
    status: Literal["pending", "final"]
    eligible: bool


class Skipped(Payload):
    """FR-EVT-MT-016."""

    reason: str
    decided_by: str


class Blocked(Payload):
    """FR-EVT-MT-017."""

    reason: str
    need: Text = None
    recoverable: bool


class TerminalCommand(Payload):
    """FR-EVT-001. `duration_ms` in ms."""

    command: str
    cwd: str
    exit_code: int | None
    duration_ms: int | float
    stdout_ref: Text = None
    stderr_ref: Text = None

    op_id: str
    timed_out: bool | None = None
    sandbox: dict[str, Any] | str | None = None


class TokenUsage(Payload):
    """Tokens of one call."""

    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)
    total_tokens: int = Field(ge=0)


class Inference(Payload):
    """FR-EVT-006. `latency_ms` in ms."""

    model_id: str = Field(min_length=1)
    token_usage: TokenUsage
    latency_ms: int | float | None = None
    prompt_hash: Text = None
    response_hash: Text = None

    step_id: Text = None
    estimated: bool | None = None
    from_store: bool | None = None


class Recovery(Payload):
    """FR-EVT-WF-RECOVERY."""

    workflow_run_id: str
    job_id: str
    from_state: Literal["running"]
    to_state: Literal["stalled"]
    reason: str
    last_heartbeat_ts: Text
    threshold_secs: int
    resume_point: Text = None
    steps_recovered: list[str]
    steps_to_retry: list[str]


class SecurityViolation(Payload):
    """FR-EVT-SEC-VIOLATION."""

    guard: str
    file: str
    line: int | None
    pattern: str


class CapabilityChecked(Payload):
    """FR-EVT-CAP."""

    capability_id: str
    actor_id: str
    decision_outcome: Literal["allow", "deny"]

    op_id: Text = None
    stage: Text = None


class ToolGate(Payload):
    """FR-EVT-MEX."""

    op_id: str
    gate: str
    outcome: str
    reason: Text = None


class GovernanceGate(Payload):
    """FR-EVT-GOV-GATES-001."""

    gate: Literal["phase", "pre_work", "post_work", "pre_commit"]
    outcome: Literal["pass", "fail"]
    error_codes: list[str]


class WorkPacket(Payload):
    """FR-EVT-GOV-WP-001."""

    state: Literal["noticed", "activated", "refused", "finished"]
    reason: Text = None

    packet_path: Text = None
    packet_hash: Text = None
