"""The tasks that small models are measured on: their tests fail as they stand, and pass with the solution."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from small_models import TEST_FILE, in_scope, read_rows, read_tasks, solved, table

# one interpreter for all folders: a start for each would take longer than the tests
RUN_ALL = """
import sys, unittest
for folder in sys.argv[1:]:
    known = set(sys.modules)
    sys.path.insert(0, folder)
    suite = unittest.defaultTestLoader.loadTestsFromName("tests.test_task")
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=0).run(suite)
    print("passed" if result.wasSuccessful() and result.testsRun else "failed")
    sys.path.remove(folder)
    for name in set(sys.modules) - known:
        del sys.modules[name]
"""


def _verdicts(tmp_path: Path, trees: list[dict[str, str]]) -> list[str]:
    folders = []
    for number, files in enumerate(trees):
        root = tmp_path / str(number)
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        folders.append(str(root))
    command = [sys.executable, "-B", "-c", RUN_ALL, *folders]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_twenty_tasks_in_five_kinds():
    tasks = read_tasks()
    kinds = [task["kind"] for task in tasks]
    assert len({task["name"] for task in tasks}) == 20
    assert sorted(kinds.count(kind) for kind in set(kinds)) == [4, 4, 4, 4, 4]
    assert all(len(in_scope(task)) == 2 for task in tasks if "two files" in task["kind"])


@pytest.mark.parametrize("state", ["as it stands", "solved"])
def test_the_tests_tell_a_solution(tmp_path, state):
    tasks = read_tasks()
    trees = [
        {**(task["files"] if state == "as it stands" else solved(task)), TEST_FILE: task["tests"]} for task in tasks
    ]
    wanted = "failed" if state == "as it stands" else "passed"
    verdicts = dict(zip((task["name"] for task in tasks), _verdicts(tmp_path, trees), strict=True))
    assert verdicts == dict.fromkeys(verdicts, wanted)


def test_the_table_counts_passes_by_kind():
    row = {"kind": "fix", "tries": 2, "prompt_tokens": 10, "completion_tokens": 4, "claimed": None}
    rows = [
        {**row, "how": "a", "passed": True, "claimed": True},
        {**row, "how": "a", "passed": False, "claimed": True},
        {**row, "how": "b", "passed": True},
    ]
    lines = list(table(rows))
    assert lines[2] == "| fix | 1/2 | 1/1 |"
    assert lines[3] == "| **passed** | 1/2 | 1/1 |"
    assert lines[4] == "| tries, mean of a run | 2 | 2 |"
    assert lines[7] == "| said to be done and was not | 1 |  |"


ROWS = sorted((Path(__file__).parents[2] / "bench" / "rows").glob("*.jsonl"))


@pytest.mark.parametrize("file", ROWS, ids=lambda file: file.stem)
def test_the_tables_in_the_docs_are_those_of_the_runs(file):
    rows = read_rows(file)
    assert len({(row["task"], row["how"], row["seed"]) for row in rows}) == len(rows)
    told = (Path(__file__).parents[2] / "docs" / "measured.md").read_text(encoding="utf-8")
    assert "\n".join(table(rows)) in told


def test_there_are_runs():
    assert ROWS
