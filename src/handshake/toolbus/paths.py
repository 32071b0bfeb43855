"""The one judgement on whether a path stays inside the worktree. Contract: `loop.md`, Errors; `tool-bus.md`."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path, PureWindowsPath

from handshake.domain.errors import CapabilityViolation


def normal(path: str) -> str:
    """A repo-relative POSIX path without `./` and doubled slashes. It does not touch `..`."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def inside(worktree: Path, path: str) -> Path:
    """The real place of a file that may be written: no link on the way, a regular file or nothing at its end.

    Raises:
        CapabilityViolation: absolute, `..`, git's own directory, a link or a non-directory on the way,
            or something there that is no regular file.
    """
    name = normal(path)
    parts = name.split("/")
    if not name or "\0" in name or any("\ud800" <= sign <= "\udfff" for sign in name):
        raise CapabilityViolation(f"{path!r} is no path")
    if name.startswith("/") or PureWindowsPath(name).drive or PureWindowsPath(name).root:
        raise CapabilityViolation(f"{path} is absolute")
    if ".." in parts or ".." in PureWindowsPath(name).parts:
        raise CapabilityViolation(f"{path} climbs out with ..")
    if any(part.rstrip(" .").lower() in (".git", "git~1") for part in parts):
        raise CapabilityViolation(f"{path} is git's own")
    place = worktree
    for number, part in enumerate(parts, start=1):
        place = place / part
        try:
            mode = os.lstat(place).st_mode
        except FileNotFoundError:
            break
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            break  # nothing can be there
        if stat.S_ISLNK(mode):
            raise CapabilityViolation(f"{path}: {'/'.join(parts[:number])} is a symbolic link")
        if number == len(parts):
            if not stat.S_ISREG(mode):
                raise CapabilityViolation(f"{path} is no regular file")
        elif not stat.S_ISDIR(mode):
            raise CapabilityViolation(f"{path}: {'/'.join(parts[:number])} is no directory")
    return worktree.joinpath(*parts)


def directory_inside(worktree: Path, path: str) -> Path:
    """The real place of a directory that a command may start in; links are resolved and must stay inside.

    Raises:
        CapabilityViolation: it is not there, no directory, or lies outside.
    """
    base = worktree.resolve()
    place = (base / path).resolve()
    if place != base and base not in place.parents:
        raise CapabilityViolation(f"{path} leaves the worktree")
    if not place.is_dir():
        raise CapabilityViolation(f"{path} is no directory of the worktree")
    return place
