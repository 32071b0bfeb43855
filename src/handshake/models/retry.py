"""Trying again after a passing failure: backoff with jitter inside a budget. Contract: `loop.md`, Errors."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from handshake.domain.clock import Clock
from handshake.domain.errors import ModelFailed

Result = TypeVar("Result")


def _fraction() -> float:
    return secrets.randbelow(1_000_000) / 1_000_000


@dataclass(frozen=True)
class RetryRule:
    """At most `attempts` calls, waiting `first_s`, then twice as long each time, never more than `budget_s` in all.

    `jitter` gives numbers from 0 to 1; a wait is between half and the whole of its nominal length.
    """

    attempts: int = 5
    first_s: float = 0.5
    longest_s: float = 15.0
    budget_s: float = 45.0
    jitter: Callable[[], float] = field(default=_fraction)

    def wait_s(self, attempt: int, asked_s: float | None) -> float:
        """Seconds to wait after the failed `attempt` (from 1); never less than the server asked for."""
        nominal = min(self.longest_s, self.first_s * 2.0 ** (attempt - 1))
        return max(nominal * (0.5 + self.jitter() / 2), asked_s or 0.0)


class RetryLater(ModelFailed):
    """A transient failure that says how long to wait; `wait_s` is the server's Retry-After in seconds."""

    def __init__(self, what: str, *, wait_s: float | None = None, category: str = "model_error") -> None:
        super().__init__(what, category=category, transient=True, next_step="check the model server, then run again")
        self.wait_s = wait_s


def with_retries(call: Callable[[], Result], rule: RetryRule, clock: Clock) -> Result:
    """The result of `call`, tried again after each `RetryLater` while the rule allows.

    Raises:
        ModelFailed: the last failure, when attempts or budget are used up; any other at once.
    """
    waited = 0.0
    attempt = 1
    while True:
        try:
            return call()
        except RetryLater as failure:
            wait = rule.wait_s(attempt, failure.wait_s)
            if attempt >= rule.attempts or waited + wait > rule.budget_s:
                raise
            clock.sleep(wait)
            waited += wait
            attempt += 1
