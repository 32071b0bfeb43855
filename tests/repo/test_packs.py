"""A commit's objects in one pack: as git reads it, kept until named, cleared after a kill, gathered at the end."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handshake.domain.errors import ResourceExhausted
from handshake.repo.atomic import sync_directory
from handshake.repo.consolidate import gather_packs
from handshake.repo.objects import git_object
from handshake.repo.packs import PREFIX, PackWriter, clear_left_packs, encode_pack, ids_in_index
from handshake.repo.store import ObjectStore, TrackingBranch

REF = "refs/heads/handshake/track/WP-1"
SIZES = (0, 1, 15, 16, 17, 2047, 2048, 2049, 300_000)


@pytest.fixture
def folder(scratch):
    return scratch.root / ".git" / "objects" / "pack"


@pytest.fixture
def locks(scratch):
    return scratch.root / ".git" / "handshake" / "locks"


@pytest.fixture
def branch(scratch):
    return TrackingBranch(scratch.open(), "WP-1")


def publish(branch, when, count, first=0):
    tip = branch.tip()
    for number in range(first, first + count):
        changes = {"log": b"line\n" * (number + 1), f"steps/{number}": b"%d" % number}
        tip = branch.publish(changes, message=f"step {number}", when=when, expected=tip)
    return tip


def blobs(object_format, sizes=SIZES):
    return [git_object("blob", os.urandom(size // 2) + b"a" * (size - size // 2), object_format) for size in sizes]


def in_git(scratch, sha):
    done = subprocess.run(["git", "-C", str(scratch.root), "cat-file", "-e", sha], check=False, capture_output=True)
    return done.returncode == 0


# -- the format ------------------------------------------------------------------------------------


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_git_reads_what_is_written(request, object_format):
    made = request.getfixturevalue("scratch" if object_format == "sha1" else "sha256_scratch")
    place = made.root / ".git" / "objects" / "pack"
    objects = blobs(object_format)
    writer = PackWriter(place, object_format, made.root / ".git" / "locks")
    pack = writer.write([*objects, objects[0]])
    made.git("verify-pack", str(pack.stem.with_suffix(".idx")))
    for item in objects:
        assert made.git("cat-file", "-s", item.sha) == str(len(item.data))
    # git's own index of the same pack is the same, byte for byte
    ours = pack.stem.with_suffix(".idx").read_bytes()
    made.git("index-pack", "-o", str(place / "theirs.idx"), str(pack.stem.with_suffix(".pack")))
    assert (place / "theirs.idx").read_bytes() == ours
    assert list(ids_in_index(ours, object_format)) == sorted(item.sha for item in objects)
    made.git("fsck", "--strict", "--no-dangling")


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=20))
def test_every_object_stands_once_in_order_and_whole(contents):
    objects = [git_object("blob", data, "sha1") for data in contents]
    pack, index = encode_pack(objects, "sha1")
    again, _ = encode_pack(objects, "sha1")
    assert pack == again
    assert int.from_bytes(pack[8:12]) == len(set(contents))
    assert list(ids_in_index(index, "sha1")) == sorted({item.sha for item in objects})


# -- kept until it is named ------------------------------------------------------------------------


def test_a_pack_is_kept_until_its_commit_is_named(scratch, folder, locks, when):
    store = ObjectStore(scratch.open())
    made = store.write_commit(parent=None, base_tree=None, changes={"a": b"1"}, message="m", when=when)
    [keep] = folder.glob("*.keep")
    assert keep.name.startswith(PREFIX)
    assert list(locks.glob("packs-*.lock")) != []
    store.update_ref(REF, made, None)
    assert list(folder.glob("*.keep")) == []
    assert list(locks.glob("packs-*.lock")) == []
    assert len(list(folder.glob("*.pack"))) == 1


def test_commits_that_nobody_names_are_let_go(scratch, folder, when):
    store = ObjectStore(scratch.open())
    for number in range(12):
        store.write_commit(parent=None, base_tree=None, changes={"a": b"%d" % number}, message="m", when=when)
    assert len(list(folder.glob("*.keep"))) == 8
    store.close()
    assert list(folder.glob("*.keep")) == []
    scratch.fsck()


def test_a_run_keeps_its_packs_to_its_end(scratch, folder, locks, when):
    """So that fifty of them do not make each `git commit` of the user's start a `gc`."""
    store = ObjectStore(scratch.open(), keep_packs=True)
    branch = TrackingBranch(scratch.open(), "WP-1", objects=store)
    publish(branch, when, 60)
    assert len(list(folder.glob("*.keep"))) == 60
    scratch.git("config", "gc.autoDetach", "false")
    scratch.git("gc", "--auto")
    assert len(list(folder.glob("*.pack"))) == 60  # git saw nothing to do
    scratch.git("gc", "-q", "--prune=now")
    assert branch.read("steps/59") == b"59"
    store.close()
    branch.repack()
    assert list(folder.glob("*.keep")) == list(folder.glob(f"{PREFIX}*")) == list(locks.glob("packs-*.lock")) == []
    assert branch.read("steps/59") == b"59"
    scratch.fsck()


def test_a_run_takes_over_what_a_killed_one_kept(scratch, folder, locks, in_child):
    assert in_child(KILLED, str(scratch.root), failpoint="objects.write:after:kill") == -signal.SIGKILL
    store = ObjectStore(scratch.open(), keep_packs=True)
    assert store.clear_left_packs() == 1
    assert len(list(folder.glob("*.keep"))) == 1
    assert ObjectStore(scratch.open()).clear_left_packs() == 0  # it is a living process's now
    store.close()
    assert list(folder.glob("*.keep")) == list(locks.glob("packs-*.lock")) == []


def test_a_living_process_keeps_what_it_holds(scratch, folder, locks, when):
    store = ObjectStore(scratch.open())
    made = store.write_commit(parent=None, base_tree=None, changes={"a": b"1"}, message="m", when=when)
    assert clear_left_packs(folder, locks) == 0
    scratch.git("gc", "-q", "--prune=now")
    assert in_git(scratch, made)


KILLED = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from handshake.repo.git import find_repository
from handshake.repo.store import ObjectStore
store = ObjectStore(find_repository(Path(sys.argv[1])))
when = datetime(2026, 1, 1, tzinfo=UTC)
store.write_commit(parent=None, base_tree=None, changes={"a": b"1"}, message="m", when=when)
"""


@pytest.mark.parametrize(("place", "packs_left"), [("pack.index:before", 0), ("objects.write:after", 1)])
def test_what_a_killed_process_kept_is_cleared(scratch, folder, locks, in_child, place, packs_left):
    assert in_child(KILLED, str(scratch.root), failpoint=f"{place}:kill") == -signal.SIGKILL
    assert len(list(folder.glob("*.keep"))) == 1
    scratch.git("gc", "-q", "--prune=now")
    assert ObjectStore(scratch.open()).clear_left_packs() == 1
    assert list(folder.glob("*.keep")) == []
    assert list(locks.glob("packs-*.lock")) == []
    assert len(list(folder.glob(f"{PREFIX}*"))) == 2 * packs_left
    scratch.git("gc", "-q", "--prune=now")
    assert list(folder.glob(f"{PREFIX}*")) == []
    scratch.fsck()


def test_a_keep_that_a_power_loss_emptied_is_cleared(scratch, folder, locks, when):
    folder.mkdir(exist_ok=True)
    (folder / f"{PREFIX}{'0' * 22}.keep").touch()
    (folder / "pack-of-the-user.keep").touch()
    assert clear_left_packs(folder, locks) == 1
    assert [keep.name for keep in folder.glob("*.keep")] == ["pack-of-the-user.keep"]


def test_a_full_disk_leaves_nothing_behind(scratch, folder, when, monkeypatch):
    store = ObjectStore(scratch.open())

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("handshake.repo.packs.os.fsync", full)
    with pytest.raises(ResourceExhausted, match="disk is full"):
        store.write_commit(parent=None, base_tree=None, changes={"a": b"1"}, message="m", when=when)
    assert not folder.exists() or list(folder.iterdir()) == []


# -- gathered at the end ---------------------------------------------------------------------------


def test_gathering_takes_everything_along_reachable_or_not(branch, scratch, folder, when):
    publish(branch, when, 5)
    stray = branch.objects.write_commit(
        parent=None, base_tree=None, changes={"x": b"nobody names this"}, message="stray", when=when
    )
    branch.objects.close()
    assert gather_packs(scratch.open(), branch.tip())
    assert list(folder.glob(f"{PREFIX}*")) == []
    assert len(list(folder.glob("*.pack"))) == 1
    assert scratch.git("show", f"{stray}:x") == "nobody names this"
    assert branch.read("steps/3") == b"3"
    scratch.git("fsck", "--strict")


def test_gathering_leaves_kept_packs_and_those_of_a_multi_pack_index(branch, scratch, folder, when):
    publish(branch, when, 2)
    scratch.git("multi-pack-index", "write")
    publish(branch, when, 2, first=2)
    held = branch.objects.write_commit(parent=None, base_tree=None, changes={"x": b"y"}, message="held", when=when)
    assert gather_packs(scratch.open(), branch.tip())
    assert len(list(folder.glob(f"{PREFIX}*.pack"))) == 3
    branch.objects.update_ref("refs/heads/held", held, None)
    scratch.fsck()


@pytest.mark.parametrize("place", ["packs.gather:before", "packs.gather:after"])
def test_killed_while_gathering_nothing_is_lost_and_the_next_end_does_it(
    branch, scratch, folder, when, in_child, place
):
    tip = publish(branch, when, 4)
    text = """
import sys
from pathlib import Path
from handshake.repo.git import find_repository
from handshake.repo.store import TrackingBranch
TrackingBranch(find_repository(Path(sys.argv[1])), "WP-1").repack()
"""
    assert in_child(text, str(scratch.root), failpoint=f"{place}:kill") == -signal.SIGKILL
    assert len(list(folder.glob(f"{PREFIX}*.pack"))) == 4
    scratch.fsck()
    branch.repack()
    assert list(folder.glob(f"{PREFIX}*")) == []
    assert branch.read("steps/3", tip) == b"3"
    scratch.fsck()


def test_a_collection_under_way_while_gathering(branch, scratch, folder, when, monkeypatch):
    publish(branch, when, 4)
    real = ids_in_index

    def collect_first(index, object_format):
        ids = list(real(index, object_format))
        scratch.git("gc", "-q", "--prune=now")  # takes all small packs, also the next that is to be read
        return iter(ids)

    monkeypatch.setattr("handshake.repo.consolidate.ids_in_index", collect_first)
    assert not gather_packs(scratch.open(), branch.tip())
    assert branch.read("steps/3") == b"3"
    scratch.fsck()


@pytest.mark.parametrize("times", [1, 3])
def test_a_folder_of_refs_that_git_removes_before_the_lock_is_made_again(branch, scratch, when, monkeypatch, times):
    """`git pack-refs` takes the folder that it emptied, between making it and the lock in it."""
    tip = branch.publish({"log": b"1"}, message="m", when=when, expected=None)
    left = [times]

    def open_after_git(path, *arguments, real=os.open):
        if str(path).endswith("WP-1.lock") and left[0]:
            left[0] -= 1
            scratch.git("pack-refs", "--all", "--prune")
            folder = scratch.root / ".git" / "refs" / "heads" / "handshake" / "track"
            if folder.is_dir():  # git waits for nothing here; an empty folder goes at its next removal of a ref
                folder.rmdir()
        return real(path, *arguments)

    monkeypatch.setattr("handshake.repo.refs.os.open", open_after_git)
    newer = branch.publish({"log": b"2"}, message="m", when=when, expected=tip)
    assert left == [0]
    assert branch.tip() == newer
    scratch.fsck()


def test_a_ref_that_git_packs_before_its_folder_is_synced_stays_moved(branch, scratch, when, monkeypatch):
    tip = branch.publish({"log": b"1"}, message="m", when=when, expected=None)
    packed = []

    def sync_after_git(folder, real=sync_directory):
        if folder.name == "track" and not packed:
            scratch.git("pack-refs", "--all", "--prune")
            packed.append(folder)
            folder.rmdir()
        real(folder)

    monkeypatch.setattr("handshake.repo.refs.sync_directory", sync_after_git)
    newer = branch.publish({"log": b"2"}, message="m", when=when, expected=tip)
    assert packed
    assert branch.tip() == newer
    scratch.fsck()


def test_collections_beside_a_writer_take_nothing(branch, scratch, when):
    """`git gc --prune=now` again and again while commits are written and named."""
    tip = None
    collector = subprocess.Popen(
        ["sh", "-c", "while :; do git gc -q --prune=now 2>/dev/null; git prune --expire=now; done"],
        cwd=scratch.root,
        start_new_session=True,
    )
    try:
        for number in range(60):
            changes = {f"steps/{number}": b"%d" % number, "log": b"%d" % number * 500}
            tip = branch.publish(changes, message="m", when=when, expected=tip)
            assert branch.read(f"steps/{number}", tip) == b"%d" % number
    finally:
        os.killpg(collector.pid, signal.SIGKILL)
        collector.wait()
    for name in ("gc.pid", "packed-refs.lock", "HEAD.lock"):
        (scratch.root / ".git" / name).unlink(missing_ok=True)
    assert len(branch.list("steps")) == 60
    scratch.git("fsck", "--strict", "--no-dangling")
