"""What a report shows, read from a run's records; nothing here knows of HTML. Contract: `interface.md`, `report`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from handshake.domain.events import Event
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.packet import Packet
from handshake.domain.packet_text import read_packet
from handshake.domain.progress import IterationRecord, LevelUse, MtProgress, total_cost, use_by_level
from handshake.loop.run import Run


@dataclass(frozen=True)
class StepView:
    """One iteration: what was asked, said, tried and decided. Texts as on the branch, secrets masked there."""

    row: IterationRecord
    number: int
    prompt: str
    replies: tuple[str, ...]
    patch: str
    verdicts: tuple[dict[str, Any], ...]
    decision: dict[str, Any]
    masked: tuple[dict[str, Any], ...]

    @property
    def outcome(self) -> str:
        """`passed`, `false` (claimed and not true), or what the record says, in small letters."""
        if self.row.validation_passed:
            return "passed"
        if self.row.claimed_complete:
            return "false"
        return self.row.outcome.value.lower()


@dataclass(frozen=True)
class MtView:
    """One micro-task."""

    definition: MicroTaskDefinition
    entry: MtProgress
    steps: tuple[StepView, ...]

    @property
    def duration_ms(self) -> int:
        """Time spent in its iterations."""
        return sum(step.row.duration_ms for step in self.steps)

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return sum(step.row.tokens_prompt + step.row.tokens_completion for step in self.steps)

    @property
    def cost(self) -> float | None:
        """What its iterations cost, None where no model had a price."""
        return total_cost(step.row for step in self.steps)


@dataclass(frozen=True)
class Moment:
    """Something that happened beside the iterations."""

    when: datetime
    kind: str
    title: str
    said: str = ""
    mt_id: str | None = None
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunView:
    """All that the page shows."""

    run: Run
    packet: Packet | None
    packet_text: str
    mts: tuple[MtView, ...]
    levels: tuple[LevelUse, ...]
    moments: tuple[Moment, ...]
    gates: tuple[dict[str, Any], ...]
    candidates: tuple[dict[str, Any], ...]
    events: int

    @property
    def goes_on(self) -> bool:
        """Whether more may follow."""
        return not self.run.ended


def gather(run: Run) -> RunView:
    """Read everything that a report shows.

    Raises:
        InvalidEvent, RecorderFailed: the journal cannot be read.
    """
    events = run.journal.events()
    decisions = {
        str(event.payload.get("step_id")): _as_dict(event.payload["decision"])
        for event in events
        if event.event_type == "FR-EVT-MT-003"
    }
    mts = tuple(_mt(run, definition, decisions) for definition in _in_order(run))
    text = run.packet.decode("utf-8", errors="replace")
    return RunView(
        run=run,
        packet=read_packet(run.packet, run.job.workspace.packet_path).packet,
        packet_text=text,
        mts=mts,
        levels=use_by_level(step.row for mt in mts for step in mt.steps),
        moments=tuple(_moments(events)),
        gates=tuple(_gates(events)),
        candidates=tuple(_candidates(run)),
        events=len(events),
    )


def _in_order(run: Run) -> list[MicroTaskDefinition]:
    return [run.plan.definition(mt_id) for mt_id in run.plan.order]


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"action": str(value)}


def _mt(run: Run, definition: MicroTaskDefinition, decisions: dict[str, dict[str, Any]]) -> MtView:
    entry = run.entry(definition.mt_id)
    steps = tuple(_step(run, row, n, decisions) for n, row in enumerate(entry.iterations, 1))
    return MtView(definition, entry, steps)


def _step(run: Run, row: IterationRecord, number: int, decisions: dict[str, dict[str, Any]]) -> StepView:
    def text(name: str) -> str:
        return (run.artifact(run.paths.step(row.step_id, name)) or b"").decode("utf-8", errors="replace")

    others = (text(f"reply-{n}.md") for n in range(8))
    verdicts = run.artifact_json(run.paths.step(row.step_id, "validation.json")) or {"results": []}
    flags = run.artifact_json(run.paths.step(row.step_id, "secrets.json")) or {"artifacts": []}
    return StepView(
        row=row,
        number=number,
        prompt=text("prompt.md"),
        replies=tuple(reply for reply in (text("reply.md"), *others) if reply),
        patch=text("changes.patch"),
        verdicts=tuple(verdicts["results"]),
        decision=decisions.get(row.step_id, {}),
        masked=tuple(flags["artifacts"]),
    )


def _moments(events: Iterable[Event]) -> Iterator[Moment]:
    """Escalations, gates, answers, drop-backs, recoveries, ends."""
    for event in events:
        told = _TOLD.get(event.event_type)
        if told is not None:
            kind, title, said = told
            figures = event.payload.get("figures") or {}
            known = {name: value for name, value in figures.items() if value is not None}
            yield Moment(event.timestamp, kind, title(event.payload), said(event.payload), event.mt_id, known)


def _escalated_to(p: dict[str, Any]) -> str:
    return f"Escalated to {'a human' if p['to_model'] == 'HARD_GATE' else _level(p)}"


def _level(p: dict[str, Any]) -> str:
    return f"level {p['to_level']}, {p['to_model']}"


def _reason(p: dict[str, Any]) -> str:
    return str(p.get("reason") or "")


def _nothing(_p: dict[str, Any]) -> str:
    return ""


_Said = Callable[[dict[str, Any]], str]

_TOLD: Mapping[str, tuple[str, _Said, _Said]] = {
    "FR-EVT-MT-005": ("escalated", _escalated_to, _reason),
    "FR-EVT-MT-006": ("gate", lambda p: f"Hard gate: {p['reason'].replace('_', ' ')}", _nothing),
    "FR-EVT-MT-007": ("gate", lambda _: "Pause asked for", _nothing),
    "FR-EVT-MT-008": (
        "decided",
        lambda p: f"{p['decided_by']} decided: {p['decision']}",
        lambda p: p.get("note") or "",
    ),
    "FR-EVT-MT-009": ("ended", lambda p: f"The run ended: {p['outcome'].replace('_', ' ')}", _nothing),
    "FR-EVT-MT-010": ("failed", lambda _: "The run failed", _reason),
    "FR-EVT-MT-011": ("failed", lambda _: "The run was cancelled", _reason),
    "FR-EVT-MT-014": ("dropped", lambda p: f"Dropped back to level {p['to_level']}", _reason),
    "FR-EVT-MT-016": ("skipped", lambda p: f"Skipped by {p['decided_by']}", _reason),
    "FR-EVT-MT-017": ("blocked", lambda _: "The model said it was blocked", _reason),
    "FR-EVT-WF-RECOVERY": ("recovered", lambda _: "Recovered", _reason),
    "FR-EVT-SEC-VIOLATION": (
        "violation",
        lambda p: f"Guard {p['guard']}",
        lambda p: f"{p['file']}:{p['line']}: {p['pattern']}",
    ),
}


def _gates(events: Iterable[Event]) -> Iterator[dict[str, Any]]:
    """The packet's own gates, in order; those of the tool bus only where they denied."""
    for event in events:
        p = event.payload
        if event.event_type == "FR-EVT-GOV-GATES-001":
            codes = " ".join(p["error_codes"])
            yield {"name": p["gate"].replace("_", "-"), "passed": p["outcome"] == "pass", "said": codes}
        elif event.event_type == "FR-EVT-MEX" and p["outcome"] == "deny":
            yield {"name": p["gate"], "passed": False, "said": p.get("reason") or ""}
        elif event.event_type == "FR-EVT-CAP" and p["decision_outcome"] == "deny":
            yield {"name": "capability", "passed": False, "said": p["capability_id"]}


def _candidates(run: Run) -> Iterator[dict[str, Any]]:
    for entry in run.progress.micro_tasks:
        stored = run.artifact_json(run.paths.distillation(entry.mt_id))
        if stored is not None:
            yield stored
