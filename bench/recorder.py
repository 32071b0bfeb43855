"""What a million events cost: import, memory, the views' aggregates warm, one event, a hundred readers.

    python bench/recorder.py [--events N] [--json]

Everything is measured in this run on this machine, beside something real: the import beside `json.loads` of the
same lines, an event beside a bare append of its bytes. See `bench/README.md`.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from handshake.domain.canonical import utc_text
from handshake.domain.clock import SystemClock, uuid_from
from handshake.recorder.journal import Journal
from handshake.recorder.metrics import measure
from handshake.recorder.store import EventStore
from handshake.repo.git import Repository, find_repository

EVENTS_OF_A_JOB = 5_000
READERS = 100
EMITS = 2_000
QUESTIONS = {
    "count of events": "SELECT count(*) FROM events",
    "events by type": "SELECT event_type, count(*) FROM events GROUP BY 1",
    "iterations by model": "SELECT model_id, count(*), sum(tokens_prompt) FROM iterations GROUP BY 1",
    "validations by day": "SELECT date_trunc('day', timestamp), count(*) FILTER (passed) FROM validations GROUP BY 1",
    "escalations by model": "SELECT from_model, count(*) FROM escalations GROUP BY 1",
    "gates by outcome": "SELECT gate, outcome, count(*) FROM gates GROUP BY 1, 2",
    "capabilities": "SELECT capability_id, decision_outcome, count(*) FROM capability_checks GROUP BY 1, 2",
    "jobs by status": "SELECT status, count(*), sum(iterations), median(latency_ms) FROM jobs GROUP BY 1",
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--import-only", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.import_only:
        print(json.dumps(import_all(options.import_only)))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "repo"
        root.mkdir()
        subprocess.run(["git", "-C", str(root), "init", "-q"], check=True)
        repo = find_repository(root)
        found = {"events": write_journals(repo, options.events)}
        found |= parsed_bare(repo)
        child = [sys.executable, __file__, "--import-only", str(root)]
        found |= json.loads(subprocess.run(child, check=True, capture_output=True).stdout)
        found |= {"questions_ms": ask_all(repo)}
        found |= emitting(Path(folder) / "emit")
    print(json.dumps(found, indent=2) if options.json else told(found))


def store_of(repo: Repository) -> EventStore:
    """The store, with room for events of any age."""
    return EventStore(repo, "handshake/track", 36_500, SystemClock())


def write_journals(repo: Repository, wanted: int) -> int:
    """Journals of ended jobs, of the mixture that real runs leave."""
    begin, written, job = datetime(2026, 1, 1, tzinfo=UTC), 0, 0
    while written < wanted:
        job_id = uuid_from(f"bench/{job}")
        folder = repo.state_dir / "journal" / job_id
        folder.mkdir(parents=True)
        count = min(EVENTS_OF_A_JOB, wanted - written)
        base = {"trace_id": "t", "job_id": job_id, "workflow_run_id": "r", "wp_id": f"WP-{job}"}
        with (folder / "001-r.jsonl").open("w", encoding="utf-8") as file:
            for n, (kind, name, payload) in enumerate(mixture(count)):
                at = begin + timedelta(hours=job, milliseconds=20 * n)
                event = {"event_id": uuid_from(f"{job_id}/{n}"), "event_type": kind, "event_name": name, **base}
                event |= {"timestamp": utc_text(at), "actor": "system", "mt_id": f"MT-{n // 500 + 1:03d}"}
                file.write(json.dumps({**event, "iteration": 1, "payload": payload}, sort_keys=True) + "\n")
        written += count
        job += 1
    return written


def mixture(count: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Events as a job leaves them: it begins, 23 events an iteration, it ends."""
    mts = [{"mt_id": f"MT-{n:03d}", "task_tags": ["python"], "token_budget": 2000, "files": 1} for n in range(1, 11)]
    start = {"total_mts": 10, "execution_policy": {}, "mt_ids": [], "execution_waves": [], "micro_tasks": mts}
    yield "FR-EVT-MT-001", "micro_task_loop_started", start
    gates = ("G-SCHEMA", "G-CAP", "G-INTEGRITY", "G-BUDGET", "G-PROVENANCE", "G-DET")
    for n in range(count - 2):
        place = n % 23
        op = uuid_from(f"op/{n // 23}")
        if place < 12:
            yield "FR-EVT-MEX", "gate_outcome", {"op_id": op, "gate": gates[place % 6], "outcome": "pass"}
        elif place < 17:
            check = {"capability_id": "proc.exec:python", "actor_id": "Coder", "decision_outcome": "allow"}
            yield "FR-EVT-CAP", "capability_check", {**check, "op_id": op, "stage": "validation"}
        else:
            yield detail(n, place, op)
    yield "FR-EVT-MT-009", "micro_task_loop_completed", {"outcome": "completed", "statistics": {}}


def detail(n: int, place: int, op: str) -> tuple[str, str, dict[str, Any]]:
    """The six events of an iteration that say most."""
    model = "small" if n % 3 else "large"
    passed = n % 4 != 0
    if place == 17:
        command = {"command": "python -m unittest tests.test_all", "cwd": ".", "exit_code": 0, "duration_ms": 900}
        return "FR-EVT-001", "terminal_command", {**command, "op_id": op, "timed_out": False}
    if place == 18:
        payload = {"model_id": model, "lora_id": None, "escalation_level": 0, "step_id": f"MT-001_iter-{n % 999:03d}"}
        return "FR-EVT-MT-002", "micro_task_iteration_started", payload
    if place == 19:
        usage = {"prompt_tokens": 900, "completion_tokens": 200, "total_tokens": 1100}
        return "FR-EVT-006", "llm_inference", {"model_id": model, "token_usage": usage, "latency_ms": 4000}
    if place == 20:
        payload = {"passed": passed, "sample": 0, "spec_results": [], "evidence_artifact_ref": "v"}
        return (
            "FR-EVT-MT-012",
            "micro_task_validation",
            {**payload, "op_ids": [op], "reasons": [] if passed else ["no"]},
        )
    if place == 21 and n % 5 == 0:
        levels = {
            "from_model": "small",
            "from_level": 0,
            "to_model": "large",
            "to_level": 1,
            "reason": "false claims",
        }
        more = {"failure_category": "unknown", "iterations_at_previous_level": 2, "escalation_record_ref": "e"}
        return "FR-EVT-MT-005", "micro_task_escalated", {**levels, **more}
    execution = {"tokens_prompt": 900, "tokens_completion": 200, "duration_ms": 5000 + n % 700, "escalation_level": 0}
    outcome = {"claimed_complete": True, "validation_passed": passed, "status": "SUCCESS" if passed else "RETRY"}
    used = {"base": model, "context_window": 16384}
    decision = {"action": "complete" if passed else "retry", "rule": "r", "reason": "claimed and validated"}
    payload = {"model": used, "execution": execution, "outcome": outcome, "decision": decision}
    return "FR-EVT-MT-003", "micro_task_iteration_complete", {**payload, "context_snapshot_id": op}


def parsed_bare(repo: Repository) -> dict[str, float]:
    """How long `json.loads` takes for the same lines: what any reader pays at least."""
    began, size = time.perf_counter(), 0
    for file in sorted((repo.state_dir / "journal").glob("*/*.jsonl")):
        data = file.read_bytes()
        size += len(data)
        for line in data.splitlines():
            json.loads(line)
    return {"bare_json_s": time.perf_counter() - began, "journal_mb": size / 1e6}


def import_all(root: Path) -> dict[str, float]:
    """The first question: every line is read, checked and filed. In a process of its own, for its memory."""
    repo = find_repository(root)
    began = time.perf_counter()
    with store_of(repo).opened() as opened:
        opened.database.execute("SELECT count(*) FROM events").fetchall()
    took = time.perf_counter() - began
    parts = list(store_of(repo).directory.glob("*.parquet"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e3 if sys.platform != "darwin" else 1e6)
    stored = sum(part.stat().st_size for part in parts) / 1e6
    return {"import_s": took, "peak_mb": peak, "parquet_mb": stored, "parts": len(parts)}


def ask_all(repo: Repository) -> dict[str, float]:
    """Each question warm, in a database of its own, opening included: the median of three."""
    found = {}
    for name, question in QUESTIONS.items():
        times = []
        for _ in range(4):
            began = time.perf_counter()
            with store_of(repo).opened() as opened:
                opened.database.execute(question).fetchall()
            times.append(1000 * (time.perf_counter() - began))
        found[name] = statistics.median(times[1:])
    began = time.perf_counter()
    measure(store_of(repo))
    return {**found, "metrics, all of it": 1000 * (time.perf_counter() - began)}


def emitting(folder: Path) -> dict[str, float]:
    """One event without the sync, alone and while a hundred readers tail the file; and a bare append."""
    alone = emit_ms(folder / "alone", readers=0)
    read = emit_ms(folder / "read", readers=READERS)
    place = folder / "bare"
    line = b"x" * 700 + b"\n"
    began = time.perf_counter()
    with place.open("ab") as file:
        for _ in range(EMITS):
            file.write(line)
            file.flush()
    bare = 1000 * (time.perf_counter() - began) / EMITS
    return {"emit_ms": alone, "emit_with_readers_ms": read, "bare_append_ms": bare}


def emit_ms(folder: Path, *, readers: int) -> float:
    """The median cost of an event in ms, while so many readers follow the journal five times a second each."""
    base = {"trace_id": "t", "job_id": "j", "workflow_run_id": "r", "wp_id": "W"}
    journal = Journal.open(folder, **base, clock=SystemClock())
    stop = threading.Event()

    def tail() -> None:
        offset = 0
        while not stop.wait(0.2):
            if journal.path.exists():
                with journal.path.open("rb") as file:
                    file.seek(offset)
                    offset += len(file.read())

    threads = [threading.Thread(target=tail, daemon=True) for _ in range(readers)]
    for thread in threads:
        thread.start()
    times = []
    for n in range(EMITS):
        payload = {"op_id": f"o{n}", "gate": "G-CAP", "outcome": "pass"}
        began = time.perf_counter()
        journal.emit("FR-EVT-MEX", payload, key=f"k{n}", mt_id="MT-001", iteration=1)
        times.append(1000 * (time.perf_counter() - began))
    stop.set()
    journal.close()
    shutil.rmtree(folder, ignore_errors=True)
    return statistics.median(times)


def told(found: dict[str, Any]) -> str:
    """The figures as a Markdown table."""
    rate = found["events"] / found["import_s"]
    rows = [
        ("events, journals", f"{found['events']:,} events, {found['journal_mb']:.0f} MB, {found['parts']} jobs"),
        ("`json.loads` of all lines, nothing else", f"{found['bare_json_s']:.1f} s"),
        ("import: read, checked, filed", f"{found['import_s']:.1f} s, {rate:,.0f} events a second,"
         f" × {found['import_s'] / found['bare_json_s']:.1f} of bare parsing"),
        ("peak memory of the import", f"{found['peak_mb']:.0f} MB"),
        ("the store", f"{found['parquet_mb']:.1f} MB Parquet"),
        *((f"warm: {name}", f"{value:.0f} ms") for name, value in found["questions_ms"].items()),
        ("an event, before the sync", f"{found['emit_ms']:.3f} ms (bare append {found['bare_append_ms']:.3f} ms)"),
        (f"an event while {READERS} readers tail", f"{found['emit_with_readers_ms']:.3f} ms"),
    ]  # fmt: skip
    return "\n".join(["| what | cost |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])


if __name__ == "__main__":
    main()
