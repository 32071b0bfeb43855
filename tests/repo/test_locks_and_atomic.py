"""Locks, heartbeats, and files that are there whole."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from handshake.domain.clock import SteppingClock, SystemClock
from handshake.domain.errors import EnvironmentProblem, LockHeld, ResourceExhausted
from handshake.repo import atomic, locks
from handshake.repo.atomic import append_durably, disk_error, write_durably
from handshake.repo.locks import RunLock, heartbeat_path, owner_is_gone, read_heartbeat

HOLD = """
import sys, time
from pathlib import Path
from handshake.domain.clock import SystemClock
from handshake.repo.locks import RunLock
with RunLock(Path(sys.argv[1]), SystemClock(), "run-1"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    path = tmp_path / "locks/WP-1.lock"
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"held\n"
    yield path, child
    child.kill()
    child.wait()


def test_the_second_is_stopped_and_told_who_has_it(holder):
    path, child = holder
    with pytest.raises(LockHeld, match=f"process {child.pid} on ") as caught:
        RunLock(path, SystemClock()).acquire()
    assert caught.value.exit_code == 75
    beat = read_heartbeat(path)
    assert (beat.pid, beat.workflow_run_id) == (child.pid, "run-1")
    assert not owner_is_gone(path, SystemClock())


def test_a_killed_owner_is_gone_and_its_lock_free(holder):
    path, child = holder
    child.kill()
    child.wait()
    assert owner_is_gone(path, SystemClock())
    with RunLock(path, SystemClock(), "run-2") as lock:
        assert lock.held
        assert read_heartbeat(path).workflow_run_id == "run-2"
    assert not lock.held
    assert read_heartbeat(path) is None


def test_an_owner_without_a_pulse_is_gone(holder):
    path, _ = holder
    soon = SteppingClock(datetime.now(UTC) + timedelta(seconds=20))
    late = SteppingClock(datetime.now(UTC) + timedelta(seconds=40))
    assert not owner_is_gone(path, soon)
    assert owner_is_gone(path, late)


def test_nobody_ever_held_it(tmp_path):
    assert owner_is_gone(tmp_path / "none.lock", SystemClock())
    assert read_heartbeat(tmp_path / "none.lock") is None


def test_it_beats_and_can_be_taken_again(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "HEARTBEAT_EVERY_S", 0.01)
    lock = RunLock(tmp_path / "l", SystemClock(), "r")
    for _ in range(2):
        lock.acquire()
        first = read_heartbeat(lock.path).ts
        deadline = time.monotonic() + 5
        while read_heartbeat(lock.path).ts == first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert read_heartbeat(lock.path).ts > first
        lock.release()
        lock.release()


def test_a_torn_heartbeat_is_none(tmp_path):
    heartbeat_path(tmp_path / "l").write_text('{"pid": 1')
    assert read_heartbeat(tmp_path / "l") is None


def test_a_failed_beat_is_kept_and_the_first_one_is_an_error(tmp_path):
    lock = RunLock(tmp_path / "l", SystemClock()).acquire()
    heartbeat_path(lock.path).unlink()
    heartbeat_path(lock.path).mkdir()
    lock.beat()
    assert isinstance(lock.heartbeat_error, OSError)
    heartbeat_path(lock.path).rmdir()
    lock.beat()
    assert lock.heartbeat_error is None
    lock.release()
    heartbeat_path(lock.path).mkdir()
    with pytest.raises(EnvironmentProblem, match="heartbeat"):
        lock.acquire()
    assert not lock.held


def test_a_place_that_cannot_be_locked_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem, match="cannot lock"):
        RunLock(tmp_path / "file/l", SystemClock()).acquire()


# -- files -----------------------------------------------------------------------------------------


def test_written_whole_with_the_mode_kept(tmp_path):
    path = tmp_path / "a/b/c.txt"
    write_durably(path, b"1")
    assert path.read_bytes() == b"1"
    if os.name != "nt":
        assert path.stat().st_mode & 0o777 == 0o644
        path.chmod(0o750)
        write_durably(path, b"2")
        assert path.stat().st_mode & 0o777 == 0o750
        write_durably(path, b"3", mode=0o600)
        assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["c.txt"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "c.txt"
    write_durably(path, b"old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(ResourceExhausted, match="disk is full"):
        write_durably(path, b"new")
    with pytest.raises(ResourceExhausted):
        append_durably(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() in (b"old", b"oldnew")
    assert [p.name for p in tmp_path.iterdir()] == ["c.txt"]


def test_other_failures_name_the_path(tmp_path):
    (tmp_path / "file").touch()
    for act in (write_durably, append_durably):
        with pytest.raises(EnvironmentProblem, match="file/x"):
            act(tmp_path / "file/x", b"")
    assert type(disk_error(OSError(errno.EACCES, "no"), "x")) is EnvironmentProblem


def test_appended(tmp_path):
    path = tmp_path / "d/j.jsonl"
    append_durably(path, b"1\n")
    append_durably(path, b"2\n")
    assert path.read_bytes() == b"1\n2\n"


@pytest.mark.skipif(sys.platform != "linux", reason="traces system calls")
def test_file_and_folder_are_synced_before_it_returns(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        atomic.os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink()) or real(handle)
    )
    write_durably(tmp_path / "x", b"1")
    assert synced[0].name.startswith(".x.")
    assert synced[-1] == tmp_path
