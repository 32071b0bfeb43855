"""Moving a ref that exists, by git's own protocol and with as few syncs as a power loss asks for.

libgit2 syncs the ref's reflog and its folder too, at the price of the whole move once more. Contract: `state.md`,
Durability: the ref's file is synced before it takes its place, and the folder after.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from handshake.domain.clock import SystemClock
from handshake.repo.atomic import disk_error, sync_directory, sync_upwards


class RefBusy(Exception):
    """Another process holds the ref's lock right now."""


class RefMoved(Exception):
    """The ref is not where it was expected."""


def swap_ref(common_dir: Path, ref: str, new: str, expected: str, read: Callable[[], str | None]) -> None:
    """Move `ref` from `expected` to `new` under its lock; on the disk when this returns.

    Args:
        common_dir: the git folder that holds refs as files.
        read: what the ref is now, loose or packed. Called while the lock is held, so that neither another writer
            nor `git pack-refs` (which takes the lock before it removes a loose ref) can come between.

    Raises:
        RefBusy, RefMoved: nothing changed.
        ResourceExhausted, EnvironmentProblem: it could not be written; nothing changed.
    """
    place = common_dir / ref
    lock = place.with_name(place.name + ".lock")
    try:
        handle = _create_lock(lock)
    except FileExistsError:
        raise RefBusy(ref) from None
    except OSError as error:
        raise disk_error(error, f"cannot lock {ref}") from error
    try:
        try:
            if read() != expected:
                raise RefMoved(ref)
            os.write(handle, f"{new}\n".encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        if place.is_dir():  # git leaves empty folders behind; one that is not empty is other refs'
            with contextlib.suppress(FileNotFoundError):
                place.rmdir()
        lock.replace(place)
    except OSError as error:
        lock.unlink(missing_ok=True)
        raise disk_error(error, f"cannot move {ref}") from error
    except BaseException:
        lock.unlink(missing_ok=True)
        raise
    try:
        sync_directory(place.parent)
    except FileNotFoundError:  # git has packed the ref since, and removed its folder: that must last as well
        sync_upwards(place.parent, common_dir)


def _create_lock(lock: Path, attempts: int = 20) -> int:
    """The descriptor of a lock file made anew, in its folder, which a packed ref need not have.

    `git pack-refs` removes folders that it emptied, also one that was made for this lock a moment ago. git meets
    itself in the same way and tries again (`raceproof_create_file` in its `object-file.c`).

    Raises:
        FileExistsError: it is held.
        OSError: it cannot be made.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
    except FileNotFoundError:
        if attempts == 1:
            raise
        return _create_lock(lock, attempts - 1)


def note_in_reflog(common_dir: Path, ref: str, old: str, new: str) -> None:
    """A line in the reflog, where git keeps one. A help for people: not synced, and no loss if it fails."""
    log = common_dir / "logs" / ref
    if not log.is_file():
        return
    seconds = int(SystemClock().now().timestamp())
    line = f"{old} {new} Handshake <handshake@localhost> {seconds} +0000\thandshake\n"
    with contextlib.suppress(OSError), log.open("ab") as file:
        file.write(line.encode())
