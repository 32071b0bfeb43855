"""The door to git: explicit folder, nothing planted runs, failures say what and where."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from handshake.domain.errors import EnvironmentProblem, ResourceExhausted, UsageError
from handshake.repo import git as door
from handshake.repo.git import Git, GitFailed, find_repository


def test_runs_through_gitpython_and_directly_alike(scratch, monkeypatch):
    git = Git(scratch.root)
    by_gitpython = git.run("rev-parse", "HEAD", "--show-toplevel")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere")
    directly = git.run("rev-parse", "HEAD", "--show-toplevel")
    assert by_gitpython == directly
    assert by_gitpython.stdout.endswith(b"\n")


def test_gitpython_is_what_runs_a_plain_command(scratch, monkeypatch):
    import git.cmd

    seen = []
    real = git.cmd.Git.execute
    monkeypatch.setattr(
        git.cmd.Git, "execute", lambda self, command, **k: seen.append(command) or real(self, command, **k)
    )
    Git(scratch.root).text("rev-parse", "HEAD")
    assert len(seen) == 1
    assert seen[0][:3] == ["git", "-C", str(scratch.root)]
    assert "core.fsmonitor=false" in seen[0]


def test_bytes_on_standard_input(scratch):
    sha = Git(scratch.root).run("hash-object", "--stdin", input=b"a\0b").stdout
    assert (
        sha.strip()
        == subprocess.run(
            ["git", "hash-object", "--stdin"], input=b"a\0b", capture_output=True, check=True
        ).stdout.strip()
    )


def test_inherited_git_variables_do_not_lead_elsewhere(scratch, tmp_path, monkeypatch):
    other = type(scratch)(tmp_path / "other")
    head = scratch.git("rev-parse", "HEAD")
    other.write("n", "n")
    assert other.commit("n") != head
    monkeypatch.setenv("GIT_DIR", str(other.root / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.root))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.bare")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    repo = find_repository(scratch.root)
    assert repo.root == scratch.root.resolve()
    assert repo.resolve("HEAD") == head


def test_a_failure_names_command_folder_and_reason(scratch):
    with pytest.raises(GitFailed) as caught:
        Git(scratch.root).run("rev-parse", "--verify", "nothing-of-this-name")
    assert "rev-parse --verify nothing-of-this-name" in caught.value.what
    assert str(scratch.root) in caught.value.what
    assert "fatal: Needed a single revision" in caught.value.what
    assert caught.value.result.code == 128


def test_a_failure_may_be_looked_at_instead(scratch):
    assert Git(scratch.root).run("rev-parse", "--verify", "-q", "nope", check=False).code == 1


def test_a_folder_that_is_gone_is_an_error_not_another_folder(tmp_path):
    with pytest.raises(EnvironmentProblem, match="is gone"):
        Git(tmp_path / "gone").run("status")


def test_a_full_disk_is_named(scratch, monkeypatch):
    said = door.GitResult(128, b"", "fatal: write error: No space left on device")
    monkeypatch.setattr(door, "_run_by_gitpython", lambda command, env: said)
    with pytest.raises(ResourceExhausted, match="disk is full"):
        Git(scratch.root).run("gc")


def test_missing_git_is_said(scratch, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    door.git_version.cache_clear()
    try:
        with pytest.raises(EnvironmentProblem, match="git was not found"):
            find_repository(scratch.root)
    finally:
        door.git_version.cache_clear()
    with pytest.raises(EnvironmentProblem, match="git was not found"):
        Git(scratch.root).run("status")
    with pytest.raises(EnvironmentProblem, match="git was not found"):
        Git(scratch.root).run("hash-object", "--stdin", input=b"")


def test_an_old_git_is_refused(scratch, monkeypatch):
    monkeypatch.setattr(door, "git_version", lambda: (2, 29, 4))
    with pytest.raises(EnvironmentProblem, match=r"git 2\.29\.4 is too old"):
        find_repository(scratch.root)


@pytest.mark.skipif(os.name == "nt", reason="hooks are shell scripts")
def test_planted_commands_do_not_run(scratch, tmp_path):
    trace = tmp_path / "ran"
    program = scratch.write(".git/evil.sh", f"#!/bin/sh\necho x >> {trace}\n")
    program.chmod(0o755)
    for hook in ("post-checkout", "reference-transaction", "post-index-change", "pre-commit"):
        place = scratch.write(f".git/hooks/{hook}", program.read_text())
        place.chmod(0o755)
    scratch.git("config", "core.fsmonitor", str(program))
    scratch.git("config", "core.editor", str(program))
    git = Git(scratch.root)
    git.run("status", "--porcelain")
    git.run("update-ref", "refs/handshake/x", "HEAD")
    git.run("checkout", "-q", "HEAD", "--", "README.md")
    assert not trace.exists()


# -- finding the repository ------------------------------------------------------------------------


def test_found_from_a_subfolder_and_a_file(scratch):
    for start in ("src/deep/er", "src/app.py", "."):
        repo = find_repository(scratch.root / start)
        assert repo.root == scratch.root.resolve()
        assert repo.common_dir == repo.git_dir == scratch.root.resolve() / ".git"
    assert repo.name == "proj"
    assert repo.object_format == "sha1"
    assert repo.head_branch() == "main"
    assert repo.has_commits
    assert repo.state_dir == repo.common_dir / "handshake"
    assert repo.state_dir.is_dir()


def test_found_from_a_linked_worktree(scratch, tmp_path):
    scratch.git("worktree", "add", "-q", str(tmp_path / "linked"), "-b", "side")
    repo = find_repository(tmp_path / "linked" / "src")
    assert repo.root == (tmp_path / "linked").resolve()
    assert repo.common_dir == scratch.root.resolve() / ".git"
    assert repo.git_dir.parent.name == "worktrees"
    assert repo.name == "proj"
    assert repo.checked_out_at("side") == [(tmp_path / "linked").resolve()]
    assert repo.checked_out_at("main") == [scratch.root.resolve()]
    assert repo.checked_out_at("none") == []


def test_a_shallow_clone_is_a_repository(scratch, tmp_path):
    scratch.write("more", "m")
    scratch.commit("two")
    scratch.git("clone", "-q", "--depth=1", scratch.root.as_uri(), str(tmp_path / "shallow"))
    repo = find_repository(tmp_path / "shallow")
    assert repo.tree(repo.resolve("HEAD")).read("more") == b"m"


def test_an_empty_repository_and_a_detached_head(scratch, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    scratch.git("init", "-q", "-b", "trunk", at=empty)
    repo = find_repository(empty)
    assert not repo.has_commits
    assert repo.head_branch() == "trunk"
    assert repo.resolve("HEAD") is None
    scratch.git("checkout", "-q", "--detach")
    assert scratch.open().head_branch() is None


def test_refusals_say_what_to_do(scratch, tmp_path):
    with pytest.raises(UsageError, match="not in a git repository") as caught:
        find_repository(tmp_path)
    assert "git init" in caught.value.next_step
    with pytest.raises(UsageError, match="does not exist"):
        find_repository(tmp_path / "a" / "b")
    with pytest.raises(UsageError, match="inside a git folder"):
        find_repository(scratch.root / ".git" / "refs")
    scratch.git("clone", "-q", "--bare", str(scratch.root), str(tmp_path / "bare.git"))
    with pytest.raises(UsageError, match="bare repository"):
        find_repository(tmp_path / "bare.git")


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs chown")
def test_another_users_folder_gets_its_own_line(scratch):
    os.chown(scratch.root, 12345, 12345)
    os.chown(scratch.root / ".git", 12345, 12345)
    with pytest.raises(EnvironmentProblem, match="belongs to another user") as caught:
        find_repository(scratch.root)
    assert "safe.directory" in caught.value.next_step


def test_an_unknown_extension_is_said(scratch):
    scratch.git("config", "core.repositoryformatversion", "1")
    scratch.git("config", "extensions.fromTheFuture", "true")
    with pytest.raises(EnvironmentProblem, match=r"(?i)unknown.*extension"):
        find_repository(scratch.root)


def test_odd_revisions_are_nothing(scratch):
    repo = scratch.open()
    assert repo.resolve("--all") is None
    assert repo.resolve("no/such") is None
    assert repo.branch_tip("no/such") is None
    assert repo.branch_tip("main") == repo.resolve("main") == repo.resolve("HEAD")


def test_ancestors(scratch):
    repo = scratch.open()
    older = repo.resolve("HEAD")
    scratch.write("n", "n")
    newer = scratch.commit("two")
    assert repo.is_ancestor(older, newer)
    assert repo.is_ancestor(newer, newer)
    assert not repo.is_ancestor(newer, older)


# -- trees -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["scratch", "sha256_scratch"])
def test_a_commit_is_read_without_a_checkout(kind, request):
    scratch = request.getfixturevalue(kind)
    scratch.write("späte datei\t.txt", "ä\n")
    if os.name != "nt":
        (scratch.root / "link").symlink_to("README.md")
    commit = scratch.commit("names")
    view = scratch.open().tree(commit)
    scratch.write("README.md", "changed later")
    assert view.read("README.md") == b"hello\n"
    assert view.paths() == tuple(sorted(view.paths()))
    assert {"src/deep/er/mod.py", "späte datei\t.txt", "run.sh"} <= set(view.paths())
    assert view.paths_under("src") == view.paths_under("src/") == ("src/app.py", "src/deep/er/mod.py")
    assert view.paths_under("src/app.py") == view.paths_under("none") == ()
    assert view.paths_under("") == view.paths()
    for fresh in (view, scratch.open().tree(commit)):  # once listed, once looked up
        assert fresh.mode("run.sh") == 0o100755
        assert fresh.mode("README.md") == 0o100644
        assert fresh.size("README.md") == 6
        for absent in ("src", "nothing", "src/nothing", "", "/", "README.md/x", "../x"):
            assert fresh.read(absent) is None
            assert fresh.mode(absent) is None
            assert fresh.size(absent) is None
        if os.name != "nt":
            assert fresh.mode("link") == 0o120000
            assert fresh.read("link") == b"README.md"


def test_submodules_are_not_files(scratch, tmp_path):
    scratch.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    scratch.git("commit", "-q", "-m", "sub")
    view = scratch.open().tree(scratch.git("rev-parse", "HEAD"))
    assert "sub" not in view.paths()
    assert view.read("sub") is None


def test_no_gitpython_or_pygit2_when_only_imported(in_new_python):
    done = in_new_python(
        "import sys, handshake.repo.store, handshake.repo.workspace, handshake.repo.locks\n"
        "assert not {'git', 'pygit2', 'filelock', 'platformdirs'} & set(sys.modules)"
    )
    assert done.returncode == 0, done.stderr.decode()


def test_in_a_hook_git_is_started_directly(scratch, in_new_python):
    text = (
        "import os, sys; os.environ['GIT_INDEX_FILE'] = '.git/index'\n"
        "from pathlib import Path; from handshake.repo.git import find_repository\n"
        "find_repository(Path(sys.argv[1])).git.text('status', '--porcelain')\n"
        "assert 'git' not in sys.modules\n"
    )
    assert in_new_python(text, str(scratch.root)).returncode == 0


def test_the_index_of_a_hook_can_be_asked_for(scratch, tmp_path):
    repo = scratch.open()
    index = tmp_path / "index"
    repo.git.run("read-tree", "--empty", env={"GIT_INDEX_FILE": str(index)})
    assert repo.git.names("ls-files", "-z", env={"GIT_INDEX_FILE": str(index)}) == ()
    assert Path(index).exists()
    assert "README.md" in repo.git.names("ls-files", "-z")


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_without_libgit2_a_tree_is_the_same(scratch, tmp_path, object_format):
    made = type(scratch)(tmp_path / "repo", object_format=object_format)
    made.write("docs/big.bin", "x" * 70_000)
    head = made.commit("two")
    usual, small = made.open(), made.open().by_git_alone()
    assert small.pygit2 is None
    folders = ("", "src", "src/deep", "docs", "README.md", "no/such")
    wanted = {folder: usual.tree(head).children(folder) for folder in folders}
    assert wanted[""] and {folder: small.tree(head).children(folder) for folder in folders} == wanted
    with small.git.one_reader():
        for path in ("README.md", "src/deep/er/mod.py", "docs/big.bin", "src", "no/such", ""):
            assert small.tree(head).read(path) == usual.tree(head).read(path)
        assert {folder: small.tree(head).children(folder) for folder in folders} == wanted
        assert small.resolve("refs/heads/main") == small.branch_tip("main") == head
        assert small.resolve("refs/heads/none") is None


def test_a_ref_whose_commit_rotted_is_a_ref_without_libgit2_too(scratch):
    head = scratch.git("rev-parse", "HEAD")
    place = scratch.root / ".git" / "objects" / head[:2] / head[2:]
    place.chmod(0o644)
    place.write_bytes(b"rotten")
    for repo in (scratch.open(), scratch.open().by_git_alone()):
        assert repo.ref_target("refs/heads/main") == head
        assert repo.ref_target("refs/heads/none") is None
