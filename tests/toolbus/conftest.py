"""A bus over a scratch worktree, with everything it records kept and checked against the event table."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from handshake.domain.clock import SystemClock, SystemIds
from handshake.domain.events import EVENT_TYPES, Event, check_event
from handshake.domain.operation import EngineResult, PlannedOperation
from handshake.toolbus.bus import ToolBus
from handshake.toolbus.capabilities import default_profiles
from handshake.toolbus.operations import shell_operation
from handshake.toolbus.sandbox import OffSandbox, Sandbox, choose_sandbox

sys.path.insert(0, str(Path(__file__).parent))  # for `escape_arena`

ALLOWED = ("pytest", "python", "ruff", "cat", "sleep", "ls", "sh", "setsid", "kill", "head", "yes", "tr", "./run.sh")


@dataclass
class Bench:
    """A bus, its worktree and its records."""

    worktree: Path
    sandbox: Sandbox
    allow: tuple[str, ...] = ALLOWED
    records: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    ids: SystemIds = field(default_factory=SystemIds)

    def __post_init__(self) -> None:
        self.bus = ToolBus(
            worktree=self.worktree,
            clock=SystemClock(),
            sandbox=self.sandbox,
            profiles=default_profiles(self.allow),
            record=self.record,
            artifact_prefix="jobs/j/steps/s",
        )

    def record(self, event_type: str, payload: dict[str, Any], key: str) -> None:
        check_event(
            Event(
                event_id="e",
                event_type=event_type,
                event_name=EVENT_TYPES[event_type].name,
                timestamp=datetime(2026, 1, 1, tzinfo=UTC),
                actor="system",
                trace_id="t",
                job_id="j",
                workflow_run_id="w",
                wp_id="WP-1",
                payload=payload,
            )
        )
        self.records.append((event_type, payload, key))

    def operation(self, command: str) -> PlannedOperation:
        return shell_operation(self.ids.uuid7(), command, timeout_ms=20_000)

    def shell(self, command: str, *, timeout_ms: int = 20_000, **rest: Any) -> EngineResult:
        return self.bus.run(shell_operation(self.ids.uuid7(), command, timeout_ms=timeout_ms, **rest))

    def gates(self) -> list[tuple[str, str]]:
        return [(p["gate"], p["outcome"]) for kind, p, _ in self.records if kind == "FR-EVT-MEX"]

    def checks(self) -> dict[str, str]:
        return {p["capability_id"]: p["decision_outcome"] for kind, p, _ in self.records if kind == "FR-EVT-CAP"}


def text(result: EngineResult, index: int = 0) -> str:
    return result.outputs[index].data.decode("utf-8", "replace")


@pytest.fixture
def worktree(tmp_path: Path) -> Path:
    place = tmp_path / "worktree"
    place.mkdir()
    return place


@pytest.fixture
def bench(worktree: Path) -> Bench:
    return Bench(worktree, OffSandbox())


@pytest.fixture
def held(worktree: Path) -> Bench:
    return Bench(worktree, full_sandbox())


@pytest.fixture(params=["off", "bubblewrap"])
def either(request: pytest.FixtureRequest, worktree: Path) -> Bench:
    return Bench(worktree, OffSandbox() if request.param == "off" else full_sandbox())


@pytest.fixture(params=["off", "bubblewrap", "landlock"])
def each(request: pytest.FixtureRequest, worktree: Path) -> Bench:
    if request.param != "landlock":
        return Bench(worktree, OffSandbox() if request.param == "off" else full_sandbox())
    from handshake.toolbus.landlock import probed_landlock

    partial, reason = probed_landlock()
    if partial is None:
        pytest.skip(reason)
    return Bench(worktree, partial)


@pytest.fixture
def said() -> Callable[[EngineResult, int], str]:
    return text


def full_sandbox() -> Sandbox:
    from handshake.domain.errors import EnvironmentProblem

    try:
        return choose_sandbox("require")
    except EnvironmentProblem as problem:
        pytest.skip(problem.what)
