"""What a person does to a run from outside: pause, cancel, recover, and files that decide nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from datetime import UTC, datetime

import pytest
import yaml
from run_records import BRANCH, TRACK, WP, end_state, tiny_packet

from handshake.domain.clock import SystemClock, SystemIds
from handshake.domain.errors import UsageError
from handshake.domain.settings import Settings
from handshake.loop.decisions import write_decision
from handshake.loop.recover import load_run
from handshake.loop.surroundings import Surroundings
from handshake.repo.git import find_repository
from handshake.repo.store import TrackingBranch

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX signals")

SLOW_VERIFY = {"HANDSHAKE_FAILPOINT": "edit.file:before:delay=4000"}


@pytest.fixture
def tiny(shop, solver):
    """A configured project with the smallest packet."""
    shop.borrow(solver)
    shop.configure(levels=1)
    shop.drop(tiny_packet)
    return shop


def begun(shop, **env):
    """A run that has its reply and is about to judge it, slowly."""
    child = shop.start("run", WP, **(env or SLOW_VERIFY))
    shop.until_reply_stored()
    return child


def job_of(shop):
    return shop.on_track("job.json")


def commit_decision(shop, number, **fields):
    """A decision file committed by hand, with plumbing, as from any other machine. Its path."""
    job = job_of(shop)["job_id"]
    decision = {
        "wp_id": WP,
        "job_id": job,
        "number": number,
        "decision": "continue",
        "decided_by": "boss@example.org",
    }
    path = f"jobs/{job}/decisions/{number:03d}.yaml"
    text = yaml.safe_dump({**decision, "decided_at": "2026-01-22T10:00:00Z", **fields})
    index = {**os.environ, "GIT_INDEX_FILE": str(shop.root.parent / "index")}

    def git(*args, **more):
        command = ["git", "-C", str(shop.root), "-c", "user.name=Boss", "-c", "user.email=b@example.org", *args]
        return subprocess.run(command, env=index, capture_output=True, text=True, check=True, **more).stdout.strip()

    while True:
        tip = git("rev-parse", TRACK)
        git("read-tree", tip)
        blob = git("hash-object", "-w", "--stdin", input=text)
        git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
        commit = git("commit-tree", git("write-tree"), "-p", tip, "-m", "my answer")
        try:
            git("update-ref", f"refs/heads/{TRACK}", commit, tip)
        except subprocess.CalledProcessError:
            continue
        return path


def test_pause_waits_after_the_step_in_hand_and_pays_nothing_twice(tiny, solver):
    calls = len(solver.calls())
    run = begun(tiny)
    asked = tiny.handshake("pause", WP, "--note", "lunch")
    assert "waits after the step in hand" in asked.stdout
    again = tiny.handshake("pause", WP, code=2)
    assert "asked for a pause already" in again.stderr
    _, err = run.communicate()
    assert run.returncode == 3, err
    assert job_of(tiny)["gate_reason"] == "pause_requested"
    row = tiny.json("status", WP)["runs"][0]
    assert "lunch" in row["error"] and "user@example.org" in row["error"]
    assert row["micro_tasks"][0]["status"] == "completed"
    tiny.handshake("pause", WP, code=2)
    tiny.handshake("decide", WP, "continue")
    tiny.handshake("run", WP)
    assert job_of(tiny)["status"] == "completed"
    assert len(solver.calls()) - calls == 1
    asked_by, answered_by = (row["decided_by"] for row in decisions(tiny))
    assert asked_by == answered_by == "user@example.org"


def test_of_two_who_decide_at_once_the_second_hears_that_the_gate_is_answered(tiny):
    tiny.configure(levels=1, policy={"pause_points": ["MT-001"]})
    tiny.handshake("run", WP, code=3)
    around = Surroundings(find_repository(tiny.root), Settings(), SystemClock(), SystemIds())
    first, second = (load_run(around, TrackingBranch(around.repo, WP)) for _ in range(2))
    said = {"decided_at": datetime(2026, 1, 22, tzinfo=UTC)}
    write_decision(first, "continue", decided_by="one@example.org", **said)
    with pytest.raises(UsageError, match=f"gate 1 of {WP} is answered already"):
        write_decision(second, "abort", decided_by="two@example.org", **said)
    assert [row["decided_by"] for row in decisions(tiny)][-1] == "one@example.org"


def decisions(shop):
    root = f"{TRACK}:jobs/{job_of(shop)['job_id']}/decisions"
    names = shop.git("ls-tree", "--name-only", root).splitlines()
    return [yaml.safe_load(shop.git("show", f"{root}/{name}")) for name in names]


def test_cancel_ends_a_run_at_once_and_for_good(tiny):
    run = begun(tiny, HANDSHAKE_FAILPOINT="edit.file:before:delay=60000")
    done = tiny.handshake("cancel", WP, "--note", "wrong scope")
    assert f"{WP}: cancelled" in done.stdout
    run.communicate(timeout=20)
    assert run.returncode == 130
    assert tiny.event_rows("FR-EVT-MT-011") == [{"reason": "cancelled by user@example.org: wrong scope"}]
    assert tiny.on_track("progress_artifact.json")["status"] == "cancelled"
    assert tiny.git("diff", "--stat", "main", BRANCH, "--", "shop") == ""
    assert tiny.handshake("run", WP, code=4).stdout.startswith(f"{WP}: cancelled")
    for verb in ("pause", "cancel"):
        assert f"there is nothing to {verb}" in tiny.handshake(verb, WP, code=2).stderr
    tiny.handshake("run", WP, "--again")


def test_an_answer_can_be_taken_back_by_a_cancel(tiny, solver):
    tiny.configure(levels=1, policy={"pause_points": ["MT-001"]})
    tiny.handshake("run", WP, code=3)
    tiny.handshake("decide", WP, "continue")
    calls = len(solver.calls())
    assert f"{WP}: cancelled" in tiny.handshake("cancel", WP, "--note", "on second thoughts").stdout
    assert [row["decision"] for row in decisions(tiny)] == ["continue", "cancel"]
    assert tiny.event_rows("FR-EVT-MT-011") == [{"reason": "cancelled by user@example.org: on second thoughts"}]
    assert "gate_reason" not in job_of(tiny)  # it waits for nothing any more
    page = tiny.root.parent / "page.html"
    tiny.handshake("report", WP, "-o", str(page))
    assert "pause point</span>" not in page.read_text()
    done = tiny.handshake("run", WP, code=4)
    assert "sandbox" not in done.stderr  # nothing runs in one
    assert len(solver.calls()) == calls


def test_what_is_asked_while_nothing_runs_is_followed_by_the_next_run(tiny):
    tiny.handshake("cancel", WP, code=2)
    begun(tiny).send_signal(signal.SIGKILL)
    assert "waits when it is next run" in tiny.handshake("pause", WP).stdout
    tiny.handshake("run", WP, code=3)
    assert job_of(tiny)["gate_reason"] == "pause_requested"
    assert f"{WP}: cancelled" in tiny.handshake("cancel", WP).stdout
    assert [row["decision"] for row in decisions(tiny)] == ["pause", "cancel"]


def test_a_cancel_pushed_while_the_run_goes_on_ends_it(tiny):
    run = begun(tiny)
    commit_decision(tiny, 1, decision="cancel", note="from afar")
    _, err = run.communicate()
    assert run.returncode == 4, err
    assert job_of(tiny)["error"] == "cancelled by boss@example.org: from afar"


def test_an_answer_that_nobody_asked_for_is_named_and_answers_no_later_gate(tiny):
    run = begun(tiny)
    path = commit_decision(tiny, 1)
    tiny.handshake("pause", WP)
    _, err = run.communicate()
    assert run.returncode == 3, err
    assert f"{path} on refs/heads/{TRACK} says continue, and {WP} waits at no gate: it is not taken" in err
    assert job_of(tiny)["gate_number"] == 3  # 1 was taken by nobody, 2 asked for the pause
    tiny.handshake("run", WP, code=3)
    stale = commit_decision(tiny, 2, decision="abort")
    tiny.handshake("run", WP, code=3)
    assert stale.endswith("002.yaml")
    commit_decision(tiny, 3, level=9)
    assert "level 9 of the chain is a hard gate" in tiny.handshake("run", WP, code=2).stderr
    tiny.handshake("decide", WP, "continue")  # takes the place of a file that is no answer
    tiny.handshake("run", WP)
    assert job_of(tiny)["status"] == "completed"


def test_recover_puts_right_and_goes_no_further(tiny, solver, make_shop, tmp_path):
    assert "nothing is interrupted" in tiny.handshake("recover").stdout
    calls = len(solver.calls())
    run = begun(tiny)
    assert "is not interrupted" in tiny.handshake("recover").stderr
    run.send_signal(signal.SIGKILL)
    said = tiny.json("recover")["recovered"]
    assert [(row["wp_id"], row["status"]) for row in said] == [(WP, "stalled")]
    assert "stored repl" in said[0]["resume_reason"]
    assert len(solver.calls()) - calls == 1
    tiny.handshake("run", WP)
    undisturbed = make_shop(tmp_path / "undisturbed" / "shop")
    undisturbed.borrow(solver)
    undisturbed.configure(levels=1)
    undisturbed.drop(tiny_packet)
    undisturbed.handshake("run", WP)
    assert end_state(tiny) == end_state(undisturbed)
