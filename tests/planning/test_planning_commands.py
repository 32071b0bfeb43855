"""TEST_PLAN commands: which are narrowed, how, and what stands in where none can judge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from planning_trees import DictTree

from handshake.planning.commands import read_command, verify_table
from handshake.planning.judges import Judges
from handshake.planning.verify import VerifyWriter, is_stand_in
from handshake.source.project import Project

TREE = {
    "package.json": '{"scripts": {"test": "node --test", "lint": "eslint ."}}',
    "web/package.json": '{"scripts": {"test": "node build.js && node --test"}}',
    "pkg/a.py": "x = 1\n",
    "tests/test_a.py": "def test_x():\n    pass\n",
    "tests/unit/test_b.py": "def test_y():\n    pass\n",
    "sub/tests/test_c.py": "def test_z():\n    pass\n",
    "test/a.test.js": "",
    "web/test/b.test.js": "",
    "odd name/test_d.py": "def test_d():\n    pass\n",
}
WHOLE = Judges(tuple(path for path in TREE if "test" in path and not path.endswith(".json")))


def narrowed(command: str, judges: Judges = WHOLE, files: tuple[str, ...] = ("pkg/a.py",)) -> list[str]:
    writer = VerifyWriter(Project(DictTree(TREE)), (command,))
    return [spec.command for spec in writer.for_files(files, judges, is_last=False).specs]


A, B, C, D = "tests/test_a.py", "tests/unit/test_b.py", "sub/tests/test_c.py", "'odd name/test_d.py'"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("pytest", f"pytest {A} {B} {C} {D}"),
        ("pytest -q -k 'not slow'", f"pytest -q -k 'not slow' {A} {B} {C} {D}"),
        ("pytest tests", f"pytest {A} {B}"),
        ("pytest tests/unit/ -x", f"pytest -x {B}"),
        ("pytest tests/test_a.py::test_x", "pytest tests/test_a.py::test_x"),
        ("pytest --cov=pkg --cov-fail-under=90 tests/unit", f"pytest {B}"),
        ("PYTHONPATH=. python3 -m pytest -n 4 tests/unit", f"PYTHONPATH=. python3 -m pytest -n 4 {B}"),
        ("uv run pytest tests/unit", f"uv run pytest {B}"),
        (".venv/bin/python -m pytest tests/unit", f".venv/bin/python -m pytest {B}"),
        ("cd sub && pytest -q", "cd sub && pytest -q tests/test_c.py"),
        ("python -m unittest", f"python -m unittest {A} {B} {C} {D}"),
        ("python -m unittest discover -s tests -v", f"python -m unittest -v {A} {B} {C} {D}"),
        ("node --test", "node --test test/a.test.js web/test/b.test.js"),
        ("npm test", "npm test -- test/a.test.js web/test/b.test.js"),
        ("npx jest --ci", "npx jest --ci test/a.test.js web/test/b.test.js"),
        ("npx vitest run", "npx vitest run test/a.test.js web/test/b.test.js"),
    ],
)
def test_a_test_command_is_narrowed(command: str, expected: str) -> None:
    assert narrowed(command) == [expected]


@pytest.mark.parametrize(
    "command",
    [
        "make test",
        "pytest | tee log",
        "pytest; true",
        "pytest `which x`",
        "pytest > out",
        "sh -c 'pytest'",
        "npm run lint",
        "cd web && npm test",
        "cd .. && pytest",
        "pytest 'unclosed",
    ],
)
def test_a_command_that_cannot_be_narrowed_gives_way_to_a_syntax_check(command: str) -> None:
    assert narrowed(command) == ["python -m py_compile pkg/a.py"]


def test_the_last_work_is_judged_by_what_cannot_be_narrowed() -> None:
    writer = VerifyWriter(Project(DictTree(TREE)), ("make test", "ruff check ."))
    verification = writer.for_files(("pkg/a.py",), Judges(), is_last=True)
    assert [spec.command for spec in verification.specs] == ["make test", "ruff check pkg/a.py"]
    assert verification.proof == 0


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("pytest -q", "pytest -q tests/test_a.py::TestA::test_x"),
        ("python -m unittest", "python -m unittest tests.test_a.TestA.test_x"),
    ],
)
def test_single_tests(command: str, expected: str) -> None:
    assert narrowed(command, Judges((), {A: ("TestA.test_x",)})) == [expected]


def test_cargo_names_targets_and_modules() -> None:
    files = ("src/lib.rs", "src/a/mod.rs", "src/a/b.rs", "tests/api.rs", "src/main.rs")
    project = Project(DictTree(dict.fromkeys(files, "")))
    writer = VerifyWriter(project, ("cargo test --workspace -- --nocapture",))
    found = [writer.for_files(("src/a/b.rs",), Judges((path,)), is_last=False).specs[0].command for path in files]
    assert found == [
        "cargo test --workspace --lib -- --nocapture",
        "cargo test --workspace a:: -- --nocapture",
        "cargo test --workspace a::b:: -- --nocapture",
        "cargo test --workspace --test api -- --nocapture",
        "cargo test --workspace --bins -- --nocapture",
    ]
    assert read_command("cargo test some_filter", project) is None


def test_stand_ins_use_only_programs_of_the_plan_or_python() -> None:
    files = ("a.js", "b.json", "c.toml", "d.sql", "e.py")
    project = Project(DictTree({}))
    with_node = VerifyWriter(project, ("node --test", "python3 x.py")).stand_ins(files)
    assert [spec.command.split()[0] for spec in with_node] == ["python3", "node", "python3", "python3", "python3"]
    without = VerifyWriter(project, ("make",)).stand_ins(files)
    assert {spec.command.split()[0] for spec in without} == {"python"}
    assert all(is_stand_in(spec.command) for spec in (*with_node, *without))
    assert not is_stand_in("pytest -q tests/test_a.py")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("a b.py", "x = 1\n", "def f(:\n"),
        ("x.json", '{"a": 1}', "{"),
        ("x.toml", "a = 1\n", "a ="),
        ("x.sql", "select 1;\n", None),
    ],
)
def test_stand_ins_really_run(tmp_path: Path, name: str, good: str, bad: str | None) -> None:
    writer = VerifyWriter(Project(DictTree({})), (f"{Path(sys.executable).as_posix()} x.py",))
    command = writer.stand_ins((name,))[0].command

    def exit_code() -> int:
        return subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=False).returncode

    assert exit_code() != 0, "the file is not there yet"
    (tmp_path / name).write_text(good, encoding="utf-8")
    assert exit_code() == 0
    if bad is not None:
        (tmp_path / name).write_text(bad, encoding="utf-8")
        assert exit_code() != 0


def test_narrowed_pytest_really_runs_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "odd name").mkdir()
    (tmp_path / "odd name" / "test_d.py").write_text(
        "class TestA:\n    def test_x(self):\n        pass\n\n\ndef test_fails():\n    assert False\n"
    )
    plan = (f"{Path(sys.executable).as_posix()} -m pytest -q -p no:cacheprovider",)
    judges = Judges((), {"odd name/test_d.py": ("TestA.test_x",)})
    spec = VerifyWriter(Project(DictTree(TREE)), plan).for_files(("pkg/a.py",), judges, is_last=False).specs[0]
    ran = subprocess.run(spec.command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert "1 passed" in ran.stdout


def test_the_table_is_well_formed() -> None:
    for tool in verify_table()["tools"]:
        assert tool["kind"] in ("test", "lint")
        assert tool["starts"] and tool["languages"]
        assert 1_000 <= tool["timeout_ms"] <= 300_000
        assert tool["positionals"] in ("paths", "filters", "modules", "packages", "none")
