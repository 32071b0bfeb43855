"""What a person does to a run from outside: put it right without going on, or end it. Contract: `interface.md`.

No model and no sandbox is needed for either.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from handshake.domain.canonical import utc_text
from handshake.domain.errors import LockHeld, UsageError
from handshake.domain.states import JobStatus
from handshake.loop.code_branch import finish, rebuild
from handshake.loop.equipment import CodeSide
from handshake.loop.executor import reply_store, workspace_of
from handshake.loop.human import ends_by_hand, follow_answer, follow_request, request_of
from handshake.loop.recover import leave_lost_tip, load_run, names_last_whole, recover
from handshake.loop.run import Run
from handshake.loop.surroundings import Surroundings
from handshake.repo.locks import RunLock, living_owner, read_heartbeat
from handshake.repo.store import ObjectStore, TrackingBranch, clear_stale_ref_lock

PATIENCE_S = 30.0


@contextmanager
def owned(around: Surroundings, wp_id: str) -> Iterator[tuple[Run, CodeSide]]:
    """The newest job of a packet, held by this process.

    Raises:
        LockHeld: another live process runs it.
        UsageError: the packet has no run.
    """
    with RunLock(around.repo.state_dir / "locks" / f"{wp_id}.lock", around.clock) as lock:
        objects = ObjectStore(around.repo, around.settings.identity)
        branch = TrackingBranch(around.repo, wp_id, around.settings.tracking.namespace, objects=objects)
        clear_stale_ref_lock(around.repo, branch.ref)
        run = load_run(around, branch)
        if run is None:
            raise UsageError(f"{wp_id} has no run yet", next_step=f"handshake run {wp_id}")
        leave_lost_tip(run, objects)
        lock.workflow_run_id = run.job.workflow_run_id
        with names_last_whole(branch):
            yield run, CodeSide(workspace_of(run, objects), objects, reply_store(run))


def recover_packet(around: Surroundings, wp_id: str) -> Run:
    """Put records, WP branch and worktree of an interrupted run right, and leave it to be resumed.

    Raises:
        LockHeld: it is not interrupted: another process runs it.
        UsageError, HandshakeError: it cannot be put right, and why.
    """
    before = read_heartbeat(around.repo.state_dir / "locks" / f"{wp_id}.lock")
    with owned(around, wp_id) as (run, side):
        recover(run, side.replies, utc_text(before.ts) if before else None)
        if run.ended:
            finish(run, side)
        else:
            rebuild(run, side)
        run.reload()  # what is published is that it stalled; going on is the next run's
        return run


def end_packet(around: Surroundings, wp_id: str) -> Run:
    """Follow the cancel that stands on the tracking branch; a process of this machine that runs it is ended first.

    Raises:
        LockHeld: a process elsewhere runs it; it follows the cancel itself, after the step in hand.
    """
    give_up = time.monotonic() + PATIENCE_S
    asked: set[int] = set()
    while True:
        try:
            with owned(around, wp_id) as (run, _):
                if not run.ended and ends_by_hand(run):
                    _follow(run)
                return run
        except LockHeld:
            _ask_to_leave(around, wp_id, asked)
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


def _follow(run: Run) -> None:
    if run.job.status is JobStatus.AWAITING_USER:
        follow_answer(run)
        return
    request = request_of(run)
    assert request is not None
    if run.job.status is JobStatus.QUEUED:
        run.set_status(JobStatus.RUNNING)
    follow_request(run, request)


def _ask_to_leave(around: Surroundings, wp_id: str, asked: set[int]) -> None:
    """End the process that holds the run's lock, once; its state is committed, and killing it would lose nothing."""
    beat = living_owner(around.repo.state_dir / "locks" / f"{wp_id}.lock", around.clock)
    if beat is None or beat.host != socket.gethostname() or beat.pid in asked or beat.pid == os.getpid():
        return
    asked.add(beat.pid)
    try:
        os.kill(beat.pid, signal.SIGTERM)
    except ProcessLookupError:
        return  # it left meanwhile
