"""A finished packet of the real form, a small one to vary, and a real repository to judge."""

from __future__ import annotations

import copy
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from handshake.repo.git import Repository, find_repository

DATA = Path(__file__).parent / "data"

PACKET = """# Task Packet: WP-1-Demo-v1

## METADATA
- WP_ID: WP-1-Demo-v1
- **Status:** Ready for Dev
- USER_SIGNATURE: demo010120260101

## SCOPE
- What: Make it so.
- Why: It is wanted.
- IN_SCOPE_PATHS:
  - src/app.py
  - lib/
- OUT_OF_SCOPE:
  - the rest

## QUALITY_GATE
### TEST_PLAN
```bash
pytest -q
```

### DONE_MEANS
- It is so.
"""


@pytest.fixture
def packet() -> str:
    """A packet that may run, with as little as that takes."""
    return PACKET


@pytest.fixture
def finished() -> bytes:
    """A packet at the end of its life."""
    return (DATA / "WP-7-Tide-Table-v1.md").read_bytes()


class Project:
    """A repository on disk with one packet, and what is done in it."""

    packet_path = "docs/task_packets/WP-1-Demo-v1.md"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
            **{f"GIT_{who}_{what}": "t@e" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "XDG_CACHE_HOME": f"{root}-cache",
        }
        self.git("init", "-q", "-b", "main")
        self.repo: Repository = find_repository(root)

    def moved_to(self, root: Path) -> Project:
        """The same project in a copy of its folder."""
        made = copy.copy(self)
        made.root = root
        made.env = {**self.env, "XDG_CACHE_HOME": f"{root}-cache"}
        made.repo = find_repository(root)
        return made

    def git(self, *args: str, data: bytes | None = None) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.root), *args], input=data, capture_output=True, env=self.env, check=True
        )
        return done.stdout.decode("utf-8", "surrogateescape").strip()

    def try_git(self, *args: str, **env: str) -> subprocess.CompletedProcess[bytes]:
        """A git command that may fail."""
        command = ["git", "-C", str(self.root), *args]
        return subprocess.run(command, capture_output=True, env={**self.env, **env}, check=False)

    def write(self, path: str, data: bytes | str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data.encode() if isinstance(data, str) else data)

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def commit(self, message: str = "work") -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


def _with_packet(root: Path) -> Project:
    root.mkdir(parents=True, exist_ok=True)
    made = Project(root)
    made.write(made.packet_path, PACKET)
    made.write("src/app.py", "".join(f"line {n}\n" for n in range(1, 21)))
    made.write("lib/old.txt", "one\ntwo\nthree\n")
    made.commit("base")
    return made


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A repository whose first commit holds the packet and two files in scope."""
    return _with_packet(tmp_path)


@pytest.fixture(scope="session")
def make_project() -> Callable[[Path], Project]:
    """Makes such a repository in any empty folder."""
    return _with_packet


@pytest.fixture
def seed() -> Callable[[str], bytes]:
    """A real packet, where the folder with them is at hand."""
    folder = Path(__file__).parents[2].parent / "shared" / "seeds"

    def read(name: str) -> bytes:
        file = folder / name
        if not file.is_file():
            pytest.skip(f"{name} is not here")
        return file.read_bytes()

    return read
