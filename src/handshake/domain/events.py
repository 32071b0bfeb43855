"""Events of the flight recorder: ids, names and payload shapes. Contract: `events.md`.

`EVENT_TYPES` is the table: an id that is not in it, a name that does not fit its id, a payload field
that is missing or unknown, is an `InvalidEvent`, on writing and on reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import Field, ValidationError

from handshake.domain import event_payloads as shapes
from handshake.domain.errors import InvalidEvent
from handshake.domain.event_payloads import Payload
from handshake.domain.record import Record

Actor = Literal["human", "agent", "system"]


class Event(Record):
    """One line of the journal."""

    event_id: str
    event_type: str
    event_name: str
    timestamp: datetime
    actor: Actor
    trace_id: str
    job_id: str
    workflow_run_id: str
    wp_id: str
    mt_id: str | None = None
    iteration: int | None = None
    payload: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class EventType:
    """The shape of one kind of event."""

    name: str
    payload: type[Payload]
    actor: Actor | None = None

    @property
    def required(self) -> frozenset[str]:
        """Fields that must be there."""
        return frozenset(name for name, field in self.payload.model_fields.items() if field.is_required())

    @property
    def known(self) -> frozenset[str]:
        """All fields that may be there."""
        return frozenset(self.payload.model_fields)


EVENT_TYPES: Mapping[str, EventType] = {
    "FR-EVT-MT-001": EventType("micro_task_loop_started", shapes.LoopStarted),
    "FR-EVT-MT-002": EventType("micro_task_iteration_started", shapes.IterationStarted),
    "FR-EVT-MT-003": EventType("micro_task_iteration_complete", shapes.IterationComplete),
    "FR-EVT-MT-004": EventType("micro_task_complete", shapes.MtComplete),
    "FR-EVT-MT-005": EventType("micro_task_escalated", shapes.Escalated),
    "FR-EVT-MT-006": EventType("micro_task_hard_gate", shapes.HardGate),
    "FR-EVT-MT-007": EventType("micro_task_pause_requested", shapes.PauseRequested),
    "FR-EVT-MT-008": EventType("micro_task_resumed", shapes.Resumed),
    "FR-EVT-MT-009": EventType("micro_task_loop_completed", shapes.LoopCompleted),
    "FR-EVT-MT-010": EventType("micro_task_loop_failed", shapes.LoopFailed),
    "FR-EVT-MT-011": EventType("micro_task_loop_cancelled", shapes.LoopCancelled),
    "FR-EVT-MT-012": EventType("micro_task_validation", shapes.Validation),
    "FR-EVT-MT-013": EventType("micro_task_lora_selection", shapes.LoraSelection),
    "FR-EVT-MT-014": EventType("micro_task_drop_back", shapes.DropBack),
    "FR-EVT-MT-015": EventType("micro_task_distillation_candidate", shapes.Candidate),
    "FR-EVT-MT-016": EventType("micro_task_skipped", shapes.Skipped),
    "FR-EVT-MT-017": EventType("micro_task_blocked", shapes.Blocked),
    "FR-EVT-001": EventType("terminal_command", shapes.TerminalCommand),
    "FR-EVT-006": EventType("llm_inference", shapes.Inference),
    "FR-EVT-WF-RECOVERY": EventType("workflow_recovery", shapes.Recovery, actor="system"),
    "FR-EVT-SEC-VIOLATION": EventType("security_violation", shapes.SecurityViolation),
    "FR-EVT-CAP": EventType("capability_check", shapes.CapabilityChecked),
    "FR-EVT-MEX": EventType("gate_outcome", shapes.ToolGate),
    "FR-EVT-GOV-GATES-001": EventType("governance_gate", shapes.GovernanceGate),
    "FR-EVT-GOV-WP-001": EventType("work_packet", shapes.WorkPacket),
}


def check_event(event: Event) -> Event:
    """The event, if its id is known and its shape is that of the table.

    Raises:
        InvalidEvent: unknown id, wrong name, missing or unknown payload field, wrong actor, empty trace.
    """
    kind = EVENT_TYPES.get(event.event_type)
    if kind is None:
        raise InvalidEvent(f"unknown event id {event.event_type!r}")
    where = f"event {event.event_type}"
    if event.event_name != kind.name:
        raise InvalidEvent(f"{where} is named {event.event_name!r}, not {kind.name!r}")
    if not event.trace_id or not event.job_id:
        raise InvalidEvent(f"{where} has no trace_id or no job_id")
    if kind.actor is not None and event.actor != kind.actor:
        raise InvalidEvent(f"{where} has actor {event.actor}; it must be {kind.actor}")
    try:
        kind.payload.model_validate(event.payload)
    except ValidationError as error:
        raise InvalidEvent(f"{where} {_what_is_wrong(error)}") from None
    return event


def _what_is_wrong(error: ValidationError) -> str:
    """Missing fields first, then unknown ones, then the first wrong value."""
    found = [(row["type"], ".".join(map(str, row["loc"])), row["msg"]) for row in error.errors()]
    for kind, said in (("missing", "lacks"), ("extra_forbidden", "has unknown fields")):
        names = sorted(where for what, where, _ in found if what == kind)
        if names:
            return f"{said} {', '.join(names)}"
    return f"has a wrong {found[0][1] or 'payload'}: {found[0][2]}"


def read_event(data: Any) -> Event:
    """An event from parsed JSON, checked.

    Raises:
        InvalidEvent: the shape is wrong.
    """
    try:
        event = Event.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidEvent(f"not an event: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return check_event(event)
