"""The worktree: made, repaired whatever befell it, never trusted, and nothing found there is lost."""

from __future__ import annotations

import os
import shutil
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from handshake.domain.clock import SteppingClock
from handshake.domain.errors import CapabilityViolation, EnvironmentProblem, StaleOwner, UsageError
from handshake.repo.store import ObjectStore
from handshake.repo.workspace import Workspace

BRANCH = "feat/WP-1"


@pytest.fixture
def head(scratch):
    return scratch.git("rev-parse", "HEAD")


@pytest.fixture
def space(scratch):
    return Workspace(scratch.open(), "WP-1", BRANCH, clock=SteppingClock(step=timedelta(seconds=5)))


def sound(space, scratch, commit):
    assert scratch.git("rev-parse", "HEAD", at=space.path) == commit
    assert scratch.git("symbolic-ref", "--short", "HEAD", at=space.path) == BRANCH
    assert scratch.git("status", "--porcelain", at=space.path) == ""
    assert space.changed_paths() == ()
    assert (space.path / "src/app.py").read_text() == "x = 1\n"
    scratch.fsck()


def saved(space, scratch, path, number=1):
    return scratch.git("show", f"refs/handshake/salvage/WP-1/{number}:{path}")


def test_made_beside_the_repository_and_the_user_sees_nothing(space, scratch, head):
    before = scratch.user_state()
    assert space.ensure(head) == space.path == scratch.root.resolve().parent / "proj.worktrees" / "WP-1"
    sound(space, scratch, head)
    assert os.access(space.path / "run.sh", os.X_OK)
    assert scratch.user_state() == before
    assert space.salvage_refs() == ()
    space.ensure(head)  # again: nothing to do
    sound(space, scratch, head)
    assert space.salvage_refs() == ()


def test_what_is_dirty_is_saved_once_and_set_right(space, scratch, head):
    space.ensure(head)
    (space.path / "src/app.py").write_text("mine\n")
    (space.path / "new/file.txt").parent.mkdir()
    (space.path / "new/file.txt").write_text("only here\n")
    (space.path / "README.md").unlink()
    (space.path / "debug.log").write_text("ignored\n")
    space.ensure(head)
    sound(space, scratch, head)
    assert space.salvage_refs() == ("refs/handshake/salvage/WP-1/1",)
    assert saved(space, scratch, "src/app.py") == "mine"
    assert saved(space, scratch, "new/file.txt") == "only here"
    assert scratch.git("rev-parse", "refs/handshake/salvage/WP-1/1^") == head
    assert (space.path / "debug.log").read_text() == "ignored\n"
    assert not (space.path / "new").exists()
    (space.path / "src/app.py").write_text("mine\n")  # the same again is not a second salvage
    (space.path / "new").mkdir()
    (space.path / "new/file.txt").write_text("only here\n")
    space.ensure(head)
    assert len(space.salvage_refs()) == 1
    (space.path / "src/app.py").write_text("other\n")
    space.ensure(head)
    assert saved(space, scratch, "src/app.py", 2) == "other"


@pytest.mark.skipif(os.name == "nt", reason="modes and links")
def test_modes_and_links_are_saved_too(space, scratch, head):
    space.ensure(head)
    (space.path / "README.md").chmod(0o755)
    (space.path / "link").symlink_to("README.md")
    space.ensure(head)
    rows = scratch.git("ls-tree", "refs/handshake/salvage/WP-1/1", "README.md", "link")
    assert rows.split()[0::4] == ["100755", "120000"]
    sound(space, scratch, head)


def test_only_deletions_are_nothing_to_save(space, scratch, head):
    space.ensure(head)
    shutil.rmtree(space.path / "src")
    space.ensure(head)
    sound(space, scratch, head)
    assert space.salvage_refs() == ()


def gone(space, scratch):
    shutil.rmtree(space.path)


def pruned(space, scratch):
    shutil.rmtree(space.path)
    scratch.git("worktree", "prune")


def locked_and_gone(space, scratch):
    scratch.git("worktree", "lock", str(space.path))
    shutil.rmtree(space.path)


def locked(space, scratch):
    scratch.git("worktree", "lock", str(space.path))


def no_git_file(space, scratch):
    (space.path / ".git").unlink()


def no_git_folder(space, scratch):
    shutil.rmtree(scratch.root / ".git/worktrees")


def torn_git_file(space, scratch):
    (space.path / ".git").write_text("gitd")


def broken_index(space, scratch):
    (scratch.root / ".git/worktrees/WP-1/index").write_bytes(b"DIRC garbage")


def index_gone(space, scratch):
    (scratch.root / ".git/worktrees/WP-1/index").unlink()


def left_locks(space, scratch):
    for name in ("index.lock", "HEAD.lock"):
        (scratch.root / ".git/worktrees/WP-1" / name).touch()
    (scratch.root / ".git/refs/heads/feat/WP-1.lock").touch()


def other_branch(space, scratch):
    scratch.git("checkout", "-q", "-b", "elsewhere", at=space.path)


def moved(space, scratch):
    scratch.git("worktree", "move", str(space.path), str(space.path.parent / "moved"))


def moved_and_locked(space, scratch):
    moved(space, scratch)
    scratch.git("worktree", "lock", str(space.path.parent / "moved"))


def moved_by_hand(space, scratch):
    space.path.rename(space.path.parent / "by-hand")


def a_file_there(space, scratch):
    gone(space, scratch)
    space.path.write_text("in the way")


def an_empty_folder(space, scratch):
    gone(space, scratch)
    space.path.mkdir()


def a_repository_there(space, scratch):
    gone(space, scratch)
    space.path.mkdir()
    scratch.git("init", "-q", at=space.path)


def head_torn(space, scratch):
    (scratch.root / ".git/worktrees/WP-1/HEAD").write_text("")


MISHAPS = [
    gone, pruned, locked_and_gone, locked, no_git_file, no_git_folder, torn_git_file, broken_index, index_gone,
    left_locks, other_branch, moved, moved_and_locked, moved_by_hand, a_file_there, an_empty_folder,
    a_repository_there, head_torn,
]  # fmt: skip
KEEPS_FILES = [
    no_git_file, no_git_folder, torn_git_file, broken_index, index_gone, other_branch, moved, head_torn, locked,
]  # fmt: skip


@pytest.mark.parametrize("mishap", MISHAPS, ids=lambda f: f.__name__)
def test_whatever_befell_it_it_is_set_right(space, scratch, head, mishap):
    space.ensure(head)
    before = scratch.user_state()
    mishap(space, scratch)
    space.ensure(head)
    sound(space, scratch, head)
    assert scratch.user_state() == before
    scratch.git("worktree", "prune")
    sound(space, scratch, head)


@pytest.mark.parametrize("mishap", KEEPS_FILES, ids=lambda f: f.__name__)
def test_and_what_was_in_it_is_saved(space, scratch, head, mishap):
    space.ensure(head)
    (space.path / "src/app.py").write_text("half an hour of work\n")
    (space.path / "notes.txt").write_text("notes\n")
    mishap(space, scratch)
    space.ensure(head)
    sound(space, scratch, head)
    assert saved(space, scratch, "src/app.py") == "half an hour of work"
    assert saved(space, scratch, "notes.txt") == "notes"


def test_a_broken_worktree_is_set_aside_whole_with_its_ignored_files(space, scratch, head):
    space.ensure(head)
    (space.path / "secret.log").write_text("ignored by git, dear to the user\n")
    no_git_file(space, scratch)
    space.ensure(head)
    assert (space.path.parent / ".set-aside/WP-1-1/secret.log").read_text().startswith("ignored")
    torn_git_file(space, scratch)
    space.ensure(head)
    assert not (space.path.parent / ".set-aside/WP-1-2/.git").exists()


def test_a_commit_on_a_detached_head_is_kept(space, scratch, head):
    space.ensure(head)
    scratch.git("checkout", "-q", "--detach", at=space.path)
    (space.path / "n").write_text("n")
    scratch.git("add", "n", at=space.path)
    scratch.git("commit", "-q", "-m", "detached", at=space.path)
    lost = scratch.git("rev-parse", "HEAD", at=space.path)
    space.ensure(head)
    sound(space, scratch, head)
    assert lost in scratch.git("for-each-ref", "--format=%(objectname)", "refs/handshake/salvage/")


def test_a_repository_inside_is_neither_deleted_nor_followed(space, scratch, head):
    space.ensure(head)
    inner = space.path / "inner"
    inner.mkdir()
    scratch.git("init", "-q", at=inner)
    (inner / "precious").write_text("p")
    space.ensure(head)
    assert (inner / "precious").exists()
    assert space.changed_paths() == ("inner/",)
    assert space.restore(["inner/"]) == ()
    assert (space.path.parent / ".set-aside/inner-1/precious").exists()
    assert space.changed_paths() == ()


def test_refused_where_the_branch_is_the_users(space, scratch, head):
    scratch.git("checkout", "-q", "-b", BRANCH)
    with pytest.raises(UsageError, match="is checked out at"):
        space.ensure(head)


def test_refused_where_the_branch_is_elsewhere(space, scratch, head):
    space.ensure(head)
    newer = ObjectStore(scratch.open()).write_commit(
        parent=head, base_tree=head, changes={"n": b"n"}, message="n", when=SteppingClock().now()
    )
    for call in (space.ensure, space.sync):
        with pytest.raises(StaleOwner, match="is at"):
            call(newer)
    with pytest.raises(UsageError, match="no commit"):
        space.ensure("1" * 40)
    assert scratch.git("rev-parse", BRANCH) == head


def test_sync_follows_the_branch(space, scratch, head):
    space.ensure(head)
    objects = ObjectStore(scratch.open())
    newer = objects.write_commit(
        parent=head,
        base_tree=head,
        changes={"src/app.py": b"x = 2\n", "README.md": None},
        message="n",
        when=SteppingClock().now(),
    )
    (space.path / "keep.log").write_text("ignored")
    objects.update_ref(f"refs/heads/{BRANCH}", newer, head)
    space.sync(newer)
    assert space.read("src/app.py") == b"x = 2\n"
    assert space.read("README.md") is None
    assert space.read("keep.log") == b"ignored"
    assert space.changed_paths() == ()


def test_a_replaced_git_file_is_noticed_before_git_follows_it(space, scratch, head, tmp_path):
    space.ensure(head)
    planted = tmp_path / "planted"
    scratch.git("clone", "-q", str(scratch.root), str(planted))
    ran = tmp_path / "ran"
    program = planted / "evil.sh"
    program.write_text(f"#!/bin/sh\necho x > {ran}\n")
    program.chmod(0o755)
    scratch.git("config", "core.fsmonitor", str(program), at=planted)
    scratch.git("config", "filter.evil.clean", str(program), at=planted)
    (space.path / ".git").write_text(f"gitdir: {planted / '.git'}\n")
    (space.path / ".gitattributes").write_text("* filter=evil\n")
    for call in (space.changed_paths, lambda: space.sync(head), lambda: space.write_snapshot({"a": b"1"})):
        with pytest.raises(EnvironmentProblem, match="not the worktree"):
            call()
    space.ensure(head)
    sound(space, scratch, head)
    assert not ran.exists()


@pytest.mark.skipif(os.name == "nt", reason="hooks are shell scripts")
def test_planted_hooks_do_not_run(space, scratch, head, tmp_path):
    ran = tmp_path / "ran"
    for hook in ("post-checkout", "post-index-change", "reference-transaction"):
        place = scratch.write(f".git/hooks/{hook}", f"#!/bin/sh\necho x > {ran}\n")
        place.chmod(0o755)
    scratch.git("config", "core.fsmonitor", str(scratch.root / ".git/hooks/post-checkout"))
    space.ensure(head)
    (space.path / "README.md").write_text("changed")
    space.ensure(head)
    space.changed_paths()
    assert not ran.exists()


def test_bytes_are_the_commits_whatever_the_user_likes(space, scratch, head):
    scratch.git("config", "core.autocrlf", "true")
    space.ensure(head)
    assert (space.path / "README.md").read_bytes() == b"hello\n"
    sound(space, scratch, head)


# -- files -----------------------------------------------------------------------------------------


def test_changed_paths_and_restore(space, scratch, head):
    space.ensure(head)
    (space.path / "src/app.py").write_text("x = 9\n")
    (space.path / "src/deep/er/mod.py").unlink()
    (space.path / "späte datei").write_text("n")
    (space.path / "a/b/c").parent.mkdir(parents=True)
    (space.path / "a/b/c").write_text("n")
    (space.path / "x.log").write_text("ignored")
    scratch.git("add", "späte datei", at=space.path)
    scratch.git("mv", "README.md", "READYOU.md", at=space.path)
    changed = ("READYOU.md", "README.md", "a/b/c", "src/app.py", "src/deep/er/mod.py", "späte datei")
    assert set(space.changed_paths()) == set(changed)
    assert space.restore(["src/app.py"]) == ("src/app.py",)
    assert set(space.restore(space.changed_paths())) == {"README.md", "src/deep/er/mod.py"}
    sound(space, scratch, head)
    assert not (space.path / "a").exists()
    assert space.restore([]) == ()


@pytest.mark.skipif(os.name == "nt", reason="symbolic links")
def test_restore_where_a_link_took_a_folders_place(space, scratch, head, tmp_path):
    space.ensure(head)
    outside = tmp_path / "outside/deep/er"
    outside.mkdir(parents=True)
    (outside / "mod.py").write_text("not ours\n")
    shutil.rmtree(space.path / "src")
    (space.path / "src").symlink_to(tmp_path / "outside")
    space.restore(space.changed_paths())
    sound(space, scratch, head)
    assert (outside / "mod.py").read_text() == "not ours\n"


def test_pathspec_magic_in_a_name_is_only_a_name(space, scratch, head):
    space.ensure(head)
    (space.path / "src/app.py").write_text("kept change\n")
    name = ":(glob)*" if os.name != "nt" else "[a]"
    (space.path / name).write_text("n")
    space.restore([name])
    assert space.changed_paths() == ("src/app.py",)


def test_a_snapshot_is_put_back(space, scratch, head):
    space.ensure(head)
    shutil.rmtree(space.path / "src")
    (space.path / "run.sh").unlink()
    space.write_snapshot(
        {"src/app.py": b"x = 3\n", "src/deep/er/mod.py": None, "new/n.py": b"n\n", "run.sh": b"#!\n"}
    )
    assert space.read("src/app.py") == b"x = 3\n"
    assert space.read("new/n.py") == b"n\n"
    assert space.changed_paths() == ("new/n.py", "run.sh", "src/app.py", "src/deep/er/mod.py")
    assert os.name == "nt" or os.access(space.path / "run.sh", os.X_OK)
    space.write_snapshot({"new/n.py": None, "new/none.py": None})
    assert not (space.path / "new").exists()


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "", ".git", ".git/config", "src/.GIT/x", "a//b"]
)
def test_paths_that_lead_out_are_refused(space, head, path):
    space.ensure(head)
    with pytest.raises(CapabilityViolation):
        space.read(path)
    with pytest.raises(CapabilityViolation):
        space.write_snapshot({"fine.txt": b"x", path: b"x"})
    assert not (space.path / "fine.txt").exists()


@pytest.mark.skipif(os.name == "nt", reason="symbolic links")
def test_links_are_not_followed(space, head, tmp_path):
    space.ensure(head)
    (tmp_path / "target").mkdir()
    (space.path / "dir").symlink_to(tmp_path / "target")
    (space.path / "file").symlink_to(tmp_path / "target/x")
    for path in ("dir/x", "file"):
        with pytest.raises(CapabilityViolation, match="symbolic link"):
            space.write_snapshot({path: b"x"})
        with pytest.raises(CapabilityViolation, match="symbolic link"):
            space.read(path)
    assert list((tmp_path / "target").iterdir()) == []


# -- where it stands -------------------------------------------------------------------------------


def test_inside_the_repository_is_refused(scratch):
    for template in (".", "worktrees", "../proj/wt"):
        with pytest.raises(UsageError, match="inside the repository"):
            Workspace(scratch.open(), "WP-1", BRANCH, template)


def test_seen_from_a_linked_worktree_it_is_the_same_place(space, scratch, tmp_path):
    scratch.git("worktree", "add", "-q", str(tmp_path / "elsewhere/linked"), "-b", "side")
    other = Workspace(type(space._repo)(
        (tmp_path / "elsewhere/linked").resolve(), scratch.root / ".git/worktrees/linked",
        scratch.root.resolve() / ".git", "sha1",
    ), "WP-1", BRANCH)  # fmt: skip
    assert other.path == space.path


@pytest.mark.skipif(os.name == "nt", reason="permissions")
def test_where_the_parent_cannot_be_written_the_users_state_directory_serves(scratch, head, monkeypatch, tmp_path):
    real = os.access
    parent = scratch.root.resolve().parent
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != parent and real(path, mode))
    space = Workspace(scratch.open(), "WP-1", BRANCH)
    assert tmp_path / "state-home" in space.path.parents
    space.ensure(head)
    sound(space, scratch, head)


ENSURE = """
import sys
from pathlib import Path
from handshake.repo.git import find_repository
from handshake.repo.workspace import Workspace
Workspace(find_repository(Path(sys.argv[1])), "WP-1", "feat/WP-1").ensure(sys.argv[2])
"""


@pytest.mark.parametrize(
    "place", ["worktree.add:before", "worktree.add:after", "worktree.reset:before", "worktree.reset:after"]
)
def test_killed_while_it_is_made(space, scratch, head, in_child, place):
    assert in_child(ENSURE, str(scratch.root), head, failpoint=f"{place}:kill") == -signal.SIGKILL
    space.ensure(head)
    sound(space, scratch, head)
    assert space.salvage_refs() == ()


@pytest.mark.parametrize(
    "place", ["objects.write:after", "ref.update:before", "ref.update:after", "worktree.reset:before"]
)
def test_killed_while_it_is_salvaged(space, scratch, head, in_child, place):
    space.ensure(head)
    (space.path / "notes.txt").write_text("notes\n")
    assert in_child(ENSURE, str(scratch.root), head, failpoint=f"{place}:kill") == -signal.SIGKILL
    space.ensure(head)
    sound(space, scratch, head)
    assert saved(space, scratch, "notes.txt") == "notes"
    assert len(space.salvage_refs()) == 1


def test_removed_with_what_it_held_saved(space, scratch, head):
    space.ensure(head)
    (space.path / "notes.txt").write_text("notes\n")
    scratch.git("worktree", "lock", str(space.path))
    space.remove()
    assert not space.path.exists()
    assert saved(space, scratch, "notes.txt") == "notes"
    assert scratch.git("rev-parse", BRANCH) == head
    space.remove()
    space.ensure(head)
    no_git_file(space, scratch)
    space.remove()
    assert not space.path.exists()


def test_in_a_sha256_repository(sha256_scratch):
    head = sha256_scratch.git("rev-parse", "HEAD")
    space = Workspace(sha256_scratch.open(), "WP-1", BRANCH)
    space.ensure(head)
    (space.path / "notes.txt").write_text("notes\n")
    space.ensure(head)
    sound(space, sha256_scratch, head)
    assert saved(space, sha256_scratch, "notes.txt") == "notes"
