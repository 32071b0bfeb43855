"""The sandbox a command runs in: what a backend is, the two that hold nothing, and the choice.

Contract: `tool-bus.md`, Sandbox. A backend turns a command line into a `LaunchPlan`; it starts nothing
itself outside its probe. A plan can carry open files for the launcher (a seccomp filter), a step to run in the child
before it becomes the command (Landlock), and a clean-up: further backends need no more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from handshake.domain.errors import EnvironmentProblem

Level = Literal["full", "partial", "none"]
Mode = Literal["auto", "require", "off", "external"]

_INSTALL = "apt install bubblewrap (or your system's like), or say `sandbox: off` in .handshake/config.yaml plainly"


@dataclass(frozen=True)
class Limits:
    """What the operating system holds a command to; the wall clock and the output are watched from outside.

    `memory_bytes` is of private writable memory for each process; `processes` does not bind root; `tmp_bytes` is of
    each memory-backed temp directory.
    """

    cpu_time_ms: int | None = None
    memory_bytes: int | None = None
    processes: int | None = None
    tmp_bytes: int = 512 * 1024 * 1024


@dataclass(frozen=True)
class Places:
    """The private directories of one launch, as the command sees them."""

    home: str
    tmp: str


@dataclass(frozen=True)
class LaunchPlan:
    """How to start a command: everything `subprocess.Popen` needs, and how the launcher's own failure reads."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    pass_fds: tuple[int, ...] = ()
    in_child: Callable[[], None] | None = None
    close: Callable[[], None] = lambda: None
    complaint: bytes = b""


class Sandbox(Protocol):
    """One way to hold a command."""

    @property
    def name(self) -> str:
        """The backend: `bubblewrap`, `off`, `external`."""
        ...

    @property
    def level(self) -> Level:
        """How much it holds."""
        ...

    def places(self, scratch: Path) -> Places:
        """The private home and temp directories for a launch that may use `scratch`, made where they must exist."""
        ...

    def wrap(
        self,
        argv: tuple[str, ...],
        *,
        worktree: Path,
        cwd: Path,
        env: Mapping[str, str],
        limits: Limits,
        scratch: Path,
    ) -> LaunchPlan:
        """The plan that runs `argv` in `cwd`, a directory of `worktree`, with exactly `env`."""
        ...

    def describe(self) -> str:
        """One sentence for `doctor` and for the start of every run."""
        ...


class _Bare:
    """A launch without any hold of ours."""

    name = ""
    level: Level = "none"

    def places(self, scratch: Path) -> Places:
        """A home and a temp directory in `scratch`."""
        for folder in ("home", "tmp"):
            (scratch / folder).mkdir(exist_ok=True)
        return Places(home=str(scratch / "home"), tmp=str(scratch / "tmp"))

    def wrap(
        self,
        argv: tuple[str, ...],
        *,
        worktree: Path,
        cwd: Path,
        env: Mapping[str, str],
        limits: Limits,
        scratch: Path,
    ) -> LaunchPlan:
        """The command line as it is."""
        return LaunchPlan(argv=argv, cwd=cwd, env=env)


class OffSandbox(_Bare):
    """`sandbox: off`: the user wants none, and every run says so."""

    name = "off"

    def describe(self) -> str:
        """That nothing holds."""
        return "sandbox off: verify commands run bare, with the rights of this user"


class ExternalSandbox(_Bare):
    """`sandbox: external`: the operator vouches for the machine."""

    name = "external"

    def describe(self) -> str:
        """That somebody else holds."""
        return (
            "sandbox external: this machine is vouched for as isolated by its operator; nothing is held by Handshake"
        )


def choose_sandbox(mode: Mode) -> Sandbox:
    """The sandbox for a configuration's `sandbox:`. `auto` and `require` probe the real profile once per process.

    Raises:
        EnvironmentProblem: none works (or, for `require`, none that is full); the sentence says why.
    """
    if mode == "off":
        return OffSandbox()
    if mode == "external":
        return ExternalSandbox()
    if sys.platform == "win32":
        raise EnvironmentProblem("Windows has no sandbox for verify commands", next_step="run Handshake inside WSL 2")
    from handshake.toolbus.bubblewrap import probed_bubblewrap

    backend, reason = probed_bubblewrap()
    if backend is not None:
        return backend
    raise EnvironmentProblem(f"no sandbox works here (sandbox: {mode}): {reason}", next_step=_INSTALL)
