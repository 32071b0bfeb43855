"""Why an iteration failed, from the output alone. Contract: `loop.md`, Errors; `context.md`, step 7.

Each rule is data with an example; no model is asked. `failing_locations` says where.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from handshake.domain.reply import FailureCategory
from handshake.gates.counted_tests import count_tests, counts_of, plain_output
from handshake.gates.fail_locations import FailLocation, failing_locations
from handshake.gates.failure_rules import RULES, FailureRule

__all__ = [
    "RULES",
    "FailLocation",
    "FailureRule",
    "count_tests",
    "failing_locations",
    "failure_category",
    "summary_line",
]

_C = FailureCategory
_LONGEST_SUMMARY = 120

_TEST_PATH = re.compile(r"(?:^|/)(?:tests?/|test_[^/]*$|[^/]*_test\.\w+$|[^/]*\.(?:test|spec)\.\w+$)")
_ERROR = re.compile(r"(?:E\s+)?(?:\w+\.)*\w*(?:Error|error|ERROR)\b|Found \d+ errors?\b|fatal:")
_MISSING_NAME = re.compile(r"cannot import name|ModuleNotFoundError|has no attribute|not provide an export named")


def failure_category(
    output: str,
    *,
    timed_out: bool = False,
    scope_violation: bool = False,
    edit_failed: bool = False,
    edit_error: str = "",
    edit_category: str | None = None,
    context_overflow: bool = False,
    flaky: bool = False,
    claim_reasons: Sequence[str] = (),
    claimed: bool = True,
) -> FailureCategory:
    """Why an iteration failed. Facts of the loop come before what the output says.

    Args:
        output: stdout and stderr of the failed verify commands, one after the other.
        timed_out: a verify command passed its limit.
        scope_violation: an edit lay outside the MT's files.
        edit_failed: the edits were not applied; `edit_error` and `edit_category` are of the `EditOutcome`.
        context_overflow: the prompt did not fit, or the reply ended at its token limit.
        flaky: a failed command passed when it was run again.
        claim_reasons: what `handshake.gates.claims` found wrong.
        claimed: whether the reply claimed completion.
    """
    facts = (
        (scope_violation, _C.SCOPE_VIOLATION),
        (context_overflow, _C.CONTEXT_OVERFLOW),
        (edit_failed and edit_category in ("elision", "shrink"), _C.INCOMPLETE_IMPLEMENTATION),
        (timed_out, _C.TIMEOUT_EXCEEDED),
        (flaky, _C.VALIDATION_FLAKY),
    )
    for holds, category in facts:
        if holds:
            return category
    text = plain_output(f"{edit_error}\n{output}" if edit_failed else output)
    found = next((rule for rule in RULES if rule.pattern.search(text)), None)
    if found is None:
        unfinished = bool(claim_reasons) or not claimed
        return _C.INCOMPLETE_IMPLEMENTATION if unfinished and not edit_failed else _C.UNKNOWN
    if found.category is _C.SYNTAX_ERROR_ISOLATED and len(_broken_files(text)) > 1:
        return _C.SYNTAX_ERROR_SYSTEMIC
    if found.category is _C.HALLUCINATION_API and _asked_for_by_a_test(text):
        return _C.INCOMPLETE_IMPLEMENTATION
    return found.category


def _broken_files(text: str) -> set[str]:
    """The files whose syntax is wrong (two are enough), by the location nearest to each line that says so."""
    lines = text.split("\n")
    files: set[str] = set()
    for index, line in enumerate(lines):
        if not any(rule.pattern.search(line) for rule in RULES if rule.category is _C.SYNTAX_ERROR_ISOLATED):
            continue
        around = (line, *reversed(lines[max(0, index - 4) : index]), *lines[index + 1 : index + 2])
        nearest = next((found[0].path for part in around if (found := failing_locations(part))), None)
        if nearest is not None:
            files.add(nearest)
        if len(files) > 1:
            break
    return files


def _asked_for_by_a_test(text: str) -> bool:
    """A test that misses a name of the code says that it is not written yet, not that it was made up."""
    match = _MISSING_NAME.search(text)
    if match is None:
        return False
    before = failing_locations(text[: match.end()])
    return bool(before) and _TEST_PATH.search(before[-1].path) is not None


def summary_line(output: str) -> str:
    """One line for a person, e.g. `2 of 5 tests fail`; the last line said where nothing better is known."""
    text = plain_output(output)
    counts = counts_of(text)
    if counts is not None and counts.failed:
        tests = "test" if counts.ran == 1 else "tests"
        return f"{counts.failed} of {counts.ran} {tests} {'fails' if counts.failed == 1 else 'fail'}"
    for location in failing_locations(text):
        if location.message and re.search(r"error|fail|expected|undefined|panic|assert", location.message, re.I):
            return _short(f"{location.path}:{location.line}: {location.message}")
    problem = next((line for line in text.split("\n") if _ERROR.match(line)), None)
    if problem is not None:
        return _short(problem.removeprefix("E "))
    if counts is not None:
        return f"{counts.ran} {'test passes' if counts.ran == 1 else 'tests pass'}" if counts.ran else "no tests ran"
    last = next((line for line in reversed(text.split("\n")) if line.strip()), "no output")
    return _short(last)


def _short(line: str) -> str:
    plain = " ".join(line.split())
    return plain if len(plain) <= _LONGEST_SUMMARY else plain[: _LONGEST_SUMMARY - 1] + "…"
