"""A review from the report to the commit. Contract: `packets-and-gates.md`, Review.

Each state is a commit on the WP branch, made without touching the user's checkout: a killed review goes on from the
last one. States are at least five seconds apart, by the clock that is handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from handshake.domain.board import BoardTag, with_entry
from handshake.domain.canonical import committed_json, sha256_hex
from handshake.domain.clock import Clock
from handshake.domain.errors import HandshakeError, PacketRefused, UsageError
from handshake.domain.packet import Packet, PacketStatus
from handshake.domain.packet_report import with_report
from handshake.domain.packet_text import read_packet
from handshake.domain.review import (
    LEAST_APART,
    ORDER,
    Review,
    ReviewLog,
    ReviewState,
    ReviewStep,
    Verdict,
    log_path,
    read_review_log,
)
from handshake.domain.settings import Settings
from handshake.repo.git import Repository
from handshake.repo.locks import RunLock
from handshake.repo.store import ObjectStore
from handshake.repo.workspace import Workspace


@dataclass(frozen=True)
class Reviewed:
    """What is reviewed: the tip of the WP branch, the packet there, and its log."""

    tip: str
    packet: Packet
    data: bytes
    log: ReviewLog


@dataclass(frozen=True)
class ReviewDesk:
    """What a review works with. `by` is the person's name; `says` hears what goes on."""

    repo: Repository
    settings: Settings
    clock: Clock
    by: str
    says: Callable[[str], None] = lambda _: None


def wp_branch(wp_id: str) -> str:
    """The branch that holds a packet's work."""
    return f"feat/{wp_id}"


def what_is_reviewed(repo: Repository, settings: Settings, wp_id: str) -> Reviewed:
    """The packet and its log as the WP branch has them.

    Raises:
        UsageError: there is no WP branch, or it has no such packet.
        PacketRefused: packet or log cannot be read.
    """
    branch = wp_branch(wp_id)
    tip = repo.branch_tip(branch)
    if tip is None:
        raise UsageError(f"there is no branch {branch}", next_step=f"handshake run {wp_id}")
    tree = repo.tree(tip)
    path = f"{settings.paths.packets}/{wp_id}.md"
    data = tree.read(path)
    if data is None:
        raise UsageError(f"{branch} has no {path}", next_step=f"git log {branch} -- {path}")
    reading = read_packet(data, path)
    if reading.packet is None:
        raise PacketRefused(f"{path} on {branch} cannot be read", next_step=f"handshake check {wp_id}")
    stored = tree.read(log_path(wp_id))
    log, problems = (ReviewLog(wp_id=wp_id), ()) if stored is None else read_review_log(stored, wp_id)
    if log is None or problems:
        raise PacketRefused(
            f"{log_path(wp_id)} on {branch}: {problems[0]}", next_step=f"git log -p {branch} -- {log_path(wp_id)}"
        )
    return Reviewed(tip, reading.packet, data, log)


def walk_review(
    desk: ReviewDesk, wp_id: str, verdict: Verdict, report: bytes, *, acknowledge: Callable[[], bool]
) -> Review:
    """Take the review as far as it goes: to its end, or to where nobody acknowledged the report.

    Raises:
        UsageError: there is nothing to review, or a FAIL stands; PacketRefused: the report does not fit.
        LockHeld: the packet runs.
    """
    lock = RunLock(desk.repo.state_dir / "locks" / f"{wp_id}.lock", desk.clock)
    with lock:
        found = what_is_reviewed(desk.repo, desk.settings, wp_id)
        _refuse_unfinished(found.packet, found.log, wp_id)
        with_report(found.data, title=wp_id, verdict=verdict, report=report)  # refused before anything is written
        review = _going_on(found, verdict, report)
        earlier = found.log.reviews[:-1] if review or _gives_way(found.log) else found.log.reviews
        if review is None:
            review = Review(
                verdict=verdict,
                reviewed_commit=found.tip,
                report_sha256=sha256_hex(report),
                steps=(ReviewStep(state=ORDER[0], at=desk.clock.now(), by=desk.by),),
            )
            _publish(desk, wp_id, (*earlier, review), report)
        while review.state is not ReviewState.COMMITTED:
            if review.state is ReviewState.REPORT_PRESENTED and not acknowledge():
                return review
            state = ORDER[ORDER.index(review.state) + 1]
            _wait(desk, review, state)
            review = review.advanced(ReviewStep(state=state, at=desk.clock.now(), by=desk.by))
            _publish(desk, wp_id, (*earlier, review), report)
    return review


def _refuse_unfinished(packet: Packet, log: ReviewLog, wp_id: str) -> None:
    if log.failed:
        raise UsageError(f"the review of {wp_id} failed: that is final", next_step="handshake new, a new revision")
    if packet.status is not PacketStatus.DONE:
        raise UsageError(
            f"{wp_id} is `{packet.status_text}` on its branch: there is nothing finished to review",
            next_step=f"handshake status {wp_id}",
        )


def _going_on(found: Reviewed, verdict: Verdict, report: bytes) -> Review | None:
    """The review that this call goes on with, or None where a new one begins.

    Raises:
        UsageError: a review that was acknowledged stands at another verdict or report.
    """
    review = found.log.newest
    if review is None or review.state is ReviewState.COMMITTED:
        return None
    if (review.verdict, review.report_sha256) == (verdict, sha256_hex(report)):
        return review
    if review.reached(ReviewState.USER_ACKNOWLEDGED):
        raise UsageError(
            f"a review of {found.packet.wp_id} stands at {review.state} with {review.verdict}",
            next_step="end it with the same verdict and report",
        )
    return None


def _gives_way(log: ReviewLog) -> bool:
    """A report that nobody acknowledged gives way to another."""
    return log.newest is not None and not log.newest.reached(ReviewState.USER_ACKNOWLEDGED)


def _wait(desk: ReviewDesk, review: Review, state: ReviewState) -> None:
    left = (review.steps[-1].at + LEAST_APART - desk.clock.now()).total_seconds()
    if left > 0:
        desk.says(f"{state} in {left:.0f} s")
        desk.clock.sleep(left)


def _publish(desk: ReviewDesk, wp_id: str, reviews: tuple[Review, ...], report: bytes) -> None:
    """One commit on the WP branch: the log, and at WP_APPENDED the report in the packet and the board's line."""
    found = what_is_reviewed(desk.repo, desk.settings, wp_id)
    workspace = _own_worktree(desk, wp_id)
    review = reviews[-1]
    log = found.log.model_copy(update={"reviews": reviews})
    changes: dict[str, bytes] = {log_path(wp_id): committed_json(log)}
    if review.state is ReviewState.WP_APPENDED:
        title = f"{wp_id} ({review.steps[-1].at:%Y-%m-%d})"
        changes[found.packet.path] = with_report(found.data, title=title, verdict=review.verdict, report=report)
        board = desk.repo.tree(found.tip).read(desk.settings.paths.board)
        if board is not None:
            tag = BoardTag.VALIDATED if review.verdict == "PASS" else BoardTag.FAIL
            changes[desk.settings.paths.board] = with_entry(board, wp_id, tag)
    objects = ObjectStore(desk.repo, desk.settings.identity)
    commit = objects.write_commit(
        parent=found.tip,
        base_tree=found.tip,
        changes=changes,
        message=(
            f"{wp_id}: review {review.state} ({review.verdict})\n\n"
            f"Handshake-WP: {wp_id}\nHandshake-Review: {review.verdict}\nHandshake-Reviewed-By: {desk.by}\n"
        ),
        when=review.steps[-1].at,
    )
    objects.update_ref(f"refs/heads/{wp_branch(wp_id)}", commit, expected=found.tip)
    if workspace is not None:
        workspace.follow(commit)
    desk.says(f"{review.state}: {commit[:12]} on {wp_branch(wp_id)}")


def _own_worktree(desk: ReviewDesk, wp_id: str) -> Workspace | None:
    """Our worktree, if the branch is checked out there; it follows the branch.

    Raises:
        UsageError: the branch is checked out in a folder of the user's.
        HandshakeError: our worktree holds changes that no commit has.
    """
    places = desk.repo.checked_out_at(wp_branch(wp_id))
    if not places:
        return None
    workspace = Workspace(desk.repo, wp_id, wp_branch(wp_id), desk.settings.worktrees.dir)
    for place in places:
        if Path(place).resolve() != workspace.path.resolve():
            raise UsageError(
                f"{wp_branch(wp_id)} is checked out at {place}", next_step=f"git -C {place} switch another branch"
            )
    changed = workspace.changed_paths()
    if changed:
        raise HandshakeError(
            f"{workspace.path} holds changes that no commit has: {', '.join(changed[:3])}",
            next_step="commit them on the branch, or take them out, then review",
        )
    return workspace
