"""Making a run that nobody owns whole again. Contract: `state.md`, Recovery.

Nothing here goes on with the run: it puts the records right, publishes once, and the loop takes the
same path as after a fresh start.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from handshake.domain.canonical import utc_text
from handshake.domain.errors import StateCorruption
from handshake.domain.events import read_event
from handshake.domain.ledger import StepStatus
from handshake.domain.states import JobStatus
from handshake.loop.call import stored_reply
from handshake.loop.prepare import as_published
from handshake.loop.run import Run, latest_job_id
from handshake.loop.surroundings import Surroundings
from handshake.models.replies import ReplyStore
from handshake.recorder.journal import whole_lines
from handshake.repo.git import GitFailed
from handshake.repo.store import ObjectStore, TrackingBranch

STALE_AFTER_S = 30
LOOK_BACK = 200
LOOK_BACK_WHOLE = 20
MOST_LOST_MS = 900_000  # three timeouts of the longest iteration


def load_run(around: Surroundings, branch: TrackingBranch) -> Run | None:
    """The newest job as the branch has it; where the tip does not hold together, the last commit that does.

    A tip that cannot be read at all has no history: then the branch's reflog says what was before. Such a run has a
    `lost_tip`; who holds its lock calls `leave_lost_tip`.

    Raises:
        StateCorruption: no commit of the branch holds together.
    """
    tip = branch.tip()
    if tip is None:
        return None
    try:
        job_id = latest_job_id(branch, tip)
        return Run.load(around, branch, job_id, tip) if job_id else None
    except (StateCorruption, GitFailed) as first:
        run = _last_sound(around, branch, tip)
        if run is None:
            raise StateCorruption(
                f"no commit of {branch.ref} holds together: {first.what}",
                next_step=f"git log --stat {branch.ref}; then: handshake run {branch.wp_id} --again",
            ) from first
        return run


def leave_lost_tip(run: Run, objects: ObjectStore) -> None:
    """Put the branch back where it can be read, under the run's lock. What was published after it is done again.

    Raises:
        StaleOwner: the branch moved meanwhile.
    """
    if run.lost_tip is None or run.tip is None:
        return
    objects.update_ref(run.branch.ref, run.tip, expected=run.lost_tip)
    run.around.watcher.note(
        f"{run.branch.ref} at {run.lost_tip[:12]} cannot be read: gone on from {run.tip[:12]}, the last commit of its"
        " reflog that can. Next: git fsck --full"
    )
    run.lost_tip = None


@contextmanager
def names_last_whole(branch: TrackingBranch) -> Iterator[None]:
    """Where an object of the log rotted on the disk, say to which commit the branch can be put back. Nothing moves.

    Raises:
        StateCorruption: there is such a commit before the tip.
    """
    try:
        yield
    except GitFailed as failure:
        tip = branch.tip()
        whole = _last_whole(branch) if failure.is_damage else None
        if tip is None or whole in (None, tip):
            raise
        raise StateCorruption(
            f"{failure.what}; {branch.ref} can be read whole up to {whole}",
            next_step=f"go back to it, what came after is done again: git update-ref {branch.ref} {whole} {tip[:12]},"
            f" then: handshake run {branch.wp_id}",
        ) from failure


def _last_whole(branch: TrackingBranch) -> str | None:
    """The newest commit of which every file can be read."""
    try:
        commits: Sequence[str] = [entry.sha for entry in branch.history(LOOK_BACK_WHOLE)]
    except GitFailed:
        commits = branch.earlier_tips()[:LOOK_BACK_WHOLE]
    for commit in commits:
        try:
            for path in branch.list("", commit):
                branch.read(path, commit)
        except (StateCorruption, GitFailed):
            continue
        return commit
    return None


def _last_sound(around: Surroundings, branch: TrackingBranch, tip: str) -> Run | None:
    """The last commit that holds together; with the next publish its records are again those of the tip."""
    try:
        commits = tuple(entry.sha for entry in branch.history(LOOK_BACK))
    except GitFailed:  # it has no history that can be read
        run = _first_sound(around, branch, branch.earlier_tips()[:LOOK_BACK])
        if run is not None:
            run.lost_tip = tip
        return run
    run = _first_sound(around, branch, commits)
    if run is None:
        return None
    try:
        run.go_on_from(tip)
    except (StateCorruption, GitFailed):
        run.lost_tip = tip  # nothing can be built on it
    return run


def _first_sound(around: Surroundings, branch: TrackingBranch, commits: Sequence[str]) -> Run | None:
    for commit in commits:
        try:
            job_id = latest_job_id(branch, commit)
            if job_id is not None:
                return Run.load(around, branch, job_id, commit)
        except (StateCorruption, GitFailed):
            continue
    return None


@dataclass(frozen=True)
class UnbornJob:
    """A job that is in the journal alone: its process was killed before the first commit."""

    job_id: str
    trace_id: str


def unborn_job(around: Surroundings, branch: TrackingBranch) -> UnbornJob | None:
    """The newest job of this packet that was announced and never published; what it announced is not said twice."""
    tip = branch.tip()
    born = latest_job_id(branch, tip) if tip else None
    for folder in sorted((around.repo.state_dir / "journal").glob("*"), reverse=True):
        if born is not None and folder.name <= born:
            return None
        lines = [line for file in sorted(folder.glob("*.jsonl")) for line in whole_lines(file.read_bytes())]
        try:
            first = read_event(json.loads(lines[0])) if lines else None
        except ValueError:
            continue  # no journal of ours: nothing in it can be gone on with
        if first is not None and first.wp_id == branch.wp_id:
            return UnbornJob(first.job_id, first.trace_id)
    return None


def recover(run: Run, replies: ReplyStore, last_heartbeat: str | None) -> None:
    """Take over a run whose owner is gone: running to stalled and back, steps in progress looked at.

    Called under the run's lock, so the owner is gone for certain.
    """
    if run.job.status not in (JobStatus.RUNNING, JobStatus.STALLED, JobStatus.QUEUED):
        return
    if run.job.status is JobStatus.STALLED:
        _go_on(run)  # put right already, by hand or by a daemon that starts: that is what stalled says
        return
    run.add_lost_time(_lost_ms(run, last_heartbeat))
    recovered, again = _look_at_steps(run, replies)
    steps = [step for step in run.ledger.steps if step.status is not StepStatus.COMPLETED]
    resume_point = steps[0].step_id if steps else None
    reason = f"{len(recovered)} stored replies found, {len(again)} steps to ask again" if steps else "between steps"
    before = run.job.workflow_run_id
    if run.job.status is JobStatus.RUNNING:
        run.set_status(JobStatus.STALLED)
    run.emit(
        "FR-EVT-WF-RECOVERY",
        {
            "workflow_run_id": before,
            "job_id": run.job.job_id,
            "from_state": "running",
            "to_state": "stalled",
            "reason": reason,
            "last_heartbeat_ts": last_heartbeat or utc_text(run.job.execution_state.last_activity_at),
            "threshold_secs": STALE_AFTER_S,
            "resume_point": resume_point,
            "steps_recovered": recovered,
            "steps_to_retry": again,
        },
        key=f"recovery/{before}",
    )
    run.ledger = run.ledger.model_copy(update={"resume_point": resume_point, "resume_reason": reason})
    run.publish(f"Recovered: {reason}")
    _go_on(run)


def _go_on(run: Run) -> None:
    """A new attempt of the same job."""
    run.set_status(JobStatus.RUNNING)
    run.job = run.job.model_copy(update={"workflow_run_id": run.around.ids.uuid7()})
    run.reopen_journal()


def _lost_ms(run: Run, last_heartbeat: str | None) -> int:
    """How long the killed process worked after its last publish, as far as its heartbeat tells; a clock may jump."""
    if last_heartbeat is None:
        return 0
    worked = datetime.fromisoformat(last_heartbeat) - run.job.execution_state.last_activity_at
    return min(int(worked.total_seconds() * 1000), MOST_LOST_MS)


def _look_at_steps(run: Run, replies: ReplyStore) -> tuple[list[str], list[str]]:
    """Steps whose reply is stored go on from it; the others are pending again."""
    recovered: list[str] = []
    again: list[str] = []
    for step in run.ledger.steps:
        if step.status is not StepStatus.IN_PROGRESS:
            continue
        prepared = as_published(run, step.step_id)
        if prepared is not None and stored_reply(replies, prepared) is not None:
            recovered.append(step.step_id)
            continue
        again.append(step.step_id)
        run.ledger = run.ledger.with_step(step.model_copy(update={"status": StepStatus.PENDING}))
    return recovered, again
