"""The sandbox a command runs in: what a backend is, the two that hold nothing, and the choice.

Contract: `tool-bus.md`, Sandbox. A backend turns a command line into a `LaunchPlan`; it starts nothing
itself outside its probe. A plan can carry open files for the launcher (a seccomp filter) and a clean-up.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from handshake.domain.errors import EnvironmentProblem

Level = Literal["full", "partial", "none"]
Mode = Literal["auto", "require", "off", "external"]

_LAUNCHER = Path(__file__).with_name("confine.py")
LAUNCHER_COMPLAINT = b"handshake-confine: "


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

    @classmethod
    def made_in(cls, scratch: Path) -> Places:
        """Both of them, made in `scratch`."""
        for folder in ("home", "tmp"):
            (scratch / folder).mkdir(exist_ok=True)
        return cls(home=str(scratch / "home"), tmp=str(scratch / "tmp"))


@dataclass(frozen=True)
class LaunchPlan:
    """How to start a command: everything `subprocess.Popen` needs, and how the launcher's own failure reads.

    `is_supervised`: the launcher ends all its descendants when it is told to end; it must not be killed before.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    pass_fds: tuple[int, ...] = ()
    close: Callable[[], None] = lambda: None
    complaint: bytes = b""
    is_supervised: bool = False


class Sandbox(Protocol):
    """One way to hold a command. `doctor` and the provenance of every result name it and its level."""

    @property
    def name(self) -> str:
        """The backend: `bubblewrap`, `landlock`, `sandbox-exec`, `off`, `external`."""
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
        repository: Path | None = None,
    ) -> LaunchPlan:
        """The plan that runs `argv` in `cwd`, a directory of `worktree`, with exactly `env`.

        `repository`: the git folder of the repository whose worktree it is, for a backend that can show part of it.
        """
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
        return Places.made_in(scratch)

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
        """The command line, on Linux below a launcher that ends all its descendants with it."""
        if sys.platform != "linux":
            return LaunchPlan(argv=argv, cwd=cwd, env=env)
        return supervised({"landlock": None}, argv, cwd=cwd, env=env)


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


def supervised(spec: Mapping[str, object], argv: tuple[str, ...], *, cwd: Path, env: Mapping[str, str]) -> LaunchPlan:
    """The plan of a command below the launcher of `confine`, which ends all its descendants with it."""
    launcher = (sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(spec, sort_keys=True))
    return LaunchPlan(argv=(*launcher, *argv), cwd=cwd, env=env, complaint=LAUNCHER_COMPLAINT, is_supervised=True)


def choose_sandbox(mode: Mode) -> Sandbox:
    """The sandbox for a configuration's `sandbox:`. `auto` and `require` probe the real profiles once per process.

    Raises:
        EnvironmentProblem: none works (or, for `require`, none that is full); the sentence says why.
    """
    if mode == "off":
        return OffSandbox()
    if mode == "external":
        return ExternalSandbox()
    reasons = []
    for name, backend, reason in probed_backends():
        if backend is not None and (mode == "auto" or backend.level == "full"):
            return backend
        reasons.append(f"{name} is only {backend.level}" if backend is not None else reason)
    if sys.platform == "win32":
        raise EnvironmentProblem("Windows has no sandbox for verify commands", next_step="run Handshake inside WSL 2")
    raise EnvironmentProblem(f"no sandbox works here (sandbox: {mode}): {'; '.join(reasons)}", next_step=_mend())


def probed_backends() -> Iterator[tuple[str, Sandbox | None, str]]:
    """Each backend of this system, the strongest first: its name, itself if its real profile holds, else why not.

    Given one by one: a weaker one is not tried before it is asked for.
    """
    if sys.platform == "linux":
        from handshake.toolbus.bubblewrap import probed_bubblewrap
        from handshake.toolbus.landlock import probed_landlock

        yield ("bubblewrap", *probed_bubblewrap())
        yield ("landlock", *probed_landlock())
    elif sys.platform == "darwin":
        from handshake.toolbus.seatbelt import probed_seatbelt

        yield ("sandbox-exec", *probed_seatbelt())


def _mend() -> str:
    plainly = "say `sandbox: off` in .handshake/config.yaml plainly"
    if sys.platform == "linux":
        return f"apt install bubblewrap (or your system's like), or {plainly}"
    return f"run inside a Linux container or virtual machine, or {plainly}"
