"""Tracking branches on a remote: pushed and fetched beside the work, never in its way. Contract: `state.md`."""

from __future__ import annotations

import threading
from collections.abc import Callable

from handshake.domain.errors import HandshakeError
from handshake.repo.git import Repository


class TrackingRemote:
    """The place where the tracking branches of a repository are shared.

    Args:
        remote: a remote's name or address.
        prefix: `refs/heads/<namespace>` or a full `refs/…`, as the branches have it here.
    """

    def __init__(self, repo: Repository, remote: str, namespace: str) -> None:
        self.remote = remote
        self._repo = repo
        namespace = namespace.strip("/")
        self._prefix = namespace if namespace.startswith("refs/") else f"refs/heads/{namespace}"
        below = self._prefix.removeprefix("refs/heads/").removeprefix("refs/")
        self._fetched = f"refs/remotes/{remote}/{below}"

    def push(self, wp_id: str) -> str | None:
        """Push one branch, forward only. Why it could not be, or None; a branch yet to come is no failure."""
        ref = f"{self._prefix}/{wp_id}"
        if self._repo.ref_target(ref) is None:
            return None
        result = self._repo.git.run("push", "--quiet", "--no-verify", self.remote, f"{ref}:{ref}", check=False)
        return None if result.code == 0 else result.reason

    def fetch(self) -> str | None:
        """Fetch what others pushed, beside the branches of this clone. Why it could not be, or None."""
        result = self._repo.git.run(
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            self.remote,
            f"+{self._prefix}/*:{self._fetched}/*",
            check=False,
        )
        return None if result.code == 0 else result.reason

    def fetched_tip(self, wp_id: str) -> str | None:
        """Where the branch was on the remote when it was last fetched."""
        return self._repo.ref_target(f"{self._fetched}/{wp_id}")


class Errand:
    """Something slow that is done beside the work, again and again; of many wishes at once only the last counts.

    Args:
        act: done in a thread of its own; what it returns is why it failed, or None.
        failed: told once for each new reason, from that thread.
    """

    def __init__(self, act: Callable[[], str | None], failed: Callable[[str], None]) -> None:
        self._act = act
        self._failed = failed
        self._last: str | None = None
        self._change = threading.Condition()
        self._wanted = False
        self._busy = False
        self._thread: threading.Thread | None = None

    def ask(self) -> None:
        """Have it done soon; returns at once."""
        with self._change:
            self._wanted = True
            if self._thread is None:
                # as a daemon thread it never keeps the process from leaving: a network may hang for ever
                self._thread = threading.Thread(target=self._work, name="errand", daemon=True)
                self._thread.start()
            self._change.notify_all()

    @property
    def idle(self) -> bool:
        """Whether all that was asked for is done."""
        with self._change:
            return not self._wanted and not self._busy

    def finish(self, timeout_s: float) -> bool:
        """Wait for what was asked for, so long at most; whether it is done."""
        with self._change:
            return self._change.wait_for(lambda: not self._wanted and not self._busy, timeout_s)

    def _work(self) -> None:
        while True:
            with self._change:
                self._busy = False
                self._change.notify_all()
                self._change.wait_for(lambda: self._wanted)
                self._wanted, self._busy = False, True
            try:
                why = self._act()
            except HandshakeError as error:
                why = error.line()
            if why is not None and why != self._last:
                self._failed(why)
            self._last = why
