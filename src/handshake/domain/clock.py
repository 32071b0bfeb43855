"""Time and ids come from here and nowhere else, so that a run can be replayed to the byte."""

from __future__ import annotations

import os
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """The present moment in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class IdSource(Protocol):
    """A source of identifiers."""

    def uuid7(self) -> str:
        """A time-ordered UUID (RFC 9562, version 7) as text."""
        ...


class SystemClock:
    """The machine's clock, cut to milliseconds: that is what records keep."""

    def now(self) -> datetime:
        moment = datetime.now(UTC)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SystemIds:
    """Version 7 UUIDs from the wall clock and the system's random source."""

    def uuid7(self) -> str:
        return _uuid7(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10)))


class SteppingClock:
    """A clock for tests and replays: each reading is `step` later than the last; sleeping moves it."""

    def __init__(self, start: datetime | None = None, step: timedelta = timedelta(milliseconds=1)) -> None:
        self._moment = start or datetime(2026, 1, 1, tzinfo=UTC)
        self._start = self._moment
        self._step = step

    def now(self) -> datetime:
        self._moment += self._step
        return self._moment

    def monotonic(self) -> float:
        return (self.now() - self._start).total_seconds()

    def sleep(self, seconds: float) -> None:
        self._moment += timedelta(seconds=seconds)


class CountingIds:
    """Ids for tests and replays: valid version 7 UUIDs that count up."""

    def __init__(self) -> None:
        self._count = 0

    def uuid7(self) -> str:
        self._count += 1
        return _uuid7(1_767_225_600_000, self._count)


def _uuid7(milliseconds: int, random_bits: int) -> str:
    value = (milliseconds & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76
    value |= (random_bits >> 62 & 0xFFF) << 64
    value |= 0b10 << 62
    value |= random_bits & ((1 << 62) - 1)
    return str(uuid.UUID(int=value))


def sorted_after(fresh: str, last: str | None) -> str:
    """A version 7 UUID that sorts after `last` also where the clock went back: ids tell what is newest."""
    if last is None or fresh > last:
        return fresh
    return _uuid7((uuid.UUID(last).int >> 80) + 1, uuid.UUID(fresh).int & ((1 << 74) - 1))


def uuid_from(name: str) -> str:
    """A UUID (version 5) that depends on nothing but `name`: the same step names the same thing after a crash."""
    return str(uuid.uuid5(_HANDSHAKE_NAMESPACE, name))


_HANDSHAKE_NAMESPACE = uuid.UUID("6f0f6d0e-6c8b-5d0a-9a51-2f6f3a1c7b1d")
