"""The six gates, in order; the first that denies stops. Contract: `tool-bus.md`, Six gates.

Each gate is `(op, context) -> GateOutcome`. Nothing passes by default: a gate that finds no reason to
trust an operation denies it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from handshake.domain.canonical import sha256_hex
from handshake.domain.errors import CapabilityViolation, UsageError
from handshake.domain.operation import (
    ENVELOPE_VERSION,
    INLINE_LIMIT,
    CapabilityCheck,
    EngineResult,
    GateOutcome,
    PlannedOperation,
    Provenance,
)
from handshake.toolbus.capabilities import CapabilityProfile, Stage, decide, is_known, needs_consent
from handshake.toolbus.commands import programs_of
from handshake.toolbus.operations import PARAMS, EditParams, ShellParams, edits_of, inline_size
from handshake.toolbus.paths import directory_inside, inside
from handshake.toolbus.registry import LEVELS, EngineEntry, EngineOp, Registry, over_budget


@dataclass
class GateContext:
    """What the gates may look at. `checks` and `code` are filled by them."""

    registry: Registry
    profiles: Mapping[str, CapabilityProfile]
    worktree: Path
    engines: frozenset[str]
    payloads: Mapping[str, bytes] = field(default_factory=dict)
    failing: Mapping[str, str] = field(default_factory=dict)
    stage: Stage = "validation"
    checks: list[CapabilityCheck] = field(default_factory=list)
    code: str = ""

    def entry(self, op: PlannedOperation) -> EngineEntry:
        """The engine's entry; G-SCHEMA proved that it is there."""
        entry = self.registry.engine(op.engine_id)
        assert entry is not None, op.engine_id
        return entry

    def engine_op(self, op: PlannedOperation) -> EngineOp:
        """The operation's entry; G-SCHEMA proved that it is there."""
        found = self.entry(op).op(op.operation)
        assert found is not None, op.operation
        return found


Gate = Callable[[PlannedOperation, GateContext], GateOutcome]


def g_schema(op: PlannedOperation, context: GateContext) -> GateOutcome:
    """Denies a wrong or incomplete envelope, an unknown engine or operation."""
    return _judged("G-SCHEMA", op, context, "HSK-400", lambda: _schema_reason(op, context))


def g_cap(op: PlannedOperation, context: GateContext) -> GateOutcome:
    """Denies what was not asked for, is unknown, not the operation's, or not granted. Every check is kept."""
    return _judged("G-CAP", op, context, CapabilityViolation.code, lambda: _capability_reason(op, context))


def g_integrity(op: PlannedOperation, context: GateContext) -> GateOutcome:
    """Denies an artifact whose hash differs, a path that leaves the worktree, an inline payload over 32 KB."""
    return _judged("G-INTEGRITY", op, context, "HSK-422", lambda: _integrity_reason(op, context))


def g_budget(op: PlannedOperation, context: GateContext) -> GateOutcome:
    """Denies no budget, an output spec over it, a budget over the ceiling."""
    return _judged("G-BUDGET", op, context, "HSK-400-BUDGET", lambda: _budget_reason(op, context))


def g_provenance(op: PlannedOperation, context: GateContext) -> GateOutcome:
    """Denies D0/D1 without an evidence policy, and what could not be traced afterwards."""
    return _judged("G-PROVENANCE", op, context, "HSK-400-PROVENANCE", lambda: _provenance_reason(op, context))


def g_det(op: PlannedOperation, context: GateContext) -> GateOutcome:
    """Denies a determinism above the engine's ceiling."""
    return _judged("G-DET", op, context, "HSK-400-DET", lambda: _determinism_reason(op, context))


GATES: tuple[Gate, ...] = (g_schema, g_cap, g_integrity, g_budget, g_provenance, g_det)


def result_reason(result: EngineResult) -> str | None:
    """Why a result is not to be believed: no provenance, or a D0/D1 success without evidence."""
    provenance: Provenance = result.provenance
    for name in ("engine_id", "engine_version", "implementation", "config_hash"):
        if not getattr(provenance, name):
            return f"the result's provenance lacks {name}"
    if provenance.determinism in ("D0", "D1") and result.status == "succeeded" and not result.evidence:
        return f"a {provenance.determinism} result carries no evidence"
    for output in result.outputs:
        if output.handle.content_hash != sha256_hex(output.data):
            return f"output {output.handle.path} does not have the hash it names"
    return None


def _judged(
    gate: Any, op: PlannedOperation, context: GateContext, code: str, reason_of: Callable[[], str | None]
) -> GateOutcome:
    try:
        reason = reason_of()
    except (CapabilityViolation, UsageError) as error:
        reason, code = error.what, error.code
    if reason is not None:
        context.code = code
    return GateOutcome(op_id=op.op_id, gate=gate, outcome="pass" if reason is None else "deny", reason=reason)


def _schema_reason(op: PlannedOperation, context: GateContext) -> str | None:
    if op.schema_version != ENVELOPE_VERSION:
        return f"schema_version is {op.schema_version!r}, not {ENVELOPE_VERSION}"
    if not _is_uuid(op.op_id):
        return f"op_id {op.op_id!r} is no UUID"
    entry = context.registry.engine(op.engine_id)
    if entry is None:
        return f"unknown engine {op.engine_id!r}"
    engine_op = entry.op(op.operation)
    if engine_op is None:
        return f"{op.engine_id} has no operation {op.operation!r}"
    if op.engine_id not in context.engines or engine_op.schema_ref not in PARAMS:
        return f"{op.engine_id} has no body on this bus"
    if op.engine_id in context.failing:
        return f"{op.engine_id} failed its conformance check ({context.failing[op.engine_id]}) and is not called"
    if op.engine_version_req and not _version_fits(entry.engine_version, op.engine_version_req):
        return f"{op.engine_id} is {entry.engine_version}, not {op.engine_version_req}"
    if op.output_spec is None:
        return "output_spec is missing"
    if extra := sorted(set(op.output_spec.expected_types) - set(engine_op.output_types)):
        return f"{op.engine_id}/{op.operation} does not give {', '.join(extra)}"
    try:
        params = PARAMS[engine_op.schema_ref].model_validate(op.params)
    except ValidationError as error:
        first = error.errors()[0]
        return f"params.{'.'.join(map(str, first['loc']))}: {first['msg']}"
    if isinstance(params, EditParams) and (params.edits is None) == (params.edits_ref is None):
        return "params: give either edits or edits_ref"
    return None


def _capability_reason(op: PlannedOperation, context: GateContext) -> str | None:
    profile = context.profiles.get(op.capability_profile_id)
    asked = op.capabilities_requested
    required = context.entry(op).required(context.engine_op(op))
    needed, unjudged = _programs_needed(op)
    reasons = [
        None if asked else "no capabilities are asked for",
        None if profile is not None else f"there is no capability profile {op.capability_profile_id!r}",
        unjudged,
    ]
    for capability in dict.fromkeys((*asked, *needed)):
        check = decide(profile, capability, op_id=op.op_id, stage=context.stage)
        why = _denied(capability, check, required, op)
        context.checks.append(check.model_copy(update={"decision_outcome": "deny"}) if why else check)
        reasons.append(why)
    reasons += _not_asked(asked, required, needed)
    return next((reason for reason in reasons if reason is not None), None)


def _not_asked(asked: tuple[str, ...], required: tuple[str, ...], needed: tuple[str, ...]) -> list[str]:
    """What the engine or the command uses and the envelope keeps quiet about."""
    axes = {capability.partition(":")[0] for capability in asked}
    # a command of built-ins alone (`test -f x`) starts no program and needs no leave to
    missing = [cap for cap in required if cap not in axes and (cap != "proc.exec" or needed)]
    missing += [cap for cap in needed if cap not in asked and "proc.exec" not in asked]
    return [f"{capability} is used and not asked for" for capability in missing]


def _programs_needed(op: PlannedOperation) -> tuple[tuple[str, ...], str | None]:
    """What the command really starts: judged from the text again, whatever the envelope asks for."""
    if "command" not in op.params:
        return (), None
    try:
        return tuple(f"proc.exec:{program}" for program in programs_of(op.params["command"])), None
    except CapabilityViolation as error:
        return (), error.what


def _denied(capability: str, check: CapabilityCheck, required: tuple[str, ...], op: PlannedOperation) -> str | None:
    if not is_known(capability):
        return f"unknown capability {capability!r}"
    if capability.partition(":")[0] not in required:
        return f"{capability} is not for {op.engine_id}/{op.operation}"
    if check.decision_outcome == "deny":
        return f"{capability} is not granted by profile {op.capability_profile_id or 'none'}"
    if needs_consent(capability) and not op.human_consent_obtained:
        return f"{capability} needs human consent on record"
    return None


def _integrity_reason(op: PlannedOperation, context: GateContext) -> str | None:
    if (size := inline_size(op.params)) > INLINE_LIMIT:
        return f"params are {size} bytes inline, over {INLINE_LIMIT}: use an artifact"
    for handle in op.inputs:
        data = context.payloads.get(handle.artifact_id)
        if data is None:
            return f"input {handle.path} was not handed over"
        if len(data) != handle.size_bytes or sha256_hex(data) != handle.content_hash:
            return f"input {handle.path} does not have the hash it names"
    params = PARAMS[context.engine_op(op).schema_ref].model_validate(op.params)
    if isinstance(params, ShellParams):
        directory_inside(context.worktree, params.cwd)
    elif isinstance(params, EditParams):
        for edit in edits_of(
            params, {handle.artifact_id: context.payloads[handle.artifact_id] for handle in op.inputs}
        ):
            inside(context.worktree, edit.path)
    return None


def _budget_reason(op: PlannedOperation, context: GateContext) -> str | None:
    budget = op.budget
    if budget is None or budget.wall_time_ms is None or budget.output_bytes is None:
        return "a budget with wall_time_ms and output_bytes is missing"
    if over := over_budget(budget, context.entry(op).ceiling):
        return f"budget: {over}"
    spec = op.output_spec
    if spec is not None and spec.max_bytes is not None and spec.max_bytes > budget.output_bytes:
        return f"output_spec.max_bytes {spec.max_bytes} is above the budget's {budget.output_bytes}"
    timeout = op.params.get("timeout_ms")
    if timeout is not None and timeout > budget.wall_time_ms:
        return f"timeout_ms {timeout} is above the budget's wall_time_ms {budget.wall_time_ms}"
    return None


def _provenance_reason(op: PlannedOperation, context: GateContext) -> str | None:
    if op.evidence_policy is None:
        return "evidence_policy is missing"
    if op.determinism in ("D0", "D1") and not op.evidence_policy.required:
        return f"{op.determinism} without required evidence"
    entry = context.entry(op)
    if not entry.engine_version or not entry.implementation:
        return f"the registry does not say what {op.engine_id} is"
    return None


def _determinism_reason(op: PlannedOperation, context: GateContext) -> str | None:
    ceiling = context.entry(op).determinism_ceiling
    if LEVELS.index(op.determinism) > LEVELS.index(ceiling):
        return f"determinism {op.determinism} is above {op.engine_id}'s ceiling {ceiling}"
    return None


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _version_fits(version: str, wish: str) -> bool:
    """`1.0.0`, `==1.0.0` or `>=1.0.0`; anything else fits nothing."""
    match = re.fullmatch(r"(>=|==)?\s*(\d+(?:\.\d+)*)", wish)
    if match is None:
        return False
    have, want = ([int(part) for part in text.split(".")] for text in (version, match[2]))
    return have >= want if match[1] == ">=" else have == want
