"""Human decisions on the tracking branch: found, checked, written. Contract: `loop.md`, Human decisions.

A decision is a file. `handshake decide`, `pause` and `cancel` commit it; a person may commit and push the same
file from anywhere. Nothing here follows a decision: that is the loop's, in `human`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from handshake.domain.decision import HumanDecision
from handshake.domain.decision_file import check_decision, decision_number, decision_text, read_decision
from handshake.domain.errors import DecisionRefused, StaleOwner, UsageError
from handshake.domain.job import Job
from handshake.domain.states import JobStatus, is_terminal
from handshake.loop.paths import JobPaths
from handshake.loop.run import Run, commit_message
from handshake.repo.store import TrackingBranch

WRITE_TRIES = 20


def answer_at(branch: TrackingBranch, tip: str, job: Job) -> HumanDecision | None:
    """The answer to the gate at which the job stands, if somebody gave one; a cancel that came after it goes before.

    Raises:
        DecisionRefused: the file is no decision, or one that does not fit.
    """
    path = JobPaths(job.job_id).decision(job.gate_number)
    data = branch.read(path, tip)
    where = f"{path} on {branch.ref}"
    if data is None:
        return None
    answer = check_decision(read_decision(data, where), job, where)
    later, _ = request_at(branch, tip, job)
    return later if later is not None and later.decision == "cancel" else answer


def request_at(
    branch: TrackingBranch, tip: str, job: Job
) -> tuple[HumanDecision | None, tuple[tuple[str, DecisionRefused], ...]]:
    """What people ask of a job that waits at no gate: the first pause or cancel, and what is refused, by path.

    A cancel goes before a pause, whichever came first.
    """
    found: list[HumanDecision] = []
    refused: list[tuple[str, DecisionRefused]] = []
    for path in _decision_paths(branch, tip, job):
        number = decision_number(path)
        data = branch.read(path, tip) if number is not None and number > job.gate_number else None
        if data is None:
            continue
        where = f"{path} on {branch.ref}"
        try:
            found.append(check_decision(read_decision(data, where), job, where))
        except DecisionRefused as why:
            refused.append((path, why))
    wanted = sorted(found, key=lambda decision: (decision.decision != "cancel", decision.number))
    return (wanted[0] if wanted else None), tuple(refused)


def _decision_paths(branch: TrackingBranch, tip: str, job: Job) -> list[str]:
    folder = f"jobs/{job.job_id}/decisions"
    return [f"{folder}/{name}" for name in branch.names_in(folder, tip)]


def next_number(branch: TrackingBranch, tip: str | None, job: Job) -> int:
    """The number of the next gate: one that no file has yet, so that nothing said before counts as its answer."""
    paths = _decision_paths(branch, tip, job) if tip else ()
    numbers = [number for path in paths if (number := decision_number(path)) is not None]
    return 1 + max([job.gate_number, *numbers])


def write_decision(
    run: Run,
    decision: Literal["continue", "skip", "abort", "cancel"],
    *,
    decided_by: str,
    decided_at: datetime,
    note: str | None = None,
    add_iterations: int | None = None,
    add_minutes: int | None = None,
    add_tokens: int | None = None,
    add_cost: float | None = None,
    level: int | None = None,
) -> HumanDecision:
    """Commit the answer to the gate at which the job stands. A file there that is no answer gives way to it.

    A secret in the note is masked: the file is part of the run's log. Contract: `events.md`, Secrets.

    Raises:
        UsageError: the job waits for nothing, the gate is answered already, or the answer does not fit it.
        StaleOwner: the branch moves too fast to be written.
    """
    given = {
        "decision": decision,
        "decided_by": decided_by,
        "decided_at": decided_at,
        "note": run.masked(note),
        "add_iterations": add_iterations,
        "add_minutes": add_minutes,
        "add_tokens": add_tokens,
        "add_cost": add_cost,
        "level": level,
    }
    try:
        return _answer(run, given)
    except StaleOwner:
        run.reload()  # somebody else answered meanwhile, or the log is gone
        return _answer(run, given)


def _answer(run: Run, given: dict[str, object]) -> HumanDecision:
    wp_id = run.job.wp_id
    if run.job.status is not JobStatus.AWAITING_USER or run.tip is None:
        raise UsageError(
            f"{wp_id} is {run.job.status.value}: there is nothing to decide", next_step=f"handshake status {wp_id}"
        )
    number = run.job.gate_number
    if _is_answered(run):
        raise UsageError(f"gate {number} of {wp_id} is answered already", next_step=f"handshake run {wp_id}")
    answer = HumanDecision.model_validate({"wp_id": wp_id, "job_id": run.job.job_id, "number": number, **given})
    _commit(run, check_decision(answer, run.job, "the decision"))
    return answer


def write_request(
    run: Run,
    decision: Literal["pause", "cancel"],
    *,
    decided_by: str,
    decided_at: datetime,
    note: str | None = None,
) -> HumanDecision:
    """Ask a job that has not ended to stop after the step in hand, or for good; its process may run meanwhile.

    Raises:
        DecisionRefused: the job ended, waits already, or was asked the same already.
        StaleOwner: the branch moves too fast to be written.
    """
    for _ in range(WRITE_TRIES):
        _refuse_if_asked(run, decision)
        if run.job.status is JobStatus.AWAITING_USER and decision == "cancel" and not _is_answered(run):
            return write_decision(run, "cancel", decided_by=decided_by, decided_at=decided_at, note=note)
        request = HumanDecision(
            wp_id=run.job.wp_id,
            job_id=run.job.job_id,
            number=next_number(run.branch, run.tip, run.job),
            decision=decision,
            decided_by=decided_by,
            decided_at=decided_at,
            note=run.masked(note),
        )
        try:
            _commit(run, check_decision(request, run.job, "the request"))
        except StaleOwner:
            run.reload()  # its process published a step meanwhile
        else:
            return request
    raise StaleOwner(f"{run.branch.ref} keeps moving", next_step=f"handshake {decision} {run.job.wp_id}")


def _is_answered(run: Run) -> bool:
    """Whether the gate has an answer that will be followed; a file that is none does not count."""
    try:
        return run.tip is not None and answer_at(run.branch, run.tip, run.job) is not None
    except DecisionRefused:
        return False


def _refuse_if_asked(run: Run, decision: str) -> None:
    job, status = run.job, f"handshake status {run.job.wp_id}"
    if is_terminal(job.status):
        raise DecisionRefused(f"{job.wp_id} is {job.status.value}: there is nothing to {decision}", next_step=status)
    if job.status is JobStatus.AWAITING_USER or run.tip is None:
        return
    asked, _ = request_at(run.branch, run.tip, job)
    if asked is not None and decision in (asked.decision, "pause"):
        raise DecisionRefused(
            f"{job.wp_id}: {asked.decided_by} asked for a {asked.decision} already", next_step=status
        )


def _commit(run: Run, decision: HumanDecision) -> None:
    said = decision.decision
    asks = said in ("pause", "cancel")
    subject = f"Request {decision.number}: {said}" if asks else f"Gate {decision.number}: {said}"
    message = commit_message(
        f"{subject} (by {decision.decided_by})",
        {"WP": run.job.wp_id, "Job": run.job.job_id, "Decision": said},
    )
    run.tip = run.branch.publish(
        {run.paths.decision(decision.number): decision_text(decision)},
        message=message,
        when=decision.decided_at,
        expected=run.tip,
    )
