"""The run lock: one process per work packet, and a heartbeat that tells whether it lives. Contract: `state.md`."""

from __future__ import annotations

import json
import os
import socket
import threading
from datetime import datetime, timedelta
from pathlib import Path

from handshake.domain.canonical import canonical_json
from handshake.domain.clock import Clock
from handshake.domain.errors import LockHeld
from handshake.domain.record import Record
from handshake.repo.atomic import disk_error

HEARTBEAT_EVERY_S = 5.0
STALE_AFTER_S = 30


class Heartbeat(Record):
    """Who holds the lock, and when that process was last seen alive."""

    pid: int
    host: str
    workflow_run_id: str
    ts: datetime


def heartbeat_path(lock: Path) -> Path:
    """Where the heartbeat of a lock stands: beside it, since a locked file cannot be read everywhere."""
    return lock.with_name(lock.name + ".heartbeat")


def read_heartbeat(lock: Path) -> Heartbeat | None:
    """The heartbeat of the lock at that path; None where there is none that can be read."""
    try:
        return Heartbeat.model_validate(json.loads(heartbeat_path(lock).read_bytes()))
    except (OSError, ValueError):
        return None


def living_owner(lock: Path, clock: Clock) -> Heartbeat | None:
    """Who holds the lock, by its heartbeat alone: the lock is not touched, so nobody who wants it is disturbed.

    A heartbeat that is over 30 seconds old, or whose process is not on this machine any more, is nobody's.
    """
    beat = read_heartbeat(lock)
    if beat is None or clock.now() - beat.ts > timedelta(seconds=STALE_AFTER_S):
        return None
    if beat.host == socket.gethostname() and os.name != "nt":  # on Windows signal 0 would end the process
        try:
            os.kill(beat.pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            return beat  # it lives, as another user
    return beat


def nobody_holds(lock: Path) -> bool:
    """Whether no living process, this one included, holds the lock file. The kernel gives a lock back on any end."""
    from filelock import FileLock, Timeout

    probe = FileLock(lock, thread_local=False)
    try:
        probe.acquire(timeout=0)
    except Timeout:
        return False
    probe.release()
    return True


def owner_is_gone(lock: Path, clock: Clock) -> bool:
    """Whether no live process holds the lock, or its heartbeat is over 30 seconds old."""
    from filelock import FileLock, Timeout

    if not lock.exists():
        return True
    probe = FileLock(lock, thread_local=False)
    try:
        probe.acquire(timeout=0)
    except Timeout:
        beat = read_heartbeat(lock)
        return beat is not None and clock.now() - beat.ts > timedelta(seconds=STALE_AFTER_S)
    probe.release()
    return True


class RunLock:
    """The lock of one work packet's run.

    Args:
        path: the lock file; its folder is made.
        clock: the machine's clock. A thread reads it every five seconds, so it must not be a clock that
            counts its readings.
        workflow_run_id: which run holds the lock, for those who look.
    """

    def __init__(self, path: Path, clock: Clock, workflow_run_id: str = "") -> None:
        self.path = path
        self.workflow_run_id = workflow_run_id
        self.heartbeat_error: OSError | None = None
        self._clock = clock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock: object | None = None

    def acquire(self) -> RunLock:
        """Take the lock or fail at once.

        Raises:
            LockHeld: another live process has it; the sentence names its process id.
        """
        from filelock import FileLock, Timeout

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path, thread_local=False)
            lock.acquire(timeout=0)
        except Timeout:
            beat = read_heartbeat(self.path)
            who = f"process {beat.pid} on {beat.host}" if beat else "another process"
            raise LockHeld(
                f"{who} holds {self.path}", next_step="wait for it, or look with: handshake status"
            ) from None
        except OSError as error:
            raise disk_error(error, f"cannot lock {self.path}") from error
        self._lock = lock
        self._stop.clear()
        self.beat()
        if self.heartbeat_error is not None:
            trouble = self.heartbeat_error
            self.release()
            raise disk_error(trouble, f"cannot write {heartbeat_path(self.path)}")
        self._thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock is not None

    def beat(self) -> None:
        """Write the heartbeat now. A failed write is kept in `heartbeat_error` and tried again at the next beat."""
        content = Heartbeat(
            pid=os.getpid(),
            host=socket.gethostname(),
            workflow_run_id=self.workflow_run_id,
            ts=self._clock.now(),
        )
        target = heartbeat_path(self.path)
        fresh = target.with_name(f"{target.name}.{os.getpid()}")
        try:
            fresh.write_bytes(canonical_json(content) + b"\n")
            fresh.replace(target)  # no sync: after a power loss nobody is alive anyway
        except OSError as error:
            self.heartbeat_error = error
        else:
            self.heartbeat_error = None

    def _keep_beating(self) -> None:
        while not self._stop.wait(HEARTBEAT_EVERY_S):
            self.beat()

    def release(self) -> None:
        """Give the lock back. Safe to call twice."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._lock is not None:
            try:
                heartbeat_path(self.path).unlink(missing_ok=True)
            except OSError as error:
                self.heartbeat_error = error  # a left heartbeat does no harm; a left lock would
            self._lock.release()  # type: ignore[attr-defined]
            self._lock = None

    def __enter__(self) -> RunLock:
        return self if self.held else self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()
