"""Whether each engine on the bus keeps the bus's promises. Contract: `tool-bus.md`, Conformance.

Every check runs through a real bus on a scratch directory: what is proven is the way a caller goes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from handshake.config.failpoints import failpoints_suspended
from handshake.domain.artifact import handle_for
from handshake.domain.canonical import sha256_hex
from handshake.domain.clock import Clock, uuid_from
from handshake.domain.microtask import FileAccess
from handshake.domain.operation import EngineResult, PlannedOperation
from handshake.domain.record import Record
from handshake.domain.reply import Edit
from handshake.toolbus.bus import ToolBus
from handshake.toolbus.capabilities import CapabilityProfile, profile_for
from handshake.toolbus.engine import Engine
from handshake.toolbus.operations import SHELL, WORKSPACE, edit_operation, shell_operation
from handshake.toolbus.registry import LEVELS, shipped_registry
from handshake.toolbus.sandbox import Sandbox

_PREFIX = "conformance"
_NOBODY = CapabilityProfile(profile_id="Nobody")


class ConformanceFinding(Record):
    """What one check of one engine gave."""

    engine_id: str
    check: str
    passed: bool
    reason: str | None = None


class EngineFromAbove(NamedTuple):
    """An engine whose code stands on a floor above: its body, and an operation of it for each id."""

    body: Engine
    sample: Callable[[str], PlannedOperation]


def check_engines(
    sandbox: Sandbox, clock: Clock, from_above: Mapping[str, EngineFromAbove] | None = None
) -> tuple[ConformanceFinding, ...]:
    """Run every check on every engine that has a body, in a stable order.

    Raises:
        OSError: no scratch directory can be made.
    """
    findings: list[ConformanceFinding] = []
    with tempfile.TemporaryDirectory(prefix="handshake-conformance-") as folder:
        further = dict(from_above or {})
        bodies = {engine_id: engine.body for engine_id, engine in further.items()}
        samples = {**_SAMPLES, **{engine_id: _named(engine.sample) for engine_id, engine in further.items()}}
        for engine_id, sample in samples.items():
            worktree = Path(folder).resolve() / engine_id
            worktree.mkdir()
            bench = _Bench(worktree, sandbox, clock, bodies)
            for name, check in _CHECKS.items():
                reason = check(bench, sample)
                findings.append(
                    ConformanceFinding(engine_id=engine_id, check=name, passed=reason is None, reason=reason)
                )
    return tuple(findings)


_FAILING: dict[str, Mapping[str, str]] = {}


def failing_engines(
    sandbox: Sandbox, clock: Clock, from_above: Mapping[str, EngineFromAbove] | None = None
) -> Mapping[str, str]:
    """Engines that break a promise, each with the first one it breaks: not to be called. Asked once per process.

    Raises:
        OSError: no scratch directory can be made.
    """
    key = " ".join((sandbox.describe(), *sorted(from_above or {})))
    if key not in _FAILING:
        with failpoints_suspended():
            failed = [finding for finding in check_engines(sandbox, clock, from_above) if not finding.passed]
        _FAILING[key] = {found.engine_id: f"{found.check}: {found.reason}" for found in reversed(failed)}
    return _FAILING[key]


def _op_id(name: str) -> str:
    """Another one in each process: what an operation leaves running is found, and killed, by its id."""
    return uuid_from(f"conformance:{os.getpid()}:{name}")


def _named(sample: Callable[[str], PlannedOperation]) -> Callable[[str], PlannedOperation]:
    return lambda name: sample(_op_id(f"from above:{name}"))


def _shell_sample(name: str) -> PlannedOperation:
    return shell_operation(_op_id(name), "echo conforms", timeout_ms=10_000)


def _edit_sample(name: str) -> PlannedOperation:
    edit = Edit(path="conforms.txt", form="whole", content="conforms\n")
    return edit_operation(_op_id(name), (edit,), FileAccess(create=(edit.path,)))[0]


_SAMPLES: Mapping[str, Callable[[str], PlannedOperation]] = {SHELL: _shell_sample, WORKSPACE: _edit_sample}


class _Bench:
    """A bus whose records can be asked which gate denied."""

    def __init__(self, worktree: Path, sandbox: Sandbox, clock: Clock, bodies: Mapping[str, Engine]) -> None:
        self.denials: list[str] = []
        self._runs: dict[str, EngineResult] = {}
        self.bus = ToolBus(
            worktree=worktree,
            clock=clock,
            sandbox=sandbox,
            profiles={"Coder": profile_for(()), "Nobody": _NOBODY},
            record=self._record,
            artifact_prefix=_PREFIX,
            bodies=bodies,
        )

    def _record(self, event_type: str, payload: dict[str, Any], key: str) -> None:
        if event_type == "FR-EVT-MEX" and payload["outcome"] == "deny":
            self.denials.append(payload["gate"])

    def ran(self, sample: Sample, name: str = "sample") -> EngineResult:
        """The result of the sample operation; run once for each name."""
        if name not in self._runs:
            self._runs[name] = self.bus.run(sample(name))
        return self._runs[name]

    def denied_by(self, gate: str, op: PlannedOperation, payloads: Mapping[str, bytes] | None = None) -> str | None:
        """None if `gate` and no other denied the operation, else what happened."""
        self.denials.clear()
        result = self.bus.run(op, payloads)
        if result.status == "denied" and self.denials == [gate]:
            return None
        return f"{gate} should deny it; it was {result.status} ({', '.join(self.denials) or 'no gate denied'})"


Sample = Callable[[str], PlannedOperation]


def _schema(bench: _Bench, sample: Sample) -> str | None:
    op = sample("schema")
    strange = op.model_copy(update={"params": {**op.params, "unheard_of": 1}})
    unknown = op.model_copy(update={"operation": "unheard_of"})
    return bench.denied_by("G-SCHEMA", strange) or bench.denied_by("G-SCHEMA", unknown)


def _capability(bench: _Bench, sample: Sample) -> str | None:
    op = sample("capability")
    nobody = op.model_copy(update={"capability_profile_id": "Nobody"})
    silent = op.model_copy(update={"capabilities_requested": ()})
    return bench.denied_by("G-CAP", nobody) or bench.denied_by("G-CAP", silent)


def _budget(bench: _Bench, sample: Sample) -> str | None:
    return bench.denied_by("G-BUDGET", sample("budget").model_copy(update={"budget": None}))


def _integrity(bench: _Bench, sample: Sample) -> str | None:
    handle = handle_for("file", "input", b"as named")
    op = sample("integrity").model_copy(update={"inputs": (handle,)})
    return bench.denied_by("G-INTEGRITY", op, {handle.artifact_id: b"as swapped"})


def _artifacts(bench: _Bench, sample: Sample) -> str | None:
    result = bench.ran(sample)
    if result.status != "succeeded":
        return f"the sample operation {result.status}: {'; '.join(error.message for error in result.errors)}"
    for output in result.outputs:
        if output.handle.content_hash != sha256_hex(output.data) or not output.handle.path.startswith(f"{_PREFIX}/"):
            return f"output {output.handle.path} is no artifact of this operation"
    return None


def _provenance(bench: _Bench, sample: Sample) -> str | None:
    result = bench.ran(sample)
    said = result.provenance
    entry = shipped_registry().engine(said.engine_id)
    if entry is None or (said.engine_version, said.implementation) != (entry.engine_version, entry.implementation):
        return "the provenance does not name the engine of the registry"
    if said.outputs != tuple(output.handle.content_hash for output in result.outputs):
        return "the provenance does not name the outputs"
    return None if said.config_hash and said.capabilities_granted else "the provenance is incomplete"


def _determinism(bench: _Bench, sample: Sample) -> str | None:
    op = sample("determinism")
    entry = shipped_registry().engine(op.engine_id)
    assert entry is not None, op.engine_id
    above = LEVELS[LEVELS.index(entry.determinism_ceiling) + 1 :]
    for level in above:
        if reason := bench.denied_by("G-DET", op.model_copy(update={"determinism": level})):
            return reason
    first, again = bench.ran(sample), bench.ran(sample, "again")
    return None if first.provenance.outputs == again.provenance.outputs else "the same operation gave other outputs"


def _evidence(bench: _Bench, sample: Sample) -> str | None:
    op = sample("evidence").model_copy(update={"determinism": "D1"})
    if reason := bench.denied_by("G-PROVENANCE", op.model_copy(update={"evidence_policy": None})):
        return reason
    return None if bench.ran(sample).evidence else "the result carries no evidence"


_CHECKS: Mapping[str, Callable[[_Bench, Sample], str | None]] = {
    "schema": _schema,
    "capability denial": _capability,
    "budget": _budget,
    "integrity": _integrity,
    "artifact-only output": _artifacts,
    "provenance": _provenance,
    "determinism": _determinism,
    "evidence": _evidence,
}
