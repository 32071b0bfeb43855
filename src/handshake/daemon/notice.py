"""Changes below the folders that a daemon looks at, told by watchfiles. Contract: `interface.md`, daemon."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from handshake.daemon.doorbell import Doorbell

# how long a change waits to be followed by another, and how long a burst may go on before it is told
STEP_MS = 40
BURST_MS = 200
# without a doorbell watchfiles is asked so often whether something changed, and says so often that nothing did
ASKED_EVERY_MS = 100
TURN_MS = 200
POLL_MS = 300


class Notice:
    """What changed below some folders, from its making on. A context manager.

    Args:
        bell: rung to end a wait.
        stopped: set when no wait is wanted any more.
        polling: the files are looked at again and again; for network drives that tell of nothing.
        relevant: whether a changed path matters.

    Raises:
        FileNotFoundError: a folder is not there.
    """

    def __init__(
        self,
        places: Sequence[Path],
        bell: Doorbell,
        stopped: threading.Event,
        *,
        polling: bool,
        relevant: Callable[[str], bool],
    ) -> None:
        from watchfiles import watch

        polling = polling or _must_poll()
        self._bell = bell
        self._hears = bell.hang(() if polling else places)
        self._told = watch(
            *places,
            watch_filter=lambda _change, path: relevant(path),
            stop_event=stopped,
            rust_timeout=2 * STEP_MS if self._hears else TURN_MS,
            yield_on_timeout=True,
            debounce=BURST_MS,
            step=STEP_MS if self._hears else ASKED_EVERY_MS,
            force_polling=polling,
            poll_delay_ms=POLL_MS,
            ignore_permission_denied=True,
        )
        next(self._told, None)  # it watches from its first turn on

    def wait(self, seconds: float) -> bool:
        """Sleep until something that matters changed, the bell was rung, or the time is up; whether it changed."""
        if self._hears:
            return self._bell.wait(seconds) and bool(next(self._told, None))
        until = time.monotonic() + seconds
        while not (changed := bool(next(self._told, None))):
            if self._bell.wait(0) or time.monotonic() >= until:
                break
        return changed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._told.close()


def _must_poll() -> bool:
    """Whether files tell of no changes, by watchfiles' own rule: where it is told so, and in WSL.

    The doorbell must know it too. https://watchfiles.helpmanual.io/api/watch/ (`force_polling`).
    """
    said = os.environ.get("WATCHFILES_FORCE_POLLING", "")
    if said:
        return said.lower() not in ("false", "disable", "disabled")
    return platform.system() == "Linux" and "microsoft-standard" in platform.release().lower()
