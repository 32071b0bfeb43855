"""Reading a file that a stranger may have put there: opening a pipe would wait for its writer, for ever."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


class NotRegular(OSError):
    """A pipe, a socket, a device or a folder stands where a file should."""


def read_regular_file(file: Path, most_bytes: int | None = None) -> bytes:
    """The bytes of a regular file, or of one that a link leads to; nothing else is waited for or read without end.

    Raises:
        NotRegular: it is something else.
        OSError: it cannot be read, or is larger than `most_bytes`.
    """
    _refuse_unless_regular(file.stat(), file)  # opening is an act on some devices, and fails on a folder or a socket
    # Windows has no such files, and would change line ends
    handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        found = os.fstat(handle)
        _refuse_unless_regular(found, file)
        if most_bytes is not None and found.st_size > most_bytes:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(file))
        with os.fdopen(handle, "rb", closefd=False) as opened:
            return opened.read()
    finally:
        os.close(handle)


def _refuse_unless_regular(found: os.stat_result, file: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise NotRegular(errno.EINVAL, "it is not a regular file", str(file))
