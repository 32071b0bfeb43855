"""Commits and refs: the same ids from both backends, compare-and-swap, nothing half done after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime

import pytest

from handshake.domain.errors import EnvironmentProblem, StaleOwner, StateCorruption, UsageError
from handshake.domain.settings import Identity
from handshake.repo import backends
from handshake.repo.objects import parse_tree
from handshake.repo.store import BlobEntry, ObjectStore, clear_stale_ref_lock

BACKENDS = ["pygit2", "cli"]
REF = "refs/heads/handshake/track/WP-1"


@pytest.fixture(params=BACKENDS)
def store(request, scratch):
    return ObjectStore(scratch.open(), backend=request.param)


def commit(store, when, changes, parent=None, message="m"):
    return store.write_commit(parent=parent, base_tree=parent, changes=changes, message=message, when=when)


CHANGES = {
    "README.md": b"changed\n",
    "run.sh": b"#!/bin/sh\nexit 1\n",
    "src/app.py": None,
    "src/deep/new.py": b"",
    "src/deep.py": b"sorts before the folder of that name\n",
    "bin/tool": BlobEntry(b"#!/bin/sh\n", 0o100755),
    "ä/ö.txt": "ü".encode(),
    "not/there.txt": None,
}


def test_both_backends_and_git_itself_give_the_same_commit(scratch, when):
    repo = scratch.open()
    head = repo.resolve("HEAD")
    ids = {
        commit(ObjectStore(repo, backend=name), when, CHANGES, head, "subject\n\nHandshake-WP: WP-1")
        for name in BACKENDS
    }
    assert len(ids) == 1
    made = ids.pop()
    scratch.git("checkout", "-q", "-b", "by-git")
    for path, change in CHANGES.items():
        place = scratch.root / path
        if change is None:
            place.unlink(missing_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(change if isinstance(change, bytes) else change.data)
    scratch.git("add", "-A")
    scratch.git("update-index", "--chmod=+x", "bin/tool")
    stamp = f"{int(when.timestamp())} +0000"
    who = {
        f"GIT_{role}_{part}": value
        for role in ("AUTHOR", "COMMITTER")
        for part, value in (("NAME", "Handshake"), ("EMAIL", "handshake@localhost"), ("DATE", stamp))
    }
    subprocess.run(
        ["git", "-C", str(scratch.root), "commit", "-q", "-m", "subject\n\nHandshake-WP: WP-1"],
        check=True,
        env={**os.environ, **who},
    )
    assert scratch.git("rev-parse", "HEAD") == made
    scratch.fsck()


def test_same_inputs_same_id_and_the_time_counts(store, when):
    first = commit(store, when, {"a": b"1"})
    assert commit(store, when, {"a": b"1"}) == first
    assert commit(store, when.replace(second=1), {"a": b"1"}) != first
    with pytest.raises(ValueError, match="zone"):
        commit(store, datetime(2026, 1, 1), {"a": b"1"})


def test_unchanged_folders_are_reused_and_nothing_changed_is_the_same_tree(store, scratch, when):
    head = scratch.git("rev-parse", "HEAD")
    made = commit(store, when, {"README.md": b"x"}, head)
    assert scratch.git("rev-parse", f"{made}:src") == scratch.git("rev-parse", "HEAD:src")
    same = commit(store, when, {"README.md": b"hello\n", "gone/x": None}, head)
    assert scratch.git("rev-parse", f"{same}^{{tree}}") == scratch.git("rev-parse", "HEAD^{tree}")


def test_a_base_may_be_a_tree(store, scratch, when):
    tree = scratch.git("rev-parse", "HEAD^{tree}")
    made = store.write_commit(parent=None, base_tree=tree, changes={"n": b"n"}, message="m", when=when)
    assert scratch.git("show", f"{made}:src/app.py") == "x = 1"
    assert scratch.git("rev-list", "--count", made) == "1"


def test_folders_that_become_empty_go_and_all_may_go(store, scratch, when):
    head = scratch.git("rev-parse", "HEAD")
    made = commit(store, when, {"src/deep/er/mod.py": None, "src/app.py": None}, head)
    assert "src" not in scratch.git("ls-tree", "--name-only", made).split()
    empty = commit(store, when, dict.fromkeys(scratch.open().tree(head).paths()), head)
    assert scratch.git("ls-tree", empty) == ""


def test_a_file_takes_a_folders_place_and_back(store, scratch, when):
    head = scratch.git("rev-parse", "HEAD")
    made = commit(store, when, {"src": b"a file now"}, head)
    assert scratch.git("cat-file", "-t", f"{made}:src") == "blob"
    back = commit(store, when, {"src/app.py": b"again", "src": None}, made)
    assert scratch.git("ls-tree", "-r", "--name-only", back, "src") == "src/app.py"
    scratch.git("fsck", "--strict", made, back)


@pytest.mark.parametrize("path", ["", "/abs", "a//b", "a/../b", ".", "a/.git/config", ".GIT/x", "a/", "nul\0l"])
def test_paths_that_git_cannot_hold_are_refused(store, when, path):
    with pytest.raises(UsageError, match="cannot be committed"):
        commit(store, when, {path: b"x"})


def test_a_file_and_a_folder_of_one_name_are_refused(store, when):
    with pytest.raises(UsageError):
        commit(store, when, {"a": b"x", "a/b": b"y"})


def test_identity_is_ours_and_cannot_break_the_header(scratch, when):
    store = ObjectStore(scratch.open(), Identity(name="A <b>\nX", email="e@f>\n"))
    made = commit(store, when, {"a": b"1"})
    assert scratch.git("log", "-1", "--format=%an|%ae|%cn|%ce", made) == "A bX|e@f|A bX|e@f"
    other = store.write_commit(
        parent=None, base_tree=None, changes={}, message="m", when=when, author=Identity(name="N", email="n@x")
    )
    assert scratch.git("log", "-1", "--format=%an %cn", other) == "N N"


# -- refs ------------------------------------------------------------------------------------------


def test_compare_and_swap(store, scratch, when):
    one, two = commit(store, when, {"a": b"1"}), commit(store, when, {"a": b"2"})
    store.update_ref(REF, one, None)
    for wrong in (None, two):
        with pytest.raises(StaleOwner):
            store.update_ref(REF, two, wrong)
    assert scratch.git("rev-parse", REF) == one
    store.update_ref(REF, two, one)
    assert scratch.git("rev-parse", REF) == two
    with pytest.raises(StaleOwner):
        store.update_ref("refs/heads/none", two, one)


def test_compare_and_swap_over_a_packed_ref(store, scratch, when):
    one, two = commit(store, when, {"a": b"1"}), commit(store, when, {"a": b"2"})
    store.update_ref(REF, one, None)
    scratch.git("pack-refs", "--all")
    with pytest.raises(StaleOwner):
        store.update_ref(REF, two, None)
    store.update_ref(REF, two, one)
    assert scratch.git("rev-parse", REF) == two


def test_a_lock_that_goes_away_is_waited_for(store, scratch, when):
    one, two = commit(store, when, {"a": b"1"}), commit(store, when, {"a": b"2"})
    store.update_ref(REF, one, None)
    lock = scratch.root / ".git" / f"{REF}.lock"
    lock.touch()
    threading.Timer(0.15, lock.unlink).start()
    store.update_ref(REF, two, one)
    assert scratch.git("rev-parse", REF) == two


def test_a_lock_that_stays_is_said_and_cleared(store, scratch, when, monkeypatch):
    monkeypatch.setattr("handshake.repo.store._LOCK_PATIENCE_S", 0.05)
    one, two = commit(store, when, {"a": b"1"}), commit(store, when, {"a": b"2"})
    store.update_ref(REF, one, None)
    lock = scratch.root / ".git" / f"{REF}.lock"
    lock.touch()
    with pytest.raises(EnvironmentProblem, match="stays locked"):
        store.update_ref(REF, two, one)
    assert clear_stale_ref_lock(scratch.open(), REF, patience_s=0.05)
    assert not clear_stale_ref_lock(scratch.open(), REF)
    store.update_ref(REF, two, one)


def test_a_living_lock_is_left_alone(scratch):
    lock = scratch.root / ".git" / "refs/heads/main.lock"
    lock.touch()
    threading.Timer(0.05, lambda: lock.write_text("progress")).start()
    assert not clear_stale_ref_lock(scratch.open(), "refs/heads/main", patience_s=2)
    assert lock.exists()


WRITER = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from handshake.domain.errors import StaleOwner
from handshake.repo.git import find_repository
from handshake.repo.store import ObjectStore
repo = find_repository(Path(sys.argv[1]))
store = ObjectStore(repo, backend=sys.argv[2])
me, ref, when = sys.argv[3], sys.argv[4], datetime(2026, 1, 1, tzinfo=UTC)
for number in range(int(sys.argv[5])):
    while True:
        tip = repo.ref_target(ref)
        sha = store.write_commit(parent=tip, base_tree=tip, changes={f"{me}/{number}": b"x"}, message=me, when=when)
        try:
            store.update_ref(ref, sha, tip)
        except StaleOwner:
            continue
        break
"""


def test_eight_processes_lose_no_update(scratch, start_child):
    each = 5
    waits = [
        start_child(WRITER, str(scratch.root), BACKENDS[number % 3 // 2], f"w{number}", REF, str(each))
        for number in range(8)
    ]
    assert [wait() for wait in waits] == [0] * 8
    assert scratch.git("rev-list", "--count", REF) == str(8 * each)
    assert len(scratch.git("ls-tree", "-r", "--name-only", REF).split()) == 8 * each
    scratch.fsck()


KILLED = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from handshake.repo.git import find_repository
from handshake.repo.store import ObjectStore
repo = find_repository(Path(sys.argv[1]))
store = ObjectStore(repo, backend=sys.argv[2])
tip = sys.argv[3]
sha = store.write_commit(parent=tip, base_tree=tip, changes={"b": b"2"}, message="two",
                         when=datetime(2026, 1, 1, tzinfo=UTC))
store.update_ref(sys.argv[4], sha, tip)
"""


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("place", "moved"),
    [
        ("objects.write:before", False),
        ("pack.index:before", False),
        ("objects.write:after", False),
        ("ref.update:before", False),
        ("ref.update:after", True),
    ],
)
def test_killed_it_is_the_old_tip_or_the_new(scratch, when, in_child, backend, place, moved):
    store = ObjectStore(scratch.open(), backend=backend)
    one = commit(store, when, {"a": b"1"})
    store.update_ref(REF, one, None)
    assert in_child(KILLED, str(scratch.root), backend, one, REF, failpoint=f"{place}:kill") == -signal.SIGKILL
    tip = scratch.git("rev-parse", REF)
    assert (tip != one) is moved
    scratch.fsck()
    if not moved:  # the same step taken again gives what an undisturbed one would have
        assert in_child(KILLED, str(scratch.root), backend, one, REF) == 0
        assert scratch.git("show", f"{REF}:b") == "2"


def test_killed_at_random_times_the_repository_stays_sound(scratch, when):
    store = ObjectStore(scratch.open())
    store.update_ref(REF, commit(store, when, {"a": b"1"}), None)
    for delay in (0.03, 0.1):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(scratch.root), "pygit2", f"d{delay}", REF, "999"]
        )
        before = scratch.git("rev-parse", REF)
        while scratch.git("rev-parse", REF) == before:
            assert writer.poll() is None
        time.sleep(delay)
        writer.kill()
        writer.wait()
        clear_stale_ref_lock(scratch.open(), REF, patience_s=0.05)
        scratch.fsck()
    tip = scratch.git("rev-parse", REF)
    store.update_ref(REF, commit(store, when, {"z": b"z"}, tip), tip)


# -- what the user does meanwhile ------------------------------------------------------------------


def test_a_gc_between_objects_and_ref_takes_nothing(store, scratch, when):
    one = commit(store, when, {"a": b"1", "d/e": b"2"})
    scratch.git("gc", "--quiet", "--prune=now")
    assert scratch.git("cat-file", "-t", one) == "commit"
    store.update_ref(REF, one, None)
    assert scratch.git("show", f"{REF}:d/e") == "2"
    two = commit(store, when, {"a": b"3"}, one)
    scratch.git("repack", "-a", "-d", "-q")
    scratch.git("prune", "--expire=now")
    store.update_ref(REF, two, one)
    scratch.git("gc", "--quiet", "--prune=now")
    assert scratch.git("show", f"{REF}:a") == "3"
    scratch.fsck()


def lose(scratch, pattern="pack-*.pack"):
    """What a hand that deletes files in .git leaves of the packs."""
    for file in (scratch.root / ".git/objects/pack").glob(pattern):
        file.unlink()


def test_a_pack_that_somebody_deleted_is_written_again(store, scratch, when):
    made = commit(store, when, {"a": b"only here"})
    lose(scratch)
    store.update_ref(REF, made, None)
    assert scratch.git("show", f"{REF}:a") == "only here"
    scratch.git("fsck", "--strict", REF)


def test_two_commits_in_hand_are_both_kept(store, scratch, when):
    one, other = commit(store, when, {"a": b"1"}), commit(store, when, {"a": b"2"})
    scratch.git("gc", "--quiet", "--prune=now")
    store.update_ref(REF, other, None)
    store.update_ref("refs/heads/feat/WP-1", one, None)
    assert scratch.git("show", "feat/WP-1:a") == "1"
    scratch.fsck()


def test_a_pack_lost_after_the_ref_moved_is_written_again(store, scratch, when):
    made = commit(store, when, {"a": b"only here"})
    real = store.backend.move_ref

    def move_and_lose(ref, new, expected, **more):
        real(ref, new, expected, **more)
        lose(scratch)

    store.backend.move_ref = move_and_lose
    store.update_ref(REF, made, None)
    assert scratch.git("show", f"{REF}:a") == "only here"


def test_objects_that_cannot_be_kept_are_an_error(store, scratch, when, monkeypatch):
    made = commit(store, when, {"a": b"1"})
    lose(scratch)
    real = store._packs.write

    def write_and_lose(objects):
        pack = real(objects)
        lose(scratch)
        return pack

    monkeypatch.setattr(store._packs, "write", write_and_lose)
    with pytest.raises(StateCorruption, match="vanish"):
        store.update_ref(REF, made, None)
    gone = ObjectStore(scratch.open())
    with pytest.raises((StateCorruption, EnvironmentProblem), match=made[:12]):
        gone.update_ref(REF, made, None)


def test_reading_goes_on_after_a_repack(store, scratch, when):
    repo = scratch.open()
    one = commit(store, when, {"a": b"1"})
    store.update_ref(REF, one, None)
    assert repo.tree(one).read("a") == b"1"
    scratch.git("repack", "-a", "-d", "-q")
    scratch.git("prune-packed")
    two = commit(store, when, {"b": b"2"}, one)
    store.update_ref(REF, two, one)
    assert repo.tree(two).read("a") == b"1"


# -- where libgit2 cannot go -----------------------------------------------------------------------


def test_a_sha256_repository_goes_through_git(sha256_scratch, when):
    repo = sha256_scratch.open()
    assert repo.pygit2 is None
    store = ObjectStore(repo)
    assert isinstance(store.backend, backends.CliBackend)
    head = repo.resolve("HEAD")
    made = commit(store, when, CHANGES, head)
    assert len(made) == 64
    store.update_ref(REF, made, None)
    with pytest.raises(StaleOwner):
        store.update_ref(REF, head, None)
    assert repo.ref_target(REF) == made
    assert sha256_scratch.git("show", f"{REF}:README.md") == "changed"
    sha256_scratch.fsck()
    with pytest.raises(EnvironmentProblem, match="sha256"):
        ObjectStore(repo, backend="pygit2")


def test_trees_parse_in_both_formats():
    row = b"100644 a b\0"
    assert parse_tree(row + b"\1" * 20, "sha1")[b"a b"].sha == "01" * 20
    assert parse_tree(row + b"\1" * 32, "sha256")[b"a b"].sha == "01" * 32


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of a file")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_write_that_fails_publishes_nothing(scratch, when, in_new_python, backend):
    store = ObjectStore(scratch.open(), backend=backend)
    one = commit(store, when, {"a": b"1"})
    store.update_ref(REF, one, None)
    text = KILLED.replace('"b": b"2"', '"b": __import__("random").Random(0).randbytes(300_000)').replace(
        "tip = sys.argv[3]",
        "tip = sys.argv[3]; import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))",
    )
    done = in_new_python(text, str(scratch.root), backend, one, REF)
    assert done.returncode == 1
    assert b"ResourceExhausted" in done.stderr and b"the disk is full" in done.stderr
    assert list((scratch.root / ".git/objects/pack").glob("*.keep")) == []
    assert scratch.git("rev-parse", REF) == one
    scratch.fsck()
