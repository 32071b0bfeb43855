"""Questions over journals: filters, views, each event once, and no way out of the database."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from handshake.domain.clock import SteppingClock
from handshake.domain.errors import InvalidEvent, RecorderFailed, UsageError
from handshake.recorder.journal import Journal
from handshake.recorder.queries import journal_files, query_events, read_events, sql

START = datetime(2026, 1, 1, tzinfo=UTC)


def iteration(journal: Journal, mt: str, number: int, status: str = "RETRY") -> None:
    journal.emit(
        "FR-EVT-MT-003",
        {
            "model": {"base": "small", "context_window": 8192},
            "execution": {
                "tokens_prompt": 100 * number,
                "tokens_completion": 7,
                "duration_ms": 5,
                "escalation_level": 0,
            },
            "outcome": {"claimed_complete": status == "SUCCESS", "status": status},
            "decision": "retry",
            "context_snapshot_id": "c",
        },
        key=f"{mt}/{number}",
        mt_id=mt,
        iteration=number,
    )


@pytest.fixture
def journals(tmp_path):
    made = []
    for wp, hours in (("WP-2", 1), ("WP-1", 0)):
        journal = Journal.open(
            tmp_path / wp,
            trace_id="t",
            job_id=f"job-{wp}",
            workflow_run_id=f"run-{wp}",
            wp_id=wp,
            clock=SteppingClock(START + timedelta(hours=hours)),
        )
        for number in (1, 2):
            iteration(journal, "MT-001", number)
        iteration(journal, "MT-002", 1, "SUCCESS")
        journal.emit("FR-EVT-MT-016", {"reason": "r", "decided_by": "e"}, key="s", actor="human", mt_id="MT-003")
        journal.close()
        made.append(journal)
    return made


def test_events_from_files_chunks_and_lines_each_once_in_time(journals, tmp_path):
    two, one = journals
    chunk = one.chunks("jobs/j")["jobs/j/events/001.jsonl"]
    sources = [*journal_files(tmp_path), chunk, two.lines(), iter(one.lines())]
    found = read_events(sources)
    assert found == [*one.events(), *two.events()]
    assert read_events([]) == []


def test_filters(journals):
    sources = [journal.path for journal in journals]
    assert {event.wp_id for event in query_events(sources, wp="WP-1")} == {"WP-1"}
    assert len(query_events(sources, mt="MT-001")) == 4
    assert len(query_events(sources, mt="MT-001", wp="WP-2")) == 2
    for wanted, count in (("FR-EVT-MT-016", 2), ("micro_task_skipped", 2), ("FR-EVT-MT-*", 8)):
        assert len(query_events(sources, event_type=wanted)) == count
    assert {event.wp_id for event in query_events(sources, since=START + timedelta(hours=1))} == {"WP-2"}
    assert query_events(sources, wp="WP-9") == []
    with pytest.raises(UsageError, match="no event type"):
        query_events(sources, event_type="nothing")


def test_the_views(journals):
    sources = [journal.path for journal in journals]
    table = sql("SELECT mt_id, count(*) AS n, sum(tokens_prompt) FROM iterations GROUP BY 1 ORDER BY 1", sources)
    assert table.columns[:2] == ("mt_id", "n")
    assert table.rows == (("MT-001", 4, 600), ("MT-002", 2, 200))
    row = sql("SELECT model_id, status, claimed_complete, validation_passed, decision FROM iterations", sources).rows[
        2
    ]
    assert row == ("small", "SUCCESS", True, None, "retry")
    assert sql("SELECT count(*), min(timestamp) FROM events", sources).rows == (
        (8, datetime(2026, 1, 1, 0, 0, 0, 1000)),
    )
    assert sql("SELECT payload->>'$.reason' FROM events WHERE mt_id = 'MT-003'", sources).rows == (("r",), ("r",))
    assert sql("WITH x AS (SELECT 1 AS a) SELECT a FROM x", []).rows == ((1,),)
    assert sql("SELECT count(*) FROM iterations", []).rows == ((0,),)


@pytest.mark.parametrize(
    "query",
    [
        "DROP VIEW events",
        "DELETE FROM recorded",
        "SELECT 1; SELECT 2",
        "",
        "COPY (SELECT 1) TO 'out.csv'",
        "ATTACH 'x.db'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "SELECT * FROM read_csv('{there}')",
        "SELECT * FROM '{there}'",
        "SELECT * FROM read_text('{there}')",
        "SELECT * FROM glob('/*')",
        "SELEC",
        "SELECT nothing FROM events",
    ],
)
def test_only_a_select_over_the_views(journals, tmp_path, monkeypatch, query):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("secret\n1\n")
    with pytest.raises(UsageError):
        sql(query.replace("{there}", str(tmp_path / "there.csv")), [journals[0].path])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["WP-1", "WP-2", "there.csv"]


def test_a_torn_end_is_dropped_and_a_bad_line_said(journals):
    path = journals[0].path
    path.write_bytes(path.read_bytes()[:-5])
    assert len(read_events([path])) == 3
    with pytest.raises(RecorderFailed):
        read_events([b"{nonsense\n"])
    with pytest.raises(RecorderFailed, match="none"):
        read_events([path.parent / "none.jsonl"])
    with pytest.raises(InvalidEvent):
        read_events([b'{"event_id": "1", "event_type": "FR-EVT-NONE", "timestamp": "2026-01-01T00:00:00.000Z"}\n'])


def test_a_question_never_waits_for_the_writer(tmp_path):
    text = (
        "import sys\nfrom pathlib import Path\nfrom handshake.domain.clock import SystemClock\n"
        "from handshake.recorder.journal import Journal\n"
        "base = dict(trace_id='t', job_id='j', workflow_run_id='r', wp_id='W')\n"
        "j = Journal.open(Path(sys.argv[1]), **base, clock=SystemClock())\n"
        "n = 0\n"
        "while True:\n"
        "    j.emit('FR-EVT-MT-016', {'reason': str(n), 'decided_by': 'e'}, key=f'k{n}', actor='human'); n += 1\n"
        "    if n == 1: print('on', flush=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", text, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout.readline() == b"on\n"
        counts = [sql("SELECT count(*) FROM events", journal_files(tmp_path)).rows[0][0] for _ in range(3)]
        assert writer.poll() is None
        assert counts == sorted(counts)
        assert counts[0] >= 1
    finally:
        writer.kill()
        writer.wait()
