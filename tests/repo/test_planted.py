"""Our own git calls on a worktree that a model's code wrote to: nothing that was planted there runs.

Each plant is first seen to work: plain git, called by a person in the same place, runs it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from handshake.domain.errors import EnvironmentProblem
from handshake.gates.changes import changes_between
from handshake.repo.workspace import Workspace

pytestmark = pytest.mark.skipif(os.name == "nt", reason="what is planted are shell scripts")
BRANCH = "feat/WP-1"


class Planted:
    """A worktree, and a program that leaves a trace if anything runs it."""

    def __init__(self, scratch, tmp_path: Path) -> None:
        self.scratch = scratch
        self.trace = tmp_path / "ran"
        self.program = tmp_path / "evil.sh"
        self.program.write_text(f'#!/bin/sh\necho "$0" >> {self.trace}\ncat\n')
        self.program.chmod(0o755)
        self.first = scratch.git("rev-parse", "HEAD")
        scratch.write("README.md", "hello again\n")
        self.head = scratch.commit("two")
        self.space = Workspace(scratch.open(), "WP-1", BRANCH)
        self.space.ensure(self.head)

    @property
    def worktree(self) -> Path:
        return self.space.path

    def write(self, path: str, text: str, *, at: Path | None = None) -> Path:
        place = (at or self.worktree) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def config(self, *args: str) -> None:
        self.scratch.git("config", *args)

    def runs_for_a_person(self, *commands: tuple[str, ...]) -> bool:
        """Whether plain git in the worktree runs it; the trace is gone afterwards."""
        for command in commands:
            subprocess.run(["git", "-C", str(self.worktree), *command], capture_output=True, check=False, timeout=20)
        ran = self.trace.exists()
        self.trace.unlink(missing_ok=True)
        return ran

    def work(self) -> None:
        """Everything that a run does to a worktree, once."""
        space = self.space
        (self.worktree / "README.md").write_text("changed by a model\n")
        (self.worktree / "new.txt").write_text("new\n")
        space.changed_paths()
        space.salvage(self.head)
        space.restore(["README.md", "new.txt"])
        space.write_snapshot({"README.md": b"as a step left it\n"})
        space.read("README.md")
        (self.worktree / "src/app.py").write_text("x = 2\n")
        space.ensure(self.head)
        space.sync(self.head)


@pytest.fixture
def planted(scratch, tmp_path) -> Planted:
    return Planted(scratch, tmp_path)


def _fsmonitor(p: Planted) -> None:
    p.config("core.fsmonitor", str(p.program))


def _hooks(p: Planted) -> None:
    for name in ("post-checkout", "post-index-change", "reference-transaction", "pre-commit"):
        shutil.copy(p.program, p.write(f"hooks/{name}", "", at=p.scratch.root / ".git"))
        (p.scratch.root / ".git/hooks" / name).chmod(0o755)


def _hooks_path(p: Planted) -> None:
    p.write("tools/hooks/post-index-change", p.program.read_text()).chmod(0o755)
    p.config("core.hooksPath", "tools/hooks")


def _filter(p: Planted) -> None:
    for key in ("clean", "smudge"):
        p.config(f"filter.evil.{key}", str(p.program))
    p.config("filter.evil.required", "true")
    p.write(".gitattributes", "* filter=evil\n")


def _filter_process(p: Planted) -> None:
    p.config("filter.evil.process", str(p.program))
    p.write("src/.gitattributes", "*.py filter=evil\n")


def _textconv(p: Planted) -> None:
    p.config("diff.evil.textconv", str(p.program))
    p.write(".gitattributes", "* diff=evil\n")


def _external_diff(p: Planted) -> None:
    p.config("diff.evil.command", str(p.program))
    p.write(".gitattributes", "* diff=evil\n")


def _nested_repository(p: Planted) -> None:
    """A submodule as far as the index goes, with a configuration of its own."""
    p.scratch.git("init", "-q", str(p.worktree / "nested"))
    p.scratch.git("config", "core.fsmonitor", str(p.program), at=p.worktree / "nested")
    p.write("nested/file", "x\n")
    shutil.copy(p.program, p.worktree / "nested/.git/hooks/post-index-change")
    p.scratch.git("update-index", "--add", "--cacheinfo", f"160000,{p.head},nested", at=p.worktree)


def _common_dir(p: Planted) -> None:
    """A nested worktree whose `commondir` leads to a planted repository."""
    p.scratch.git("init", "-q", str(p.worktree / "store"))
    p.scratch.git("config", "core.fsmonitor", str(p.program), at=p.worktree / "store")
    p.write("nested/.git", f"gitdir: {p.worktree}/own\n")
    p.write("own/commondir", f"{p.worktree}/store/.git\n")
    p.write("own/HEAD", "ref: refs/heads/main\n")
    p.write("nested/file", "x\n")
    p.scratch.git("update-index", "--add", "--cacheinfo", f"160000,{p.head},nested", at=p.worktree)


def _alternates(p: Planted) -> None:
    """A nested repository that borrows its objects from a planted store."""
    _nested_repository(p)
    p.scratch.git("init", "-q", "--bare", str(p.worktree / "objects-of-mine"))
    p.write("nested/.git/objects/info/alternates", f"{p.worktree}/objects-of-mine/objects\n")


STATUS = ("status", "--porcelain")
DIFF = ("diff", "HEAD")
PLANTS: list[tuple[Callable[[Planted], None], tuple[tuple[str, ...], ...]]] = [
    (_fsmonitor, (STATUS,)),
    (_hooks, (("checkout", "-q", "HEAD", "--", "README.md"), ("update-ref", "refs/x", "HEAD"))),
    (_hooks_path, (("checkout", "-q", "HEAD", "--", "README.md"), ("reset", "-q", "--hard"))),
    (_filter, (("add", "-A", "--dry-run", "--renormalize"), ("add", "README.md"))),
    (_filter_process, (("add", "--renormalize", "src"),)),
    (_textconv, (DIFF,)),
    (_external_diff, (DIFF,)),
    (_nested_repository, (STATUS,)),
    (_common_dir, (STATUS,)),
    (_alternates, (STATUS,)),
]


@pytest.mark.parametrize(("plant", "by_hand"), PLANTS, ids=[plant.__name__.strip("_") for plant, _ in PLANTS])
def test_what_is_planted_does_not_run(planted: Planted, plant: Callable[[Planted], None], by_hand) -> None:
    (planted.worktree / "README.md").write_text("changed\n")
    plant(planted)
    assert planted.runs_for_a_person(*by_hand), "the plant does not work: the test shows nothing"
    planted.space = Workspace(planted.scratch.open(), "WP-1", BRANCH)  # a run that starts now
    planted.work()
    changes_between(planted.scratch.open(), planted.first, planted.head)
    assert not planted.trace.exists(), planted.trace.read_text()


def test_a_git_folder_in_the_place_of_the_pointer_is_not_entered(planted: Planted) -> None:
    (planted.worktree / ".git").unlink()
    planted.scratch.git("init", "-q", str(planted.worktree))
    planted.scratch.git("config", "core.fsmonitor", str(planted.program), at=planted.worktree)
    assert planted.runs_for_a_person(STATUS)
    with pytest.raises(EnvironmentProblem, match="is not the worktree"):
        planted.space.changed_paths()
    planted.space.ensure(planted.head)
    assert planted.space.changed_paths() == ()
    assert not planted.trace.exists()


@pytest.mark.parametrize("how", ["pointer", "commondir"])
def test_a_pointer_that_leads_elsewhere_is_not_followed(planted: Planted, tmp_path: Path, how: str) -> None:
    evil = tmp_path / "evil"
    planted.scratch.git("init", "-q", str(evil))
    planted.scratch.git("config", "core.fsmonitor", str(planted.program), at=evil)
    if how == "pointer":
        planted.write(".git", f"gitdir: {evil}/.git\n")
    else:
        planted.write("commondir", f"{evil}/.git\n", at=planted.scratch.root / ".git/worktrees/WP-1")
    assert planted.runs_for_a_person(STATUS)
    with pytest.raises(EnvironmentProblem, match="is not the worktree"):
        planted.space.changed_paths()
    planted.space.ensure(planted.head)
    assert planted.space.changed_paths() == ()
    assert not planted.trace.exists()


def test_files_of_a_filter_stay_what_the_commit_holds(planted: Planted) -> None:
    _filter(planted)
    planted.space = Workspace(planted.scratch.open(), "WP-1", BRANCH)
    planted.space.sync(planted.head)
    assert planted.space.changed_paths() == ()
    assert planted.space.read("README.md") == b"hello again\n"
    assert not planted.trace.exists()
