"""The states of a review, kept in `docs/validator_gates/<WP_ID>.json`. Contract: `packets-and-gates.md`, Review.

The file may be written by hand: what it must hold is asked by `review_problems`, whoever wrote it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Literal

from pydantic import Field, ValidationError

from handshake.domain.errors import IllegalTransition
from handshake.domain.record import Record

LEAST_APART = timedelta(seconds=5)
FOLDER = "docs/validator_gates"

Verdict = Literal["PASS", "FAIL"]


class ReviewState(StrEnum):
    """Where a review stands; each follows the one before and none is left out."""

    REPORT_PRESENTED = "REPORT_PRESENTED"
    USER_ACKNOWLEDGED = "USER_ACKNOWLEDGED"
    WP_APPENDED = "WP_APPENDED"
    COMMITTED = "COMMITTED"


ORDER = tuple(ReviewState)


class ReviewStep(Record):
    """One state, when it was reached, and by whom."""

    state: ReviewState
    at: datetime
    by: str


class Review(Record):
    """One review. `reviewed_commit` is the WP branch's tip that was looked at, `report_sha256` the report's hash."""

    verdict: Verdict
    reviewed_commit: str = Field(pattern=r"^[0-9a-f]{40}(?:[0-9a-f]{24})?$")
    report_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    steps: tuple[ReviewStep, ...] = Field(min_length=1)

    @property
    def state(self) -> ReviewState:
        """The last state that was reached."""
        return self.steps[-1].state

    def reached(self, state: ReviewState) -> bool:
        """Whether the review came as far as that."""
        return any(step.state is state for step in self.steps)

    def advanced(self, step: ReviewStep) -> Review:
        """The review with its next state.

        Raises:
            IllegalTransition: it is not the next one, or comes too early.
        """
        position = ORDER.index(self.state) + 1
        if position == len(ORDER) or step.state is not ORDER[position]:
            raise IllegalTransition(f"a review at {self.state} cannot become {step.state}")
        if step.at - self.steps[-1].at < LEAST_APART:
            raise IllegalTransition(f"{step.state} comes less than {LEAST_APART.seconds} s after {self.state}")
        return self.model_copy(update={"steps": (*self.steps, step)})


class ReviewLog(Record):
    """All reviews of one packet, oldest first."""

    schema_version: Literal["1.0"] = "1.0"
    wp_id: str
    reviews: tuple[Review, ...] = ()

    @property
    def newest(self) -> Review | None:
        """The last review."""
        return self.reviews[-1] if self.reviews else None

    @property
    def failed(self) -> bool:
        """Whether a FAIL was acknowledged: that is final for this WP_ID, whatever came later."""
        return any(r.verdict == "FAIL" and r.reached(ReviewState.USER_ACKNOWLEDGED) for r in self.reviews)

    @property
    def passed(self) -> bool:
        """Whether the newest review passed and was walked to its end, and none failed."""
        newest = self.newest
        return (
            newest is not None
            and newest.verdict == "PASS"
            and newest.reached(ReviewState.COMMITTED)
            and not self.failed
        )


def log_path(wp_id: str) -> str:
    """Where a packet's reviews are kept."""
    return f"{FOLDER}/{wp_id}.json"


def read_review_log(data: bytes, wp_id: str) -> tuple[ReviewLog | None, tuple[str, ...]]:
    """The log and what is wrong with it; None where it cannot be read."""
    try:
        log = ReviewLog.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "(all)"
        return None, (f"{where}: {first['msg'].removeprefix('Value error, ')}",)
    return log, review_problems(log, wp_id)


def review_problems(log: ReviewLog, wp_id: str) -> tuple[str, ...]:
    """What keeps a log from being the walk of a review: another packet's, a state left out, two too close."""
    found = []
    if log.wp_id != wp_id:
        found.append(f"it is the log of {log.wp_id}")
    for number, review in enumerate(log.reviews, 1):
        states = [step.state for step in review.steps]
        if states != list(ORDER[: len(states)]):
            found.append(f"review {number}: the states are {', '.join(states)}, not {', '.join(ORDER)}")
        if any(step.at.tzinfo is None for step in review.steps):
            found.append(f"review {number}: a time has no zone")
            continue
        for before, after in pairwise(review.steps):
            if after.at - before.at < LEAST_APART:
                apart = (after.at - before.at).total_seconds()
                found.append(f"review {number}: {after.state} comes {apart:g} s after {before.state}, not 5 or more")
    return tuple(found)
