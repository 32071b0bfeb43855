"""Toolchains in the places where people have them work inside the sandboxes: real projects, real runners.

What is not on the machine is not tried; the machine that develops this has Python, Node and Rust.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handshake.toolbus import bubblewrap, landlock
from handshake.toolbus.environment import clean_environment, readable_prefixes

BACKENDS = {"bubblewrap": bubblewrap.probed_bubblewrap, "landlock": landlock.probed_landlock}
ALLOW = ("python", "python3", "pytest", "node", "npm", "cargo", "go", "sh", "test", "ls")


@pytest.fixture(params=list(BACKENDS))
def inside(request: pytest.FixtureRequest, bench: Any) -> Any:
    backend, reason = BACKENDS[request.param]()
    if backend is None:
        pytest.skip(reason)
    return type(bench)(bench.worktree, replace(backend), allow=ALLOW)


@pytest.fixture
def on_path(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put folders first on the search path, as an activated environment does."""

    def put(*folders: Path) -> None:
        monkeypatch.setenv("PATH", os.pathsep.join([*map(str, folders), os.environ["PATH"]]))

    return put


def passed(result: Any) -> str:
    said = "".join(output.data.decode("utf-8", "replace") for output in result.outputs)
    assert result.status == "succeeded", (result.errors, said)
    assert result.facts["exit_code"] == 0, said
    return said


def needs(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not on this machine")
    return found


@pytest.mark.parametrize("base", ["system", "ours"])
@pytest.mark.parametrize("where", ["beside", "in the worktree"])
def test_a_virtual_environment(
    inside: Any, on_path: Callable[..., None], tmp_path: Path, base: str, where: str
) -> None:
    python = sys.executable if base == "ours" else "/usr/bin/python3"
    if not Path(python).exists():
        pytest.skip("no python of the system's own")
    place = (inside.worktree if where != "beside" else tmp_path) / ".venv"
    subprocess.run([python, "-m", "venv", "--without-pip", str(place)], check=True)
    (next(place.glob("lib/python*/site-packages")) / "of_the_environment.py").write_text("HERE = 'yes'\n")
    if where == "beside":
        on_path(place / "bin")
    said = passed(inside.shell("python -c 'import of_the_environment as e, ssl, sys; print(e.HERE, sys.prefix)'"))
    assert said.split() == ["yes", str(place)]


def test_pyenv(inside: Any, on_path: Callable[..., None]) -> None:
    shims = Path(needs("pyenv")).parent.parent / "shims"
    if not (shims / "python").exists():
        pytest.skip("pyenv has no shims here")
    on_path(shims)
    assert "sys.prefix" not in passed(inside.shell("python -c 'import sys; print(sys.prefix)'"))


def test_pytest_of_our_own_environment(inside: Any, on_path: Callable[..., None]) -> None:
    on_path(Path(sys.executable).parent)
    (inside.worktree / "test_it.py").write_text("def test_it(tmp_path):\n    (tmp_path / 'x').write_text('x')\n")
    assert "1 passed" in passed(inside.shell("python -m pytest -q -p no:cacheprovider"))


def test_node(inside: Any) -> None:
    needs("node")
    (inside.worktree / "a.test.mjs").write_text(
        "import test from 'node:test';\nimport assert from 'node:assert';\n"
        "import { spawnSync } from 'node:child_process';\n"
        "test('adds', () => assert.equal(1 + 1, 2));\n"
        "test('starts', () => assert.equal(spawnSync('ls').status, 0));\n"
    )
    said = passed(inside.shell("node --test"))
    assert "pass 2" in said
    (inside.worktree / "package.json").write_text('{"scripts": {"test": "node --test"}}')
    if shutil.which("npm"):
        assert "pass 2" in passed(inside.shell("npm test", timeout_ms=60_000))


def test_rust(inside: Any) -> None:
    needs("cargo")
    needs("cc")
    (inside.worktree / "src").mkdir()
    (inside.worktree / "Cargo.toml").write_text('[package]\nname = "it"\nversion = "0.1.0"\nedition = "2021"\n')
    (inside.worktree / "src/lib.rs").write_text("#[test]\nfn adds() { assert_eq!(1 + 1, 2); }\n")
    assert "1 passed" in passed(inside.shell("cargo test --offline", timeout_ms=120_000))


def test_go(inside: Any) -> None:
    needs("go")
    (inside.worktree / "go.mod").write_text("module example.org/it\n\ngo 1.20\n")
    (inside.worktree / "it_test.go").write_text('package it\n\nimport "testing"\n\nfunc TestIt(t *testing.T) {}\n')
    assert "ok" in passed(inside.shell("go test ./...", timeout_ms=120_000))


def test_caches_go_to_the_private_home(inside: Any) -> None:
    said = passed(inside.shell("python -c \"import pathlib as p; h = p.Path.home(); (h / 'c').mkdir(); print(h)\""))
    assert Path(said.strip()) != Path.home()
    assert not (Path.home() / "c").exists()


@pytest.mark.parametrize(
    ("folder", "variable"),
    [
        (".pyenv", "PYENV_ROOT"),
        (".rustup", "RUSTUP_HOME"),
        (".volta", "VOLTA_HOME"),
        (".nvm/versions", None),
        (".local/share/uv/python", None),
        ("go/pkg/mod", "GOMODCACHE"),
    ],
)
def test_toolchains_under_the_home_are_shown_and_found(tmp_path: Path, folder: str, variable: str | None) -> None:
    home, worktree = tmp_path / "home", tmp_path / "tree"
    (home / folder).mkdir(parents=True)
    (home / ".ssh").mkdir()
    worktree.mkdir()
    inherited = {"HOME": str(home), "PATH": "/usr/bin"}
    shown = readable_prefixes(worktree, inherited)
    assert home / folder in shown
    assert home not in shown
    assert home / ".ssh" not in shown
    if variable is not None:
        assert clean_environment(worktree, inherited, home="/h", tmp="/t")[variable] == str(home / folder)


@pytest.mark.parametrize("closed", ["an entry", "its file"])
def test_a_search_path_that_cannot_be_looked_into_stops_nothing(tmp_path: Path, closed: str) -> None:
    worktree, entry = tmp_path / "tree", tmp_path / "venv" / "bin"
    worktree.mkdir()
    entry.mkdir(parents=True)
    if closed == "an entry":  # as a folder of root's is to others: stat fails, and not with ENOENT
        entry = tmp_path / ("x" * 300) / "bin"
    else:
        if not Path("/proc/self/mem").exists():
            pytest.skip("no file here that exists and cannot be read, for root too")
        (entry.parent / "pyvenv.cfg").symlink_to("/proc/self/mem")
    shown = readable_prefixes(
        worktree, {"HOME": str(tmp_path / "home"), "PATH": os.pathsep.join([str(entry), "/usr/bin"])}
    )
    assert (entry in shown) == (closed == "its file")
