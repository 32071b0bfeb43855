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

from handshake.domain.errors import InvalidEvent
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
    """The shape of one kind of event; a field that ends in `?` may be missing."""

    name: str
    fields: tuple[str, ...]
    actor: Actor | None = None

    @property
    def required(self) -> frozenset[str]:
        """Fields that must be there."""
        return frozenset(f for f in self.fields if not f.endswith("?"))

    @property
    def known(self) -> frozenset[str]:
        """All fields that may be there."""
        return frozenset(f.removesuffix("?") for f in self.fields)


def _type(name: str, fields: str, actor: Actor | None = None) -> EventType:
    return EventType(name, tuple(fields.split()), actor)


EVENT_TYPES: Mapping[str, EventType] = {
    "FR-EVT-MT-001": _type("micro_task_loop_started", "total_mts execution_policy mt_ids execution_waves"),
    "FR-EVT-MT-002": _type(
        "micro_task_iteration_started", "model_id lora_id? escalation_level step_id context_snapshot_id?"
    ),
    "FR-EVT-MT-003": _type(
        "micro_task_iteration_complete",
        "model execution outcome decision context_snapshot_id evidence_artifact_ref? step_id?",
    ),
    "FR-EVT-MT-004": _type("micro_task_complete", "final_iteration final_model_level commit summary_ref"),
    "FR-EVT-MT-005": _type(
        "micro_task_escalated",
        "from_model from_lora? from_level to_model to_lora? to_level reason failure_category"
        " iterations_at_previous_level escalation_record_ref",
    ),
    "FR-EVT-MT-006": _type("micro_task_hard_gate", "reason figures answers"),
    "FR-EVT-MT-007": _type("micro_task_pause_requested", ""),
    "FR-EVT-MT-008": _type("micro_task_resumed", "decision decided_by note?"),
    "FR-EVT-MT-009": _type("micro_task_loop_completed", "outcome statistics"),
    "FR-EVT-MT-010": _type("micro_task_loop_failed", "reason error_category"),
    "FR-EVT-MT-011": _type("micro_task_loop_cancelled", "reason"),
    "FR-EVT-MT-012": _type(
        "micro_task_validation", "passed sample spec_results evidence_artifact_ref op_ids reasons"
    ),
    "FR-EVT-MT-013": _type("micro_task_lora_selection", "model_id lora_id? selector scores"),
    "FR-EVT-MT-014": _type("micro_task_drop_back", "from_level to_level reason confidence"),
    "FR-EVT-MT-015": _type("micro_task_distillation_candidate", "candidate_ref status eligible"),
    "FR-EVT-MT-016": _type("micro_task_skipped", "reason decided_by"),
    "FR-EVT-MT-017": _type("micro_task_blocked", "reason need? recoverable"),
    "FR-EVT-001": _type(
        "terminal_command",
        "command cwd exit_code duration_ms stdout_ref? stderr_ref? op_id timed_out? sandbox?",
    ),
    "FR-EVT-006": _type(
        "llm_inference",
        "model_id token_usage latency_ms? prompt_hash? response_hash? step_id? estimated? from_store?",
    ),
    "FR-EVT-WF-RECOVERY": _type(
        "workflow_recovery",
        "workflow_run_id job_id from_state to_state reason last_heartbeat_ts threshold_secs"
        " resume_point? steps_recovered steps_to_retry",
        "system",
    ),
    "FR-EVT-SEC-VIOLATION": _type("security_violation", "guard file line pattern"),
    "FR-EVT-CAP": _type("capability_check", "capability_id actor_id decision_outcome op_id? stage?"),
    "FR-EVT-MEX": _type("gate_outcome", "op_id gate outcome reason?"),
    "FR-EVT-GOV-GATES-001": _type("governance_gate", "gate outcome error_codes"),
    "FR-EVT-GOV-WP-001": _type("work_packet", "state reason? packet_path? packet_hash?"),
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
    given = frozenset(event.payload)
    if missing := sorted(kind.required - given):
        raise InvalidEvent(f"{where} lacks {', '.join(missing)}")
    if unknown := sorted(given - kind.known):
        raise InvalidEvent(f"{where} has unknown fields {', '.join(unknown)}")
    if event.event_type == "FR-EVT-006" and not event.payload["model_id"]:
        raise InvalidEvent(f"{where} has an empty model_id")
    return event


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
