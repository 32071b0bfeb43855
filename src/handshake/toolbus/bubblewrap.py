"""The bubblewrap backend: an allow-listed root, own namespaces, nothing of the user's but the worktree.

Contract: `tool-bus.md`, Sandbox. Whether it works is not guessed from a program on the search path: the real
profile is run once, and a write outside, a read of a secret and a connection must all fail in it.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from handshake.domain.errors import CapabilityViolation
from handshake.toolbus.environment import readable_prefixes, system_files
from handshake.toolbus.git_view import git_view
from handshake.toolbus.probing import probe
from handshake.toolbus.sandbox import LaunchPlan, Level, Limits, Places
from handshake.toolbus.seccomp import compiled, namespace_filter

# these are the sandbox's own, empty and private: nothing of the machine's temp directories is in them
_TMP = "/tmp"  # noqa: S108 - see above
_VAR_TMP = "/var/tmp"  # noqa: S108 - see above
_SHM = "/dev/shm"  # noqa: S108 - see above
_HOME = f"{_TMP}/.handshake-home"


@dataclass(frozen=True)
class Features:
    """What this bubblewrap knows; older ones lack some."""

    disable_userns: bool = True
    sized_tmpfs: bool = True
    seccomp: bool = True


@dataclass(frozen=True)
class BubblewrapSandbox:
    """Linux, full. `prefixes` are shown read-only; None: those of this process and its search path."""

    program: str = "bwrap"
    features: Features = Features()
    prefixes: tuple[Path, ...] | None = None

    @property
    def name(self) -> str:
        """The backend."""
        return "bubblewrap"

    @property
    def level(self) -> Level:
        """It holds files, processes, users and the network."""
        return "full"

    def describe(self) -> str:
        """What it is and what it lacks."""
        lacks = [] if self.features.disable_userns else ["nested user namespaces stay possible"]
        lacks += [] if self.features.sized_tmpfs else ["temp directories are not sized"]
        lacks += [] if self.features.seccomp else ["no filter of system calls"]
        return "sandbox bubblewrap (full)" + (f"; what is missing here: {', '.join(lacks)}" if lacks else "")

    def places(self, scratch: Path) -> Places:
        """Directories that exist inside only."""
        return Places(home=_HOME, tmp=_TMP)

    def wrap(
        self,
        argv: tuple[str, ...],
        *,
        worktree: Path,
        cwd: Path,
        env: Mapping[str, str],
        limits: Limits,
        scratch: Path,
        repository: Path | None = None,
    ) -> LaunchPlan:
        """The plan: bubblewrap itself gets the clean environment too, for `/proc/1/environ` shows it inside.

        Raises:
            CapabilityViolation: the worktree's `.git` is a symbolic link.
        """
        shown = self.prefixes
        if shown is None:
            shown = tuple(readable_prefixes(worktree, os.environ))
        guard = _git_guard(worktree)
        files = _Files()
        line = [self.program, *self._isolation(), *_root()]
        if self.features.seccomp and (program := compiled(namespace_filter())) is not None:
            line += ["--seccomp", files.holding(program)]
        line += ["--proc", "/proc", "--dev", "/dev", *self._tmpfs(_SHM, limits)]
        line += [*self._tmpfs(_TMP, limits), "--dir", _HOME, *self._tmpfs(_VAR_TMP, limits)]
        # after the temp directories: an interpreter may live below one of them
        line += _readable(shown)
        if repository is not None and (view := git_view(repository, worktree)) is not None:
            line += _readable(view.shown)
            line += ["--ro-bind-data", files.holding(view.config), str(view.config_place)]
        # mounted last, so that no read-only prefix or temp directory covers it
        line += ["--bind", str(worktree), str(worktree), *guard]
        # the root and /dev are memory without a size: what is written there would be bounded by nothing
        line += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(cwd), "--", *argv]
        return LaunchPlan(
            argv=tuple(line),
            cwd=Path("/"),
            env=env,
            pass_fds=tuple(files.opened),
            close=files.close,
            complaint=b"bwrap: ",
        )

    def _isolation(self) -> list[str]:
        line = ["--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--hostname", "handshake"]
        line += ["--cap-drop", "ALL"]
        return [*line, "--disable-userns"] if self.features.disable_userns else line

    def _tmpfs(self, place: str, limits: Limits) -> list[str]:
        size = ["--size", str(limits.tmp_bytes)] if self.features.sized_tmpfs else []
        return [*size, "--tmpfs", place]


class _Files:
    """Files without a name, handed to the launcher by number."""

    def __init__(self) -> None:
        self.opened: list[int] = []

    def holding(self, data: bytes) -> str:
        """The number of a new one that holds `data`, to be read from its start."""
        descriptor = os.memfd_create("handshake")
        self.opened.append(descriptor)
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return str(descriptor)

    def close(self) -> None:
        """Close them all; the launcher has its own."""
        while self.opened:
            os.close(self.opened.pop())


def _root() -> list[str]:
    """`/usr`, the links to it, and the few files of `/etc`."""
    line: list[str] = []
    for place in system_files():
        if place.is_symlink() and place.parent == Path("/"):
            line += ["--symlink", str(place.readlink()), str(place)]
        else:
            line += ["--ro-bind", str(place.resolve()), str(place)]
    return line


def _readable(prefixes: tuple[Path, ...]) -> list[str]:
    line: list[str] = []
    for place in sorted(prefixes, key=lambda p: (len(p.parts), str(p))):
        line += ["--ro-bind-try", str(place.resolve()), str(place)]
    return line


def _git_guard(worktree: Path) -> list[str]:
    """Keep the worktree's `.git` as it is: a file read-only, a whole repository out of sight."""
    git = worktree / ".git"
    try:
        mode = os.lstat(git).st_mode
    except FileNotFoundError:
        return []
    if stat.S_ISLNK(mode):
        raise CapabilityViolation(f"{git} is a symbolic link: something replaced the worktree's .git")
    if stat.S_ISDIR(mode):
        return ["--tmpfs", str(git), "--remount-ro", str(git)]
    return ["--ro-bind", str(git), str(git)]


@cache
def probed_bubblewrap() -> tuple[BubblewrapSandbox | None, str]:
    """The backend if its real profile holds on this machine, else why not. Asked once per process."""
    program = shutil.which("bwrap")
    if sys.platform != "linux" or program is None:
        return None, "bubblewrap is not installed" if sys.platform == "linux" else f"{sys.platform} has no bubblewrap"
    reason = ""
    filtered = compiled(namespace_filter()) is not None
    for features in (
        Features(seccomp=filtered),
        Features(disable_userns=False, seccomp=filtered),
        Features(False, False, seccomp=filtered),
        Features(False, False, seccomp=False),
    ):
        backend = BubblewrapSandbox(program=program, features=features)
        failed = probe(backend)
        if failed is None:
            return backend, ""
        reason = reason or failed
    return None, reason
