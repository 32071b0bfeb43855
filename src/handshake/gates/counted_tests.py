"""How many tests a command ran, by the summaries of the known runners. Contract: `models.md`, condition 4."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

_LONGEST_OUTPUT = 200_000
_LONG_LINE = re.compile(r"([^\n]{1000})[^\n]+")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Counts(NamedTuple):
    """Tests that ran to a verdict. Skipped ones and expected failures are in neither figure."""

    passed: int
    failed: int

    @property
    def ran(self) -> int:
        """All that ran."""
        return self.passed + self.failed


class SummaryFormat(NamedTuple):
    """A runner's summary: the line, how it is read, and an example with what it gives."""

    runner: str
    pattern: re.Pattern[str]
    read: Callable[[re.Match[str]], Counts]
    example: str
    expected: Counts


def plain_output(output: str) -> str:
    """Output without colours and carriage returns; of a very long one the end, for there the verdict stands."""
    text = output[-_LONGEST_OUTPUT:] if len(output) > _LONGEST_OUTPUT else output
    text = _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _LONG_LINE.sub(r"\1", text)


def counts_of(output: str) -> Counts | None:
    """Passed and failed tests of all summaries of the first runner that is recognised; None if none is."""
    text = plain_output(output)
    for form in FORMATS:
        found = [form.read(match) for match in form.pattern.finditer(text)]
        if found:
            return Counts(sum(count.passed for count in found), sum(count.failed for count in found))
    return _go_counts(text) or _mocha_counts(text)


def count_tests(output: str) -> int | None:
    """How many tests ran, skipped ones left out; None if the output has no summary that is known."""
    counts = counts_of(output)
    return None if counts is None else counts.ran


def _figures(text: str, *names: str) -> int:
    return sum(int(number) for number in re.findall(rf"\b(\d+) (?:{'|'.join(names)})\b", text))


def _pytest(match: re.Match[str]) -> Counts:
    return Counts(_figures(match[0], "passed", "xpassed"), _figures(match[0], "failed"))


def _unittest(match: re.Match[str]) -> Counts:
    bad = {name: int(number) for name, number in re.findall(r"([a-z ]+)=(\d+)", match["rest"] or "")}
    figures = {name.strip(): number for name, number in bad.items()}
    failed = figures.get("failures", 0) + figures.get("errors", 0)
    ran = int(match["ran"]) - figures.get("skipped", 0) - figures.get("expected failures", 0)
    return Counts(max(ran - failed, 0), failed)


def _two(match: re.Match[str]) -> Counts:
    return Counts(int(match["passed"] or 0), int(match["failed"] or 0))


def _named(match: re.Match[str]) -> Counts:
    return Counts(_figures(match[0], "passed"), _figures(match[0], "failed"))


def _go_counts(text: str) -> Counts | None:
    verdicts = re.findall(r"^[ \t]*--- (PASS|FAIL): ", text, re.MULTILINE)
    verdicts += [v.upper() for v in re.findall(r'"Action":"(pass|fail)"[^\n]*"Test":', text)]
    return Counts(verdicts.count("PASS"), verdicts.count("FAIL")) if verdicts else None


def _mocha_counts(text: str) -> Counts | None:
    passing = re.search(r"^[ \t]*(\d+) passing\b", text, re.MULTILINE)
    failing = re.search(r"^[ \t]*(\d+) failing\b", text, re.MULTILINE)
    if passing is None and failing is None:
        return None
    return Counts(int(passing[1]) if passing else 0, int(failing[1]) if failing else 0)


_PYTEST_WORD = r"(?:passed|failed|skipped|deselected|xfailed|xpassed|errors?|warnings?)"

FORMATS: tuple[SummaryFormat, ...] = (
    SummaryFormat(
        "pytest",
        re.compile(
            rf"^(?:=+ )?(?:no tests ran|\d+ {_PYTEST_WORD}(?:, \d+ {_PYTEST_WORD})*)"
            r" in [\d.]+ ?s(?: \([\d:]+\))?(?: =+)?$",
            re.MULTILINE,
        ),
        _pytest,
        "===== 1 failed, 3 passed, 2 skipped, 1 xfailed in 0.12s =====",
        Counts(3, 1),
    ),
    SummaryFormat(
        "unittest",
        re.compile(
            r"^Ran (?P<ran>\d+) tests? in [\d.]+s\n{1,3}(?:OK|FAILED|NO TESTS RAN)(?: \((?P<rest>[^)]*)\))?$",
            re.MULTILINE,
        ),
        _unittest,
        "Ran 5 tests in 0.001s\n\nFAILED (failures=1, errors=1, skipped=1)",
        Counts(2, 2),
    ),
    SummaryFormat(
        "cargo",
        re.compile(r"^test result: \w+\. (?P<passed>\d+) passed; (?P<failed>\d+) failed;", re.MULTILINE),
        _two,
        "test result: FAILED. 3 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        Counts(3, 1),
    ),
    SummaryFormat(
        "node --test",
        re.compile(r"^[#ℹ] pass (?P<passed>\d+)\n[#ℹ] fail (?P<failed>\d+)$", re.MULTILINE),
        _two,
        "# tests 5\n# suites 0\n# pass 4\n# fail 1\n# cancelled 0\n# skipped 0",
        Counts(4, 1),
    ),
    SummaryFormat(
        "jest and vitest",
        re.compile(r"^[ \t]*Tests:?[ \t]+(?:\d+ [a-z]+(?:,| \|)? )*(?:\d+ total|\(\d+\))$", re.MULTILINE),
        _named,
        "Tests:       1 failed, 1 skipped, 4 passed, 6 total",
        Counts(4, 1),
    ),
)
