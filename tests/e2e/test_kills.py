"""Killed anywhere, a run comes back: the same end, no reply paid for twice, nothing of the user's lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from run_records import BRANCH, TRACK, WP, end_state, small_packet

from handshake.config.failpoints import NAMES

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")

# between these two a reply is paid for and not yet stored: it may be asked for once more
MAY_COST_A_CALL = {"model.call:after", "reply.store:before"}

# One kill at each kind of place, at moments of a run that differ: before the first commit, in a step, between the
# two branches, in a reset, at the end. The slow tier kills at every place, each time it is passed.
QUICK = (
    "journal.append:after",
    "pack.index:before",
    "ref.update:before@2",
    "ref.update:after@7",
    "model.call:after",
    "reply.store:after",
    "edit.file:after",
    "verify.end@2",
    "wp.commit:after@2",
    "worktree.add:after",
    "worktree.reset:before@2",
    "packs.gather:after",
    "final.commit:after",
)


@pytest.fixture
def small(shop, solver):
    """The small packet, its server shared by all tests here."""
    shop.borrow(solver)
    shop.configure(levels=1)
    shop.drop(small_packet)
    return shop


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, warm, solver, request):
    """The end state and the number of calls of a run that nobody kills."""
    shop = request.getfixturevalue("make_shop")(tmp_path_factory.mktemp("undisturbed") / "shop")
    shop.borrow(solver)
    shop.configure(levels=1)
    shop.drop(small_packet)
    before = len(solver.calls())
    shop.handshake("run", WP)
    return end_state(shop), len(solver.calls()) - before


def die(shop, failpoint):
    """Run until the failpoint kills, and kill what is left of the process group."""
    child = shop.start("run", WP, HANDSHAKE_FAILPOINT=f"{failpoint}:kill")
    _, err = child.communicate(timeout=120)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL, f"{failpoint} was not passed: exit {child.returncode}\n{err}"


def salvaged(shop):
    """The refs under which something was saved, oldest first."""
    return shop.git("for-each-ref", "--format=%(refname)", f"refs/handshake/salvage/{WP}/").splitlines()


def journal(shop):
    """All events in the local journal files, of whatever job."""
    files = sorted((shop.root / ".git" / "handshake" / "journal").glob("*/*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.parametrize("failpoint", QUICK)
def test_a_kill_changes_nothing_in_the_end(small, solver, undisturbed, failpoint):
    expected, calls = undisturbed
    user, before = small.user_state(), len(solver.calls())
    die(small, failpoint)
    assert small.user_state() == user
    done = small.handshake("run", WP)
    assert f"{WP}: completed" in done.stdout
    assert end_state(small) == expected
    assert len(solver.calls()) - before <= calls + (failpoint.partition("@")[0] in MAY_COST_A_CALL)
    assert len({event["job_id"] for event in journal(small)}) == 1
    assert small.user_state() == user
    assert salvaged(small) == []  # what the run itself left half made is no find


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", [name for name in NAMES if not name.startswith("index.")])
def test_the_whole_matrix(failpoint):
    """`bench/kill_matrix.py` kills at each time the place is passed, and says no if one row is wrong."""
    bench = Path(__file__).parents[2] / "bench" / "kill_matrix.py"
    done = subprocess.run(
        [sys.executable, str(bench), "--every", "--only", failpoint, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=290,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) >= 1


@pytest.mark.slow
def test_fifty_kills_at_random():
    bench = Path(__file__).parents[2] / "bench" / "kill_matrix.py"
    done = subprocess.run(
        [sys.executable, str(bench), "--only", "nothing", "--random", "50"],
        capture_output=True,
        text=True,
        check=False,
        timeout=290,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| 50 |" in done.stdout


def test_killed_six_times_at_random(small, solver, undisturbed):
    expected, calls = undisturbed
    user, before = small.user_state(), len(solver.calls())
    moments = random.Random(20260122)
    for _ in range(6):
        child = small.start("run", WP)
        time.sleep(moments.uniform(0.05, 1.2))
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        assert small.user_state() == user
    small.handshake("run", WP)
    assert end_state(small) == expected
    # at most one reply can be lost between its arrival and its storing at each of the kills
    assert len(solver.calls()) - before <= calls + 6
    small.git("fsck", "--strict")


def test_two_kills_in_a_row_at_the_same_place(small, solver, undisturbed):
    expected, calls = undisturbed
    before = len(solver.calls())
    for _ in range(3):
        die(small, "verify.end@2")
    small.handshake("run", WP)
    assert end_state(small) == expected
    assert len(solver.calls()) - before == calls


def test_what_stands_in_a_killed_runs_worktree_is_kept(small):
    die(small, "edit.file:after")
    (small.worktree / "shop" / "note.txt").write_text("a person was here\n")
    small.handshake("run", WP)
    [ref] = salvaged(small)
    assert small.git("diff", "--name-only", f"{ref}^", ref) == "shop/note.txt"
    assert small.git("show", f"{ref}:shop/note.txt") == "a person was here"
    assert "note.txt" not in small.tree()


def test_an_edit_of_a_person_in_the_running_tasks_file_is_kept_too(small, undisturbed):
    expected, _ = undisturbed
    die(small, "verify.start@2")
    with (small.worktree / "shop" / "pricing.py").open("a") as file:
        file.write("# a thought of mine\n")
    small.handshake("run", WP)
    [ref] = salvaged(small)
    assert "# a thought of mine" in small.git("show", f"{ref}:shop/pricing.py")
    assert end_state(small) == expected


def test_locks_that_a_killed_process_left_on_our_refs_are_cleared(small, undisturbed):
    expected, _ = undisturbed
    die(small, "ref.update:before@8")  # the tracking branch speaks of a commit that the WP branch has not yet
    assert small.git("rev-parse", BRANCH) != small.on_track("job.json")["workspace"]["head_commit"]
    refs = (f"refs/heads/{TRACK}", f"refs/heads/{BRANCH}", f"refs/handshake/held/{WP}")
    for ref in refs:
        (small.root / ".git" / f"{ref}.lock").touch()
    small.handshake("run", WP)
    assert end_state(small) == expected


def test_a_killed_command_leaves_no_folder_behind(small, tmp_path):
    temp = tmp_path / "temp"
    temp.mkdir()
    child = small.start("run", WP, HANDSHAKE_FAILPOINT="verify.end@2:kill", TMPDIR=str(temp))
    child.wait()
    (temp / "handshake-op-left").mkdir()
    (temp / "handshake-op-left" / "in-use.lock").touch()
    small.handshake("run", WP, TMPDIR=str(temp))
    assert list(temp.glob("handshake-op-*")) == []


def test_a_second_process_is_stopped_and_changes_nothing(small):
    first = small.start("run", WP, HANDSHAKE_FAILPOINT="verify.start@2:delay=3000")
    try:
        first.until_said("tokens in")
        refs = small.git("for-each-ref")
        second = small.handshake("run", WP, code=75)
        assert f"process {first.pid} on " in second.stderr
        assert "Next: " in second.stderr
        assert small.git("for-each-ref") == refs
    finally:
        out, err = first.communicate()
    assert first.returncode == 0, err
    assert f"{WP}: completed" in out


def test_ctrl_c_ends_at_once_and_the_run_goes_on_later(small, solver, undisturbed):
    expected, calls = undisturbed
    before = len(solver.calls())
    child = small.start("run", WP, HANDSHAKE_FAILPOINT="verify.start@2:delay=20000")
    child.until_said("tokens in")
    began = time.monotonic()
    # pressed again as a person would: Python drops an interrupt that lands inside a destructor
    while child.poll() is None and time.monotonic() - began < 10:
        child.send_signal(signal.SIGINT)
        time.sleep(1)
    _, err = child.communicate()
    assert child.returncode == 130
    assert time.monotonic() - began < 12  # the failpoint alone would hold it for 20 s
    assert "Traceback" not in err and "run the same command to resume" in err
    small.handshake("run", WP)
    assert end_state(small) == expected
    assert len(solver.calls()) - before == calls


@pytest.mark.slow  # git gives no promise to a prune beside a writer
def test_the_user_works_and_collects_garbage_meanwhile(small, undisturbed):
    expected, _ = undisturbed
    child = small.start("run", WP)
    child.until_said("micro-tasks")
    (small.root / "notes.md").write_text("mine\n")
    for number in range(4):
        small.git("add", "notes.md")
        small.git("commit", "-q", "--allow-empty", "-m", f"work of mine {number}")
        small.git("switch", "-q", "-C", f"other-{number}")
        # git gives no promise to a gc that prunes while others write: it may find a ref newer than its look
        # around and give up; what counts is that the run gets over it
        collect = ["git", "-C", str(small.root), "gc", "-q", "--prune=now"]
        subprocess.run(collect, capture_output=True, check=False)
    small.git("switch", "-q", "main")
    _, err = child.communicate()
    assert "Traceback" not in err
    if child.returncode != 0:  # the prune took an object between its writing and its naming
        small.handshake("run", WP)
    assert end_state(small)["tree"] == expected["tree"]
    assert "notes.md" not in small.tree(BRANCH)
    assert small.git("rev-list", "--count", TRACK)


def test_a_failpoint_without_a_kill_raises_in_one_line(small):
    done = small.handshake("run", WP, code=1, HANDSHAKE_FAILPOINT="wp.commit:after:raise")
    assert "failpoint wp.commit:after reached" in done.stderr
    small.handshake("run", WP)
    assert subprocess.run(["git", "-C", str(small.root), "fsck"], capture_output=True, check=False).returncode == 0
