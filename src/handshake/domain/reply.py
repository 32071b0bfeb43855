"""What a reply holds, once read as data. Contract: `models.md`, The reply; `loop.md`, Deciding."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from handshake.domain.record import Record


class SearchReplace(Record):
    """One replacement: `search` must be found exactly once by the matching ladder."""

    search: str
    replace: str


class Edit(Record):
    """One file's change as the reply gave it: the whole content, or replacements in order."""

    path: str
    form: Literal["whole", "search_replace"]
    content: str | None = None
    replacements: tuple[SearchReplace, ...] = ()


class EvidenceLine(Record):
    """`"criterion" -> path:start-end`. `start` and `end` are 1-based and inclusive."""

    criterion: str
    evidence_location: str
    path: str
    start: int
    end: int


class CompletionSignal(Record):
    """The closing signal. `malformed` says why a block was there and made no claim."""

    claimed_complete: bool = False
    evidence: tuple[EvidenceLine, ...] = ()
    blocked: bool = False
    blocked_reason: str | None = None
    blocked_need: str | None = None
    malformed: str | None = None
    raw_block: str | None = None


class ParsedReply(Record):
    """A reply as data. `edit_errors` are one-line reasons why some edit could not be read."""

    edits: tuple[Edit, ...] = ()
    edit_errors: tuple[str, ...] = ()
    signal: CompletionSignal = Field(default_factory=CompletionSignal)
    reasoning: str = ""


class EditOutcome(Record):
    """What became of one edit.

    `nearest` are the real lines closest to a search that was not found; `put_back` the definitions that a whole file
    left out and that were kept, None where that did not happen.
    """

    path: str
    form: Literal["whole", "search_replace"]
    applied: bool
    changed: bool = False
    error: str | None = None
    category: str | None = None
    nearest: tuple[str, ...] = ()
    put_back: tuple[str, ...] | None = None


class FailureCategory(StrEnum):
    """Why an iteration failed, derived mechanically. Contract: `loop.md`, Errors."""

    SYNTAX_ERROR_ISOLATED = "syntax_error_isolated"
    SYNTAX_ERROR_SYSTEMIC = "syntax_error_systemic"
    LOGIC_ERROR_REGRESSION = "logic_error_regression"
    SCOPE_VIOLATION = "scope_violation"
    VALIDATION_FLAKY = "validation_flaky"
    TIMEOUT_EXCEEDED = "timeout_exceeded"
    CONTEXT_OVERFLOW = "context_overflow"
    HALLUCINATION_API = "hallucination_api"
    INCOMPLETE_IMPLEMENTATION = "incomplete_implementation"
    UNKNOWN = "unknown"


class SpecResult(Record):
    """What one verify command gave. `stdout_ref` and `stderr_ref` are artifact paths; tails are for people."""

    index: int
    command: str
    passed: bool
    blocking: bool
    exit_code: int | None
    duration_ms: int
    timed_out: bool = False
    judged: bool = True
    flaky: bool = False
    truncated: bool = False
    op_id: str
    reason: str | None = None
    stdout_ref: str | None = None
    stderr_ref: str | None = None
    stdout_tail: str = ""
    stderr_tail: str = ""


class ValidationResult(Record):
    """The verdict on a claim: passed only if every one of the five conditions holds. `reasons` say what failed."""

    passed: bool
    sample: int = 0
    reasons: tuple[str, ...] = ()
    spec_results: tuple[SpecResult, ...] = ()
    failure_category: FailureCategory | None = None
    error_category: Literal["validation_timeout", "validation_error", "capability_violation"] | None = None
    tests_seen: int | None = None
    flaky: bool = False
