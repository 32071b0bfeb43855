"""Human decisions: a YAML file on the tracking branch, written by a command or by hand, here or elsewhere.

Contract: `loop.md`, Hard gates and human decisions.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import yaml
from pydantic import ValidationError

from handshake.domain.canonical import plain
from handshake.domain.decision import GateReason, HumanDecision
from handshake.domain.errors import UsageError, WaitsForHuman
from handshake.domain.job import Extension
from handshake.domain.progress import MtStatus, ProgressStatus
from handshake.domain.states import JobStatus, Phase
from handshake.loop.complete import next_mt
from handshake.loop.run import Run, commit_message

PAUSE_POINT = "pause_point"
DEFAULT_MINUTES = 30


def write_decision(
    run: Run,
    decision: Literal["continue", "skip", "abort"],
    *,
    decided_by: str,
    decided_at: datetime,
    note: str | None = None,
    add_iterations: int | None = None,
    add_minutes: int | None = None,
    add_tokens: int | None = None,
    level: int | None = None,
) -> HumanDecision:
    """Commit the answer to the gate at which the job stands.

    Raises:
        UsageError: the job waits for nothing, the gate is answered already, or the answer does not fit it.
    """
    wp_id = run.job.wp_id
    if run.job.status is not JobStatus.AWAITING_USER:
        raise UsageError(
            f"{wp_id} is {run.job.status.value}: there is nothing to decide", next_step=f"handshake status {wp_id}"
        )
    if level is not None and run.job.execution_policy.stops_for_human(level):
        raise UsageError(f"level {level} of the chain is a hard gate", next_step="name a level below it")
    number = run.job.gate_number
    path = run.paths.decision(number)
    if run.artifact(path) is not None:
        raise UsageError(f"gate {number} of {wp_id} is answered already", next_step=f"handshake run {wp_id}")
    answer = HumanDecision(
        wp_id=wp_id,
        job_id=run.job.job_id,
        number=number,
        decision=decision,
        decided_by=decided_by,
        decided_at=decided_at,
        note=note,
        add_iterations=add_iterations,
        add_minutes=add_minutes,
        add_tokens=add_tokens,
        level=level,
    )
    text = yaml.safe_dump(plain(answer), sort_keys=True, allow_unicode=True)
    message = commit_message(
        f"Gate {number}: {decision} (by {decided_by})", {"WP": wp_id, "Job": run.job.job_id, "Decision": decision}
    )
    run.tip = run.branch.publish({path: text.encode("utf-8")}, message=message, when=decided_at, expected=run.tip)
    return answer


def answer_of(run: Run) -> HumanDecision | None:
    """The answer to the gate at which the job stands, if somebody gave one.

    Raises:
        UsageError: the file is no decision, or one for another job or gate.
    """
    path = run.paths.decision(run.job.gate_number)
    data = run.artifact(path)
    if data is None:
        return None
    where = f"{path} on {run.branch.ref}"
    mend = "commit a corrected file, or use: handshake decide"
    try:
        answer = HumanDecision.model_validate(yaml.safe_load(data))
    except yaml.YAMLError as error:
        raise UsageError(f"{where} is not YAML: {' '.join(str(error).split())}", next_step=mend) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}", next_step=mend) from None
    expected = (run.job.wp_id, run.job.job_id, run.job.gate_number)
    if (answer.wp_id, answer.job_id, answer.number) != expected:
        raise UsageError(f"{where} answers another gate", next_step=mend)
    return answer


def answer_or_wait(run: Run) -> HumanDecision:
    """The answer to the gate at which the job stands.

    Raises:
        WaitsForHuman: nobody answered yet.
        UsageError: as `answer_of`.
    """
    answer = answer_of(run)
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
    else:
        reason = run.job.gate_reason
        run.set_status(JobStatus.RUNNING, gate_reason=None, error=None)
        run.set_progress_status(ProgressStatus.IN_PROGRESS)
        if answer.decision == "skip":
            _skip(run, answer)
        else:
            _continue(run, answer, reason)
    run.publish(f"Gate {number}: {answer.decision}", Decision=answer.decision)


def _abort(run: Run, answer: HumanDecision) -> None:
    why = f"aborted by {answer.decided_by}" + (f": {answer.note}" if answer.note else "")
    run.emit("FR-EVT-MT-010", {"reason": why, "error_category": "aborted"}, key="end/010", actor="human")
    run.set_phase(Phase.FAILED)
    run.set_status(JobStatus.FAILED, error=why, completed_at=run.around.clock.now())
    run.set_progress_status(ProgressStatus.FAILED, completed_at=run.around.clock.now())


def _skip(run: Run, answer: HumanDecision) -> None:
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
        iterations=more.iterations
        + (answer.add_iterations or (policy.max_iterations_per_mt if reason == "max_total_iterations" else 0)),
        duration_ms=more.duration_ms
        + 60_000 * (answer.add_minutes or (DEFAULT_MINUTES if reason == "max_duration" else 0)),
        tokens=more.tokens + (answer.add_tokens or (_half_of_tokens(run) if "token" in (reason or "") else 0)),
    )
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
