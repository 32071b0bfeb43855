"""The Landlock backend: for Linux machines without user namespaces. Partial. Contract: `tool-bus.md`, Sandbox 2.

Files are held by Landlock, sockets and kernel interfaces by a seccomp filter, descendants by a subreaper. What it
cannot hold: the owner, mode and times of files outside, the size of what is written, and the worktree's own `.git`,
which is looked at after each command.
"""

from __future__ import annotations

import base64
import ctypes
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from handshake.toolbus.environment import readable_prefixes, system_files
from handshake.toolbus.probing import probe
from handshake.toolbus.sandbox import LaunchPlan, Level, Limits, Places, supervised
from handshake.toolbus.seccomp import compiled, landlock_filter

OLDEST_ABI = 3  # before it (Linux 6.2) files outside could be cut short
_SCOPES_ABI = 6  # from it on (Linux 6.12) signals and abstract sockets are held too
_CREATE_RULESET_VERSION = 1
_DEVICES = ("null", "zero", "full", "random", "urandom")
_READABLE = ("/proc", "/sys/devices/system/cpu", "/sys/kernel/mm/transparent_hugepage")


@dataclass(frozen=True)
class LandlockSandbox:
    """Linux, partial. `prefixes` are shown read-only; None: those of this process and its search path."""

    abi: int
    prefixes: tuple[Path, ...] | None = None

    @property
    def name(self) -> str:
        """The backend."""
        return "landlock"

    @property
    def level(self) -> Level:
        """It holds files and sockets, and no more."""
        return "partial"

    def describe(self) -> str:
        """What it is and what it lacks."""
        lacks = "modes and times of files outside are not held, sockets do not work at all"
        if self.abi < _SCOPES_ABI:
            lacks += ", signals reach this user's other processes"
        return f"sandbox landlock (partial; ABI {self.abi}): {lacks}"

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
        """The plan: a launcher that restricts itself, then becomes the command, and another that watches it."""
        shown = readable_prefixes(worktree, os.environ) if self.prefixes is None else self.prefixes
        read = [*map(str, system_files()), *_READABLE, *map(str, shown)]
        rules = {
            "abi": self.abi,
            "read": read,
            "write": [str(worktree), *(str(scratch / folder) for folder in ("home", "tmp"))],
            "devices": [f"/dev/{name}" for name in _DEVICES],
        }
        filter_of_calls = compiled(landlock_filter())
        assert filter_of_calls is not None
        spec = {
            "landlock": rules,
            "seccomp": base64.b64encode(filter_of_calls).decode(),
            "processes": limits.processes,
        }
        return supervised(spec, argv, cwd=cwd, env=env)


@cache
def probed_landlock() -> tuple[LandlockSandbox | None, str]:
    """The backend if its real profile holds on this machine, else why not. Asked once per process."""
    if sys.platform != "linux":
        return None, f"{sys.platform} has no Landlock"
    if compiled(landlock_filter()) is None:
        return None, "the seccomp filter is not known for this processor"
    abi = landlock_abi()
    if abi < OLDEST_ABI:
        return None, f"the kernel has no Landlock of ABI {OLDEST_ABI} or later (Linux 6.2)" + (
            f", its ABI is {abi}" if abi > 0 else ""
        )
    backend = LandlockSandbox(abi)
    failed = probe(backend)
    return (None, failed) if failed is not None else (backend, "")


def landlock_abi() -> int:
    """The version of Landlock that the kernel has, 0 or less where it has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(444, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION))
