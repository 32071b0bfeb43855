"""Starting the daemon as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LEAVES_WITHIN_S = 20.0


class DaemonProcess:
    """A daemon that watches `root`, as a child of this process."""

    def __init__(self, root: Path, *, verbose: bool = False) -> None:
        options = ["--verbose"] if verbose else []
        command = [sys.executable, "-m", "handshake", "-C", str(root), "daemon", *options]
        self._child = subprocess.Popen(command)  # noqa: S603 - ourselves

    @property
    def lives(self) -> bool:
        """Whether it still runs."""
        return self._child.poll() is None

    def end(self) -> None:
        """Ask it to leave, and see that it does."""
        if self.lives:
            self._child.terminate()
        try:
            self._child.wait(timeout=LEAVES_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
