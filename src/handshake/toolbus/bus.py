"""The tool bus: the only way to an engine. Contract: `tool-bus.md`."""

from __future__ import annotations

import errno
import platform
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from handshake.domain.canonical import hash_of, sha256_hex
from handshake.domain.clock import Clock
from handshake.domain.errors import (
    CapabilityViolation,
    EnvironmentProblem,
    HandshakeError,
    ResourceExhausted,
    UsageError,
)
from handshake.domain.operation import (
    CapabilityCheck,
    EngineResult,
    GateOutcome,
    OperationError,
    PlannedOperation,
    Provenance,
)
from handshake.toolbus.capabilities import CapabilityProfile, Stage
from handshake.toolbus.engine import Answer, Engine, EngineContext
from handshake.toolbus.gates import GATES, GateContext, g_cap, g_schema, result_reason
from handshake.toolbus.operations import SHELL, WORKSPACE, exact_json
from handshake.toolbus.registry import Registry, shipped_registry
from handshake.toolbus.sandbox import Sandbox
from handshake.toolbus.shell import run_shell
from handshake.toolbus.workspace import apply_edits

Recorded = Callable[[str, dict[str, Any], str], None]

_ENGINES: Mapping[str, Engine] = {SHELL: run_shell, WORKSPACE: apply_edits}
_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)


class ToolBus:
    """Six gates, then an engine, then the evidence.

    Args:
        worktree: the only directory an engine may write to.
        clock: the source of `started_at`, `ended_at` and durations.
        sandbox: what commands are held by.
        profiles: the white lists, by id.
        record: called with event type, payload and an idempotency key for every gate outcome, capability
            check and finished command, before the result is given back.
        artifact_prefix: where outputs lie on the tracking branch, e.g. `jobs/<job_id>/steps/<step_id>`.
        registry: the shipped one, or a narrowed one.
        bodies: further engines of the registry, whose code stands on a floor above this one.
        failing: engines that may not be called, each with what its conformance check found.
        repository: the git folder that the worktree belongs to: commands see what `git diff` needs of it.
    """

    def __init__(
        self,
        *,
        worktree: Path,
        clock: Clock,
        sandbox: Sandbox,
        profiles: Mapping[str, CapabilityProfile],
        record: Recorded,
        artifact_prefix: str,
        registry: Registry | None = None,
        bodies: Mapping[str, Engine] | None = None,
        failing: Mapping[str, str] | None = None,
        repository: Path | None = None,
    ) -> None:
        self._worktree = worktree.resolve()
        self._clock = clock
        self._sandbox = sandbox
        self._profiles = profiles
        self._record = record
        self._prefix = artifact_prefix
        self._registry = registry or shipped_registry()
        self._bodies = {name: body for name, body in (bodies or {}).items() if name not in _ENGINES}
        self._failing = dict(failing or {})
        self._repository = repository

    def run(
        self, op: PlannedOperation, payloads: Mapping[str, bytes] | None = None, *, stage: Stage = "validation"
    ) -> EngineResult:
        """Gate the operation and, if all six pass, let its engine act.

        A refusal is a result with status `denied` and one error that names the gate; what an engine
        could not do is a result with status `failed`. Neither is raised.

        Raises:
            RecorderFailed: an outcome could not be recorded; then nothing was done.
        """
        started = self._clock.now()
        context = self._gate_context(payloads or {}, stage)
        denied = self._gated(op, context)
        if denied is not None:
            answer = Answer(
                status="denied",
                errors=(OperationError(code=context.code, message=f"{denied.gate}: {denied.reason}"),),
            )
            return self._result(op, answer, started, granted=())
        answer = self._acted(op, context.payloads)
        granted = tuple(check.capability_id for check in context.checks)
        result = self._result(op, answer, started, granted)
        if op.engine_id == SHELL and answer.facts:
            self._record_command(op, result)
        reason = result_reason(result)
        if reason is not None:
            self._record_gate(GateOutcome(op_id=op.op_id, gate="G-DET", outcome="deny", reason=reason), "/result")
            error = OperationError(code="HSK-400-DET", message=reason)
            return result.model_copy(update={"status": "failed", "errors": (*result.errors, error)})
        return result

    def check(self, op: PlannedOperation, *, stage: Stage) -> GateOutcome:
        """Judge an operation's envelope and capabilities without running it, and record what came of it.

        For the check of every MT's commands at job creation. The first of G-SCHEMA and G-CAP that
        denies is given back, else G-CAP's pass.
        """
        context = self._gate_context({}, stage)
        outcome = g_schema(op, context)
        if outcome.outcome == "pass":
            outcome = g_cap(op, context)
        self._record_checks(op, context, stage)
        self._record_gate(outcome, f"/{stage}")
        return outcome

    def _gate_context(self, payloads: Mapping[str, bytes], stage: Stage) -> GateContext:
        return GateContext(
            registry=self._registry,
            profiles=self._profiles,
            worktree=self._worktree,
            engines=frozenset({*_ENGINES, *self._bodies}),
            payloads=dict(payloads),
            failing=self._failing,
            stage=stage,
        )

    def _gated(self, op: PlannedOperation, context: GateContext) -> GateOutcome | None:
        """The outcome that stopped the operation, or None."""
        for gate in GATES:
            outcome = gate(op, context)
            if gate is g_cap:
                self._record_checks(op, context, context.stage)
            self._record_gate(outcome)
            if outcome.outcome == "deny":
                return outcome
        return None

    def _acted(self, op: PlannedOperation, payloads: Mapping[str, bytes]) -> Answer:
        context = EngineContext(
            worktree=self._worktree,
            clock=self._clock,
            sandbox=self._sandbox,
            artifact_prefix=self._prefix,
            payloads=payloads,
            repository=self._repository,
        )
        try:
            body = self._bodies.get(op.engine_id) or _ENGINES[op.engine_id]
            return body(op, context)
        except CapabilityViolation as error:
            return _failed("denied", error)
        except (EnvironmentProblem, UsageError) as error:
            return _failed("failed", error)
        except OSError as error:
            kind = ResourceExhausted if error.errno in _DISK_IS_FULL else EnvironmentProblem
            where = f" ({error.filename})" if error.filename else ""
            return _failed("failed", kind(f"{op.engine_id}: {error.strerror or error}{where}"))

    def _result(
        self, op: PlannedOperation, answer: Answer, started: datetime, granted: tuple[str, ...]
    ) -> EngineResult:
        entry = self._registry.engine(op.engine_id)
        profile = self._profiles.get(op.capability_profile_id)
        provenance = Provenance(
            engine_id=op.engine_id,
            engine_version=entry.engine_version if entry else "unknown",
            implementation=entry.implementation if entry else "unknown",
            determinism=op.determinism,
            config_hash=hash_of(
                {
                    "engine": entry,
                    "profile": profile,
                    "params": sha256_hex(exact_json(op.params)),
                    "budget": op.budget,
                }
            ),
            inputs=tuple(handle.content_hash for handle in op.inputs),
            outputs=tuple(output.handle.content_hash for output in answer.outputs),
            capabilities_granted=granted,
            environment={
                "python": platform.python_version(),
                "system": platform.system(),
                "machine": platform.machine(),
                "sandbox": self._sandbox.name,
                "sandbox_level": self._sandbox.level,
            },
        )
        return EngineResult(
            op_id=op.op_id,
            status=answer.status,
            started_at=started,
            ended_at=self._clock.now(),
            outputs=answer.outputs,
            evidence=answer.evidence,
            provenance=provenance,
            errors=answer.errors,
            facts=answer.facts,
        )

    def _record_gate(self, outcome: GateOutcome, suffix: str = "") -> None:
        payload = outcome.model_dump(exclude_none=True)
        self._record("FR-EVT-MEX", payload, f"{outcome.op_id}/gate/{outcome.gate}{suffix}")

    def _record_checks(self, op: PlannedOperation, context: GateContext, stage: Stage) -> None:
        for check in context.checks:
            self._record_check(check, f"{op.op_id}/cap/{stage}/{check.capability_id}")

    def _record_check(self, check: CapabilityCheck, key: str) -> None:
        self._record("FR-EVT-CAP", check.model_dump(exclude_none=True), key)

    def _record_command(self, op: PlannedOperation, result: EngineResult) -> None:
        facts = result.facts
        self._record(
            "FR-EVT-001",
            {
                "command": op.params["command"],
                "cwd": op.params.get("cwd", "."),
                "exit_code": facts["exit_code"],
                "duration_ms": facts["duration_ms"],
                "stdout_ref": result.outputs[0].handle.path if result.outputs[0].data else None,
                "stderr_ref": result.outputs[1].handle.path if result.outputs[1].data else None,
                "op_id": op.op_id,
                "timed_out": facts["timed_out"],
                "sandbox": facts["sandbox"],
            },
            f"{op.op_id}/command",
        )


def _failed(status: Any, error: HandshakeError) -> Answer:
    return Answer(status=status, errors=(OperationError(code=error.code, message=error.what),))
