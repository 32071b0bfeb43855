"""A shared tracking branch: the run is pushed step by step, and decisions come back from another clone."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
import yaml
from run_records import TRACK, WP, tiny_packet


@pytest.fixture
def team(shop, solver, tmp_path):
    """The project with an origin, and a colleague's clone of it."""
    shop.borrow(solver)
    shop.configure(levels=1, policy={"pause_points": ["MT-001"]}, tracking={"push": True})
    shop.drop(tiny_packet)
    shop.git("init", "-q", "--bare", str(tmp_path / "origin.git"))
    shop.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    shop.git("push", "-q", "origin", "main")
    shop.clone = tmp_path / "colleague"
    shop.git("clone", "-q", "--branch", "main", str(tmp_path / "origin.git"), str(shop.clone))
    shop.git("config", "user.email", "colleague@example.org", at=shop.clone)
    shutil.copytree(shop.root / ".handshake", shop.clone / ".handshake")
    return shop


def on_origin(shop):
    return shop.git("ls-remote", "origin", f"refs/heads/{TRACK}").split()[0]


def decide_there(shop, *args):
    return subprocess.run(
        [sys.executable, "-m", "handshake", "-C", str(shop.clone), "decide", WP, *args],
        env=shop.environment,
        capture_output=True,
        text=True,
        check=True,
    )


def test_steps_are_pushed_and_a_colleague_decides(team):
    started = team.handshake("run", WP, code=3)
    assert "origin: " not in started.stderr  # a branch that is yet to come is no failed push
    assert on_origin(team) == team.git("rev-parse", TRACK)
    decide_there(team, "continue", "--note", "fine by me")
    assert on_origin(team) != team.git("rev-parse", TRACK)
    team.handshake("run", WP)
    [answer] = team.event_rows("FR-EVT-MT-008")
    assert answer == {"decision": "continue", "decided_by": "colleague@example.org", "note": "fine by me"}
    assert on_origin(team) == team.git("rev-parse", TRACK)
    assert "feat/" not in team.git("ls-remote", "origin")


def test_an_answer_that_comes_too_late_is_on_record_and_decides_nothing(team):
    team.handshake("run", WP, code=3)
    decide_there(team, "abort")
    team.handshake("decide", WP, "continue", HANDSHAKE_TRACKING__PUSH="false")
    team.handshake("run", WP)
    assert team.on_track("job.json")["status"] == "completed"
    log = team.git("log", "--format=%s", TRACK).splitlines()
    assert "Decisions from elsewhere: 0 new, 1 too late" in log
    assert "Gate 1: abort (by colleague@example.org)" in log
    job = team.on_track("job.json")["job_id"]
    kept = yaml.safe_load(team.git("show", f"{TRACK}:jobs/{job}/decisions/001.yaml"))
    assert kept["decided_by"] == "user@example.org"
    assert on_origin(team) == team.git("rev-parse", TRACK)


def test_a_remote_that_is_gone_stops_nothing_and_is_named_once(team):
    team.git("remote", "set-url", "origin", str(team.root.parent / "nowhere.git"))
    done = team.handshake("run", WP, code=3)
    assert done.stderr.count("tried again with the next step") <= 2 and "origin: " in done.stderr
    decided = team.handshake("decide", WP, "continue")
    assert "origin: " in decided.stderr
    team.handshake("run", WP)
    assert team.on_track("job.json")["status"] == "completed"


def test_without_the_setting_nothing_leaves_the_clone(team):
    team.handshake("run", WP, code=3, HANDSHAKE_TRACKING__PUSH="false")
    assert team.git("ls-remote", "origin").split()[1:] and TRACK not in team.git("ls-remote", "origin")


def test_a_run_that_was_only_fetched_is_decided_on_by_whom_it_would_reach(team):
    team.handshake("run", WP, code=3)
    team.git("fetch", "-q", "origin", at=team.clone)
    for verb in (("decide", WP, "continue"), ("cancel", WP), ("pause", WP)):
        done = subprocess.run(
            [sys.executable, "-m", "handshake", "-C", str(team.clone), *verb],
            env={**team.environment, "HANDSHAKE_TRACKING__PUSH": "false"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2 and "another clone" in done.stderr, done.stderr
        assert "Next: say tracking.push: true" in done.stderr
    assert team.git("for-each-ref", f"refs/heads/{TRACK}", at=team.clone) == ""
