"""Running one program to its end, its output bounded, its whole tree gone afterwards. See `tool-bus.md`, Sandbox.

POSIX only: the shell engine refuses Windows before it comes here.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from handshake.toolbus.sandbox import LaunchPlan

_CHUNK = 64 * 1024
_TICK = 0.05  # how soon the end of a silent process is seen, seconds
_SUPERVISOR_SECONDS = 15.0  # it gives up after ten
_DRAIN = 0.25  # how long a finished command's left-over children may still hold the pipes, seconds


@dataclass(frozen=True)
class Finished:
    """How a program ended. `stdout` and `stderr` hold what was said up to the end or the limit."""

    returncode: int
    timed_out: bool
    truncated: bool
    stdout: bytes
    stderr: bytes
    out_of_memory: bool = False


def run_bounded(plan: LaunchPlan, *, scratch: Path, timeout_s: float, output_bytes: int, marker: str) -> Finished:
    """Start the plan and watch it: past the clock or the output budget everything it started is killed.

    The clock here is the machine's own and not the injected one: a limit that a test clock could stretch is none.

    Args:
        scratch: where stdout and stderr are streamed to.
        output_bytes: of stdout and stderr together.
        marker: `NAME=value` in the environment of everything this launch starts, so that children that
            left the process group are found.

    Raises:
        OSError: the program cannot be started, or the disk is full.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(plan.close)
        out, err = (stack.enter_context((scratch / name).open("w+b")) for name in ("stdout", "stderr"))
        process = subprocess.Popen(  # noqa: S603 - the plan is ours; the command in it passed six gates
            plan.argv,
            cwd=plan.cwd,
            env=dict(plan.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=plan.pass_fds,
            start_new_session=True,
        )
        try:
            timed_out, truncated = _watch(process, (out, err), time.monotonic() + timeout_s, output_bytes)
        finally:
            # also on Ctrl-C: a run that ends leaves nothing of its commands behind
            _kill_all(process, marker, is_supervised=plan.is_supervised)
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        return Finished(process.returncode, timed_out, truncated, _content(out), _content(err))


def _watch(
    process: subprocess.Popen[bytes], files: tuple[BinaryIO, BinaryIO], deadline: float, budget: int
) -> tuple[bool, bool]:
    """Copy both pipes until the end, the deadline or the budget. Returns timed out, truncated."""
    left = budget
    drained_by: float | None = None
    with selectors.DefaultSelector() as selector, _end_of(process) as end:
        for pipe, file in zip((process.stdout, process.stderr), files, strict=True):
            assert pipe is not None
            selector.register(pipe, selectors.EVENT_READ, file)
        if end is not None:
            selector.register(end, selectors.EVENT_READ)
        while True:
            now = time.monotonic()
            if process.poll() is not None:
                if end is not None and end in selector.get_map():
                    selector.unregister(end)
                drained_by = drained_by or now + _DRAIN
                if not selector.get_map() or now >= drained_by:
                    return False, False
            elif now >= deadline:
                return True, False
            until = deadline if drained_by is None else drained_by
            if not selector.get_map():
                _wait_briefly(process, deadline)
                continue
            longest = until - now if end is not None else min(_TICK, until - now)
            for key, _ in selector.select(max(0.0, longest)):
                if key.fileobj == end:
                    continue  # the next look at the process sees its end
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                key.data.write(chunk[:left])
                if len(chunk) > left:
                    return False, True
                left -= len(chunk)


@contextlib.contextmanager
def _end_of(process: subprocess.Popen[bytes]) -> Iterator[int | None]:
    """A descriptor that becomes readable when the process ends; None where the system has none."""
    opened: int | None = None
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a kernel before 5.3
            opened = os.pidfd_open(process.pid)
    try:
        yield opened
    finally:
        if opened is not None:
            os.close(opened)


def _wait_briefly(process: subprocess.Popen[bytes], deadline: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(min(_TICK, max(0.001, deadline - time.monotonic())))


def _kill_all(process: subprocess.Popen[bytes], marker: str, *, is_supervised: bool) -> None:
    """The launcher ends all it started, or its group is killed; then whatever carries the marker, until none is left.

    A launcher that supervises must live until it has killed the rest: its death would set them free.
    """
    if is_supervised:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_SUPERVISOR_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for _ in range(20):
        strays = list(_marked(marker))
        if not strays:
            return
        for pid in strays:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _marked(marker: str) -> Iterator[int]:
    """Live processes whose environment holds the marker; where there is no `/proc`, none can be found."""
    wanted = marker.encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)


def _content(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()
