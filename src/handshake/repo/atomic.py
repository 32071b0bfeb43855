"""Files that are there whole and stay there: written, synced, then moved into place. Contract: `state.md`."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from handshake.domain.errors import EnvironmentProblem, HandshakeError, ResourceExhausted

_FULL = {errno.ENOSPC, errno.EFBIG} | ({errno.EDQUOT} if hasattr(errno, "EDQUOT") else set())
_FULL_TEXTS = (
    "no space left on device",
    "disk quota exceeded",
    "not enough space on the disk",
    "file too large",
    "out of diskspace",  # git, of a write that was cut short
)


def says_disk_full(text: str) -> bool:
    """Whether a program's words mean that the disk, or a quota on it, is full."""
    lower = text.lower()
    return any(sign in lower for sign in _FULL_TEXTS)


def disk_error(error: OSError, what: str) -> HandshakeError:
    """The error to raise for a failed write: `ResourceExhausted` where the disk is full."""
    if error.errno in _FULL or says_disk_full(str(error)):
        return ResourceExhausted(f"{what}: the disk is full", next_step="free disk space, then run again")
    return EnvironmentProblem(f"{what}: {error.strerror or error}", next_step="handshake doctor")


def sync_directory(directory: Path) -> None:
    """Make a directory's entries survive a power loss; does nothing where directories cannot be opened."""
    if os.name == "nt":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_upwards(directory: Path, top: Path) -> None:
    """Sync a directory and those above it up to and including `top`: new folders need their parents synced.

    One that is gone is passed over; git removes folders of refs at any time.
    """
    current = directory
    while True:
        with contextlib.suppress(FileNotFoundError):
            sync_directory(current)
        if current in (top, current.parent):
            return
        current = current.parent


def write_durably(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replace a file as a whole: after a crash or power loss it is the old one or the new one.

    Args and Raises: as `replace_file`.
    """
    replace_file(path, data, mode=mode, sync=True)


def replace_file(path: Path, data: bytes, *, mode: int | None = None, sync: bool = False) -> None:
    """Replace a file as a whole, so that a killed process leaves the old one or the new one.

    Args:
        path: its parent folders are made where they lack.
        data: the whole content.
        mode: permission bits; None keeps those of the file that is there, else 0o644.
        sync: whether it must survive a power loss too. What can be made again, as a worktree can, need not.

    Raises:
        ResourceExhausted: the disk is full; the old file is untouched.
        EnvironmentProblem: it cannot be written for another reason.
    """
    import tempfile  # not at the top: a git hook starts without it

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode is None:
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            temporary.chmod(mode)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if sync:
            sync_directory(path.parent)
    except OSError as error:
        raise disk_error(error, f"cannot write {path}") from error


def append_durably(path: Path, data: bytes) -> None:
    """Append and sync. A crash leaves at most a torn end, which readers of lines drop.

    Raises:
        ResourceExhausted, EnvironmentProblem: as `write_durably`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_directory(path.parent)
    except OSError as error:
        raise disk_error(error, f"cannot append to {path}") from error
