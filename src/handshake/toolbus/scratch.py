"""The folder of one operation in the temp directory: gone with it, and cleared later if its process was killed."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_PREFIX = "handshake-op-"
_LOCK = "in-use.lock"
_UNLOCKED_FOR_S = 3600.0  # a folder without its lock file was made a moment ago, or its process died at once


@contextmanager
def operation_folder() -> Iterator[Path]:
    """A folder for one operation. A lock in it says that its process lives; the kernel gives it back on a kill.

    Raises:
        OSError: the temp directory takes no folder.
    """
    with ExitStack() as held:
        yield _locked_folder(held)


def _locked_folder(held: ExitStack) -> Path:
    """A new folder that `held` keeps locked, and removes at its end.

    A lock file is there a moment before it is locked. Another process that clears left folders just then takes the
    folder for one of them: the next is tried.
    """
    from filelock import FileLock

    while True:
        with ExitStack() as tried:
            folder = tried.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True))
            scratch = Path(folder).resolve()
            with suppress(FileNotFoundError):
                tried.enter_context(FileLock(scratch / _LOCK, thread_local=False))
            if (scratch / _LOCK).exists():
                held.enter_context(tried.pop_all())
                return scratch


def clear_left_folders() -> int:
    """Remove folders of operations whose process was killed. Those of living processes, and of others, stay.

    Returns:
        How many were removed.
    """
    from filelock import FileLock, Timeout

    removed = 0
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{_PREFIX}*")):
        with suppress(OSError, Timeout):  # another user's, or gone meanwhile; or in use
            if folder.is_symlink() or not _may_be_left(folder):
                continue
            with FileLock(folder / _LOCK, thread_local=False, timeout=0):  # held until the folder is gone
                shutil.rmtree(folder)
            removed += 1
    return removed


def _may_be_left(folder: Path) -> bool:
    return (folder / _LOCK).exists() or time.time() - folder.stat().st_mtime > _UNLOCKED_FOR_S
