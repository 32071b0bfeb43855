"""Job history and status over many runs, branches and fetched remotes; questions beside a running daemon."""

from __future__ import annotations

import json
import signal
import subprocess
import time

from run_records import TRACK, WP, tiny_packet


def test_fetched_runs_are_seen_and_never_written(shop, make_shop, tmp_path):
    shop.serve()
    shop.configure()
    shop.drop(tiny_packet)
    shop.handshake("run", WP)
    other = make_shop(tmp_path / "other" / "shop")
    other.git("fetch", "-q", str(shop.root), "+refs/heads/*:refs/remotes/far/*")
    refs = other.git("for-each-ref")
    (row,) = other.json("jobs")["jobs"]
    assert (row["wp_id"], row["status"], row["remote"], row["iterations"]) == (WP, "completed", "far", 1)
    assert row["profile_id"] == "micro_task_executor_v1"
    assert row["tokens_prompt"] > 0
    (run,) = other.json("status")["runs"]
    assert (run["status"], run["remote"]) == ("completed", "far")
    assert f"{WP}: completed [far]" in other.handshake("status").stdout
    assert "MT-001" in other.handshake("show", WP).stdout
    other.handshake("report", WP, "-o", str(tmp_path / "far.html"))
    # that the packet was noticed is this clone's own to tell: it belongs to no job
    noticed, *told = shop.events("--wp", WP)
    assert noticed["payload"]["state"] == "noticed"
    assert other.events("--wp", WP) == told
    assert other.json("sql", "SELECT status FROM jobs")["rows"] == [["completed"]]
    assert other.json("metrics")["totals"]["completed"] == 1
    assert "is a run of another clone" in other.handshake("decide", WP, "continue", code=2).stderr
    assert other.git("for-each-ref") == refs
    other.git("fetch", "-q", str(shop.root), f"refs/heads/{TRACK}:refs/heads/{TRACK}")
    assert [row["remote"] for row in other.json("jobs")["jobs"]] == [None]  # a job counts once


def test_history_of_jobs_by_status_and_what_cannot_be_read(shop):
    shop.serve({"behave": "give_up"})
    shop.configure(levels=1, policy={"max_iterations_per_mt": 1})
    shop.drop(tiny_packet)
    shop.handshake("run", WP, code=3)
    shop.handshake("decide", WP, "abort")
    shop.handshake("run", WP, code=1)
    shop.serve()
    shop.configure()
    shop.handshake("run", WP, "--again")
    rows = shop.json("jobs", "--wp", WP)["jobs"]
    assert [row["status"] for row in rows] == ["failed", "completed"]
    assert [row["status"] for row in shop.json("jobs", "--limit", "1")["jobs"]] == ["completed"]
    assert [row["status"] for row in shop.json("jobs", "--status", "failed")["jobs"]] == ["failed"]
    assert "no job stands at" in shop.handshake("jobs", "--status", "nowhere", code=2).stderr
    assert shop.json("sql", "SELECT status FROM jobs ORDER BY started_at")["rows"] == [["failed"], ["completed"]]

    def put(*args: str, given: bytes) -> str:
        command = ["git", "-C", str(shop.root), *args]
        return subprocess.run(command, input=given, capture_output=True, check=True).stdout.decode().strip()

    tree = put("hash-object", "-w", "--stdin", given=b'{"job_id": 1}')
    for name, kind in (("job.json", "100644 blob"), ("01a", "040000 tree"), ("jobs", "040000 tree")):
        tree = put("mktree", given=f"{kind} {tree}\t{name}\n".encode())
    commit = shop.git("commit-tree", "-m", "foreign", tree)
    shop.git("update-ref", "refs/remotes/far/handshake/track/WP-9", commit)
    done = shop.handshake("jobs")
    assert "WP-9:jobs/01a/job.json cannot be read" in done.stderr
    assert done.stdout.count(WP) == 2
    assert "WP-9: unreadable" in shop.handshake("status").stdout


def test_records_of_another_version_are_refused_by_name_and_not_passed_over(shop):
    shop.serve()
    shop.configure()
    shop.drop(tiny_packet)
    shop.handshake("run", WP)
    job = shop.git("ls-tree", "--name-only", f"{TRACK}:jobs")
    path = f"jobs/{job}/progress_artifact.json"
    text = shop.git("show", f"{TRACK}:{path}").replace('"schema_version": "1.0"', '"schema_version": "9.0"')
    place = shop.root.parent / "foreign"
    shop.git("worktree", "add", "-q", "--detach", str(place), TRACK)
    (place / path).write_text(text)
    shop.git("commit", "-qam", "foreign", at=place)
    shop.git("update-ref", f"refs/heads/{TRACK}", shop.git("rev-parse", "HEAD", at=place))
    shop.git("worktree", "remove", "--force", str(place))
    refs = shop.git("for-each-ref")
    for verb in (["status", WP], ["show", WP], ["report", WP], ["run", WP, "--again"]):
        done = shop.handshake(*verb, code=7)
        assert "schema_version '9.0', and this Handshake reads 1.0" in done.stderr
    assert f"{WP}: unreadable" in shop.handshake("status").stdout
    assert shop.git("for-each-ref") == refs


def test_eight_readers_beside_a_running_daemon(shop):
    shop.serve()
    shop.configure()
    daemon = shop.start("daemon", cold=True)
    try:
        time.sleep(0.5)
        shop.drop()
        readers = []
        questions = [["sql", "SELECT count(*) FROM events", "--json"], ["events", "--json"], ["metrics", "--json"]]
        questions += [["jobs", "--json"], ["status", "--json"]]
        done: list[tuple[int, str]] = []
        give_up = time.monotonic() + 120
        while time.monotonic() < give_up:
            while len(readers) < 8:
                readers.append(shop.start(*questions[(len(done) + len(readers)) % len(questions)]))
            out, err = readers.pop(0).communicate(timeout=120)
            done.append((0, err))
            assert err == "", err
            if '"status": "completed"' in out and '"jobs"' in out:
                break
        for reader in readers:
            _, err = reader.communicate(timeout=120)
            assert (reader.returncode, err) == (0, "")
        assert shop.json("status", WP)["runs"][0]["status"] == "completed"
        assert len(done) >= 8
    finally:
        daemon.terminate()
        daemon.communicate(timeout=60)


def test_events_are_followed_as_they_come(shop):
    shop.serve()
    shop.configure()
    shop.drop(tiny_packet)
    follower = shop.start("events", "--follow", "--type", "FR-EVT-MT-*", "--json", cold=True)
    assert not isinstance(follower, str)
    time.sleep(1.5)
    shop.handshake("run", WP)
    seen = []
    while not seen or seen[-1]["event_type"] != "FR-EVT-MT-009":
        seen.append(json.loads(follower.stdout.readline()))
    assert seen == shop.events("--type", "FR-EVT-MT-*")
    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=60)
    assert follower.returncode == 130
    assert "Traceback" not in err


def test_ctrl_c_ends_a_question_without_end(shop):
    endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t"
    asked = shop.start("sql", endless, cold=True)
    time.sleep(3)
    asked.send_signal(signal.SIGINT)
    _, err = asked.communicate(timeout=60)
    assert asked.returncode == 130
    assert "Traceback" not in err
