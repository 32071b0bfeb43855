"""Limits for all processes of a command together, where the kernel's control groups can be written.

Contract: `tool-bus.md`, Sandbox. RLIMIT_NPROC does not bind root, and memory limits of each process do not add up: a
control group holds both, and its end reaches every descendant. Version 2 and version 1 are known.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from handshake.toolbus.sandbox import Limits

_ROOT = Path("/sys/fs/cgroup")
# joins the groups, then becomes the launcher: what it starts is in them from its first instruction
_JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 1; shift; done; shift; exec "$@"'
_PREFIX = "handshake-"


@dataclass(frozen=True)
class ControlGroup:
    """One group in each hierarchy it needs. `folders` are its directories."""

    folders: tuple[Path, ...]

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command so that it runs inside."""
        return ("/bin/sh", "-c", _JOIN, "sh", *(str(place / "cgroup.procs") for place in self.folders), "--")

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel killed something in it for its memory."""
        for place in self.folders:
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError):
                    rows = dict(line.split() for line in (place / name).read_text().splitlines())
                    if int(rows.get("oom_kill", 0)) > 0:
                        return True
        return False

    def end(self) -> None:
        """Kill what is left in it and take it away."""
        for _ in range(200):
            left = [pid for place in self.folders for pid in _processes(place)]
            if not left:
                break
            for place in self.folders:
                with contextlib.suppress(OSError):
                    (place / "cgroup.kill").write_text("1")
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
        for place in self.folders:
            with contextlib.suppress(OSError):
                place.rmdir()


@contextlib.contextmanager
def control_group(name: str, limits: Limits, *, root: Path = _ROOT) -> Iterator[ControlGroup | None]:
    """A group with the limits' memory and processes, gone afterwards; None where none can be made."""
    group = _made(name, limits, root)
    try:
        yield group
    finally:
        if group is not None:
            group.end()


def clear_left_groups(*, root: Path = _ROOT) -> int:
    """Take away groups whose process was killed, with what is left in them; returns how many."""
    removed = 0
    for parent in (*_unified(root), *_by_controller(root)):
        for place in sorted(parent.glob(f"{_PREFIX}*-*")):
            owner = place.name.removeprefix(_PREFIX).partition("-")[0]
            if owner.isdigit() and not Path("/proc", owner).exists():
                ControlGroup((place,)).end()
                removed += 1
    return removed


def can_limit(*, root: Path = _ROOT) -> bool:
    """Whether control groups can be written here."""
    with control_group(f"probe-{os.getpid()}", Limits(memory_bytes=1 << 30, processes=64), root=root) as group:
        return group is not None


def _made(name: str, limits: Limits, root: Path) -> ControlGroup | None:
    wanted: dict[str, list[tuple[str, int]]] = {"memory": [], "pids": []}
    if limits.memory_bytes is not None:
        wanted["memory"] = [("memory.max", limits.memory_bytes), ("memory.limit_in_bytes", limits.memory_bytes)]
    if limits.processes is not None:
        wanted["pids"] = [("pids.max", limits.processes)]
    for folders in (_unified(root), _by_controller(root)):
        made: list[Path] = []
        for parent in folders:
            # one that a killed process left must not stand in the way of its successor, which has the same name
            place = parent / f"{_PREFIX}{os.getpid()}-{name}"
            try:
                place.mkdir()
            except OSError:
                continue
            made.append(place)
        if made and all(_limited(made, rows) for rows in wanted.values() if rows):
            return ControlGroup(tuple(made))
        ControlGroup(tuple(made)).end()
    return None


def _limited(folders: list[Path], rows: list[tuple[str, int]]) -> bool:
    """Whether one of the limit's files took its value."""
    for place in folders:
        for name, value in rows:
            if (place / name).is_file():
                with contextlib.suppress(OSError):
                    (place / name).write_text(str(value))
                    return True
    return False


def _unified(root: Path) -> list[Path]:
    """Where a version 2 group can be made: beside our own, for one that holds processes has no limits below."""
    if not (root / "cgroup.controllers").is_file():
        return []
    for line in _own_groups():
        if line.startswith("0::"):
            own = root / line[3:].lstrip("/")
            return [own.parent if own != root else own]
    return []


def _by_controller(root: Path) -> list[Path]:
    """Our own groups of version 1, one for each limit."""
    found = []
    for line in _own_groups():
        _, controllers, path = line.split(":", 2)
        for controller in {"memory", "pids"} & set(controllers.split(",")):
            place = root / controller / path.lstrip("/")
            if place.is_dir():
                found.append(place)
    return sorted(found)


def _own_groups() -> list[str]:
    with contextlib.suppress(OSError):
        return Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    return []


def _processes(place: Path) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(line) for line in (place / "cgroup.procs").read_text().split()]
    return []
