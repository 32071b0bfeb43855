"""Real git repositories, with pinned authors and a quiet configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from handshake.repo.git import Repository, find_repository

WHEN = datetime(2026, 1, 22, 8, 43, 59, tzinfo=UTC)


class Scratch:
    """A repository of a user, driven by plain git."""

    def __init__(self, root: Path, *, object_format: str = "sha1") -> None:
        self.root = root
        root.mkdir(parents=True)
        self.git("init", "-q", "-b", "main", f"--object-format={object_format}")
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

    def fsck(self) -> None:
        self.git("fsck", "--strict", "--no-dangling")


@pytest.fixture(autouse=True)
def _no_user_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-home"))


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
def in_child() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run Python text in a process of its own, with a failpoint set if one is named."""

    def run(text: str, *args: str, failpoint: str = "") -> subprocess.CompletedProcess[bytes]:
        env = {**os.environ, "HANDSHAKE_FAILPOINT": failpoint}
        return subprocess.run(
            [sys.executable, "-c", text, *args], capture_output=True, check=False, env=env, timeout=60
        )

    return run
