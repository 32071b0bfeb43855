"""Questions over journals: filters, views, each event once, and no way out of the database."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from recorded_clone import START, Clone, ended, iteration, skipped, started

from handshake.cli.main import run_command
from handshake.domain.errors import UsageError
from handshake.recorder.queries import Wanted, query_events, sql
from handshake.recorder.views import VIEWS


def found(clone: Clone, **wanted):
    return query_events(clone.store(), Wanted(**wanted))[0]


def test_events_of_branch_and_journal_each_once_in_time(two_jobs):
    one, two = two_jobs.journal("WP-1"), two_jobs.journal("WP-2")
    two_jobs.publish(one)
    two_jobs.publish(two)
    for _ in range(2):  # the second time from what the first one kept
        assert found(two_jobs) == [*one.events(), *two.events()]


def test_nothing_recorded_is_no_event(clone):
    assert found(clone) == []
    assert sql(clone.store(), "SELECT count(*) FROM jobs").rows == ((0,),)


def test_filters(two_jobs):
    assert {event.wp_id for event in found(two_jobs, wp="WP-1")} == {"WP-1"}
    assert len(found(two_jobs, mt="MT-001")) == 4
    assert len(found(two_jobs, mt="MT-001", wp="WP-2")) == 2
    for wanted, count in (("FR-EVT-MT-016", 2), ("micro_task_skipped", 2), ("FR-EVT-MT-*", 11)):
        assert len(found(two_jobs, event_type=wanted)) == count
    later = found(two_jobs, since=START + timedelta(hours=1))
    assert {event.wp_id for event in later} == {"WP-2"}
    assert [event for event in found(two_jobs) if Wanted(since=START + timedelta(hours=1)).fits(event)] == later
    assert found(two_jobs, wp="WP-9") == []
    with pytest.raises(UsageError, match="no event type"):
        Wanted(event_type="nothing")


def test_a_moment_is_taken_back_as_it_was_shown(clone, monkeypatch, capsys):
    monkeypatch.setenv("HANDSHAKE_RECORDER__RETENTION_DAYS", "36500")
    journal = clone.journal()
    started(journal)
    ended(journal)

    def said(*options):
        assert run_command(["-C", str(clone.repo.root), "events", *options]) == 0, capsys.readouterr().err
        return capsys.readouterr().out.splitlines()

    shown = said()
    last = shown[-1].split()[0]
    assert "." in last
    assert said("--since", last) == said("--since", f"{last}Z") == [row for row in shown if row >= last] != shown


def test_the_views(two_jobs):
    store = two_jobs.store()
    table = sql(store, "SELECT mt_id, count(*) AS n, sum(tokens_prompt) FROM iterations GROUP BY 1 ORDER BY 1")
    assert table.columns[:2] == ("mt_id", "n")
    assert table.rows == (("MT-001", 4, 600), ("MT-002", 2, 200))
    row = sql(store, "SELECT model_id, status, claimed_complete, validation_passed, decision FROM iterations").rows[2]
    assert row == ("small", "SUCCESS", True, True, "complete")
    assert sql(store, "SELECT min(timestamp) FROM events").rows == ((datetime(2026, 1, 1, 0, 0, 0, 1000),),)
    assert sql(store, "SELECT payload->>'$.reason' FROM events WHERE mt_id = 'MT-003'").rows == (("r",), ("r",))
    assert sql(store, "WITH x AS (SELECT 1 AS a) SELECT a FROM x").rows == ((1,),)
    jobs = sql(store, "SELECT wp_id, status, iterations, total_mts, tokens_prompt, latency_ms FROM jobs ORDER BY 1")
    assert jobs.rows == (("WP-1", "completed", 3, 2, 400, 5), ("WP-2", "running", 3, 2, 400, None))
    tags = sql(store, "SELECT mt_id, task_tags, files, iterations FROM micro_tasks WHERE wp_id = 'WP-1' ORDER BY 1")
    assert tags.rows == (("MT-001", ["python"], 1, 2), ("MT-002", ["python"], 2, 1))


def test_every_view_of_the_contract_answers(clone):
    journal = clone.journal()
    started(journal)
    iteration(journal, "MT-001", 1, "ESCALATE")
    validation = {"passed": False, "sample": 0, "spec_results": [{"a": 1}], "evidence_artifact_ref": "e"}
    journal.emit("FR-EVT-MT-012", {**validation, "op_ids": ["o"], "reasons": ["r"]}, key="v", mt_id="MT-001")
    levels = {"from_model": "a", "from_level": 0, "to_model": "b", "to_level": 1, "failure_category": "unknown"}
    more = {"reason": "r", "iterations_at_previous_level": 1, "escalation_record_ref": "x"}
    journal.emit("FR-EVT-MT-005", {**levels, **more}, key="e", mt_id="MT-001")
    journal.emit("FR-EVT-MEX", {"op_id": "o", "gate": "G-CAP", "outcome": "deny", "reason": "no"}, key="g")
    journal.emit("FR-EVT-GOV-GATES-001", {"gate": "phase", "outcome": "fail", "error_codes": ["B", "A"]}, key="p")
    journal.emit("FR-EVT-MT-006", {"reason": "max_duration", "figures": {"why": "w"}, "answers": []}, key="h")
    check = {"capability_id": "proc.exec:rm", "actor_id": "a", "decision_outcome": "deny"}
    journal.emit("FR-EVT-CAP", check, key="c")
    journal.close()
    store = clone.store()
    counts = {view: sql(store, f"SELECT count(*) FROM {view}").rows[0][0] for view in VIEWS}
    assert counts == {
        "events": 8,
        "jobs": 1,
        "iterations": 1,
        "validations": 1,
        "escalations": 1,
        "gates": 3,
        "capability_checks": 1,
        "micro_tasks": 2,
    }
    assert sql(store, "SELECT kind, gate, outcome, reason FROM gates ORDER BY kind").rows == (
        ("governance", "phase", "fail", "B A"),
        ("hard", "max_duration", "stop", "w"),
        ("tool", "G-CAP", "deny", "no"),
    )
    assert sql(store, "SELECT passed, commands, reasons FROM validations").rows == ((False, 1, ["r"]),)
    assert sql(store, "SELECT status, hard_gates FROM jobs").rows == (("awaiting_user", 1),)


@pytest.fixture(scope="module")
def shared(make_clone: Callable[[], Clone]) -> Clone:
    clone = make_clone()
    journal = clone.journal()
    started(journal)
    ended(journal)
    sql(clone.store(), "SELECT 1")  # the job is in a Parquet file now
    return clone


@pytest.mark.parametrize(
    "query",
    [
        "DROP VIEW events",
        "DELETE FROM raw",
        "INSERT INTO raw SELECT * FROM raw",
        "CREATE TABLE t (a INT)",
        "SELECT 1; SELECT 2",
        "",
        "COPY (SELECT 1) TO 'out.csv'",
        "COPY (SELECT 1) TO '{part}' (FORMAT parquet)",
        "EXPORT DATABASE 'out'",
        "ATTACH 'x.db'",
        "SET enable_external_access = true",
        "PRAGMA enable_external_access",
        "RESET lock_configuration",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CALL pragma_version()",
        "SELECT * FROM read_csv('{there}')",
        "SELECT * FROM '{there}'",
        "SELECT * FROM read_text('{there}')",
        "SELECT * FROM read_blob('{config}')",
        "SELECT * FROM read_json('{config}')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM query('SELECT * FROM read_text(''{there}'')')",
        "SELECT * FROM sqlite_scan('{there}', 't')",
        "SELECT * FROM read_parquet('http://127.0.0.1:9/x.parquet')",
        "SELECT * FROM store",
        "SELECT getenv('HOME')",
        "SELEC",
        "SELECT nothing FROM events",
        "WITH gone AS (DELETE FROM raw RETURNING *) SELECT * FROM gone",
    ],
)
def test_only_a_select_over_the_views(shared, tmp_path, monkeypatch, query):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("secret\n1\n")
    (part,) = shared.store().directory.glob("*.parquet")
    before = (part.read_bytes(), sorted(path.name for path in shared.repo.root.iterdir()))
    words = {"there": tmp_path / "there.csv", "config": shared.repo.root / ".git" / "config", "part": part}
    for name, place in words.items():
        query = query.replace(f"{{{name}}}", str(place))
    with pytest.raises(UsageError):
        sql(shared.store(), query)
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]
    assert (part.read_bytes(), sorted(path.name for path in shared.repo.root.iterdir())) == before


def test_a_select_of_a_python_variable_finds_none(shared):
    secret = [("secret",)]
    with pytest.raises(UsageError, match="secret"):
        sql(shared.store(), "SELECT * FROM secret")
    assert secret


def test_an_answer_that_would_fill_the_memory_is_refused(shared):
    with pytest.raises(UsageError, match="more than 2,000,000 rows"):
        sql(shared.store(), "SELECT a.range FROM range(1000000) AS a, range(1000000) AS b")
    assert len(sql(shared.store(), "SELECT range FROM range(100000)").rows) == 100_000


def test_text_that_looks_like_sql_stays_text(clone):
    journal = clone.journal("WP-1'; DROP VIEW events; --", "job'); --")
    skipped(journal, reason="'; DROP TABLE raw; --")
    journal.close()
    assert found(clone, wp="WP-1'; DROP VIEW events; --")[0].payload["reason"] == "'; DROP TABLE raw; --"


def test_a_line_longer_than_most(clone):
    journal = clone.journal()
    skipped(journal, reason="x" * 20_000_000)
    journal.close()
    (event,) = found(clone)
    assert len(event.payload["reason"]) == 20_000_000


def test_views_are_those_of_the_contract(shared):
    wanted = {"events", "jobs", "iterations", "validations", "escalations", "gates", "capability_checks"}
    assert wanted <= set(VIEWS)
    tables = sql(shared.store(), "SELECT view_name FROM duckdb_views() WHERE NOT internal").rows
    assert {row[0] for row in tables} == {*VIEWS, "recorded"}
    assert json.loads(Path(shared.store().directory / "index.json").read_text())["version"] == 1
