"""The watcher over a real folder and real refs: nothing is run twice, nothing is forgotten."""

from __future__ import annotations

import os
import subprocess
import threading
import time

import pytest

from handshake.daemon.bulletin import read_bulletin
from handshake.daemon.folder import PacketFolder
from handshake.domain.clock import SystemClock
from handshake.domain.errors import LockHeld
from handshake.domain.settings import Daemon as DaemonSettings
from handshake.domain.settings import Settings
from handshake.domain.states import JobStatus

MANY = 500


def parallel(number, **more):
    return Settings(daemon=DaemonSettings(max_parallel=number, **more))


def test_five_hundred_at_once_all_run_in_order_none_twice_none_forgotten(place):
    place.settings = parallel(50)
    names = [f"WP-{number:04d}" for number in range(MANY)]
    packets, ready = place.folder, place.root.parent / "ready"
    place.folder = ready
    ready.mkdir()
    for name in names:
        place.drop(name)
    place.folder = packets
    timer = threading.Timer(0.3, subprocess.run, (["sh", "-c", f"cp $(ls -r {ready}/*) {packets}"],), {"check": True})
    timer.start()
    place.watch_until(lambda: len(tracked(place)) == MANY and not place.runs.running)
    assert place.runs.begun == names


def tracked(place):
    folder = place.root / ".git" / "refs" / "heads" / "handshake" / "track"
    return [ref for ref in folder.iterdir() if ref.suffix != ".lock"] if folder.is_dir() else []


@pytest.mark.parametrize("polling", [False, True])
def test_a_packet_is_noticed_by_events_and_by_polling(place, polling):
    place.settings = parallel(1, polling=polling)
    dropper = threading.Timer(0.5, place.drop, ("WP-1",))
    dropper.start()
    place.watch_until(lambda: place.runs.begun == ["WP-1"])


def test_a_look_finds_what_no_event_told(place, monkeypatch):
    """Watching nothing at all, as on a drive that sends no events."""
    empty = place.root / "empty"
    empty.mkdir()
    monkeypatch.setattr(PacketFolder, "watched", lambda self: [empty])
    threading.Timer(0.3, place.drop, ("WP-1",)).start()
    place.watch_until(lambda: place.runs.begun == ["WP-1"])


def test_a_file_that_is_still_written_is_not_read(place):
    half = place.folder / "WP-1.md"

    def write_slowly():
        whole = (place.drop("WP-9")).read_text().replace("WP-9", "WP-1")
        with half.open("w") as file:
            for start in range(0, len(whole), 40):
                file.write(whole[start : start + 40])
                file.flush()
                time.sleep(0.03)

    threading.Thread(target=write_slowly).start()
    place.watch_until(lambda: "WP-1" in place.runs.begun)
    assert not [line for line in place.said if "refused" in line]


def no_packet(place, kind):
    """Something that bears a packet's name and is none."""
    odd = place.folder / "WP-1-Odd-v1.md"
    if kind == "folder":
        odd.mkdir()
    elif kind == "pipe":
        os.mkfifo(odd)
    else:
        os.mkfifo(place.root / "pipe")
        odd.symlink_to({"link to a pipe": place.root / "pipe", "link to a device": "/dev/zero"}[kind])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a pipe", "link to a device"])
def test_what_is_no_regular_file_is_refused_once_and_waits_for_nobody(place, kind):
    no_packet(place, kind)
    place.drop("WP-2")
    place.drop("WP-1-Odd")  # a revision of the same work
    place.watch_until(lambda: "WP-2" in place.runs.begun and len([s for s in place.said if "Odd" in s]) >= 2)
    said = [line for line in place.said if "WP-1-Odd-v1 is refused" in line]
    assert said == [
        "WP-1-Odd-v1 is refused\ndocs/task_packets/WP-1-Odd-v1.md is not a regular file."
        " Next: ls -ld docs/task_packets/WP-1-Odd-v1.md, then move it away"
    ]
    assert "a revision of WP-1-Odd, is not a regular file" in "".join(place.said)
    assert place.runs.begun == ["WP-2"]


def test_overlapping_packets_run_one_after_the_other_and_the_wait_is_shown(place):
    place.settings = parallel(2)
    slow = place.root.parent / "go-on"
    done = " ".join(place.runs.usual).replace("{wp}", "WP-1")
    place.runs.commands["WP-1"] = ["sh", "-c", f"while [ ! -e {slow} ]; do sleep 0.02; done; {done}"]
    place.drop("WP-1", "src/")
    place.drop("WP-2", "src/a.py")
    place.drop("WP-3", "docs/a.md")
    shown = []

    def waits():
        found = read_bulletin(place.repo, SystemClock())
        if found and found[1].waiting and "WP-3" in place.runs.begun:
            shown.append(found[1])
            slow.touch()
        return len(tracked(place)) == 3

    place.watch_until(waits)
    assert place.runs.begun == ["WP-1", "WP-3", "WP-2"]
    assert place.said.count("WP-2 waits for WP-1: both may change src/a.py") == 1
    assert [(row.wp_id, row.behind, row.path) for row in shown[0].waiting] == [("WP-2", "WP-1", "src/a.py")]


def test_what_was_interrupted_is_recovered_before_anything_new(place):
    place.track("WP-2", place.commit_of(JobStatus.RUNNING))
    place.drop("WP-1")
    place.drop("WP-2")
    place.watch_until(lambda: len(place.runs.begun) == 2)
    assert place.runs.recoveries == 1
    assert "what was interrupted is put right: WP-2" in place.said
    assert place.runs.begun == ["WP-2", "WP-1"]


def test_a_packed_ref_is_a_ref_too(place):
    place.track("WP-1", place.done)
    place.drop("WP-1")
    place.git("pack-refs", "--all")
    place.drop("WP-2")
    place.watch_until(lambda: place.runs.begun == ["WP-2"])
    assert place.runs.begun == ["WP-2"]


def test_a_run_begun_in_another_clone_is_not_taken_over(place):
    commit = place.commit_of(JobStatus.RUNNING)
    next((place.repo.state_dir / "journal").iterdir()).rmdir()
    place.track("WP-1", commit)
    place.watch_until(lambda: any("begun in another clone" in line for line in place.said))
    assert place.runs.begun == []


def test_what_fails_at_once_is_held_back_and_a_mended_one_is_not(place):
    place.runs.commands["WP-1"] = ["false"]
    place.drop("WP-1")

    def mended():
        if place.runs.commands and any("that is tried in 5 s" in line for line in place.said):
            place.runs.commands.clear()
            place.drop("WP-1", "src/other.py")
        return len(tracked(place)) == 1

    place.watch_until(mended, timeout=4)  # sooner than the five seconds
    assert place.runs.begun == ["WP-1", "WP-1"]


def test_a_changed_configuration_is_taken_over_and_a_broken_one_stops_new_starts(place):
    from handshake.domain.errors import ConfigError

    (place.root / ".handshake").mkdir()
    config = place.root / ".handshake" / "config.yaml"
    config.write_text("version: 1\n")
    state = {"step": 0}
    settings = place.settings

    def read():
        if state["step"] == 1:
            raise ConfigError("config.yaml:1: no", next_step="mend it")
        return settings

    place.read_settings = read

    def steps():
        if state["step"] == 0 and place.said:
            state["step"] = 1
            config.write_text("version: broken\n")
        if state["step"] == 1 and any("nothing is started" in line for line in place.said):
            place.drop("WP-1")
            time.sleep(0.6)
            assert place.runs.begun == []
            state["step"] = 2
            config.write_text("version: 1\n# mended\n")
        return place.runs.begun == ["WP-1"]

    place.watch_until(steps)
    assert sum("nothing is started" in line for line in place.said) == 1


def test_the_users_own_configuration_is_read_again_too(place, tmp_path):
    """At once, where its folder is there; a file that comes later is found by the next look."""
    own = tmp_path / "config" / "handshake" / "config.yaml"
    own.parent.mkdir(parents=True)
    place.config_files = (own,)
    place.settings = parallel(1)

    def steps():
        if place.said and not own.exists():
            place.settings = parallel(2)
            own.write_text("daemon: {max_parallel: 2}\n")
        return "the configuration was read again" in place.said

    place.watch_until(steps)


def test_one_daemon_watches_and_says_who(place):
    one = place.daemon()
    with one._alone(), pytest.raises(LockHeld, match=rf"another daemon watches .*process {os.getpid()} "):
        place.daemon().run_once()
    assert place.daemon().run_once() == 0


def test_nothing_is_judged_again_that_did_not_change(place, monkeypatch):
    import handshake.daemon.folder as module

    for number in range(5):
        place.drop(f"WP-{number}")
    judged = []
    real = module.judge
    monkeypatch.setattr(module, "judge", lambda *a: judged.append(a[2]) or real(*a))
    folder = PacketFolder(place.around(), settle_s=0.0)
    assert len(folder.look().candidates) == 5
    folder.look()
    place.drop("WP-3", "src/new.py")
    place.track("WP-4", place.done)
    states = {found.wp_id: found.state for found in folder.look().candidates}
    assert judged == [*(f"WP-{number}" for number in range(5)), "WP-3", "WP-4"]
    assert states == {**dict.fromkeys(["WP-0", "WP-1", "WP-2", "WP-3"], "run"), "WP-4": "done"}


def test_what_our_own_run_publishes_is_judged_when_it_ended(place, monkeypatch):
    import handshake.daemon.folder as module

    place.drop("WP-1")
    folder = PacketFolder(place.around(), settle_s=0.0)
    [before] = folder.look().candidates
    judged = []
    real = module.judge
    monkeypatch.setattr(module, "judge", lambda *a: judged.append(a[2]) or real(*a))
    place.track("WP-1", place.done)
    assert folder.look(["WP-1"]).candidates == (before,) and judged == []
    assert folder.look().candidates[0].state == "done" and judged == ["WP-1"]


def test_a_look_starts_no_git_for_each_packet_and_no_libgit2(place, monkeypatch):
    """Five hundred ended runs are there when the daemon starts: one git reads them all."""
    from dataclasses import replace

    from handshake.repo import git as door

    for number in range(40):
        place.drop(f"WP-{number}")
        place.track(f"WP-{number}", place.done)
    started = []
    real = subprocess.Popen.__init__
    monkeypatch.setattr(subprocess.Popen, "__init__", lambda self, *a, **k: started.append(a) or real(self, *a, **k))
    monkeypatch.setattr(door.Git, "stays_small", True)
    around = replace(place.around(), repo=place.repo.by_git_alone())
    states = {found.state for found in PacketFolder(around, settle_s=0.0).look().candidates}
    assert states == {"done"} and len(started) == 1


def test_refusals_go_on_record_by_a_process_that_ends(place):
    from handshake.recorder.packets import packet_journals

    place.drop("WP-1", signature="pending")
    place.drop("WP-2", signature="pending")
    place.watch_until(lambda: sum("is refused" in line for line in place.said) == 2)
    lines = [line for journal in packet_journals(place.repo.state_dir) for line in journal.read_text().splitlines()]
    assert len(lines) == 4 and sum('"refused"' in line and "USER_SIGNATURE" in line for line in lines) == 2


def test_a_decision_pushed_to_the_remote_wakes_the_daemon(place, monkeypatch):
    import handshake.daemon.watch as module
    from handshake.domain.decision import HumanDecision
    from handshake.domain.decision_file import decision_text
    from handshake.domain.settings import Tracking
    from handshake.repo.store import ObjectStore

    monkeypatch.setattr(module, "FETCH_S", 0.2)
    origin = place.root.parent / "origin.git"
    place.git("init", "-q", "--bare", str(origin))
    place.git("remote", "add", "origin", str(origin))
    place.settings = Settings(tracking=Tracking(push=True))
    at_gate = place.commit_of(JobStatus.AWAITING_USER, gate_number=1, gate_reason="pause_point")
    place.track("WP-1", at_gate)
    answer = HumanDecision(
        wp_id="WP-1",
        job_id=place.job_id,
        number=1,
        decision="continue",
        decided_by="boss@example.org",
        decided_at="2026-01-22T10:00:00Z",
    )
    path = f"jobs/{place.job_id}/decisions/001.yaml"
    commit = ObjectStore(place.repo).write_commit(
        parent=at_gate, base_tree=at_gate, changes={path: decision_text(answer)}, message="m", when=answer.decided_at
    )
    steps = []

    def pushed():
        if not steps and any("waits for a human (pause_point)" in line for line in place.said):
            steps.append(place.git("push", "-q", "origin", f"{commit}:refs/heads/handshake/track/WP-1"))
        return place.runs.begun == ["WP-1"]

    place.watch_until(pushed)
