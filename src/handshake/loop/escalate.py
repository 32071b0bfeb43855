"""One level up, or a human. Contract: `loop.md`, the loop 2.2.i; Hard gates and human decisions."""

from __future__ import annotations

from typing import Any

from handshake.domain.decision import Action, Decision, GateReason
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.progress import ProgressStatus
from handshake.domain.reply import FailureCategory
from handshake.domain.states import JobStatus, Phase
from handshake.loop.decisions import next_number
from handshake.loop.learn import level_rows, record_escalation
from handshake.loop.run import Run

ANSWERS = ("continue", "skip", "abort")


def escalate(
    run: Run,
    mt: MicroTaskDefinition,
    decision: Decision,
    category: FailureCategory,
    *,
    subject: str,
    trailers: dict[str, str],
) -> None:
    """Record the level that failed, then climb, or stop for a human; published as one commit."""
    state = run.job.execution_state
    target = run.job.execution_policy.level(state.current_escalation_level + 1)
    at_gate = decision.action is Action.HARD_GATE
    run.set_phase(Phase.ESCALATING)
    record_escalation(run, mt, target, decision.reason, category, gate=at_gate)
    run.update_state(total_escalations=state.total_escalations + 1)
    if at_gate:
        rows = level_rows(run, run.entry(mt.mt_id))
        figures = {
            "mt_id": mt.mt_id,
            "level": state.current_escalation_level,
            "iterations_at_level": len(rows),
            "iterations_of_mt": len(run.entry(mt.mt_id).iterations),
            "last_error": rows[-1].error_summary if rows else None,
        }
        stop_for_human(run, decision.gate or GateReason.ESCALATION_EXHAUSTED, figures, mt_id=mt.mt_id)
    else:
        run.update_state(current_escalation_level=target.level, current_iteration=0)
        run.set_phase(Phase.EXECUTING_MT)
    run.publish(subject, **trailers)


def _why(figures: dict[str, Any]) -> str | None:
    """The figure that says most, for the line a person sees."""
    said = figures.get("why") or figures.get("last_error")
    return str(said)[:300] if said else None


def stop_for_human(run: Run, reason: GateReason, figures: dict[str, Any], *, mt_id: str | None) -> None:
    """The job waits at a hard gate; the caller publishes. FR-EVT-MT-006."""
    number = next_number(run.branch, run.tip, run.job)
    run.set_phase(Phase.PAUSED_HARD_GATE)
    run.set_status(JobStatus.AWAITING_USER, gate_number=number, gate_reason=reason.value, error=_why(figures))
    run.set_progress_status(ProgressStatus.PAUSED)
    run.emit(
        "FR-EVT-MT-006",
        {"reason": reason.value, "figures": figures, "answers": list(ANSWERS)},
        key=f"gate/{number}/006",
        mt_id=mt_id,
    )
