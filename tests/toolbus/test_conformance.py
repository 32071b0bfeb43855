"""The engines keep the bus's promises, and one that breaks a promise is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from handshake.domain.artifact import handle_for
from handshake.domain.clock import SystemClock, uuid_from
from handshake.domain.operation import Output
from handshake.toolbus import bus, conformance
from handshake.toolbus.capabilities import CapabilityProfile, default_profiles
from handshake.toolbus.conformance import EngineFromAbove, check_engines
from handshake.toolbus.engine import Answer
from handshake.toolbus.operations import context_operation, shell_operation
from handshake.toolbus.sandbox import OffSandbox


def test_every_engine_conforms() -> None:
    findings = check_engines(OffSandbox(), SystemClock())
    assert [finding for finding in findings if not finding.passed] == []
    assert {finding.engine_id for finding in findings} == {"engine.shell", "engine.workspace"}
    assert len(findings) == 16


def test_an_engine_that_failed_is_not_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def lazy(op: Any, context: Any) -> Answer:
        called.append(op.op_id)
        return Answer(status="succeeded")

    monkeypatch.setattr(bus, "_ENGINES", {"engine.shell": lazy, "engine.workspace": lazy})
    monkeypatch.setattr(conformance, "_FAILING", {})
    failing = conformance.failing_engines(OffSandbox(), SystemClock())
    assert set(failing) == {"engine.shell", "engine.workspace"}
    called.clear()
    a_bus = bus.ToolBus(
        worktree=tmp_path,
        clock=SystemClock(),
        sandbox=OffSandbox(),
        profiles=default_profiles(("true",)),
        record=lambda *_: None,
        artifact_prefix="x",
        failing=failing,
    )
    result = a_bus.run(shell_operation(uuid_from("x"), "true", timeout_ms=1000))
    assert result.status == "denied"
    assert "engine.shell failed its conformance check" in result.errors[0].message
    assert called == []


def test_a_body_from_above_is_gated_like_the_others(tmp_path: Path) -> None:
    asked = []

    def body(op: Any, context: Any) -> Answer:
        asked.append(op.params["step_id"])
        output = Output(handle=handle_for("prompt_payload", "x/prompt.md", b"do"), data=b"do")
        return Answer("succeeded", outputs=(output,), evidence=(output.handle,))

    outcomes: list[tuple[str, str]] = []
    a_bus = bus.ToolBus(
        worktree=tmp_path,
        clock=SystemClock(),
        sandbox=OffSandbox(),
        profiles={**default_profiles(()), "Nobody": CapabilityProfile(profile_id="Nobody")},
        record=lambda kind, payload, _: (
            outcomes.append((payload["gate"], payload["outcome"])) if kind == "FR-EVT-MEX" else None
        ),
        artifact_prefix="x",
        # an engine of ours cannot be replaced
        bodies={"engine.context": body, "engine.shell": body},
    )
    op = context_operation(uuid_from("c"), step_id="MT-001_iter-001", mt_id="MT-001", model_id="m", iteration=1)
    assert a_bus.run(op).status == "succeeded"
    assert [outcome for _, outcome in outcomes] == ["pass"] * 6
    assert a_bus.run(op.model_copy(update={"capability_profile_id": "Nobody"})).status == "denied"
    assert asked == ["MT-001_iter-001"]
    assert a_bus.run(shell_operation(uuid_from("s"), "true", timeout_ms=9000)).facts["exit_code"] == 0


def test_an_engine_that_breaks_a_promise_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def lazy(op: Any, context: Any) -> Answer:
        return Answer(status="succeeded")

    monkeypatch.setattr(bus, "_ENGINES", {"engine.shell": lazy, "engine.workspace": lazy})
    failed = {(f.engine_id, f.check) for f in check_engines(OffSandbox(), SystemClock()) if not f.passed}
    assert ("engine.shell", "evidence") in failed
    assert ("engine.workspace", "evidence") in failed


def test_an_engine_from_a_floor_above_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def sample(op_id: str) -> Any:
        return context_operation(op_id, step_id="MT-001_iter-001", mt_id="MT-001", model_id="m", iteration=1)

    def lazy(op: Any, context: Any) -> Answer:
        return Answer(status="succeeded")

    monkeypatch.setattr(conformance, "_FAILING", {})
    above = {"engine.context": EngineFromAbove(body=lazy, sample=sample)}
    assert set(conformance.failing_engines(OffSandbox(), SystemClock(), above)) == {"engine.context"}
    assert conformance.failing_engines(OffSandbox(), SystemClock()) == {}


def test_processes_that_check_at_the_same_time_leave_each_other_alone() -> None:
    """Both look for strays of the same sample; each finds only its own."""
    text = """
from handshake.domain.clock import SystemClock
from handshake.loop.conforming import failing_engines
from handshake.toolbus.sandbox import choose_sandbox
print(dict(failing_engines(choose_sandbox("off"), SystemClock())))
"""
    children = [subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [child.communicate()[0].strip() for child in children] == ["{}"] * 4
