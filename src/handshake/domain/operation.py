"""PlannedOperation and EngineResult: brain plans, gates check, body acts, evidence stays. Contract: `tool-bus.md`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from handshake.domain.artifact import ArtifactHandle
from handshake.domain.record import Record

Determinism = Literal["D0", "D1", "D2", "D3"]
ENVELOPE_VERSION = "poe-1.0"
INLINE_LIMIT = 32 * 1024


class OperationBudget(Record):
    """Ceilings of one operation."""

    cpu_time_ms: int | None = Field(default=None, ge=1)
    wall_time_ms: int | None = Field(default=None, ge=1)
    memory_bytes: int | None = Field(default=None, ge=1)
    output_bytes: int | None = Field(default=None, ge=1)


class EvidencePolicy(Record):
    """Whether the result must carry evidence."""

    required: bool
    notes: str | None = None


class OutputSpec(Record):
    """What the operation may give back."""

    expected_types: tuple[str, ...] = ()
    max_bytes: int | None = None


class PlannedOperation(Record):
    """What somebody wants an engine to do. Nothing happens before six gates let it pass."""

    schema_version: str = ENVELOPE_VERSION
    op_id: str
    engine_id: str
    engine_version_req: str | None = None
    operation: str
    inputs: tuple[ArtifactHandle, ...] = ()
    params: dict[str, Any] = Field(default_factory=dict)
    capabilities_requested: tuple[str, ...] = ()
    capability_profile_id: str = ""
    human_consent_obtained: bool = False
    budget: OperationBudget | None = None
    determinism: Determinism = "D1"
    evidence_policy: EvidencePolicy | None = None
    output_spec: OutputSpec | None = None


class Provenance(Record):
    """How the result came to be."""

    engine_id: str
    engine_version: str
    implementation: str
    determinism: Determinism
    config_hash: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    capabilities_granted: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)


class OperationError(Record):
    """Why an operation failed or was denied."""

    code: str
    message: str
    details_ref: str | None = None


class Output(Record):
    """One output of an engine: its handle, its bytes (bounded) and whether they were cut."""

    handle: ArtifactHandle
    data: bytes
    truncated: bool = False


class EngineResult(Record):
    """What came of an operation. `outputs` of `engine.shell` are stdout then stderr; `facts` are engine figures."""

    op_id: str
    status: Literal["succeeded", "failed", "denied"]
    started_at: datetime
    ended_at: datetime
    outputs: tuple[Output, ...] = ()
    evidence: tuple[ArtifactHandle, ...] = ()
    provenance: Provenance
    errors: tuple[OperationError, ...] = ()
    logs_ref: str | None = None
    facts: dict[str, Any] = Field(default_factory=dict)


class Sidecar(Record):
    """What stands beside a stored output, as `<its path>.json`: how it came to be, for who finds the file alone."""

    schema_version: str = "1.0"
    artifact: ArtifactHandle
    op_id: str
    engine_id: str
    engine_version: str
    implementation: str
    determinism: Determinism
    config_hash: str
    inputs: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)
    truncated: bool = False


def sidecar_of(result: EngineResult, artifact: ArtifactHandle, *, truncated: bool = False) -> Sidecar:
    """The sidecar of one output or evidence of a result, as it was stored."""
    said = result.provenance
    return Sidecar(
        artifact=artifact,
        op_id=result.op_id,
        engine_id=said.engine_id,
        engine_version=said.engine_version,
        implementation=said.implementation,
        determinism=said.determinism,
        config_hash=said.config_hash,
        inputs=said.inputs,
        environment=said.environment,
        truncated=truncated,
    )


class GateOutcome(Record):
    """What one of the six gates said."""

    op_id: str
    gate: Literal["G-SCHEMA", "G-CAP", "G-INTEGRITY", "G-BUDGET", "G-PROVENANCE", "G-DET"]
    outcome: Literal["pass", "deny"]
    reason: str | None = None


class CapabilityCheck(Record):
    """One check of one capability, allowed or denied."""

    capability_id: str
    actor_id: str
    decision_outcome: Literal["allow", "deny"]
    op_id: str | None = None
    stage: Literal["creation", "iteration", "validation"] | None = None
