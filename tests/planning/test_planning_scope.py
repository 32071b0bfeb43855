"""IN_SCOPE_PATHS: files, folders, globs, and what only looks like one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planning_trees import PYTHON, DictTree, is_gate

from handshake.domain.job import WorkPacketScope
from handshake.planning import generate_plan
from handshake.planning.assign import paths_mentioned
from handshake.planning.files import ScopedFiles, ScopeEntries, expand_scope
from handshake.repo.git import find_repository
from handshake.source.project import Project

TREE = {
    "src/a.py": "",
    "src/deep/b.py": "",
    "src/deep/c.txt": "",
    "app/[id]/page.tsx": "",
    "docs/x.md": "",
    "docsy/y.md": "",
    "top.py": "",
}


def expanded(*entries: str, mentioned: tuple[str, ...] = ()) -> ScopedFiles:
    return expand_scope(ScopeEntries(entries, ("docs/", "BOARD.md")), Project(DictTree(TREE)), mentioned)


@pytest.mark.parametrize(
    ("entry", "modify", "create"),
    [
        ("src/a.py", ("src/a.py",), ()),
        ("./src//a.py", ("src/a.py",), ()),
        ("src/", ("src/a.py", "src/deep/b.py", "src/deep/c.txt"), ()),
        ("src/*.py", ("src/a.py",), ()),
        ("src/**/*.py", ("src/a.py", "src/deep/b.py"), ()),
        ("**/*.txt", ("src/deep/c.txt",), ()),
        ("src/?.py", ("src/a.py",), ()),
        ("src/[!b].py", (), ("src/[!b].py",)),
        ("app/[id]/page.tsx", ("app/[id]/page.tsx",), ()),
        ("app/[z-a]/new.tsx", (), ("app/[z-a]/new.tsx",)),
        ("src/new.py", (), ("src/new.py",)),
        ("src/a.py/below.py", (), ()),
        ("docs/x.md", (), ()),
        ("docs/", (), ()),
        ("BOARD.md", (), ()),
        ("docsy", ("docsy/y.md",), ()),
        ("none/*.py", (), ()),
        ("none/", (), ()),
    ],
)
def test_an_entry(entry: str, modify: tuple[str, ...], create: tuple[str, ...]) -> None:
    files = expanded(entry)
    assert (files.modify, files.create) == (modify, create)
    assert files.all or files.skipped


def test_a_folder_that_is_not_there_is_no_file_to_make() -> None:
    assert expanded("none/", "top.py").skipped == (("none", "it is a folder and not in the tree"),)
    named = expanded("none/", mentioned=("none/a.py",))
    assert (named.create, named.skipped) == (("none/a.py",), ())


def test_the_whole_repository_less_governance() -> None:
    assert set(expanded(".").modify) == set(TREE) - {"docs/x.md"}


def test_what_the_scope_allows() -> None:
    entries = ScopeEntries(("src", "*.md"), ("docs/", "BOARD.md"))
    assert entries.allows("src/x/y.py")
    assert entries.allows("README.md")
    assert not entries.allows("srcx.py")
    assert not entries.allows("BOARD.md")
    assert not entries.allows("docs/deep/x.md")
    assert not entries.allows("other/README.md")


def test_paths_of_bullets() -> None:
    bullets = ("See https://example.org/page.html and and/or, then write `src/new.py`, ./src/two.py.", "../up.py")
    assert paths_mentioned(bullets) == ("src/new.py", "src/two.py")


@given(st.text(alphabet="ab/*?[]!-.{}\\", min_size=1, max_size=12), st.text(alphabet="ab/.[]", max_size=8))
def test_no_glob_breaks_the_question(pattern: str, path: str) -> None:
    if pattern.startswith("/") or ".." in pattern.split("/"):
        return
    assert ScopeEntries((pattern,), ()).covers(path) in (True, False)


def test_a_commit_is_planned_as_the_tree_it_is(tmp_path: Path) -> None:
    for path, text in PYTHON.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8", newline="\n")

    def run(*args: str) -> str:
        identity = ("-c", "user.name=T", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *identity, *args], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    run("init", "-q")
    run("add", ".")
    run("commit", "-q", "-m", "base")
    scope = WorkPacketScope(in_scope_paths=("calc/",), done_means=("`mean` is right",), test_plan=("pytest -q",))
    plans = [
        generate_plan(
            wp_id="WP-1-Demo",
            packet_path="docs/p.md",
            scope=scope,
            tree=tree,
            smallest_window=8192,
            is_governance_command=is_gate,
        )
        for tree in (find_repository(tmp_path).tree(run("rev-parse", "HEAD")), DictTree(PYTHON))
    ]
    assert plans[0] == plans[1]
