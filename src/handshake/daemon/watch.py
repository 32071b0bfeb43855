"""Watch the packet folder and run what is ready, one packet at a time. Contract: `interface.md`, `daemon`.

Events only make the look come sooner; a look every few seconds finds what an event missed.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from handshake.daemon.candidates import Candidate, look
from handshake.domain.errors import ExitCode, LockHeld
from handshake.loop.run import Surroundings

RESCAN_MS = 2_000
FIRST_BACKOFF_S = 5.0
LONGEST_BACKOFF_S = 300.0


class Daemon:
    """Supervises runs as child processes. Killing it loses nothing: children commit what they do."""

    def __init__(
        self, around: Surroundings, say: Callable[[str], None], *, child_options: tuple[str, ...] = ()
    ) -> None:
        self._around = around
        self._folder = around.repo.root / around.settings.paths.packets
        self._say = say
        self._child_options = child_options
        self._reported: dict[str, str] = {}
        self._backoff: dict[str, tuple[float, float]] = {}
        self._stop = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """Leave at the next chance; a running child is asked to end, and its run can be resumed."""
        self._stop.set()
        child = self._child
        if child is not None and child.poll() is None:
            child.terminate()

    def run_once(self) -> int:
        """Run what is there now, then leave.

        Returns:
            the exit code of the last child that did not end well, else 0.
        """
        with self._alone():
            worst = 0
            ran: set[str] = set()
            while not self._stop.is_set():
                ready = [c for c in self._look() if c.wp_id not in ran]
                if not ready:
                    return worst
                ran.add(ready[0].wp_id)
                worst = self._run(ready[0]) or worst
            return worst

    def run_forever(self) -> None:
        """Watch until told to stop."""
        with self._alone():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._say(f"watching {self._around.settings.paths.packets}; Ctrl-C ends, nothing is lost")
            while not self._stop.is_set():
                try:
                    self._watch()
                except FileNotFoundError:
                    self._stop.wait(RESCAN_MS / 1000)  # the folder was taken away: it is made again

    def _watch(self) -> None:
        from watchfiles import watch

        self._folder.mkdir(parents=True, exist_ok=True)
        self._drain()
        refs = self._around.repo.common_dir / "refs" / "heads"
        for _changes in watch(
            self._folder,
            refs,
            watch_filter=_relevant,
            stop_event=self._stop,
            rust_timeout=RESCAN_MS,
            yield_on_timeout=True,
            raise_interrupt=True,
            debounce=50,
            step=20,
        ):
            self._drain()

    def _drain(self) -> None:
        while not self._stop.is_set():
            ready = self._look()
            if not ready:
                return
            self._run(ready[0])

    def _look(self) -> list[Candidate]:
        """Packets that may run now; refusals and waits are said once for each content."""
        ready = []
        now = self._around.clock.monotonic()
        for found in look(self._around):
            if found.state in ("refused", "wait"):
                self._report(found)
            elif found.state == "run" and self._backoff.get(found.wp_id, (0.0, 0.0))[0] <= now:
                ready.append(found)
        return ready

    def _report(self, found: Candidate) -> None:
        key = f"{found.state}:{found.content_hash}:{found.why}"
        if self._reported.get(found.wp_id) == key:
            return
        self._reported[found.wp_id] = key
        if found.state == "wait":
            self._say(f"{found.wp_id} waits for a human ({found.why}): handshake decide {found.wp_id} …")
        else:
            self._say(f"{found.wp_id} is refused\n{found.why}")

    def _run(self, found: Candidate) -> int:
        self._say(f"{found.wp_id}: {'resuming' if found.why == 'resume' else 'starting'}")
        command = [sys.executable, "-m", "handshake", "-C", str(self._around.repo.root)]
        # a group of its own: Ctrl-C on the terminal reaches the daemon, which ends the child in order
        self._child = subprocess.Popen([*command, "run", *self._child_options, found.wp_id], start_new_session=True)  # noqa: S603 - ourselves
        code = self._child.wait()
        self._child = None
        if code in (ExitCode.DONE, ExitCode.WAITS_FOR_HUMAN, ExitCode.CANCELLED):
            self._backoff.pop(found.wp_id, None)
            return 0 if code == ExitCode.DONE else code
        if not self._stop.is_set():
            self._hold_off(found, code)
        return code

    def _hold_off(self, found: Candidate, code: int) -> None:
        """A packet that fails at once is tried again later, each time later still."""
        _, last = self._backoff.get(found.wp_id, (0.0, FIRST_BACKOFF_S / 2))
        wait = min(2 * last, LONGEST_BACKOFF_S)
        self._backoff[found.wp_id] = (self._around.clock.monotonic() + wait, wait)
        self._say(f"{found.wp_id} ended with exit code {code}; if it can be resumed, that is tried in {wait:.0f} s")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        path = self._around.repo.state_dir / "locks" / "daemon.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise LockHeld(f"another daemon watches {self._around.repo.root}", next_step="handshake status") from None
        try:
            yield
        finally:
            lock.release()


def _relevant(_change: object, path: str) -> bool:
    """Packets and tracking refs; editors' temporary files and git's lock files are noise."""
    name = Path(path).name
    return (name.endswith(".md") and not name.startswith(".")) or "track" in Path(path).parts
