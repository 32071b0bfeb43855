"""Following what a human decided: at a gate, or asked of a job that runs. Contract: `loop.md`, Human decisions."""

from __future__ import annotations

from handshake.domain.decision import GateReason, HumanDecision
from handshake.domain.errors import WaitsForHuman
from handshake.domain.job import Extension
from handshake.domain.progress import MtStatus, ProgressStatus
from handshake.domain.states import JobStatus, Phase
from handshake.loop.complete import next_mt
from handshake.loop.decisions import answer_at, next_number, request_at
from handshake.loop.limits import room_for_more
from handshake.loop.run import Run

PAUSE_POINT = "pause_point"
PAUSE_REQUESTED = "pause_requested"
DEFAULT_MINUTES = 30


def answer_or_wait(run: Run) -> HumanDecision:
    """The answer to the gate at which the job stands.

    Raises:
        WaitsForHuman: nobody answered yet.
        DecisionRefused: what stands there is no answer to it.
    """
    answer = answer_at(run.branch, run.tip, run.job) if run.tip else None
    if answer is None:
        raise WaitsForHuman(
            f"{run.job.wp_id} waits for a human: {run.job.gate_reason}"
            + (f" ({run.job.error})" if run.job.error else ""),
            next_step=f"handshake decide {run.job.wp_id} continue|skip|abort",
        )
    return answer


def follow_answer(run: Run) -> None:
    """Do what the human decided and go on, or say that the job waits. FR-EVT-MT-008.

    Raises:
        WaitsForHuman: nobody answered yet.
    """
    answer = answer_or_wait(run)
    number = answer.number
    run.emit(
        "FR-EVT-MT-008",
        {"decision": answer.decision, "decided_by": answer.decided_by, "note": answer.note},
        key=f"gate/{number}/008",
        actor="human",
    )
    if answer.decision == "abort":
        _abort(run, answer)
    elif answer.decision == "cancel":
        _cancel(run, answer)
    else:
        reason = run.job.gate_reason
        run.set_status(JobStatus.RUNNING, gate_reason=None, error=None)
        run.set_progress_status(ProgressStatus.IN_PROGRESS)
        if answer.decision == "skip":
            _skip(run, answer)
        else:
            _continue(run, answer, reason)
    run.publish(f"Gate {number}: {answer.decision}", Decision=answer.decision)


def ends_by_hand(run: Run) -> bool:
    """Whether the next thing a run of this job does is to end it, as a human said.

    Raises:
        WaitsForHuman, DecisionRefused: as `answer_or_wait`.
    """
    if run.job.status is JobStatus.AWAITING_USER:
        return answer_or_wait(run).decision in ("abort", "cancel")
    request = request_of(run)
    return request is not None and request.decision == "cancel"


def request_of(run: Run) -> HumanDecision | None:
    """The pause or cancel that somebody asked of a job that waits at no gate; what is no such file is named once."""
    request, refused = request_at(run.branch, run.tip, run.job) if run.tip else (None, ())
    for path, why in refused:
        if path not in run.refusals_said:
            run.refusals_said.add(path)
            run.around.watcher.note(why.line())
    return request


def follow_request(run: Run, request: HumanDecision) -> None:
    """Stop at a gate of its own, or for good. FR-EVT-MT-007, FR-EVT-MT-011."""
    if request.decision == "cancel":
        _cancel(run, request)
        run.publish(f"{run.job.wp_id} cancelled by {' '.join(request.by.split())[:80]}", Decision="cancel")
        return
    wait_at_gate(run, PAUSE_REQUESTED, error=f"asked for by {request.by}")
    run.publish(f"{run.job.wp_id} pauses, as {request.decided_by} asked", Decision="pause")


def wait_at_gate(run: Run, reason: str, *, mt_id: str | None = None, error: str | None = None) -> None:
    """The job waits at a pause; the caller publishes. FR-EVT-MT-007."""
    number = next_number(run.branch, run.tip, run.job)
    run.set_phase(Phase.PAUSED_USER_GATE)
    run.set_status(JobStatus.AWAITING_USER, gate_number=number, gate_reason=reason, error=error)
    run.set_progress_status(ProgressStatus.PAUSED)
    run.emit("FR-EVT-MT-007", {}, key=f"gate/{number}/007", mt_id=mt_id, actor="human" if error else "system")


def _cancel(run: Run, decision: HumanDecision) -> None:
    now, why = run.around.clock.now(), f"cancelled by {decision.by}"
    run.emit("FR-EVT-MT-011", {"reason": why}, key="end/011", actor="human")
    run.set_phase(Phase.FAILED)
    run.set_status(JobStatus.CANCELLED, error=why, gate_reason=None, completed_at=now)
    run.set_progress_status(ProgressStatus.CANCELLED, completed_at=now)


def _abort(run: Run, answer: HumanDecision) -> None:
    why = f"aborted by {answer.by}"
    run.emit("FR-EVT-MT-010", {"reason": why, "error_category": "aborted"}, key="end/010", actor="human")
    for entry in run.progress.micro_tasks:
        if entry.status is MtStatus.IN_PROGRESS:
            run.update_entry(entry.mt_id, status=MtStatus.FAILED)
    run.set_phase(Phase.FAILED)
    run.set_status(JobStatus.FAILED, error=why, gate_reason=None, completed_at=run.around.clock.now())
    run.set_progress_status(ProgressStatus.FAILED, completed_at=run.around.clock.now())


def _skip(run: Run, answer: HumanDecision) -> None:
    if run.job.execution_state.current_mt_index >= len(run.plan.order):
        run.set_phase(Phase.EXECUTING_MT)  # paused before the end: there is no task to leave out
        return
    mt_id = run.plan.order[run.job.execution_state.current_mt_index]
    why = answer.note or "skipped at the gate"
    run.emit(
        "FR-EVT-MT-016",
        {"reason": why, "decided_by": answer.decided_by},
        key=f"{mt_id}/016",
        actor="human",
        mt_id=mt_id,
    )
    run.update_entry(mt_id, status=MtStatus.SKIPPED)
    run.update_state(current_escalation_level=0)
    next_mt(run)


def _continue(run: Run, answer: HumanDecision, reason: str | None) -> None:
    """At a budget gate the budget grows; where the chain was exhausted the MT starts again."""
    run.set_phase(Phase.EXECUTING_MT)
    policy, more = run.job.execution_policy, run.job.extension
    restart = {GateReason.ESCALATION_EXHAUSTED.value, GateReason.CLOUD_ESCALATION_DISALLOWED.value}
    added = Extension(
        cost=more.cost,
        storage_bytes=more.storage_bytes,
        iterations=more.iterations
        + (answer.add_iterations or (policy.max_iterations_per_mt if reason == "max_total_iterations" else 0)),
        duration_ms=more.duration_ms
        + 60_000 * (answer.add_minutes or (DEFAULT_MINUTES if reason == "max_duration" else 0)),
        tokens=more.tokens + (answer.add_tokens or (_half_of_tokens(run) if "token" in (reason or "") else 0)),
    )
    if reason == GateReason.RESOURCE_EXHAUSTED.value:
        added = added.model_copy(update=room_for_more(run.job, run.record_bytes))
    if answer.add_cost is not None:
        added = added.model_copy(update={"cost": more.cost + answer.add_cost})
    run.job = run.job.model_copy(update={"extension": added})
    index = run.job.execution_state.current_mt_index
    if index >= len(run.plan.order):
        return
    mt_id = run.plan.order[index]
    if answer.note:
        entry = run.entry(mt_id)
        run.update_entry(mt_id, extra_notes=(*entry.extra_notes, answer.note))
    if reason == PAUSE_POINT:
        run.update_entry(mt_id, pause_passed=True)
    if reason in restart or answer.level is not None:
        run.update_state(current_escalation_level=answer.level or 0, current_iteration=0)


def _half_of_tokens(run: Run) -> int:
    spent = run.job.metrics.tokens_prompt + run.job.metrics.tokens_completion
    return max(1000, spent // 2)
