"""How far a student-teacher pair may be trusted as data. Contract: `learning.md`, Trust score.

The score starts at 1 and every weakness that was found takes its part. A weakness that makes the pair
worthless, or one that an author or a model could bring about on purpose, is enough to fall below
`ELIGIBLE_FROM`: two small ones are not.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

ELIGIBLE_FROM = 0.7

SECRET_FOUND = "secret_found"  # noqa: S105 - a weakness's name
STUDENT_NOT_REFUTED = "student_not_refuted"

WEAKNESSES: dict[str, float] = {
    # nothing was learnt
    SECRET_FOUND: 1.0,
    "no_blocking_command": 1.0,
    "empty_diff": 1.0,
    "same_files_judged_differently": 1.0,
    "model_error": 1.0,
    # one of these alone makes the pair ineligible
    "weak_check": 0.4,
    "syntax_check_only": 0.4,
    "flaky_pass": 0.4,
    "own_tests": 0.4,
    "evidence_unverified": 0.4,
    "student_did_not_try": 0.4,
    "student_off_task": 0.4,
    # these tell against the pair, and not enough to leave it out
    STUDENT_NOT_REFUTED: 0.2,
    "one_command_only": 0.1,
}

_WORD = re.compile(r"[A-Za-z_]\w{2,}")
# words of many languages that say nothing about a task
_SYNTAX = frozenset(
    _WORD.findall(
        "and await class const def elif else end except export extends false False finally for from func "
        "function import impl interface lambda let match mut new nil None not null package pass pub raise "
        "return self static struct super switch this throw true True try type use var void while with yield"
    )
)
_BLOB = re.compile(r"^index [0-9a-f]+\.\.([0-9a-f]+)", re.MULTILINE)
_FILE = re.compile(r"^diff --git .*$", re.MULTILINE)
_ALIKE_FROM = 0.15


@dataclass(frozen=True)
class JudgedAttempt:
    """One side of a pair, as it was judged.

    `passed` maps each blocking command that ran to whether it passed; `patch` is the attempt's unified diff
    as git writes it, one part for each file.
    """

    patch: str = ""
    passed: dict[str, bool] = field(default_factory=dict)
    validated: bool = False
    flaky: bool = False
    model_error: bool = False
    secrets: int = 0


def weaknesses(
    student: JudgedAttempt,
    teacher: JudgedAttempt,
    *,
    untouched: dict[str, bool],
    stand_ins: Collection[str] = (),
    writes_its_tests: bool = False,
    flaky_before: bool = False,
) -> tuple[str, ...]:
    """What speaks against a pair, by the names in `WEAKNESSES`, in their order.

    Args:
        untouched: how the blocking commands did before anybody tried.
        stand_ins: commands that check syntax and nothing else.
        writes_its_tests: the MT may change the tests that judge it.
        flaky_before: an earlier iteration of this MT was judged flaky.
    """
    real = [command for command in teacher.passed if command not in stand_ins]
    refuted = any(not passed for passed in student.passed.values())
    told_apart = any(
        teacher.passed[command] and (untouched.get(command) is False or student.passed.get(command) is False)
        for command in real
    )
    left = _blobs(student.patch)
    same = bool(left) and left == _blobs(teacher.patch)
    found = {
        SECRET_FOUND: bool(student.secrets or teacher.secrets),
        "no_blocking_command": not teacher.passed,
        "empty_diff": not teacher.patch,
        "same_files_judged_differently": same and refuted,
        "model_error": student.model_error,
        "weak_check": bool(real) and not told_apart,
        "syntax_check_only": bool(teacher.passed) and not real,
        "flaky_pass": teacher.flaky or student.flaky or flaky_before,
        "own_tests": writes_its_tests,
        "evidence_unverified": not teacher.validated,
        "student_did_not_try": not student.patch,
        "student_off_task": bool(student.patch) and not alike(student.patch, teacher.patch),
        STUDENT_NOT_REFUTED: not refuted,
        "one_command_only": len(real) == 1,
    }
    return tuple(name for name in WEAKNESSES if found[name])


def trust_score(found: Collection[str]) -> float:
    """The score, 0 to 1, of a pair with these weaknesses."""
    return round(max(0.0, 1.0 - sum(WEAKNESSES[name] for name in set(found))), 6)


def is_eligible(found: Collection[str]) -> bool:
    """Whether a pair with these weaknesses may become training data."""
    return SECRET_FOUND not in found and trust_score(found) >= ELIGIBLE_FROM


def alike(student: str, teacher: str) -> bool:
    """Whether two diffs are about the same thing: they share enough of the names in their changed lines.

    What fails on purpose rarely takes the trouble: a body that only raises shares no word with a solution.
    """
    mine, theirs = _words(student), _words(teacher)
    if not mine or not theirs:
        return False
    return len(mine & theirs) / min(len(mine), len(theirs)) >= _ALIKE_FROM


def _words(patch: str) -> set[str]:
    added = [line[1:] for line in patch.splitlines() if line.startswith("+") and not line.startswith("+++")]
    removed = [line[1:] for line in patch.splitlines() if line.startswith("-") and not line.startswith("---")]
    return (set(_WORD.findall("\n".join(added))) or set(_WORD.findall("\n".join(removed)))) - _SYNTAX


def _blobs(patch: str) -> list[tuple[str, str]]:
    """Each file's heading and the id of the content that the patch leaves."""
    return list(zip(_FILE.findall(patch), _BLOB.findall(patch), strict=False))
