"""Narrowed commands run for real: the task's own tests and no others, with each test tool that is on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from planning_trees import plan_for

PYTHON = Path(sys.executable).as_posix()


@dataclass(frozen=True)
class Tool:
    """A project whose `fa` is as its test wants it and whose `fb` is not. `program` is what must be on the PATH."""

    command: str
    files: dict[str, str]
    program: str = ""


def _twice(path: str, text: str) -> dict[str, str]:
    """The same file for `a` and for `b`, whose value is 2."""
    return {path.replace("@", name): text.replace("@", name) for name in ("a", "b")}


def _source(path: str, text: str) -> dict[str, str]:
    return {path.replace("@", n): text.replace("@", n).replace("VALUE", v) for n, v in (("a", "1"), ("b", "2"))}


NODE = "import test from 'node:test';\nimport assert from 'node:assert';\nimport { f@ } from '../src/@.js';\n"
RUST = "pub fn f@() -> i32 { VALUE }\n#[cfg(test)]\nmod tests { #[test] fn t() { assert_eq!(super::f@(), 1); } }\n"
GO_TEST = 'package @\n\nimport "testing"\n\nfunc TestF@(t *testing.T) {\n\tif F@() != 1 {\n\t\tt.Fatal()\n\t}\n}\n'
UNIT = (
    "import unittest\nfrom pkg.@ import f@\n"
    "class T(unittest.TestCase):\n    def test_@(self): self.assertEqual(f@(), 1)\n"
)
TOOLS = {
    "pytest": Tool(
        f"{PYTHON} -m pytest -q -p no:cacheprovider",
        _source("pkg/@.py", "def f@():\n    return VALUE\n")
        | _twice("tests/test_@.py", "from pkg.@ import f@\ndef test_@(): assert f@() == 1\n"),
    ),
    "unittest": Tool(
        f"{PYTHON} -m unittest discover -s tests",
        {"tests/__init__.py": ""}
        | _source("pkg/@.py", "def f@():\n    return VALUE\n")
        | _twice("tests/test_@.py", UNIT),
    ),
    "cargo test": Tool(
        "cargo test --offline",
        {
            "Cargo.toml": '[package]\nname = "demo"\nversion = "0.1.0"\nedition = "2021"\n',
            "src/lib.rs": "pub mod a;\npub mod b;\n",
        }
        | _source("src/@.rs", RUST),
        "cargo",
    ),
    "go test": Tool(
        "go test ./...",
        {"go.mod": "module example.com/demo\n\ngo 1.19\n"}
        | _source("@/@.go", "package @\n\nfunc F@() int { return VALUE }\n")
        | _twice("@/@_test.go", GO_TEST),
        "go",
    ),
    "node --test": Tool(
        "node --test",
        {"package.json": '{"type": "module"}'}
        | _source("src/@.js", "export const f@ = () => VALUE;\n")
        | _twice("test/@.test.js", NODE + "test('@', () => assert.equal(f@(), 1));\n"),
        "node",
    ),
    "vitest": Tool(
        "vitest run --globals",
        {"package.json": '{"type": "module"}'}
        | _source("src/@.ts", "export const f@ = (): number => VALUE;\n")
        | _twice("test/@.test.ts", "import { f@ } from '../src/@';\ntest('@', () => expect(f@()).toBe(1));\n"),
        "vitest",
    ),
    "jest": Tool(
        "jest",
        {"package.json": "{}"}
        | _source("src/@.js", "exports.f@ = () => VALUE;\n")
        | _twice("test/@.test.js", "const { f@ } = require('../src/@');\ntest('@', () => expect(f@()).toBe(1));\n"),
        "jest",
    ),
}
HERE = [name for name, tool in TOOLS.items() if not tool.program or shutil.which(tool.program)]
SLOW = {"cargo test", "go test", "vitest", "jest"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in HERE]
)
def test_each_task_runs_its_own_tests_alone(name: str, tmp_path: Path) -> None:
    tool = TOOLS[name]
    for path, text in tool.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    scope = tuple(path for path in tool.files if Path(path).stem in ("a", "b"))
    plan = plan_for(
        tool.files, scope, ("`fa` and `Fa` are 1", "`fb` and `Fb` are 1"), (tool.command,), files_per_mt=1
    )
    codes = {}
    for mt in plan.definitions:
        command = mt.verify[0].command
        done = subprocess.run(
            command,
            shell=True,
            cwd=tmp_path,
            env={**os.environ, "CI": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        codes["".join(Path(path).stem for path in mt.files.modify)] = done.returncode
        assert (command == tool.command) is (not mt.files.modify), command
    assert codes["a"] == 0
    assert codes["b"] != 0
    assert codes[""] != 0, "the whole plan sees what one task's tests do not"
