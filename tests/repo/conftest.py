"""Real git repositories, with pinned authors and a quiet configuration."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from handshake.repo.git import Repository, find_repository

WHEN = datetime(2026, 1, 22, 8, 43, 59, tzinfo=UTC)


_templates: dict[str, Path] = {}


def _template(object_format: str) -> Path | None:
    """A repository made once and copied: git need not start ten times for each test."""
    return _templates.get(object_format)


class Scratch:
    """A repository of a user, driven by plain git."""

    def __init__(self, root: Path, *, object_format: str = "sha1") -> None:
        self.root = root
        template = _template(object_format)
        if template is not None:
            shutil.copytree(template, root, symlinks=True)
            return
        root.mkdir(parents=True)
        self.git("init", "-q", "-b", "main", "--template=", f"--object-format={object_format}")
        self.git("config", "user.name", "User")
        self.git("config", "user.email", "user@example.org")
        self.write("README.md", "hello\n")
        self.write("src/app.py", "x = 1\n")
        self.write("src/deep/er/mod.py", "y = 2\n")
        self.write(".gitignore", "*.log\n")
        self.write("run.sh", "#!/bin/sh\n").chmod(0o755)
        self.commit("one")

    def git(self, *args: str, at: Path | None = None) -> str:
        done = subprocess.run(["git", "-C", str(at or self.root), *args], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def write(self, path: str, text: str) -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def open(self) -> Repository:
        return find_repository(self.root)

    def user_state(self) -> dict[str, str]:
        """What must not change by our doing: HEAD, index, stash, configuration and status of the user's checkout."""
        places = {name: self.root / ".git" / name for name in ("HEAD", "index", "config")}
        return {
            **{name: place.read_bytes().hex() if place.is_file() else "" for name, place in places.items()},
            "commit": self.git("rev-parse", "HEAD"),
            "stash": self.git("stash", "list"),
            "status": self.git("--no-optional-locks", "status", "--porcelain=v1", "--untracked-files=all"),
        }

    def fsck(self) -> None:
        self.git("fsck", "--strict", "--no-dangling")


@pytest.fixture(autouse=True)
def _no_user_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-home"))


@pytest.fixture(scope="session", autouse=True)
def _made_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    for object_format in ("sha1", "sha256"):
        made = Scratch(tmp_path_factory.mktemp("template") / object_format, object_format=object_format)
        _templates[object_format] = made.root
    yield
    _templates.clear()


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / "proj")


@pytest.fixture
def sha256_scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / "proj256", object_format="sha256")


@pytest.fixture
def when() -> datetime:
    return WHEN


@pytest.fixture
def in_new_python() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run Python text in a fresh interpreter."""

    def run(text: str, *args: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([sys.executable, "-c", text, *args], capture_output=True, check=False, timeout=60)

    return run


@pytest.fixture
def start_child() -> Callable[..., Callable[[], int]]:
    """Start Python text in a process of its own; gives what waits for its exit code.

    Where there is fork the child starts without importing everything anew.
    """

    def start(text: str, *args: str, failpoint: str = "") -> Callable[[], int]:
        if not hasattr(os, "fork"):
            env = {**os.environ, "HANDSHAKE_FAILPOINT": failpoint}
            return subprocess.Popen([sys.executable, "-c", text, *args], env=env).wait
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.environ["HANDSHAKE_FAILPOINT"] = failpoint
                sys.argv = ["-c", *args]
                exec(compile(text, "<child>", "exec"), {"__name__": "__main__"})
                code = 0
            except BaseException:  # noqa: BLE001 - whatever it was, the child must not go on as the test runner
                traceback.print_exc()
            finally:
                os._exit(code)
        return lambda: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    return start


@pytest.fixture
def in_child(start_child: Callable[..., Callable[[], int]]) -> Callable[..., int]:
    """Run Python text in a process of its own, with a failpoint set if one is named; gives its exit code."""
    return lambda text, *args, failpoint="": start_child(text, *args, failpoint=failpoint)()
