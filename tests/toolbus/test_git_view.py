"""A sandboxed command sees of the main repository what `git diff` needs, and no more."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from handshake.toolbus.bus import ToolBus
from handshake.toolbus.capabilities import default_profiles
from handshake.toolbus.git_view import git_view

WHO = ("-c", "user.name=U", "-c", "user.email=u@example.org")


def git(at: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(at), *WHO, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def main(tmp_path: Path) -> Path:
    """A repository with a token in its remote and a worktree beside it, whose objects are borrowed in part."""
    lender, main = tmp_path / "lender", tmp_path / "main"
    git(tmp_path, "init", "-q", "-b", "main", str(lender))
    (lender / "a.txt").write_text("one\n")
    git(lender, "add", "-A")
    git(lender, "commit", "-qm", "one")
    git(tmp_path, "clone", "-q", "--shared", str(lender), str(main))
    git(main, "remote", "add", "far", "https://user:canary-token@host/x")
    git(main, "config", "core.fsmonitor", "/evil")
    (main / ".git/hooks/post-checkout").write_text("#!/bin/sh\n")
    git(main, "-c", "core.fsmonitor=false", "worktree", "add", "-q", "-b", "work", str(tmp_path / "tree"))
    return main


@pytest.fixture
def bench(held: Any, main: Path, tmp_path: Path) -> Any:
    held.worktree = tmp_path / "tree"
    held.bus = ToolBus(
        worktree=held.worktree,
        clock=held.bus._clock,
        sandbox=held.sandbox,
        profiles=default_profiles(("git", "cat", "ls", "touch")),
        record=held.record,
        artifact_prefix="x",
        repository=main / ".git",
    )
    return held


def out(result: Any) -> str:
    assert result.status == "succeeded", result.errors
    return str(result.outputs[0].data.decode() + result.outputs[1].data.decode())


def test_git_diff_works_inside(bench: Any) -> None:
    (bench.worktree / "a.txt").write_text("two\n")
    assert "-one\n+two\n" in out(bench.shell("git diff"))
    assert out(bench.shell("git status --porcelain")) == " M a.txt\n"
    assert out(bench.shell("git log --format=%s")) == "one\n"
    assert out(bench.shell("git rev-parse --abbrev-ref HEAD")) == "work\n"


def test_nothing_else_of_the_repository_is_there(bench: Any, main: Path) -> None:
    said = out(bench.shell(f"git config --list; cat {main}/.git/config; ls -A {main} {main}/.git"))
    assert "canary-token" not in said
    assert "evil" not in said
    for hidden in ("hooks", "logs", "a.txt"):
        assert hidden not in said.split()


def test_it_cannot_be_written(bench: Any, main: Path) -> None:
    (bench.worktree / "a.txt").write_text("two\n")
    for command in (
        "git commit -am x",
        f"touch {main}/.git/objects/x",
        "git config a.b c",
        "git update-ref refs/x HEAD",
    ):
        assert bench.shell(command).facts["exit_code"] != 0, command
    assert git(main, "-c", "core.fsmonitor=false", "log", "--all", "--format=%s") == "one"
    assert bench.shell("git status").errors == ()


def test_a_worktree_that_names_another_repository_gets_no_view(main: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    assert git_view(main / ".git", tree) is not None
    pointer = (tree / ".git").read_text()
    for planted in ("gitdir: /evil\n", f"gitdir: {tmp_path}/lender/.git\n", ""):
        (tree / ".git").write_text(planted)
        assert git_view(main / ".git", tree) is None
    (tree / ".git").write_text(pointer)
    assert git_view(tmp_path / "lender" / ".git", tree) is None


def test_a_changed_configuration_is_read_anew(main: Path, tmp_path: Path) -> None:
    git(main, "-c", "core.fsmonitor=false", "config", "core.autocrlf", "input")
    view = git_view(main / ".git", tmp_path / "tree")
    assert view is not None
    assert b"autocrlf = input" in view.config
    git(main, "-c", "core.fsmonitor=false", "config", "core.autocrlf", "false")
    view = git_view(main / ".git", tmp_path / "tree")
    assert view is not None
    assert b"autocrlf = false" in view.config
