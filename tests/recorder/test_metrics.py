"""Every figure, and each alert at its limit and past it."""

from __future__ import annotations

from recorded_clone import Clone, completed, ended, iteration, started

from handshake.recorder.metrics import measure


def names(clone: Clone) -> list[tuple[str, str]]:
    return [(alert.name, alert.subject) for alert in measure(clone.store()).alerts]


def test_of_nothing_nothing_is_said(clone):
    found = measure(clone.store())
    assert found.alerts == ()
    assert found.totals["jobs"] == 0
    assert found.totals["success_rate"] is None
    assert found.totals["iterations_per_mt"] is None
    assert found.models == ()
    assert found.instruments["hsk.job.latency"] == {
        "unit": "ms",
        **dict.fromkeys(("sum", "p50", "p95", "max")),
        "count": 0,
    }


def test_every_figure(clone):
    journal = clone.journal()
    started(journal, tags=("python", "edit"))
    iteration(journal, "MT-001", 1, "ESCALATE", claimed=True)
    iteration(journal, "MT-001", 2, "RETRY", model="large", level=1, lora="fast", claimed=True)
    iteration(journal, "MT-001", 3, "SUCCESS", model="large", level=1, lora="fast")
    completed(journal, "MT-001")
    iteration(journal, "MT-002", 1, "SUCCESS")
    completed(journal, "MT-002")
    ended(journal)
    found = measure(clone.store())
    assert {name: found.totals[name] for name in ("jobs", "completed", "iterations", "micro_tasks_tried")} == {
        "jobs": 1,
        "completed": 1,
        "iterations": 4,
        "micro_tasks_tried": 2,
    }
    assert (found.totals["success_rate"], found.totals["iterations_per_mt"]) == (1.0, 2.0)
    (day,) = found.over_time
    assert day == {
        "day": "2026-01-01",
        "iterations": 4,
        "escalations": 0,
        "completed_mts": 2,
        "ended_mts": 2,
        "success_rate": 1.0,
    }
    small, large = found.models
    assert (small["model_id"], small["iterations"], small["passed"], small["false_claims"]) == ("small", 2, 1, 1)
    assert (large["level"], large["tokens_prompt"], large["median_ms"]) == (1, 500, 25.0)
    assert found.loras == (
        {
            "lora_id": "fast",
            "model_id": "large",
            "iterations": 2,
            "success_rate": 0.5,
            "claims": 2,
            "false_claims": 1,
            "micro_tasks": 1,
        },
    )
    assert found.failure_categories == ({"category": "unknown", "iterations": 2},)
    assert [(row["files"], row["mean_iterations"]) for row in found.complexity] == [(1, 3.0), (2, 1.0)]
    assert [(row["tag"], row["success_rate"], row["success_rate_level_0"]) for row in found.tags] == [
        ("edit", 1.0, 0.5),
        ("python", 1.0, 0.5),
    ]
    tokens = found.instruments["hsk.job.tokens"]
    assert (tokens["unit"], tokens["count"], tokens["sum"]) == ("tokens", 1, 728)
    assert found.instruments["hsk.workflow.step_duration"]["max"] == 30
    assert found.instruments["hsk.job.latency"]["count"] == 1


def test_waiting_for_a_human_is_no_latency(clone):
    journal = clone.journal()
    started(journal)
    journal.emit("FR-EVT-MT-006", {"reason": "r", "figures": {}, "answers": []}, key="g")
    journal._clock.sleep(86_400)
    journal.emit("FR-EVT-MT-008", {"decision": "continue", "decided_by": "e"}, key="a", actor="human")
    ended(journal)
    assert measure(clone.store()).instruments["hsk.job.latency"]["max"] < 1000


def claims(clone: Clone, wrong: int, of: int) -> None:
    journal = clone.journal()
    started(journal, tuple(f"MT-{n:03d}" for n in range(1, of + 1)))
    for n in range(of):
        iteration(journal, f"MT-{n:03d}", 1, "RETRY" if n < wrong else "SUCCESS", claimed=True)
    journal.close()


def test_false_completions_past_thirty_per_cent(clone, tmp_path):
    claims(clone, 3, 10)
    assert names(clone) == []
    other = Clone(tmp_path / "other")
    claims(other, 4, 10)
    assert names(other) == [("false_completions", "small")]
    (alert,) = measure(other.store()).alerts
    assert (alert.value, alert.limit, alert.of) == (0.4, 0.3, 10)


def test_escalated_micro_tasks_past_half(clone):
    journal = clone.journal()
    started(journal)
    iteration(journal, "MT-001", 1, "ESCALATE", claimed=False)
    iteration(journal, "MT-002", 1, "SUCCESS")
    assert names(clone) == []
    iteration(journal, "MT-003", 1, "ESCALATE", claimed=False)
    journal.close()
    assert names(clone) == [("escalated_mts", "all")]


def test_iterations_per_micro_task_past_three(clone):
    journal = clone.journal()
    started(journal)
    for number in (1, 2, 3):
        iteration(journal, "MT-001", number, claimed=False)
    assert names(clone) == []
    iteration(journal, "MT-001", 4, claimed=False)
    journal.close()
    assert names(clone) == [("iterations_per_mt", "all")]


def test_hard_gates_past_a_tenth_of_jobs(clone):
    for n in range(10):
        journal = clone.journal(f"WP-{n}")
        started(journal)
        if n == 0:
            for key in "ab":  # twice in one job is one job
                payload = {"reason": key, "figures": {}, "answers": []}
                journal.emit("FR-EVT-MT-006", payload, key=f"g{key}")
        journal.close()
    assert names(clone) == []
    journal = clone.journal("WP-1")
    journal.emit("FR-EVT-MT-006", {"reason": "r", "figures": {}, "answers": []}, key="g")
    journal.close()
    assert names(clone) == [("hard_gates", "all")]


def test_timeouts_past_a_twentieth_and_two_recoveries_a_day(clone):
    journal = clone.journal()
    for n in range(20):
        payload = {"command": "c", "cwd": ".", "exit_code": 0, "duration_ms": 1, "op_id": str(n)}
        journal.emit("FR-EVT-001", {**payload, "timed_out": n == 0}, key=f"c{n}")
    base = {"workflow_run_id": "r", "job_id": "j", "from_state": "running", "to_state": "stalled", "reason": "r"}
    recovery = {**base, "last_heartbeat_ts": None, "threshold_secs": 30, "steps_recovered": [], "steps_to_retry": []}
    journal.emit("FR-EVT-WF-RECOVERY", recovery, key="r1")
    assert names(clone) == []
    journal.emit("FR-EVT-WF-RECOVERY", {**recovery, "reason": "again"}, key="r2")
    payload = {"command": "c", "cwd": ".", "exit_code": None, "duration_ms": 1, "op_id": "x", "timed_out": True}
    journal.emit("FR-EVT-001", payload, key="late")
    journal.close()
    assert names(clone) == [("validation_timeouts", "all"), ("recoveries", "2026-01-01")]
