"""Refused packets go on record by a process that ends: scanning them for secrets takes libraries of many MB.

Contract: `events.md`, FR-EVT-GOV-WP-001. Run as a module, with rows of JSON on standard input, this is that process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

LEAVES_WITHIN_S = 20.0


@dataclass(frozen=True)
class Refusal:
    """A packet's content that may not run, and the first line of why."""

    wp_id: str
    path: str
    content_hash: str
    reason: str


class RefusalRecords:
    """Records refusals beside the work, those of one moment by one process.

    Args:
        state_dir: the clone's own folder (`Repository.state_dir`).
    """

    def __init__(self, state_dir: Path) -> None:
        self._command = [sys.executable, "-m", "handshake.daemon.refusals", str(state_dir)]
        self._waiting: list[Refusal] = []
        self._child: subprocess.Popen[bytes] | None = None

    def add(self, refusal: Refusal) -> None:
        """Have it recorded soon. What cannot be recorded is said by the process that tried."""
        self._waiting.append(refusal)

    def go_on(self) -> bool:
        """Start what waits, unless a process is still at it; whether anything is left to do."""
        if self._child is not None and self._child.poll() is None:
            return True
        self._child = None
        if not self._waiting:
            return False
        with tempfile.TemporaryFile() as rows:  # a pipe would have to wait until somebody reads
            rows.write("".join(json.dumps(asdict(one)) + "\n" for one in self._waiting).encode())
            rows.seek(0)
            self._child = subprocess.Popen(self._command, stdin=rows, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
        self._waiting = []
        return True

    def finish(self) -> None:
        """See it through, for so long as a person waits."""
        while self.go_on() and self._child is not None:
            try:
                self._child.wait(LEAVES_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
                return


def _record(state_dir: Path, rows: list[str]) -> int:
    from handshake.domain.clock import SystemClock
    from handshake.domain.errors import HandshakeError
    from handshake.recorder.packets import PacketJournal

    journal, failed = PacketJournal(state_dir, SystemClock()), 0
    for one in (Refusal(**json.loads(row)) for row in rows):
        try:
            for state, reason in (("noticed", None), ("refused", one.reason)):
                journal.packet(one.wp_id, state, path=one.path, content_hash=one.content_hash, reason=reason)
        except HandshakeError as error:
            failed = 1
            sys.stderr.write(f"handshake: cannot record what became of {one.wp_id}: {error.line()}\n")
    return failed


if __name__ == "__main__":
    sys.exit(_record(Path(sys.argv[1]), sys.stdin.read().splitlines()))
