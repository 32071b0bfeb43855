"""Folders of operations: gone with the operation, cleared after a kill, left alone while their process lives."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from handshake.repo.locks import nobody_holds
from handshake.toolbus.scratch import clear_left_folders, operation_folder

HOLD = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from handshake.toolbus.scratch import operation_folder
with operation_folder() as scratch:
    (scratch / "out").write_text("half an output")
    print(scratch, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temp(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_goes_with_the_operation(temp):
    with operation_folder() as scratch:
        (scratch / "file").touch()
        assert clear_left_folders() == 0
        assert scratch.is_dir()
    assert list(temp.iterdir()) == []


def test_what_a_killed_process_left_is_cleared_and_a_living_ones_is_not(temp):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(temp)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    place = child.stdout.readline().strip()
    assert clear_left_folders() == 0
    assert Path(place).is_dir()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert clear_left_folders() == 1
    assert list(temp.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="the lock is another one there")
def test_a_folder_cleared_between_its_lock_files_making_and_its_locking_is_made_anew(temp, monkeypatch):
    import fcntl

    flock, cleared = fcntl.flock, []

    def late(fd: int, operation: int) -> None:
        if not cleared:
            cleared.extend(temp.iterdir())
            shutil.rmtree(cleared[0])
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with operation_folder() as scratch:
        assert list(temp.iterdir()) == [scratch] != cleared
        assert clear_left_folders() == 0
    assert list(temp.iterdir()) == []


def test_a_left_folder_is_held_until_it_is_gone(temp, monkeypatch):
    left = temp / "handshake-op-left"
    left.mkdir()
    (left / "in-use.lock").touch()
    rmtree, held = shutil.rmtree, []

    def watched(folder: Path) -> None:
        held.append(not nobody_holds(folder / "in-use.lock"))
        rmtree(folder)

    monkeypatch.setattr(shutil, "rmtree", watched)
    assert clear_left_folders() == 1
    assert held == [True] and not left.exists()


def test_a_folder_without_its_lock_is_given_time_and_strangers_are_let_be(temp):
    young, old, other = (temp / name for name in ("handshake-op-young", "handshake-op-old", "somebody-else"))
    for folder in (young, old, other):
        folder.mkdir()
    os.utime(old, (0, 0))
    os.utime(other, (0, 0))
    (temp / "handshake-op-link").symlink_to(other)
    assert clear_left_folders() == 1
    assert young.is_dir() and other.is_dir() and not old.exists()
