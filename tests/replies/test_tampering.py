"""Code that decides its own case is named; ordinary code is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handshake.gates.tampering import check_tampering

BASE = b"RATE = 7\n\n\ndef gross(net):\n    return net + net * RATE // 100\n"


def _reasons(path: str, now: str | bytes, base: bytes | None = BASE, *criteria: str) -> list[str]:
    return check_tampering({path: base}, {path: now if isinstance(now, bytes) else now.encode()}, criteria)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os\nprint('Ran 2 tests in 0.001s\\n\\nOK')\nos._exit(0)\n", "shop.py:3 ends the process"),
        ("from os import _exit as leave\nleave(0)\n", "ends the process that judges it: _exit"),
        ("import os\ngetattr(os, '_exit')(0)\n", "ends the process that judges it: '_exit'"),
        ("import os\nos.execvp('true', ['true'])\n", "ends the process that judges it: os.execvp"),
        ("import atexit, os\natexit.register(lambda: os._exit(0))\n", "ends the process"),
        ("import sys\nsys.exit(0)\n", "leaves while it is imported: sys.exit(0)"),
        ("try:\n    import fast\nexcept ImportError:\n    raise SystemExit\n", "raise SystemExit"),
        ("class A:\n    exit(0)\n", "leaves while it is imported"),
        ("import unittest\nunittest.TestCase.assertEqual = lambda *a: None\n", "test library: unittest"),
        ("def gross(net):\n    from _pytest import runner\n", "reaches for the test library: _pytest"),
        ("import importlib\nlib = importlib.import_module('pytest')\n", "reaches for the test library: pytest"),
    ],
)
def test_a_python_trick_is_named(code: str, says: str) -> None:
    reasons = _reasons("shop.py", code)
    assert len(reasons) == 1
    assert says in reasons[0]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("shop.js", "process.exit(0);\n"),
        ("shop.ts", "export const a = 1;\nprocess.on('exit', () => { process.exitCode = 0; });\n"),
        ("shop.go", "package shop\n\nfunc init() {\n\tos.Exit(0)\n}\n"),
        ("shop_test.go", "package shop\n\nfunc TestMain(m *testing.M) {}\n"),
        ("src/lib.rs", "pub fn gross() { std::process::exit(0) }\n"),
    ],
)
def test_a_trick_in_another_language_is_named(path: str, code: str) -> None:
    reasons = _reasons(path, code, b"")
    assert len(reasons) == 1
    assert "ends the process" in reasons[0]


@pytest.mark.parametrize(
    "path",
    [
        *("conftest.py", "tests/conftest.py", "pyproject.toml", "setup.cfg", "web/package.json", "vitest.config.ts"),
        *("tests/__init__.py", "Cargo.toml", "Makefile", "sitecustomize.py", ".mocharc.json", "a.pth"),
    ],
)
def test_configuration_of_the_judge_changes_only_where_a_criterion_asks(path: str) -> None:
    [reason] = _reasons(path, b"x = 1\n", None)
    assert reason == f"{path} configures what judges this task, and no criterion asks for its change"
    assert _reasons(path, b"x = 1\n", None, f"`{path}` says it.") == []
    assert _reasons(path, b"x = 1\n", b"x = 1\n") == []
    assert _reasons(path, b"\n", None) == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("shop.py", "import sys\n\n\ndef main():\n    sys.exit(run())\n"),
        ("shop.py", "import sys\n\nif __name__ == '__main__':\n    sys.exit(main())\n"),
        ("shop.py", "class Job:\n    def stop(self):\n        self.abort()\n"),
        ("tests/test_shop.py", "import pytest\nimport unittest\n"),
        ("cli.js", "#!/usr/bin/env node\nprocess.exit(main());\n"),
        ("main.go", "package main\n\nfunc main() {\n\tos.Exit(1)\n}\n"),
        ("src/main.rs", "fn main() {\n    std::process::exit(1)\n}\n"),
        ("notes.md", "Call os._exit(0) and process.exit(0).\n"),
    ],
)
def test_ordinary_code_is_not_named(path: str, code: str) -> None:
    assert _reasons(path, code, b"") == []


def test_what_stood_there_before_is_not_new() -> None:
    base = b"import os\nimport pytest\nos._exit(1)\n"
    assert _reasons("shop.py", base + b"x = 1\n", base) == []
    [more] = _reasons("shop.py", base + b"os._exit(0)\n", base)
    assert more.startswith("shop.py:4 ")


@given(
    st.binary(max_size=60),
    st.binary(max_size=60),
    st.sampled_from(["a.py", "a.js", "a.go", "a.rs", "a.txt", "conftest.py"]),
)
def test_no_bytes_make_it_raise(base: bytes, now: bytes, path: str) -> None:
    check_tampering({path: base}, {path: now})
