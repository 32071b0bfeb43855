"""DONE_MEANS bullets to files."""

from __future__ import annotations

import pytest
from planning_trees import PYTHON, DictTree

from handshake.planning.assign import Assigner, Assignment
from handshake.planning.files import ScopeEntries, expand_scope
from handshake.planning.names import identifiers_of
from handshake.planning.words import WordIndex, is_general, words_of
from handshake.source.imports import ImportGraph
from handshake.source.project import Project

SCOPE = ("calc", "tests/test_calc.py")


def assigned(*bullets: str, one_file: bool = False) -> Assignment:
    project = Project(DictTree(PYTHON))
    files = expand_scope(ScopeEntries(SCOPE, ("docs/",)), project, ())
    return Assigner(project, ImportGraph(project), files, one_file=one_file).assign(bullets)


@pytest.mark.parametrize(
    ("bullet", "paths"),
    [
        ("calc/stats.py is typed", ["calc/stats.py"]),
        ("In `stats.py`, numbers are checked", ["calc/stats.py"]),
        ("calc.report is typed", ["calc/report.py"]),
        ("`calc.stats.mean` takes nothing", ["calc/stats.py"]),
        ("`median(xs)` is right", ["calc/stats.py"]),
        ("`calc.shout` is loud", ["calc/text.py"]),
        ("median() is right", ["calc/stats.py"]),
        ("upper case letters only", ["calc/text.py"]),
        ("`shout` has a test for the empty text", ["calc/text.py", "tests/test_calc.py"]),
        ("`mean` and `shout` agree", ["calc/stats.py", "calc/text.py"]),
        ("All existing tests still pass", []),
        ("`pytest -q` passes", []),
    ],
)
def test_where_a_bullet_goes(bullet: str, paths: list[str]) -> None:
    assert [target.path for target in assigned(bullet).targets[0]] == paths


def test_the_definitions_that_a_bullet_names() -> None:
    assignment = assigned("`mean` and `median` are right")
    assert assignment.definitions_of("calc/stats.py", 0) == ("mean", "median")
    assert assignment.definitions_of("calc/text.py", 0) == ()


def test_one_file_takes_the_best_match_alone() -> None:
    files = {"a.py": "def work(): ...\n", "b.py": "def work(): ...\n"}
    project = Project(DictTree(files))
    scoped = expand_scope(ScopeEntries(("a.py", "b.py"), ()), project, ())
    found = Assigner(project, ImportGraph(project), scoped, one_file=True).assign(("`work` is done",))
    assert [target.path for target in found.targets[0]] == ["a.py"]


def test_identifiers() -> None:
    assert identifiers_of("`a.b(c, d)` and `X::y`, snake_case, camelCase, call() but not words") == [
        ("a", "b"),
        ("X", "y"),
        ("snake_case",),
        ("camelCase",),
        ("call",),
    ]


def test_words_are_taken_apart() -> None:
    assert words_of("parseHTTPRequest reads the max_files") == ["parse", "http", "request", "read", "max", "file"]


@pytest.mark.parametrize(
    ("bullet", "general"),
    [("All tests pass", True), ("ruff and mypy are clean", True), ("mean of nothing is 0", False)],
)
def test_general_bullets(bullet: str, general: bool) -> None:
    assert is_general(bullet) is general


def test_a_score_is_positive_exactly_where_a_word_is_shared() -> None:
    scores = WordIndex([["mean", "list"], ["text"], []]).scores({"mean": 1.0, "unheard": 3.0})
    assert scores[0] > 0
    assert scores[1:] == [0, 0]
    assert WordIndex([[]]).scores({"mean": 1.0}) == [0.0]
    assert WordIndex([["a"]]).scores({}) == [0.0]


def test_a_path_in_backticks_is_no_name_of_the_code() -> None:
    """`calc/stats.py` names one file, and not each file that says `calc`."""
    found = assigned("In `calc/stats.py` the constant `LIMIT` is 3.")
    assert [target.path for target in found.targets[0]] == ["calc/stats.py"]
