"""The unbroken chain: from every event of a run to its job, run, trace, snapshot, prompt, reply and evidence."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from run_records import TRACK, WP, small_packet

import handshake
from handshake.domain.events import EVENT_TYPES, read_event

REFS = ("evidence_artifact_ref", "stdout_ref", "stderr_ref", "escalation_record_ref", "summary_ref", "candidate_ref")


def on_branch(shop) -> dict[str, bytes]:
    names = shop.git("ls-tree", "-r", "--name-only", TRACK).splitlines()
    return {name: shop.git("show", f"{TRACK}:{name}").encode() for name in names}


def test_from_every_event_to_prompt_reply_and_evidence(shop):
    shop.serve({"when": {"model": "m0", "contains": "MODIFY: shop/stock.py"}, "behave": "lie"})
    shop.configure()
    shop.drop(small_packet)
    shop.handshake("run", WP, code=None, HANDSHAKE_FAILPOINT="reply.store:after@2:kill")
    shop.handshake("run", WP)
    files = on_branch(shop)
    (job_path,) = [name for name in files if name.endswith("/job.json")]
    root, job = job_path.rpartition("/")[0], json.loads(files[job_path])
    chunks = [files[name] for name in sorted(files) if name.startswith(f"{root}/events/")]
    events = [read_event(json.loads(line)) for chunk in chunks for line in chunk.splitlines()]
    local = [line for file in sorted((shop.root / ".git/handshake/journal").rglob("*.jsonl"))
             for line in file.read_text().splitlines()]  # fmt: skip
    assert [json.loads(line) for line in local] == [
        json.loads(line) for chunk in chunks for line in chunk.splitlines()
    ]
    runs = {event.workflow_run_id for event in events}
    recoveries = [event.payload["workflow_run_id"] for event in events if event.event_type == "FR-EVT-WF-RECOVERY"]
    assert runs == {job["workflow_run_id"], *recoveries}
    assert len(runs) == 2
    kinds = set()
    for event in events:
        kinds.add(event.event_type)
        assert (event.trace_id, event.job_id, event.wp_id) == (job["trace_id"], job["job_id"], WP)
        for name in REFS:
            if ref := event.payload.get(name):
                assert ref in files, (event.event_type, name, ref)
        if event.event_type == "FR-EVT-MT-004":
            assert shop.git("cat-file", "-t", event.payload["commit"]) == "commit"
        if event.iteration:
            assert_step(files, f"{root}/steps/{event.mt_id}_iter-{event.iteration:03d}", event)
        elif event.event_type in ("FR-EVT-MEX", "FR-EVT-CAP", "FR-EVT-001") and event.payload.get("op_id"):
            assert_baseline(files, root, event)
    wanted = {"FR-EVT-001", "FR-EVT-006", "FR-EVT-CAP", "FR-EVT-MEX", "FR-EVT-GOV-GATES-001", "FR-EVT-GOV-WP-001"}
    numbers = ("001", "002", "003", "004", "005", "009", "012", "013", "015")
    assert {*wanted, "FR-EVT-WF-RECOVERY", *(f"FR-EVT-MT-{n}" for n in numbers)} <= kinds
    gates = [(e.payload["gate"], e.payload["outcome"]) for e in events if e.event_type == "FR-EVT-GOV-GATES-001"]
    assert gates == [("phase", "pass"), ("pre_work", "pass"), ("post_work", "pass")]
    states = [e.payload["state"] for e in events if e.event_type == "FR-EVT-GOV-WP-001"]
    assert states == ["activated", "finished"]
    models = [e.payload["model"] for e in events if e.event_type == "FR-EVT-MT-003"]
    assert all(model["context_window"] == 16384 for model in models)
    inside = [e for e in events if e.event_type in ("FR-EVT-MEX", "FR-EVT-001") and e.iteration]
    assert len(inside) > 10  # what the tool bus did in an iteration leads to it


def assert_step(files: dict[str, bytes], step: str, event) -> None:
    """The step's snapshot, prompt and reply are there and are those of the event."""
    request = json.loads(files[f"{step}/request.json"])
    snapshot = json.loads(files[f"{step}/context_snapshot.json"])
    assert files[f"{step}/prompt.md"]
    assert files[f"{step}/reply.md"]
    assert snapshot["context_snapshot_id"] == request["context_snapshot_id"]
    said = event.payload.get("context_snapshot_id")
    assert said in (None, snapshot["context_snapshot_id"])
    if event.event_type == "FR-EVT-006":
        assert event.payload["prompt_hash"] == request["prompt_hash"]
        assert re.fullmatch(r"[0-9a-f]{64}", event.payload["response_hash"])


def assert_baseline(files: dict[str, bytes], root: str, event) -> None:
    """An operation before the first iteration, or at the end, stands in a verdict or leaves its output."""
    op_id = event.payload["op_id"].encode()
    assert any(op_id in data for name, data in files.items() if name.startswith(f"{root}/steps/")) or event.mt_id


def test_every_id_of_the_contract_comes_from_the_code():
    source = "\n".join(
        file.read_text(encoding="utf-8")
        for file in Path(handshake.__file__).parent.rglob("*.py")
        if file.parent.name in ("loop", "toolbus", "gates", "recorder", "daemon", "governance", "planning")
    )
    emitted = set(re.findall(r'(?:emit|record|_record)\(\s*"(FR-EVT-[A-Z0-9-]+)"', source))
    assert sorted(set(EVENT_TYPES) - emitted) == []


def test_a_refused_packet_is_on_record(shop):
    shop.serve()
    shop.configure()
    shop.drop(lambda text: text.replace("USER_SIGNATURE: user-signed-this", "USER_SIGNATURE: <pending>"))
    for _ in range(2):
        assert shop.handshake("run", WP, code=2).returncode == 2
    shop.handshake("daemon", "--once", code=None)
    rows = shop.events("--type", "FR-EVT-GOV-WP-001")
    states = [row["payload"]["state"] for row in rows]
    assert states[0] == "noticed"
    assert set(states[1:]) == {"refused"}
    assert len(states) <= 3  # said once for each reason, not each time
    digest = hashlib.sha256((shop.root / f"docs/task_packets/{WP}.md").read_bytes()).hexdigest()
    assert {row["payload"]["packet_hash"] for row in rows} == {digest}
    assert shop.json("sql", "SELECT count(*) FROM jobs")["rows"] == [[0]]
    shop.handshake("pre-work", WP, code=None)
    shop.handshake("gate-check", WP, code=None)
    gates = shop.json("sql", "SELECT gate, outcome FROM gates ORDER BY timestamp")["rows"]
    assert [row[0] for row in gates] == ["pre_work", "phase"]
    assert gates[0][1] == "fail"
