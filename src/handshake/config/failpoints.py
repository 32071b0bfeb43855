"""Named places where a test may stop the process. Off unless `HANDSHAKE_FAILPOINT` names one.

Forms: `name:kill` (SIGKILL of this process), `name:raise`, `name:delay=MS`; `name@N:…` fires at the
N-th time the place is passed. Several are separated by commas. Contract: `state.md`, The matrix.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from handshake.domain.errors import HandshakeError

VARIABLE = "HANDSHAKE_FAILPOINT"

NAMES = (
    "journal.append:before",
    "journal.append:after",
    "objects.write:before",
    "objects.write:after",
    "pack.index:before",
    "packs.gather:before",
    "packs.gather:after",
    "ref.update:before",
    "ref.update:after",
    "model.call:before",
    "model.call:after",
    "reply.store:before",
    "reply.store:after",
    "edit.file:before",
    "edit.file:after",
    "verify.start",
    "verify.end",
    "wp.commit:before",
    "wp.commit:after",
    "packet.edit:before",
    "packet.edit:after",
    "manifest.write:before",
    "manifest.write:after",
    "worktree.add:before",
    "worktree.add:after",
    "worktree.reset:before",
    "worktree.reset:after",
    "final.commit:before",
    "final.commit:after",
    "index.batch:before",
    "index.batch:after",
)


class FailpointReached(HandshakeError):
    """A failpoint with `raise` was passed."""

    code = "HSK-TEST-FAILPOINT"


_passed: dict[str, int] = {}
_suspended = 0


@contextmanager
def failpoints_suspended() -> Iterator[None]:
    """A stretch that is no part of a run, though it passes the same places: an engine that is tried out."""
    global _suspended  # noqa: PLW0603 - the failpoints of a process are one
    _suspended += 1
    try:
        yield
    finally:
        _suspended -= 1


def failpoint(name: str) -> None:
    """Mark a place; does nothing unless the environment names it.

    Raises:
        FailpointReached: the environment says `raise` here.
    """
    wanted = os.environ.get(VARIABLE)
    if not wanted or _suspended:
        return
    assert name in NAMES, name
    count = _passed[name] = _passed.get(name, 0) + 1
    for item in wanted.split(","):
        place, _, act = item.rpartition(":")
        place, _, at = place.partition("@")
        if place != name or (at and int(at) != count):
            continue
        if act == "kill":
            _die()
        elif act == "raise":
            raise FailpointReached(f"failpoint {name} reached")
        elif act.startswith("delay="):
            time.sleep(int(act.removeprefix("delay=")) / 1000)


def _die() -> None:
    if hasattr(signal, "SIGKILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(137)  # Windows has no SIGKILL: leave at once, without clean-up
