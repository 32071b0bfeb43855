"""The tracking branch: every state transition a commit, published by one move of a ref."""

from __future__ import annotations

import signal
from datetime import timedelta

import pytest

from handshake.domain.errors import EnvironmentProblem, StaleOwner, UsageError
from handshake.domain.settings import Identity
from handshake.repo.store import BlobEntry, TrackingBranch, clear_stale_ref_lock, tracked_packets

MESSAGE = "MT-002 iter 3: retry (2 of 5 tests fail) [small]\n\nHandshake-WP: WP-1\nHandshake-MT: MT-002\n"


@pytest.fixture
def branch(scratch):
    return TrackingBranch(scratch.open(), "WP-1")


def test_a_branch_of_its_own_with_its_own_root(branch, scratch, when):
    before = scratch.user_state()
    assert branch.tip() is None
    assert branch.read("packet.md") is None
    assert branch.list() == ()
    assert list(branch.history()) == []
    first = branch.publish({"packet.md": b"signed\n"}, message="begun", when=when, expected=None)
    second = branch.publish(
        {"jobs/j/job.json": b"{}\n", "jobs/j/events/001.jsonl": b"e\n"}, message=MESSAGE, when=when, expected=first
    )
    assert branch.tip() == second == scratch.git("rev-parse", "refs/heads/handshake/track/WP-1")
    assert scratch.git("rev-list", "--max-parents=0", second) == first
    assert branch.read("packet.md") == b"signed\n"
    assert branch.read("jobs/j/job.json", first) is None
    assert branch.list("jobs/j/events") == ("jobs/j/events/001.jsonl",)
    assert branch.list("jobs", first) == ()
    assert branch.list() == ("jobs/j/events/001.jsonl", "jobs/j/job.json", "packet.md")
    assert scratch.user_state() == before


def test_history_is_newest_first_with_trailers(branch, when):
    first = branch.publish({"a": b"1"}, message="begun", when=when, expected=None)
    later = when + timedelta(seconds=61)
    second = branch.publish({"a": b"2"}, message=MESSAGE, when=later, expected=first)
    rows = list(branch.history())
    assert [row.sha for row in rows] == [second, first]
    assert rows[0].subject == "MT-002 iter 3: retry (2 of 5 tests fail) [small]"
    assert rows[0].trailers == {"Handshake-WP": "WP-1", "Handshake-MT": "MT-002"}
    assert (rows[0].when, rows[1].when) == (later, when)
    assert rows[1].trailers == {}
    assert [row.sha for row in branch.history(limit=1)] == [second]


def test_the_same_run_gives_the_same_ids(scratch, tmp_path, when):
    tips = []
    for root in (scratch, type(scratch)(tmp_path / "again")):
        branch = TrackingBranch(root.open(), "WP-1", identity=Identity(name="N", email="n@x"))
        first = branch.publish({"a": b"1", "x/y": b"2"}, message="one", when=when, expected=None)
        tips.append(
            branch.publish({"a": None, "t": BlobEntry(b"", 0o100755)}, message="two", when=when, expected=first)
        )
    assert tips[0] == tips[1]


def test_a_stale_owner_leaves_no_trace(scratch, when):
    mine, theirs = TrackingBranch(scratch.open(), "WP-1"), TrackingBranch(scratch.open(), "WP-1")
    first = mine.publish({"a": b"1"}, message="one", when=when, expected=None)
    theirs.publish({"a": b"theirs"}, message="theirs", when=when, expected=first)
    with pytest.raises(StaleOwner) as caught:
        mine.publish({"a": b"mine"}, message="mine", when=when, expected=first)
    assert caught.value.exit_code == 75
    with pytest.raises(StaleOwner):
        mine.publish({"a": b"mine"}, message="mine", when=when, expected=None)
    assert [row.subject for row in mine.history()] == ["theirs", "one"]
    assert mine.read("a") == b"theirs"


def test_a_namespace_beside_the_branches(scratch, when):
    branch = TrackingBranch(scratch.open(), "WP-1", namespace="refs/handshake/track")
    branch.publish({"a": b"1"}, message="one", when=when, expected=None)
    assert branch.ref == "refs/handshake/track/WP-1"
    assert "handshake" not in scratch.git("branch", "--list")
    assert tracked_packets(scratch.open(), "refs/handshake/track") == ["WP-1"]
    assert tracked_packets(scratch.open()) == []


@pytest.mark.parametrize("wp_id", ["", ".", "a b", "a..b", "a/b", "-a", "a.lock", "a.", "ä", "a~1", "a:b", "a\n"])
def test_names_that_cannot_be_refs_are_refused(scratch, wp_id):
    with pytest.raises(UsageError, match="cannot name a branch"):
        TrackingBranch(scratch.open(), wp_id)


def test_checked_out_somewhere_it_is_not_moved(branch, scratch, tmp_path, when):
    first = branch.publish({"a": b"1"}, message="one", when=when, expected=None)
    scratch.git("worktree", "add", "-q", str(tmp_path / "look"), "handshake/track/WP-1")
    with pytest.raises(UsageError, match=r"is checked out at .*look"):
        branch.publish({"a": b"2"}, message="two", when=when, expected=first)
    assert branch.tip() == first


PUBLISH = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from handshake.repo.git import find_repository
from handshake.repo.store import TrackingBranch
branch = TrackingBranch(find_repository(Path(sys.argv[1])), "WP-1")
branch.publish({"a": b"2", "jobs/j/job.json": b"{}"}, message="two", when=datetime(2026, 1, 1, tzinfo=UTC),
               expected=sys.argv[2] or None)
"""


@pytest.mark.parametrize("place", ["objects.write:after", "ref.update:before", "ref.update:after"])
def test_killed_in_the_first_publish(branch, scratch, in_child, place):
    assert in_child(PUBLISH, str(scratch.root), "", failpoint=f"{place}:kill") == -signal.SIGKILL
    assert (branch.tip() is not None) is (place == "ref.update:after")
    scratch.fsck()


def test_the_user_commits_checks_out_and_packs_meanwhile(branch, scratch, when):
    tip = None
    for number in range(6):
        tip = branch.publish({f"n{number}": b"x", "a": b"%d" % number}, message=f"{number}", when=when, expected=tip)
        scratch.write("mine.txt", str(number))
        scratch.commit(f"mine {number}")
        scratch.git("checkout", "-q", "-B", f"b{number % 2}")
        scratch.git("gc", "--quiet", "--prune=now")
    assert len(list(branch.history())) == 6
    assert branch.read("a") == b"5"
    scratch.fsck()


def test_a_reftable_or_sha256_repository_publishes_through_git(sha256_scratch, when):
    branch = TrackingBranch(sha256_scratch.open(), "WP-1")
    first = branch.publish({"jobs/a": b"1"}, message="one", when=when, expected=None)
    second = branch.publish({"jobs/b": b"2"}, message="two", when=when, expected=first)
    assert branch.list("jobs") == ("jobs/a", "jobs/b")
    assert [row.sha for row in branch.history()] == [second, first]
    with pytest.raises(StaleOwner):
        branch.publish({"jobs/b": b"3"}, message="x", when=when, expected=first)


def test_in_reftable_the_one_lock_of_all_refs_is_cleared_like_a_ref_s_own(scratch):
    """`refs/heads` is a file there, so no ref has a lock beside it (git-init(1), `--ref-format`)."""
    (scratch.root / ".git" / "reftable").mkdir()
    lock = scratch.root / ".git" / "reftable" / "tables.list.lock"
    repo = scratch.open()
    assert not clear_stale_ref_lock(repo, "refs/heads/x", patience_s=0.05)
    lock.touch()
    assert clear_stale_ref_lock(repo, "refs/heads/x", patience_s=0.05) and not lock.exists()


def test_a_folder_in_the_way_of_the_ref_is_said(branch, scratch, when):
    scratch.git("branch", "handshake/track")
    with pytest.raises(EnvironmentProblem, match="handshake/track"):
        branch.publish({"a": b"1"}, message="one", when=when, expected=None)


def packs(scratch):
    return len(list((scratch.root / ".git/objects/pack").glob("*.pack")))


def test_repacked_it_reads_the_same_and_goes_on(branch, scratch, when):
    branch.repack()
    tip = None
    for number in range(4):
        tip = branch.publish({"a": b"%d" % number}, message="m", when=when, expected=tip)
    assert packs(scratch) == 4
    branch.repack()
    assert packs(scratch) == 1
    assert branch.read("a", tip) == b"3"
    last = branch.publish({"b": b"b"}, message="m", when=when, expected=tip)
    branch.repack()
    assert packs(scratch) == 2  # one small pack is not worth it
    assert TrackingBranch(scratch.open(), "WP-1").list(at=last) == ("a", "b")
    scratch.fsck()
