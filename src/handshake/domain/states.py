"""Which state may follow which: the job's table and the loop's. Contract: `loop.md`.

The tables are the only place that knows. Terminal states stand in them empty; an illegal move raises
and changes nothing. `docs/architecture.md` shows both as diagrams made from here (`mermaid`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from handshake.domain.errors import IllegalTransition


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    STALLED = "stalled"
    AWAITING_VALIDATION = "awaiting_validation"
    AWAITING_USER = "awaiting_user"
    COMPLETED = "completed"
    COMPLETED_WITH_ISSUES = "completed_with_issues"
    FAILED = "failed"
    CANCELLED = "cancelled"
    POISONED = "poisoned"


class Phase(StrEnum):
    """What the loop is doing."""

    INITIALIZING = "initializing"
    EXECUTING_MT = "executing_mt"
    VALIDATING = "validating"
    ESCALATING = "escalating"
    PAUSED_USER_GATE = "paused_user_gate"
    PAUSED_HARD_GATE = "paused_hard_gate"
    GENERATING_SUMMARIES = "generating_summaries"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"


_J = JobStatus
_ENDS = frozenset({_J.COMPLETED, _J.COMPLETED_WITH_ISSUES, _J.FAILED, _J.CANCELLED, _J.POISONED})

JOB_TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = {
    _J.QUEUED: frozenset({_J.RUNNING, _J.FAILED, _J.CANCELLED}),
    # only start-up recovery moves running to stalled
    _J.RUNNING: frozenset({_J.STALLED, _J.AWAITING_VALIDATION, _J.AWAITING_USER}) | _ENDS,
    _J.STALLED: frozenset({_J.RUNNING, _J.FAILED, _J.CANCELLED, _J.POISONED}),
    _J.AWAITING_VALIDATION: frozenset({_J.RUNNING, _J.STALLED}) | _ENDS,
    _J.AWAITING_USER: frozenset({_J.RUNNING, _J.FAILED, _J.CANCELLED}),
    _J.COMPLETED: frozenset(),
    _J.COMPLETED_WITH_ISSUES: frozenset(),
    _J.FAILED: frozenset(),
    _J.CANCELLED: frozenset(),
    _J.POISONED: frozenset(),
}

_P = Phase

PHASE_TRANSITIONS: Mapping[Phase, frozenset[Phase]] = {
    _P.INITIALIZING: frozenset({_P.EXECUTING_MT, _P.PAUSED_USER_GATE, _P.FAILED}),
    _P.EXECUTING_MT: frozenset(
        {
            _P.VALIDATING,
            _P.ESCALATING,
            _P.PAUSED_USER_GATE,
            _P.PAUSED_HARD_GATE,
            _P.GENERATING_SUMMARIES,
            _P.FAILED,
        }
    ),
    _P.VALIDATING: frozenset(
        {_P.EXECUTING_MT, _P.ESCALATING, _P.PAUSED_HARD_GATE, _P.GENERATING_SUMMARIES, _P.FAILED}
    ),
    _P.ESCALATING: frozenset({_P.EXECUTING_MT, _P.PAUSED_HARD_GATE, _P.FAILED}),
    _P.PAUSED_USER_GATE: frozenset({_P.EXECUTING_MT, _P.GENERATING_SUMMARIES, _P.FAILED}),
    _P.PAUSED_HARD_GATE: frozenset({_P.EXECUTING_MT, _P.GENERATING_SUMMARIES, _P.FAILED}),
    _P.GENERATING_SUMMARIES: frozenset({_P.FINALIZING, _P.FAILED}),
    _P.FINALIZING: frozenset({_P.COMPLETED, _P.PAUSED_HARD_GATE, _P.FAILED}),
    _P.COMPLETED: frozenset(),
    _P.FAILED: frozenset(),
}

State = TypeVar("State", JobStatus, Phase)


def move(table: Mapping[State, frozenset[State]], current: State, target: State) -> State:
    """The target, if it may follow `current` (a state may always stay what it is).

    Raises:
        IllegalTransition: the table does not allow it.
    """
    if target != current and target not in table[current]:
        raise IllegalTransition(f"{current.value} cannot become {target.value}")
    return target


def is_terminal(status: JobStatus) -> bool:
    """Whether nothing may follow."""
    return not JOB_TRANSITIONS[status]


def mermaid(table: Mapping[State, frozenset[State]]) -> str:
    """The table as a Mermaid state diagram, in a stable order."""
    lines = ["stateDiagram-v2", f"    [*] --> {next(iter(table)).value}"]
    for state, followers in table.items():
        if not followers:
            lines.append(f"    {state.value} --> [*]")
        lines.extend(
            f"    {state.value} --> {follower.value}" for follower in sorted(followers, key=lambda s: s.value)
        )
    return "\n".join(lines) + "\n"
