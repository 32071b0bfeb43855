"""How far a student-teacher pair may be trusted as data. Contract: `learning.md`, Trust score."""

from __future__ import annotations

ELIGIBLE_FROM = 0.7


def trust_score(
    *,
    blocking_commands: int,
    evidence_verified: bool,
    flaky: bool,
    writes_its_tests: bool,
    changed: bool,
    student_tried: bool,
) -> float:
    """The score, 0 to 1: a weak check or a flaky pass makes poor data, an empty diff none at all.

    Args:
        blocking_commands: how many blocking verify commands judged the teacher's result.
        writes_its_tests: the MT may change the tests that judge it.
        student_tried: the student's attempt is a real one, not an error of the transport.
    """
    if not changed or not student_tried or blocking_commands == 0:
        return 0.0
    score = 0.6 + 0.1 * min(blocking_commands, 2)
    score += 0.2 if evidence_verified else 0.0
    score -= 0.3 if flaky else 0.0
    score -= 0.3 if writes_its_tests else 0.0
    return round(max(0.0, min(1.0, score)), 6)
