"""When a packet whose run failed is tried again: later each time, or not before something changed."""

from __future__ import annotations

from dataclasses import dataclass, field

from handshake.daemon.candidates import Candidate
from handshake.domain.errors import ExitCode

FIRST_S = 5.0
LONGEST_S = 300.0
BUSY_S = 1.0

_ENDS_WELL = frozenset({ExitCode.DONE, ExitCode.WAITS_FOR_HUMAN, ExitCode.CANCELLED})


@dataclass(frozen=True)
class _Hold:
    candidate: Candidate
    until: float
    wait: float


@dataclass
class Patience:
    """What is held back, and until when, in seconds of a monotonic clock."""

    _held: dict[str, _Hold] = field(default_factory=dict)

    def allows(self, candidate: Candidate, now: float) -> bool:
        """Whether this packet may be started now."""
        hold = self._held.get(candidate.wp_id)
        if hold is None:
            return True
        if hold.wait == 0:  # refused: until it is judged anew, because something it depends on changed
            return hold.candidate is not candidate
        return now >= hold.until or hold.candidate.content_hash != candidate.content_hash

    def ended(self, candidate: Candidate, code: int, now: float) -> str | None:
        """Take note of how a run ended; what a person should know about it, if anything."""
        name = candidate.wp_id
        last = self._held.pop(name, None)
        if code in _ENDS_WELL:
            return None
        if code == ExitCode.LOCK_HELD:
            self._held[name] = _Hold(candidate, now + BUSY_S, BUSY_S)
            return None
        if code == ExitCode.USAGE:
            self._held[name] = _Hold(candidate, now, 0)
            return f"{name} is refused by its run; it is tried again when packet, configuration or base changes"
        again = last is not None and last.wait >= FIRST_S and last.candidate.content_hash == candidate.content_hash
        wait = min(2 * last.wait, LONGEST_S) if again and last else FIRST_S
        self._held[name] = _Hold(candidate, now + wait, wait)
        return f"{name} ended with exit code {code}; if it can be resumed, that is tried in {wait:.0f} s"

    def next_due(self, now: float) -> float | None:
        """Seconds until the next held packet may be tried, or None; one that is due already only lacks its turn."""
        return min((hold.until - now for hold in self._held.values() if hold.wait and hold.until > now), default=None)

    def forget(self) -> None:
        """Hold nothing back any more: the configuration changed."""
        self._held.clear()
