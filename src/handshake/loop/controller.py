"""The loop: look at the state, do the one next thing, publish, look again. Contract: `loop.md`, `state.md`.

A resumed run is a fresh run from another first state: `next_act` sees only records, never how they
came to be.
"""

from __future__ import annotations

from enum import StrEnum

from handshake.context.errors import ContextGuardFailed, PromptInjectionFound
from handshake.domain.decision import Action, GateReason
from handshake.domain.errors import CapabilityViolation, JobPoisoned, WorkRefused
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.progress import MtStatus
from handshake.domain.states import JobStatus
from handshake.loop.baseline import begin_mt
from handshake.loop.code_branch import finish, rebuild
from handshake.loop.complete import complete_mt
from handshake.loop.equipment import Equipment
from handshake.loop.escalate import stop_for_human
from handshake.loop.finalize import fail, finalize, poison
from handshake.loop.human import PAUSE_POINT, ends_by_hand, follow_answer, follow_request, request_of, wait_at_gate
from handshake.loop.limits import reached_limit
from handshake.loop.run import Run
from handshake.loop.step import iterate
from handshake.planning import completes_by_verify_alone


class Act(StrEnum):
    """What comes next."""

    ANSWER = "answer"
    REQUEST = "request"
    PAUSE = "pause"
    BEGIN = "begin"
    ITERATE = "iterate"
    CLOSE = "close"
    FINALIZE = "finalize"
    NOTHING = "nothing"


def next_act(run: Run) -> Act:
    """What the records say comes next."""
    if run.ended:
        return Act.NOTHING
    if run.job.status is JobStatus.AWAITING_USER:
        return Act.ANSWER
    if request_of(run) is not None:
        return Act.REQUEST
    index = run.job.execution_state.current_mt_index
    if index >= len(run.plan.order):
        return Act.FINALIZE
    entry = run.entry(run.plan.order[index])
    if entry.mt_id in run.job.execution_policy.pause_points and not entry.pause_passed:
        return Act.PAUSE
    if entry.status is MtStatus.PENDING:
        return Act.BEGIN
    if not run.plan.definition(entry.mt_id).files.writable:
        return Act.CLOSE
    # nothing was asked of these files but that the tests pass, and they do
    proved = entry.already_satisfied and not entry.iterations and completes_by_verify_alone(run.plan, entry.mt_id)
    return Act.CLOSE if proved else Act.ITERATE


def carry_on(run: Run, equipment: Equipment) -> JobStatus:
    """Run the job from wherever it stands until it ends.

    Returns:
        the status it ended with.

    Raises:
        WaitsForHuman: the job stands at a gate that nobody answered.
        EnvironmentProblem: a model, the sandbox or the disk is missing; the run can be resumed.
        StaleOwner: another process took the run over.
    """
    run.follow_branch()
    if run.ended:
        finish(run, equipment)
    elif not ends_by_hand(run):
        rebuild(run, equipment)
    while (act := next_act(run)) is not Act.NOTHING:
        _do(run, equipment, act)
        run.follow_branch()
    return run.job.status


def _do(run: Run, equipment: Equipment, act: Act) -> None:
    if act is Act.ANSWER:
        follow_answer(run)
        if not run.ended:
            rebuild(run, equipment)
    elif act is Act.REQUEST:
        request = request_of(run)
        assert request is not None
        follow_request(run, request)
    elif act is Act.FINALIZE:
        finalize(run, equipment)
    else:
        _work_on_mt(run, equipment, act)


def _work_on_mt(run: Run, equipment: Equipment, act: Act) -> None:
    mt = run.plan.definition(run.plan.order[run.job.execution_state.current_mt_index])
    try:
        _act_on_mt(run, equipment, act, mt)
    except WorkRefused as refused:
        run.update_entry(mt.mt_id, status=MtStatus.FAILED)
        fail(run, refused.what, "post_work", MT=mt.mt_id)


def _act_on_mt(run: Run, equipment: Equipment, act: Act, mt: MicroTaskDefinition) -> None:
    if act is Act.PAUSE:
        _pause(run, mt.mt_id)
        return
    if act is Act.BEGIN:
        begin_mt(run, equipment, mt)
        return
    if act is Act.CLOSE:
        _close(run, equipment)
        return
    stop = reached_limit(run.job, run.plan, run.progress, mt, run.elapsed_ms, run.record_bytes)
    if stop is not None and stop.reason is None:
        poison(run, f"a runaway: {stop.figures}")
        return
    if stop is not None and stop.reason is not None:
        stop_for_human(run, stop.reason, stop.figures, mt_id=mt.mt_id)
        run.publish(f"{mt.mt_id} stops at a hard gate: {stop.reason.value}", MT=mt.mt_id, Decision="hard_gate")
        return
    try:
        iterate(run, equipment, mt)
    except PromptInjectionFound as found:
        _poison_for(run, found)
    except ContextGuardFailed as blocked:
        figures = {"mt_id": mt.mt_id, "guard": blocked.guard, "why": blocked.reason}
        stop_for_human(run, GateReason.RESOURCE_EXHAUSTED, figures, mt_id=mt.mt_id)
        run.publish(f"{mt.mt_id}: {blocked.guard} blocks the prompt", MT=mt.mt_id, Decision="hard_gate")
    except CapabilityViolation as violation:
        run.update_entry(mt.mt_id, status=MtStatus.FAILED)
        fail(run, violation.what, "capability_violation", MT=mt.mt_id)


def _pause(run: Run, mt_id: str) -> None:
    """A pause point of the policy. FR-EVT-MT-007."""
    wait_at_gate(run, PAUSE_POINT, mt_id=mt_id)
    run.publish(f"{mt_id} waits at a pause point", MT=mt_id)


def _close(run: Run, equipment: Equipment) -> None:
    """An MT that its commands alone can judge: no model is asked."""
    mt = run.plan.definition(run.plan.order[run.job.execution_state.current_mt_index])
    entry = run.entry(mt.mt_id)
    if entry.already_satisfied:
        complete_mt(
            run,
            equipment,
            mt,
            subject=f"{mt.mt_id}: complete (verify passes, nothing to write)",
            trailers={"MT": mt.mt_id, "Decision": Action.COMPLETE.value},
        )
        return
    run.update_entry(mt.mt_id, status=MtStatus.PENDING)  # judged again once a human let it go on
    stop_for_human(
        run,
        GateReason.ESCALATION_EXHAUSTED,
        {"mt_id": mt.mt_id, "why": "the whole TEST_PLAN fails although every part passed; see its validation"},
        mt_id=mt.mt_id,
    )
    run.publish(f"{mt.mt_id}: the TEST_PLAN fails as a whole", MT=mt.mt_id, Decision="hard_gate")


def _poison_for(run: Run, found: PromptInjectionFound) -> None:
    run.emit(
        "FR-EVT-SEC-VIOLATION",
        {"guard": found.guard, "file": found.file, "line": found.line_number, "pattern": found.pattern},
        key="end/sec-violation",
    )
    poison(run, found.what)
    raise JobPoisoned(found.what, next_step=found.next_step)
