"""A packet runs to done, and everything that was promised about it holds."""

from __future__ import annotations

import json
from hashlib import sha256

from handshake.domain.events import read_event
from handshake.gates.post_work import post_work
from handshake.repo.git import find_repository

WP = "WP-1-Shop-Prices-v1"
BRANCH, TRACK = f"feat/{WP}", f"handshake/track/{WP}"


def test_a_dropped_packet_runs_to_done(ready):
    before = ready.user_state()
    done = ready.handshake("run", WP)
    assert f"{WP}: completed" in done.stdout
    assert "sandbox " in done.stderr
    assert ready.user_state() == before

    # one commit for each micro-task, the packet as checkpoint before, status and evidence after
    subjects = ready.git("log", "--reverse", "--format=%s", f"main..{BRANCH}").splitlines()
    assert subjects[0] == f"{WP}: the packet as signed"
    assert subjects[-1] == f"{WP}: done"
    waves = ready.on_track("mt_definitions.json")["waves"]
    assert [s.split(":")[0] for s in subjects[1:-1]] == [mt for wave in waves for mt in wave]
    assert ready.git("log", "-1", "--format=%an <%ae> %cn", BRANCH) == "Handshake <handshake@localhost> Handshake"

    # the gate that a person's commit meets passes over the run's own commits
    repo = find_repository(ready.root)
    for commit in ready.git("rev-list", f"main..{BRANCH}").splitlines():
        findings = post_work(repo, repo.resolve("main"), commit, f"docs/task_packets/{WP}.md")
        assert [f.text() for f in findings] == []
    assert "post-work passes: 0 errors" in ready.handshake("post-work", "--range", f"main..{BRANCH}").stdout
    packet = ready.git("show", f"{BRANCH}:docs/task_packets/{WP}.md")
    assert packet.count("**Target File**") == 3
    assert "- **Status:** Done" in packet
    assert "exit 0" in packet

    # the records agree with each other, and the model was asked once for each step
    progress, ledger = ready.on_track("progress_artifact.json"), ready.on_track("run_ledger.json")
    assert progress["status"] == "completed"
    assert {row["status"] for row in progress["micro_tasks"]} == {"completed"}
    asked = [step for step in ledger["steps"] if not step["step_id"].endswith("_iter-000")]
    assert len(asked) == len(ready.server.calls()) == progress["aggregate_stats"]["total_iterations"]
    assert {step["status"] for step in ledger["steps"]} == {"completed"}


def test_every_event_leads_to_the_prompt_and_the_reply(ready):
    ready.handshake("run", WP)
    rows = ready.events("--wp", WP)
    assert rows[0]["payload"]["state"] == "noticed"  # before there was a job
    events = [read_event(row) for row in rows[1:]]
    names = [event.event_type for event in events]
    for needed in ("001", "002", "003", "004", "009", "012", "013"):
        assert f"FR-EVT-MT-{needed}" in names
    assert {"FR-EVT-006", "FR-EVT-CAP", "FR-EVT-MEX", "FR-EVT-GOV-GATES-001"} <= set(names)
    assert len({event.trace_id for event in events}) == len({event.job_id for event in events}) == 1
    judged = {(e.payload["op_id"], e.payload["gate"]) for e in events if e.event_type == "FR-EVT-MEX"}
    assert len({op for op, _ in judged}) * 6 == len(judged)
    assert names.index("FR-EVT-MT-013") < names.index("FR-EVT-MT-002") < names.index("FR-EVT-006")
    started = [event for event in events if event.event_type == "FR-EVT-MT-002"]
    for event in started:
        folder = f"steps/{event.payload['step_id']}"
        snapshot = ready.on_track(f"{folder}/context_snapshot.json")
        assert snapshot["context_snapshot_id"] == event.payload["context_snapshot_id"]
        job = ready.git("ls-tree", "--name-only", f"{TRACK}:jobs").splitlines()[-1]
        there = ready.git("ls-tree", "--name-only", f"{TRACK}:jobs/{job}/{folder}").splitlines()
        assert {"prompt.md", "reply.md", "edits.json", "validation.json", "changes.patch"} <= set(there)


def test_every_stored_output_has_its_sidecar_and_its_event(ready):
    ready.handshake("run", WP)
    ran = [read_event(row) for row in ready.events("--wp", WP)]
    commands = [event.payload for event in ran if event.event_type == "FR-EVT-001"]
    refs = {payload[f"{name}_ref"] for payload in commands for name in ("stdout", "stderr")}
    stored = [path for path in ready.git("ls-tree", "-r", "--name-only", TRACK).splitlines() if "/std" in path]
    outputs = [path for path in stored if path.endswith(".txt")]
    assert outputs
    assert set(outputs) <= refs
    for path in outputs:
        beside = json.loads(ready.git("show", f"{TRACK}:{path}.json"))
        data = ready.bytes_of(f"{TRACK}:{path}")
        assert beside["artifact"]["path"] == path
        assert beside["artifact"]["content_hash"] == sha256(data).hexdigest()
        assert (beside["engine_id"], beside["determinism"], beside["truncated"]) == ("engine.shell", "D1", False)
        assert beside["op_id"] and beside["config_hash"] and beside["environment"]["sandbox"]
    paths = ready.git("ls-tree", "-r", "--name-only", TRACK).splitlines()
    for prompt in (path for path in paths if path.endswith("/prompt.md")):
        beside = json.loads(ready.git("show", f"{TRACK}:{prompt}.json"))
        assert beside["engine_id"] == "engine.context"
        assert beside["artifact"]["content_hash"] == sha256(ready.bytes_of(f"{TRACK}:{prompt}")).hexdigest()
    written = [json.loads(ready.git("show", f"{TRACK}:{path}")) for path in paths if "/written-" in path]
    assert written and all(row["engine_id"] == "engine.workspace" for each in written for row in each["files"])


def test_the_journal_travels_with_the_branch(ready):
    ready.handshake("run", WP)
    local = ready.events()
    journal = ready.root / ".git" / "handshake"
    (journal / "journal").rename(journal / "gone")
    assert ready.events() == local


def test_the_run_reads_as_commits(ready):
    ready.handshake("run", WP)
    body = ready.git("log", "--format=%B", TRACK)
    for trailer in ("WP", "Job", "MT", "Step", "Decision", "Model"):
        assert f"Handshake-{trailer}: " in body
    assert ready.git("rev-list", "--max-parents=0", TRACK) not in ready.git("rev-list", "main").splitlines()
    log = ready.json("log", WP)
    assert log["commits"][0]["subject"].startswith(f"{WP} starts: 4 micro-tasks")
    assert log["commits"][-1]["subject"] == f"{WP} completed"


def test_status_and_show_tell_the_same_as_the_branch(ready):
    ready.handshake("run", WP)
    row = ready.json("status", WP)["runs"][0]
    assert row["status"] == "completed"
    assert any(f"git merge --no-ff {BRANCH}" in line for line in row["next"])
    step = ready.json("show", f"{WP}/MT-001/1")
    assert step["decision"]["action"] == "complete"
    assert "MT_ID: MT-001" in step["files"]["prompt.md"]
    assert "<mt_complete>" in step["files"]["reply.md"]
    assert "MT-001" in ready.handshake("show", WP).stdout
    assert "prompt.md" in ready.handshake("show", f"{WP}/MT-001").stdout


def test_a_finished_run_is_not_run_again_unless_told(ready):
    ready.handshake("run", WP)
    tip = ready.git("rev-parse", TRACK)
    calls = len(ready.server.calls())
    ready.handshake("run", WP)
    assert ready.git("rev-parse", TRACK) == tip
    assert len(ready.server.calls()) == calls


def test_the_user_merges_and_the_tests_pass(ready):
    ready.handshake("run", WP)
    ready.git("add", "-A")
    ready.git("commit", "-qm", "packet and configuration")
    ready.git("merge", "-q", "--no-ff", "--no-edit", "-X", "theirs", BRANCH)
    import subprocess
    import sys

    tests = [sys.executable, "-m", "unittest", "discover", "-s", "tests", "-t", "."]
    assert subprocess.run(tests, cwd=ready.root, capture_output=True, check=False).returncode == 0


def test_plan_changes_nothing_and_is_the_plan_of_the_run(ready):
    before = ready.user_state()
    plan = ready.json("plan", WP)
    assert ready.user_state() == before
    assert "handshake/track" not in ready.git("for-each-ref")
    ready.handshake("run", WP)
    stored = ready.on_track("mt_definitions.json")
    assert plan["definitions_hash"] == stored["definitions_hash"]
    assert json.dumps(plan["definitions"], sort_keys=True) == json.dumps(stored["definitions"], sort_keys=True)
