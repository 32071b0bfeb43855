"""The runs of a daemon as child processes: started, reaped, ended in order. Contract: `interface.md`, daemon."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

LEAVE_S = 20.0


@dataclass(frozen=True)
class Ended:
    """A run that left, with its exit code."""

    wp_id: str
    code: int


class Children:
    """One process for each packet. They hold nothing of ours: killing the daemon leaves them at their work.

    Args:
        root: the user's checkout.
        options: of `handshake run`.
    """

    def __init__(self, root: Path, options: tuple[str, ...] = ()) -> None:
        self._command = [sys.executable, "-m", "handshake", "-C", str(root)]
        self._options = options
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def running(self) -> tuple[str, ...]:
        """The packets whose process was not reaped yet."""
        return tuple(self._running)

    def start(self, wp_id: str) -> None:
        """Run or resume a packet."""
        self._running[wp_id] = self._begin("run", *self._options, "--", wp_id)

    def _begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        # a group of its own: Ctrl-C on the terminal reaches the daemon, which ends the child in order
        return subprocess.Popen(  # noqa: S603 - ourselves
            [*self._command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=None if arguments[0] == "run" else subprocess.DEVNULL,
            start_new_session=True,
        )

    def recover(self) -> subprocess.Popen[bytes]:
        """Put the records of every interrupted run right; it has no word for a person who did not ask for it."""
        return self._begin("--quiet", "recover")

    def reap(self) -> list[Ended]:
        """Those that ended since."""
        ended = [Ended(name, code) for name, child in self._running.items() if (code := child.poll()) is not None]
        for one in ended:
            del self._running[one.wp_id]
        return ended

    def end(self) -> list[Ended]:
        """Ask all to leave, wait, and kill what does not: a killed run is resumed like any other."""
        for child in self._running.values():
            if child.poll() is None:
                child.terminate()
        give_up = time.monotonic() + LEAVE_S
        for child in self._running.values():
            try:
                child.wait(timeout=max(0.0, give_up - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        return self.reap()
