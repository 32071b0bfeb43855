"""The watcher: it notices, starts, waits and goes; killing it loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from run_records import BRANCH, TRACK, WP, end_state, tiny_packet

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX signals")


@pytest.fixture
def place(shop, solver):
    """A configured project without a packet, and no daemon left behind."""
    shop.borrow(solver)
    shop.configure(levels=1)
    started = []

    def daemon(*args, **env):
        child = shop.start("daemon", *args, **env)
        started.append(child)
        return child

    shop.daemon = daemon
    yield shop
    for child in started:
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGTERM)
        child.wait()


def ended(daemon):
    """Ask it to go, and see that it does, whatever its run is at."""
    daemon.send_signal(signal.SIGTERM)
    _, err = daemon.communicate(timeout=60)
    assert daemon.returncode == 0, err
    assert "Traceback" not in err
    return err


def run_of(shop):
    """The process id of the run that the daemon started, from its heartbeat."""
    import json

    beat = shop.root / ".git" / "handshake" / "locks" / f"{WP}.lock.heartbeat"
    give_up = time.monotonic() + 30
    while not beat.exists():
        assert time.monotonic() < give_up
        time.sleep(0.02)
    return json.loads(beat.read_text())["pid"]


def until(condition, timeout=60):
    """Wait until it holds."""
    give_up = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < give_up, "it did not come true in time"
        time.sleep(0.05)


def status_of(shop):
    runs = shop.json("status")["runs"]
    return runs[0]["status"] if runs else None


def test_a_dropped_packet_is_noticed_and_run(place):
    user = place.user_state()
    daemon = place.daemon()
    daemon.until_said("watching docs/task_packets")
    place.drop(tiny_packet)
    daemon.until_said(f"{WP}: completed")
    second = place.handshake("daemon", code=75)
    assert "another daemon watches" in second.stderr and "Next: " in second.stderr
    err = ended(daemon)
    assert err.count("starting") == 1
    (place.root / "docs" / "task_packets" / f"{WP}.md").unlink()
    (place.root / "docs" / "task_packets").rmdir()
    (place.root / "docs").rmdir()
    assert place.user_state() == user


def test_what_is_refused_is_said_once_for_each_content(place):
    folder = place.root / "docs" / "task_packets"
    daemon = place.daemon()
    daemon.until_said("watching")
    (folder / "WP-a note with spaces.md").write_text("no packet\n")
    place.drop(lambda text: tiny_packet(text).replace("user-signed-this", "<pending>"))
    daemon.until_said(f"{WP} is refused")
    time.sleep(2.5)  # one look after the other
    place.drop(lambda text: tiny_packet(text).replace("user-signed-this", "pending"))
    until(lambda: daemon.said()[1].count(f"{WP} is refused") == 2)
    place.drop(tiny_packet)
    daemon.until_said(f"{WP}: completed")
    err = ended(daemon)
    assert err.count(f"{WP} is refused") == 2
    assert err.count("WP-a note with spaces is refused") == 1


def test_once_runs_what_is_there_and_leaves(place):
    nothing = place.handshake("daemon", "--once")
    assert "Traceback" not in nothing.stderr
    place.drop(tiny_packet)
    place.handshake("daemon", "--once")
    assert status_of(place) == "completed"
    tip = place.git("rev-parse", TRACK)
    place.handshake("daemon", "--once")
    assert place.git("rev-parse", TRACK) == tip


def test_once_says_when_something_went_wrong(place):
    place.drop(lambda text: tiny_packet(text).replace("tests.test_pricing", "tests.test_nothing"))
    done = place.handshake("daemon", "--once", code=None)
    assert done.returncode in (1, 2, 3), done.stderr


def test_sigterm_in_a_run_ends_both_and_the_run_goes_on_later(place, solver):
    place.drop(tiny_packet)
    calls = len(solver.calls())
    daemon = place.daemon(HANDSHAKE_FAILPOINT="edit.file:before:delay=200000")
    place.until_reply_stored()
    child = run_of(place)
    err = ended(daemon)
    assert "interrupted; the state is committed" in err
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert status_of(place) == "running"
    place.handshake("daemon", "--once")
    assert status_of(place) == "completed"
    assert len(solver.calls()) - calls == 1


def test_kill_9_of_daemon_and_run(place, solver, make_shop, tmp_path):
    place.drop(tiny_packet)
    daemon = place.daemon(HANDSHAKE_FAILPOINT="edit.file:before:delay=30000")
    place.until_reply_stored()
    os.kill(run_of(place), signal.SIGKILL)
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    place.handshake("daemon", "--once")
    undisturbed = make_shop(tmp_path / "undisturbed" / "shop")
    undisturbed.borrow(solver)
    undisturbed.configure(levels=1)
    undisturbed.drop(tiny_packet)
    undisturbed.handshake("run", WP)
    assert end_state(place) == end_state(undisturbed)


def test_a_run_outlives_its_killed_daemon(place):
    place.drop(tiny_packet)
    daemon = place.daemon(HANDSHAKE_FAILPOINT="edit.file:before:delay=2000")
    place.until_reply_stored()
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    until(lambda: status_of(place) == "completed")
    assert place.git("rev-parse", BRANCH) == place.on_track("job.json")["workspace"]["head_commit"]


def test_a_killed_run_is_taken_up_by_the_living_daemon(place, solver):
    place.drop(tiny_packet)
    calls = len(solver.calls())
    daemon = place.daemon(HANDSHAKE_FAILPOINT="edit.file:before:kill")
    daemon.until_said("ended with exit code -9")
    ended(daemon)
    place.handshake("daemon", "--once")
    assert status_of(place) == "completed"
    assert len(solver.calls()) - calls == 1


@pytest.fixture
def stuck(shop, make_server):
    """A packet whose model lies twice: its run comes to a hard gate, and ends well after an answer."""
    lies = [{"when": {"model": "m0", "attempt": n}, "behave": "lie"} for n in (1, 2)]
    server = make_server([*lies, {"solve": "solution"}])
    shop.borrow(server)
    shop.configure(levels=1)
    shop.drop(tiny_packet)
    yield shop
    server.stop()


def test_a_decision_is_followed_while_the_daemon_watches(stuck):
    daemon = stuck.start("daemon")
    try:
        daemon.until_said(f"{WP} waits for a human: escalation_exhausted")
        time.sleep(2.5)  # it waits, and says so once
        stuck.handshake("decide", WP, "continue", "--note", "try again")
        daemon.until_said(f"{WP}: completed")
    finally:
        err = ended(daemon)
    assert err.count("waits for a human") == 1  # the run said it: its daemon need not
    assert err.count("resuming") == 1


def test_a_gate_that_stood_before_is_said_once_by_the_daemon(stuck):
    stuck.handshake("run", WP, code=3)
    daemon = stuck.start("daemon")
    daemon.until_said(f"{WP} waits for a human (escalation_exhausted): handshake decide {WP}")
    time.sleep(1)
    assert ended(daemon).count("waits for a human") == 1


def test_deleting_the_packet_cancels_nothing(place):
    packet = place.drop(tiny_packet)
    place.handshake("run", WP, code=1, HANDSHAKE_FAILPOINT="edit.file:before:raise")
    packet.unlink()
    place.handshake("daemon", "--once")
    assert status_of(place) == "completed"


def test_a_packet_taken_away_does_not_hurt(place):
    daemon = place.daemon()
    daemon.until_said("watching")
    for number in range(20):
        note = place.root / "docs" / "task_packets" / f"WP-{number}-Gone-v1.md"
        note.write_text("x\n")
        note.unlink()
    subprocess.run(["rm", "-rf", str(place.root / "docs" / "task_packets")], check=True)
    time.sleep(0.5)
    assert daemon.poll() is None, daemon.said()[1]
    place.drop(tiny_packet)
    daemon.until_said(f"{WP}: completed")
    ended(daemon)


def test_ctrl_c_ends_daemon_and_run_and_says_so(place):
    place.drop(tiny_packet)
    daemon = place.daemon(HANDSHAKE_FAILPOINT="edit.file:before:delay=30000")
    place.until_reply_stored()
    child = run_of(place)
    daemon.send_signal(signal.SIGINT)
    _, err = daemon.communicate(timeout=30)
    assert daemon.returncode == 130, err
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert status_of(place) == "running"


def test_a_run_left_by_a_killed_daemon_is_adopted_by_the_next(place, solver):
    place.drop(tiny_packet)
    calls = len(solver.calls())
    daemon = place.daemon(HANDSHAKE_FAILPOINT="edit.file:before:delay=6000")
    place.until_reply_stored()
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    child = run_of(place)
    following = place.daemon()
    following.until_said(f"{WP} goes on in process {child}: adopted")
    until(lambda: status_of(place) == "completed")
    err = ended(following)
    assert "resuming" not in err and "starting" not in err
    assert len(solver.calls()) - calls == 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_sixty_real_runs_in_order_and_an_idle_daemon_that_takes_nothing():
    """The figures of the contract that do not depend on how busy the machine is."""
    import json

    bench = Path(__file__).parents[2] / "bench" / "daemon.py"
    command = [sys.executable, str(bench), "--drops", "2", "--many", "60", "--idle", "30", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    many, idle = found["many"], found["idle"]["after the runs"]["daemon"]
    assert many["in_order_of_name"] and many["none_twice"] and many["none_forgotten"]
    assert idle["rss_mb"] < 60
    if sys.platform == "linux":
        assert idle["cpu_percent"] < 0.2
        assert idle["wakes_a_minute"] < 120
