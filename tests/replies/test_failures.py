"""Failure categories, places and summaries: every rule by its example, and real tools' real output."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handshake.domain.reply import FailureCategory as Category
from handshake.gates.counted_tests import FORMATS as COUNTS
from handshake.gates.counted_tests import count_tests, counts_of
from handshake.gates.fail_locations import FORMATS as PLACES
from handshake.gates.fail_locations import MAX_LOCATIONS, FailLocation
from handshake.gates.failure_rules import RULES, FailureRule
from handshake.gates.failures import failing_locations, failure_category, summary_line

# --- the tables, each row by its example


@pytest.mark.parametrize("rule", RULES, ids=[rule.example for rule in RULES])
def test_each_rule_fits_its_example_and_decides_it(rule: FailureRule) -> None:
    assert rule.pattern.search(rule.example)
    assert failure_category(rule.example) is rule.category


@pytest.mark.parametrize("form", PLACES, ids=[form.tool for form in PLACES])
def test_each_format_finds_its_place(form: object) -> None:
    assert failing_locations(form.example)[0] == form.expected  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", COUNTS, ids=[form.runner for form in COUNTS])
def test_each_summary_is_counted(form: object) -> None:
    assert counts_of(form.example) == form.expected  # type: ignore[attr-defined]
    assert counts_of(f"noise\n\x1b[31m{form.example}\x1b[0m\r\nnoise") == form.expected  # type: ignore[attr-defined]


# --- categories


@pytest.mark.parametrize(
    ("facts", "category"),
    [
        ({"scope_violation": True, "timed_out": True}, Category.SCOPE_VIOLATION),
        ({"context_overflow": True}, Category.CONTEXT_OVERFLOW),
        ({"timed_out": True}, Category.TIMEOUT_EXCEEDED),
        ({"flaky": True}, Category.VALIDATION_FLAKY),
        ({"edit_failed": True, "edit_category": "elision"}, Category.INCOMPLETE_IMPLEMENTATION),
        ({"edit_failed": True, "edit_category": "shrink"}, Category.INCOMPLETE_IMPLEMENTATION),
        ({"edit_failed": True, "edit_error": "no longer parses: line 3: x"}, Category.SYNTAX_ERROR_ISOLATED),
        ({"edit_failed": True, "edit_category": "not_found"}, Category.UNKNOWN),
        ({"claim_reasons": ["nothing changed"]}, Category.INCOMPLETE_IMPLEMENTATION),
        ({"claimed": False}, Category.INCOMPLETE_IMPLEMENTATION),
        ({}, Category.UNKNOWN),
    ],
)
def test_what_the_loop_knows_decides(facts: dict[str, object], category: Category) -> None:
    assert failure_category("", **facts) is category  # type: ignore[arg-type]


def test_syntax_errors_in_several_files_are_systemic() -> None:
    one = '  File "/w/a.py", line 3\n    def f(:\n          ^\nSyntaxError: invalid syntax\n'
    assert failure_category(one * 3) is Category.SYNTAX_ERROR_ISOLATED
    assert failure_category(one + one.replace("a.py", "b.py")) is Category.SYNTAX_ERROR_SYSTEMIC


def test_a_name_that_only_a_test_asks_for_is_not_written_yet() -> None:
    text = "{0}:1: in <module>\n    from m import f\nE   ImportError: cannot import name 'f' from 'm'\n"
    assert failure_category(text.format("tests/test_m.py")) is Category.INCOMPLETE_IMPLEMENTATION
    assert failure_category(text.format("src/m.py")) is Category.HALLUCINATION_API


# --- places


def test_places_are_relative_ours_and_once() -> None:
    text = (
        '  File "/w/src/a.py", line 3, in f\n'
        '  File "/usr/lib/python3.11/json/decoder.py", line 9, in g\n'
        '  File "/w/.venv/lib/x.py", line 9, in g\n'
        "src/a.py:3: TypeError\n"
        "C:\\w\\b.py:4: error: x\n"
        "see http://localhost:8080/x.py:1 and 12:30:45 and v1.2:3\n"
    )
    assert failing_locations(text, root="/w") == (
        FailLocation("src/a.py", 3, "f"),
        FailLocation("C:/w/b.py", 4, "error: x"),
    )


def test_eslint_names_the_file_above() -> None:
    text = "\n/w/src/a.js\n  3:5  error  'x' is not defined  no-undef\n  9:1  warning  y  z\n\n1 problem\n"
    assert failing_locations(text, root="/w") == (
        FailLocation("src/a.js", 3, "error 'x' is not defined no-undef".removeprefix("error ")),
        FailLocation("src/a.js", 9, "y z"),
    )


def test_places_are_bounded_in_number_and_time() -> None:
    text = "".join(f"src/a.py:{n}: error\n" for n in range(1, 60_000))
    assert len(failing_locations(text)) == MAX_LOCATIONS
    failing_locations("E   " * 20_000)
    failing_locations("a" * 50_000 + ":1")
    failing_locations("a.b" * 20_000)


# --- counts and summaries


@pytest.mark.parametrize(
    ("output", "count"),
    [
        ("3 passed in 0.01s", 3),
        ("== 2 passed, 1 skipped, 1 xfailed in 1.20s (0:00:01) ==", 2),
        ("no tests ran in 0.00s", 0),
        ("1 error in 0.10s", 0),
        ("1 passed in 0.1s\n2 passed in 0.1s", 3),
        ("Ran 0 tests in 0.000s\n\nNO TESTS RAN", 0),
        ("Ran 3 tests in 0.1s\n\nOK (skipped=1, expected failures=1)", 1),
        ("test result: ok. 2 passed; 0 failed; 0 ignored\ntest result: ok. 1 passed; 0 failed;", 3),
        ("--- PASS: TestA (0.00s)\n    --- FAIL: TestA/b (0.00s)\nFAIL", 2),
        ("ℹ tests 2\nℹ pass 2\nℹ fail 0", 2),
        ("Tests  1 failed | 4 passed (5)", 5),
        ("  4 passing (3ms)\n  1 failing", 5),
        ("ok  \tpkg\t0.01s", None),
        ("", None),
    ],
)
def test_tests_that_ran_are_counted(output: str, count: int | None) -> None:
    assert count_tests(output) == count


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("2 failed, 3 passed in 0.1s", "2 of 5 tests fail"),
        ("1 failed in 0.1s", "1 of 1 test fails"),
        ("5 passed in 0.1s", "5 tests pass"),
        ("no tests ran in 0.1s", "no tests ran"),
        (
            "ERROR: file or directory not found: x.py\nno tests ran in 0.1s",
            "ERROR: file or directory not found: x.py",
        ),
        ("a.py:3:1: error: bad", "a.py:3: error: bad"),
        ("noise\nsomething went wrong\n\n", "something went wrong"),
        ("", "no output"),
    ],
)
def test_a_summary_is_one_line_for_a_person(output: str, line: str) -> None:
    assert summary_line(output) == line


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([p.example for p in PLACES] + [r.example for r in RULES]) | st.text(max_size=20), max_size=6
    )
)
def test_no_output_makes_it_raise(parts: list[str]) -> None:
    text = "\n".join(parts)
    assert isinstance(failure_category(text), Category)
    assert "\n" not in summary_line(text) and len(summary_line(text)) <= 120
    assert all(place.line > 0 and place.path for place in failing_locations(text))


# --- real tools

MODULE = "def add(a, b):\n    return a - b\n\n\ndef deep():\n    return {}['k']\n"
PYTEST = "from mod import add, deep\n\n\ndef test_ok():\n    assert add(1, 0) == 1\n\n\ndef test_bad():\n    assert add(1, 2) == 3\n\n\ndef test_deep():\n    deep()\n"  # noqa: E501 - one file's text
UNITTEST = "import unittest\nfrom mod import add\n\n\nclass T(unittest.TestCase):\n    def test_bad(self):\n        self.assertEqual(add(1, 2), 3)\n"  # noqa: E501 - one file's text
NODE = "const test = require('node:test')\nconst assert = require('assert')\ntest('bad', () => {\n  assert.strictEqual(1, 2)\n})\n"  # noqa: E501 - one file's text
RUST = "pub fn add(a: i32, b: i32) -> i32 {\n    a - b\n}\n\n#[test]\nfn bad() {\n    assert_eq!(add(1, 2), 3);\n}\n"


def run(folder: Path, *command: str) -> str:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    return result.stdout + result.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in {"mod.py": MODULE, "test_p.py": PYTEST, "test_u.py": UNITTEST, "a.test.js": NODE}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "lib.rs").write_text(RUST)
    (tmp_path / "bad.py").write_text("x = 1\ndef f(:\n")
    return tmp_path


@pytest.mark.parametrize("style", ["long", "short"])
def test_real_pytest(project: Path, style: str) -> None:
    output = run(project, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--tb={style}", "test_p.py")
    assert failure_category(output) is Category.LOGIC_ERROR_REGRESSION
    assert summary_line(output) == "2 of 3 tests fail"
    places = {(place.path, place.line): place.message for place in failing_locations(output, root=str(project))}
    assert places["test_p.py", 9].startswith("assert -1 == 3")
    assert places["mod.py", 6] == "KeyError: 'k'"


def test_real_unittest_and_a_real_syntax_error(project: Path) -> None:
    output = run(project, sys.executable, "-m", "unittest", "test_u")
    assert count_tests(output) == 1
    assert FailLocation("test_u.py", 7, "AssertionError: -1 != 3") in failing_locations(output, root=str(project))
    output = run(project, sys.executable, "bad.py")
    assert failure_category(output) is Category.SYNTAX_ERROR_ISOLATED
    assert failing_locations(output, root=str(project))[0][:2] == ("bad.py", 2)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not there")
@pytest.mark.parametrize("reporter", ["tap", "spec"])
def test_real_node(project: Path, reporter: str) -> None:
    output = run(project, "node", "--test", f"--test-reporter={reporter}", "a.test.js")
    if "bad option" in output:
        pytest.skip("this node has no test reporters")
    assert failure_category(output) is Category.LOGIC_ERROR_REGRESSION
    assert count_tests(output) == 1
    assert {place.path for place in failing_locations(output, root=str(project))} == {"a.test.js"}


@pytest.mark.skipif(shutil.which("rustc") is None, reason="rustc is not there")
def test_real_rust(project: Path) -> None:
    built = run(project, "rustc", "--test", "lib.rs", "-o", "lib_test")
    if not (project / "lib_test").exists():
        pytest.skip(f"rustc cannot link here: {summary_line(built)}")
    output = run(project, str(project / "lib_test"))
    assert count_tests(output) == 1
    assert failing_locations(output, root=str(project))[0][:2] == ("lib.rs", 7)
