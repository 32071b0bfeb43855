"""The folder of one operation in the temp directory: gone with it, and cleared later if its process was killed."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from handshake.repo.locks import nobody_holds

_PREFIX = "handshake-op-"
_LOCK = "in-use.lock"
_UNLOCKED_FOR_S = 3600.0  # a folder without its lock file was made a moment ago, or its process died at once


@contextmanager
def operation_folder() -> Iterator[Path]:
    """A folder for one operation. A lock in it says that its process lives; the kernel gives it back on a kill."""
    from filelock import FileLock

    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder:
        scratch = Path(folder).resolve()
        with FileLock(scratch / _LOCK, thread_local=False):
            yield scratch


def clear_left_folders() -> int:
    """Remove folders of operations whose process was killed. Those of living processes, and of others, stay.

    Returns:
        How many were removed.
    """
    removed = 0
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{_PREFIX}*")):
        with suppress(OSError):  # another user's, or gone meanwhile
            if folder.is_symlink() or not _may_be_left(folder):
                continue
            if nobody_holds(folder / _LOCK):
                shutil.rmtree(folder)
                removed += 1
    return removed


def _may_be_left(folder: Path) -> bool:
    return (folder / _LOCK).exists() or time.time() - folder.stat().st_mtime > _UNLOCKED_FOR_S
