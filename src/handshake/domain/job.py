"""The job record and its inputs. Contract: `loop.md`, The job."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, model_validator

from handshake.domain.artifact import ArtifactHandle
from handshake.domain.errors import JobRefused
from handshake.domain.policy import ExecutionPolicy
from handshake.domain.record import Record
from handshake.domain.states import JobStatus, Phase

PROFILE_ID = "micro_task_executor_v1"


class JobKind(StrEnum):
    """The closed set of kinds; only `micro_task_execution` runs here."""

    DOC_EDIT = "doc_edit"
    DOC_REWRITE = "doc_rewrite"
    DOC_SUMMARIZE = "doc_summarize"
    SHEET_TRANSFORM = "sheet_transform"
    CANVAS_CLUSTER = "canvas_cluster"
    ASR_TRANSCRIBE = "asr_transcribe"
    WORKFLOW_RUN = "workflow_run"
    MICRO_TASK_EXECUTION = "micro_task_execution"
    SPEC_ROUTER = "spec_router"
    DEBUG_BUNDLE_EXPORT = "debug_bundle_export"
    TERMINAL_EXEC = "terminal_exec"
    DOC_INGEST = "doc_ingest"
    DISTILLATION_EVAL = "distillation_eval"


def check_pairing(job_kind: str, profile_id: str, protocol_id: str) -> JobKind:
    """The kind, if kind, profile and protocol go together. Called at creation and again at dispatch.

    Raises:
        JobRefused: an unknown kind, or any other pairing.
    """
    try:
        kind = JobKind(job_kind)
    except ValueError:
        known = ", ".join(k.value for k in JobKind)
        raise JobRefused(f"unknown job_kind {job_kind!r}", next_step=f"use one of: {known}") from None
    if kind is JobKind.WORKFLOW_RUN and profile_id == PROFILE_ID:
        raise JobRefused(
            f"job_kind workflow_run with profile_id {PROFILE_ID} is the legacy pairing",
            next_step=f"set job_kind: micro_task_execution and protocol_id: {PROFILE_ID}",
        )
    if kind is not JobKind.MICRO_TASK_EXECUTION or profile_id != PROFILE_ID or protocol_id != PROFILE_ID:
        raise JobRefused(
            f"job_kind {job_kind!r}, profile_id {profile_id!r} and protocol_id {protocol_id!r} do not go together",
            next_step=f"only micro_task_execution with {PROFILE_ID} for both runs here",
        )
    return kind


class WorkPacketScope(Record):
    """What a packet asks for, as the generator reads it. `test_plan` holds one shell command a line."""

    in_scope_paths: tuple[str, ...] = Field(min_length=1)
    out_of_scope: tuple[str, ...] = ()
    done_means: tuple[str, ...] = Field(min_length=1)
    test_plan: tuple[str, ...] = Field(min_length=1)
    description: str = ""
    risk_tier: Literal["LOW", "MEDIUM", "HIGH"] = "MEDIUM"


class JobInputs(Record):
    """What a job is created from. Definitions are generated, never given."""

    wp_id: str
    wp_scope: WorkPacketScope
    execution_policy: ExecutionPolicy | None = None

    @model_validator(mode="before")
    @classmethod
    def _definitions_are_generated(cls, data: Any) -> Any:
        if isinstance(data, dict) and "mt_definitions" in data:
            raise JobRefused(
                "the job input carries mt_definitions; they are generated from the packet and the tree",
                next_step="remove mt_definitions and change the packet's SCOPE or DONE_MEANS instead",
            )
        return data


class ExecutionState(Record):
    """Where the loop stands inside a job."""

    current_mt_index: int = 0
    current_iteration: int = 0
    current_escalation_level: int = 0
    current_model_id: str = ""
    current_lora_id: str | None = None
    total_iterations: int = 0
    total_escalations: int = 0
    total_drop_backs: int = 0
    started_at: datetime
    last_activity_at: datetime
    phase: Phase = Phase.INITIALIZING


class JobMetrics(Record):
    """Totals that travel with the job record."""

    duration_ms: int = 0
    tokens_prompt: int = 0
    tokens_completion: int = 0
    model_calls: int = 0
    artifact_bytes: int = 0
    cost: float | None = None  # in the currency of the prices; None while no model with a price was asked


class Extension(Record):
    """What humans added to the budgets of the policy, at budget gates."""

    iterations: int = 0
    duration_ms: int = 0
    tokens: int = 0
    cost: float = 0.0
    storage_bytes: int = 0


class Workspace(Record):
    """Where the code side of a run lives. `head_commit` is the last commit that the WP branch must have."""

    base_branch: str
    base_commit: str
    wp_branch: str
    checkpoint_commit: str
    head_commit: str
    packet_path: str


class Job(Record):
    """One attempt-spanning job; `workflow_run_id` is new with each attempt."""

    job_id: str
    workflow_run_id: str
    trace_id: str
    parent_job_id: str | None = None
    job_kind: JobKind = JobKind.MICRO_TASK_EXECUTION
    profile_id: str = PROFILE_ID
    protocol_id: str = PROFILE_ID
    task_schema_version: str = "1.0"
    capability_profile_id: str = "Coder"
    access_mode: Literal["analysis_only", "preview_only", "apply_scoped"] = "apply_scoped"
    safety_mode: str = "standard"
    wp_id: str
    mt_definitions_ref: ArtifactHandle
    progress_artifact_ref: str
    run_ledger_ref: str
    execution_policy: ExecutionPolicy
    execution_state: ExecutionState
    metrics: JobMetrics = Field(default_factory=JobMetrics)
    workspace: Workspace
    status: JobStatus = JobStatus.QUEUED
    gate_number: int = 0
    gate_reason: str | None = None
    extension: Extension = Field(default_factory=Extension)
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error: str | None = None
