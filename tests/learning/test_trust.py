"""What makes a pair poor data, weakness by weakness."""

from __future__ import annotations

import dataclasses

import pytest

from handshake.domain.learning import DistillationCandidate
from handshake.learning.trust import (
    ELIGIBLE_FROM,
    WEAKNESSES,
    JudgedAttempt,
    alike,
    is_eligible,
    trust_score,
    weaknesses,
)
from handshake.repo.patch import file_patch

BASE = b"RATE = 7\n\n\ndef gross(net):\n    return net + net * RATE // 100\n"
RIGHT, WRONG = BASE.replace(b"7", b"19"), BASE.replace(b"7", b"18")
TESTS, LINT = "python -m unittest", "ruff check ."

STUDENT = JudgedAttempt(patch=file_patch("shop.py", BASE, WRONG), passed={TESTS: False, LINT: True})
TEACHER = JudgedAttempt(patch=file_patch("shop.py", BASE, RIGHT), passed={TESTS: True, LINT: True}, validated=True)
UNTOUCHED = {TESTS: False, LINT: True}


def found(student=None, teacher=None, **more):
    changed = {"untouched": UNTOUCHED, **more}
    return weaknesses(
        dataclasses.replace(STUDENT, **(student or {})), dataclasses.replace(TEACHER, **(teacher or {})), **changed
    )


def test_an_honest_pair_has_nothing_against_it():
    assert found() == ()
    assert trust_score(()) == 1.0 and is_eligible(())


@pytest.mark.parametrize(
    ("given", "weakness"),
    [
        ({"student": {"secrets": 1}}, "secret_found"),
        ({"teacher": {"secrets": 2}}, "secret_found"),
        ({"teacher": {"passed": {}}}, "no_blocking_command"),
        ({"teacher": {"patch": ""}}, "empty_diff"),
        ({"student": {"patch": TEACHER.patch}}, "same_files_judged_differently"),
        ({"student": {"model_error": True}}, "model_error"),
        (
            {"student": {"passed": {TESTS: True, LINT: True}}, "untouched": {TESTS: True, LINT: True}},
            "weak_check",
        ),
        ({"stand_ins": [TESTS, LINT]}, "syntax_check_only"),
        ({"teacher": {"flaky": True}}, "flaky_pass"),
        ({"student": {"flaky": True}}, "flaky_pass"),
        ({"flaky_before": True}, "flaky_pass"),
        ({"writes_its_tests": True}, "own_tests"),
        ({"teacher": {"validated": False}}, "evidence_unverified"),
        ({"student": {"patch": ""}}, "student_did_not_try"),
        (
            {"student": {"patch": file_patch("shop.py", BASE, BASE + b"\nraise SystemExit\n")}},
            "student_off_task",
        ),
        ({"student": {"patch": file_patch("shop.py", BASE, b"return None\n")}}, "student_off_task"),
    ],
)
def test_each_of_these_alone_is_enough_to_leave_a_pair_out(given, weakness):
    names = found(**given)
    assert weakness in names
    assert trust_score([weakness]) < ELIGIBLE_FROM
    assert not is_eligible(names)


@pytest.mark.parametrize(
    ("given", "weakness"),
    [
        ({"teacher": {"passed": {TESTS: True}}}, "one_command_only"),
        ({"student": {"passed": {}}}, "student_not_refuted"),
    ],
)
def test_these_cost_something_and_leave_it_in(given, weakness):
    assert found(**given) == (weakness,)
    assert ELIGIBLE_FROM <= trust_score([weakness]) < 1.0
    assert is_eligible([weakness])


def test_every_weakness_is_met_by_a_test_and_the_score_stays_within_bounds():
    assert trust_score(WEAKNESSES) == 0.0
    assert trust_score(["one_command_only", "student_not_refuted"]) >= ELIGIBLE_FROM


def test_a_syntax_check_beside_real_tests_is_no_weakness_and_does_not_count_as_a_command():
    assert found(stand_ins=[LINT]) == ("one_command_only",)


def test_diffs_that_only_remove_are_compared_by_what_they_remove():
    longer = BASE + b"\n\ndef unused_discount(net):\n    return net\n"
    gone = file_patch("shop.py", longer, BASE)
    assert alike(gone, gone)
    assert not alike(gone, file_patch("shop.py", longer, longer.replace(b"RATE = 7", b"RATE = 8")))


def test_a_candidate_of_the_first_version_is_read_and_its_texts_fit_no_hash():
    """Version 0.1.0 named a prompt by its path alone."""
    side = {
        "model_id": "m",
        "prompt_snapshot_ref": "a/prompt.md",
        "output_snapshot_ref": "a/reply.md",
        "iterations": 1,
    }
    old = {"skill_log_entry_id": "s", "mt_id": "MT-001", "wp_id": "WP-1-X", "status": "final"}
    read = DistillationCandidate.model_validate(
        {**old, "student_attempt": {**side, "outcome": "INCOMPLETE"}, "teacher_success": side}
    )
    for handle in (read.student_attempt.prompt_snapshot_ref, read.teacher_success.output_snapshot_ref):
        assert handle.content_hash == "0" * 64
    assert read.teacher_success.output_snapshot_ref.path == "a/reply.md"
