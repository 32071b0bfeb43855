"""The store: what is kept, what is left out and said to be, rebuilt the same, and no lock in anyone's way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import timedelta

import pytest
from filelock import FileLock
from recorded_clone import START, Clone, ended, git, iteration, skipped, started

from handshake.domain.clock import SteppingClock
from handshake.domain.errors import InvalidEvent, LockHeld, RecorderFailed
from handshake.recorder import store as recorder
from handshake.recorder.follow import Follower
from handshake.recorder.metrics import measure
from handshake.recorder.packets import PacketJournal
from handshake.recorder.queries import query_events, sql
from handshake.recorder.sources import tracking_refs


def count(clone: Clone, **store) -> int:
    return sql(clone.store(**store), "SELECT count(*) FROM events").rows[0][0]


def parts(clone: Clone) -> list[str]:
    return sorted(path.name for path in clone.store().directory.glob("*.parquet"))


def everything(clone: Clone) -> str:
    """All that the store answers, as text."""
    store = clone.store()
    events = [event.model_dump_json() for event in query_events(store)[0]]
    return "\n".join([*events, measure(store).model_dump_json(), repr(sql(store, "SELECT * FROM events"))])


def test_finished_jobs_become_parquet_and_others_do_not(two_jobs):
    assert count(two_jobs) == 11
    assert len(parts(two_jobs)) == 1
    two_jobs.journal("WP-1").path.unlink()  # what was filed is still there without its journal
    assert count(two_jobs) == 11
    journal = two_jobs.journal("WP-2", hours=2)
    ended(journal)
    assert count(two_jobs) == 12
    assert len(parts(two_jobs)) == 2


def test_a_long_job_is_filed_while_it_runs_and_goes_on(clone, monkeypatch):
    monkeypatch.setattr(recorder, "LARGE", 300)
    journal = clone.journal()
    started(journal)
    for number in range(1, 350):
        iteration(journal, "MT-001", number)
    journal.sync()
    clone.publish(journal)
    assert count(clone) == 350
    assert len(parts(clone)) == 1
    for number in range(350, 360):
        iteration(journal, "MT-001", number)
    journal.sync()
    clone.publish(journal)  # the last chunk grew: its first lines are in the file already
    assert count(clone) == 360
    assert len(parts(clone)) == 1
    ended(journal)
    assert count(clone) == 361
    assert query_events(clone.store())[0] == list(journal.events())
    kept = everything(clone)
    shutil.rmtree(clone.store().directory)
    assert everything(clone) == kept


def test_rebuilt_it_answers_the_same_to_the_byte(two_jobs):
    two_jobs.publish(two_jobs.journal("WP-2"))
    first = everything(two_jobs)
    assert everything(two_jobs) == first  # from Parquet
    two_jobs.store().rebuild()
    assert everything(two_jobs) == first
    shutil.rmtree(two_jobs.repo.state_dir)
    git(two_jobs.repo.root, "update-ref", "refs/remotes/o/handshake/track/WP-2", "handshake/track/WP-2")
    git(two_jobs.repo.root, "update-ref", "-d", "refs/heads/handshake/track/WP-2")
    two_jobs.store().rebuild()
    assert count(two_jobs) == 5  # the one that was fetched; the other's journal is gone


def test_events_of_fetched_branches_count_once(two_jobs, tmp_path):
    two_jobs.publish(two_jobs.journal("WP-1"))
    two_jobs.publish(two_jobs.journal("WP-2"))
    other = Clone(tmp_path / "other")
    skipped(other.journal("WP-3"))
    git(other.repo.root, "fetch", "-q", str(two_jobs.repo.root), "+refs/heads/*:refs/remotes/up/stream/*")
    git(other.repo.root, "fetch", "-q", str(two_jobs.repo.root), "handshake/track/WP-1:handshake/track/WP-1")
    refs = [(row.wp_id, row.remote) for row in tracking_refs(other.repo)]
    assert refs == [("WP-1", None), ("WP-1", "up/stream"), ("WP-2", "up/stream")]
    assert count(other) == 12


def test_what_is_older_than_the_retention_is_left_out_and_said(two_jobs):
    late = START + timedelta(days=30, minutes=30)
    table = sql(two_jobs.store(now=late), "SELECT DISTINCT wp_id FROM events")
    assert table.rows == (("WP-2",),)
    (missing,) = table.missing
    assert (missing.wp_id, missing.events, missing.why) == ("WP-1", 6, "retention")
    assert "retention_days (30)" in missing.said
    assert sql(two_jobs.store(now=late), "SELECT 1").missing == table.missing  # and the next time
    longer = sql(two_jobs.store(now=late, days=60), "SELECT count(*) FROM events")
    assert longer.rows == ((11,),)
    assert longer.missing == ()
    gone = sql(two_jobs.store(now=START + timedelta(days=99)), "SELECT count(*) FROM events")
    assert gone.rows == ((0,),)
    assert {row.wp_id for row in gone.missing} == {"WP-1", "WP-2"}


GARBAGE = [
    (b"{nonsense\n", "line 2 is not JSON"),
    (b"\xff\xfe\x00\n", "line 2 is not JSON"),
    (b"[]\n", "not an object"),
    (b'{"event_id": "1", "event_type": "FR-EVT-NONE"}\n', "line 2 is no event"),
]


def damage(clone: Clone, line: bytes) -> None:
    path = clone.journal("WP-1").path
    first, _, rest = path.read_bytes().partition(b"\n")
    path.write_bytes(first + b"\n" + line + rest)


@pytest.mark.parametrize(("line", "said"), GARBAGE)
def test_garbage_in_the_middle_is_named_and_nothing_changed(two_jobs, line, said):
    damage(two_jobs, line)
    path = two_jobs.journal("WP-2").path.parent.parent / "job-WP-1" / "001-run-1.jsonl"
    before = path.read_bytes()
    with pytest.raises(InvalidEvent, match=said) as raised:
        sql(two_jobs.store(), "SELECT 1")
    assert str(path) in raised.value.what
    assert "recorder rebuild" in raised.value.next_step
    assert not parts(two_jobs)
    made = two_jobs.store().rebuild()  # a person accepts the loss
    assert [row.why for row in made.missing] == ["damaged"]
    table = sql(two_jobs.store(), "SELECT count(*) FROM events")
    assert table.rows == ((11,),)
    assert table.missing == made.missing
    assert path.read_bytes() == before


def changed(line: bytes, **changes) -> bytes:
    data = json.loads(line)
    payload = changes.pop("payload", {})
    data.update(changes)
    data["payload"].update(payload)
    return json.dumps(data).encode() + b"\n"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": "9.0"}, "schema_version"),
        ({"event_type": "FR-EVT-MT-099"}, "unknown event id"),
        ({"event_name": "other"}, "is named"),
        ({"actor": "nobody"}, "actor"),
        ({"trace_id": ""}, "no trace_id"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"iteration": "one"}, "iteration"),
        ({"job_id": "job-WP-2"}, "another job"),
        ({"payload": {"more": 1}}, "unknown fields more"),
    ],
)
def test_a_foreign_event_is_named(two_jobs, changes, said):
    journal = two_jobs.journal("WP-1")
    line = next(line for line in journal.lines() if b"FR-EVT-MT-016" in line)
    journal.path.write_bytes(journal.path.read_bytes() + changed(line, event_id="9", **changes))
    with pytest.raises(InvalidEvent, match=said):
        sql(two_jobs.store(), "SELECT 1")


def test_a_torn_end_is_dropped_and_read_once_it_is_whole(two_jobs):
    path = two_jobs.journal("WP-2").path
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    assert count(two_jobs) == 10
    path.write_bytes(data)
    assert count(two_jobs) == 11


def test_a_store_of_another_version_or_in_pieces_is_made_anew(two_jobs):
    assert count(two_jobs) == 11
    index = two_jobs.store().directory / "index.json"
    for text in ('{"version": 99, "holdings": {}}', "{", '{"version": 1, "holdings": {"x": {"part": 3}}}'):
        index.write_text(text)
        assert count(two_jobs) == 11
    for name in parts(two_jobs):
        (index.parent / name).unlink()
    assert count(two_jobs) == 11


def test_a_broken_file_of_the_store_is_said_and_made_again(two_jobs):
    assert count(two_jobs) == 11
    (part,) = two_jobs.store().directory.glob("*.parquet")
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(RecorderFailed, match="the store cannot be read") as raised:
        count(two_jobs)
    assert raised.value.next_step == "handshake recorder rebuild"
    two_jobs.store().rebuild()
    assert count(two_jobs) == 11


def test_a_taken_lock_keeps_nobody_from_an_answer(two_jobs):
    store = two_jobs.store()
    store.directory.mkdir()
    with FileLock(store.directory / ".lock"):
        assert count(two_jobs) == 11
        assert not parts(two_jobs)
        recorder._PATIENCE_S, patience = 0.05, recorder._PATIENCE_S
        try:
            with pytest.raises(LockHeld):
                store.rebuild()
        finally:
            recorder._PATIENCE_S = patience
    assert count(two_jobs) == 11
    assert parts(two_jobs)


def test_files_that_no_index_names_go_after_a_while(two_jobs, monkeypatch):
    stray = two_jobs.store().directory / "stray.parquet"
    stray.parent.mkdir()
    stray.write_bytes(b"")
    assert count(two_jobs) == 11
    assert stray.exists()  # somebody may read it still
    monkeypatch.setattr(recorder, "GRACE_S", -1.0)
    two_jobs.store().rebuild()
    assert not stray.exists()


WRITER = """
import sys
from pathlib import Path
from handshake.domain.clock import SystemClock
from handshake.recorder.journal import Journal
base = dict(trace_id='t', job_id='j', workflow_run_id='r', wp_id='W')
j = Journal.open(Path(sys.argv[1]) / 'j', **base, clock=SystemClock())
n = 0
while True:
    j.emit('FR-EVT-MT-016', {'reason': str(n), 'decided_by': 'e'}, key=f'k{n}', actor='human'); n += 1
    if n == 1: print('on', flush=True)
"""


def test_a_question_never_waits_for_the_writer(clone):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(clone.repo.state_dir / "journal")], stdout=subprocess.PIPE
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"on\n"
        counts = [count(clone, days=36500) for _ in range(3)]
        assert writer.poll() is None
        assert counts == sorted(counts)
        assert counts[0] >= 1
    finally:
        writer.kill()
        writer.wait()


def test_followers_see_each_event_once_and_only_whole_lines(clone, tmp_path):
    journal = clone.journal()
    started(journal)
    journal.sync()
    follower = Follower(clone.repo, "handshake/track")
    assert list(follower.news(branches=True)) == []
    iteration(journal, "MT-001", 1)
    skipped(clone.journal("WP-2"))
    assert [event.wp_id for event in follower.news(branches=False)] == ["WP-1", "WP-2"]
    with journal.path.open("ab") as file:
        line = journal.lines()[0] + b"\n"
        file.write(line[:20])
        file.flush()
        assert list(follower.news(branches=False)) == []
    other = Clone(tmp_path / "other")
    theirs = other.journal("WP-9")
    skipped(theirs)
    theirs.close()
    other.publish(theirs)
    refs = "+refs/heads/handshake/*:refs/remotes/o/handshake/*"
    git(clone.repo.root, "fetch", "-q", str(other.repo.root), refs)
    assert [event.wp_id for event in follower.news(branches=True)] == ["WP-9"]
    assert list(follower.news(branches=True)) == []


def test_events_of_a_packet_that_is_no_job(clone):
    journal = PacketJournal(clone.repo.state_dir, SteppingClock(START))
    for _ in range(2):
        journal.packet("WP-1", "refused", path="p", content_hash="h", reason="why")  # the same is said once
        journal.gate("WP-1", "pre_commit", ["B", "A"], failed=True)
    journal.packet("../../etc", "noticed", path="p", content_hash="h")
    table = sql(clone.store(), "SELECT event_type, count(*) FROM events GROUP BY 1 ORDER BY 1")
    assert table.rows == (("FR-EVT-GOV-GATES-001", 2), ("FR-EVT-GOV-WP-001", 2))
    assert sql(clone.store(), "SELECT count(*) FROM jobs").rows == ((0,),)
    assert not (clone.repo.state_dir.parent / "etc.jsonl").exists()
    path = clone.repo.state_dir / "packets" / "WP-1.jsonl"
    path.write_bytes(path.read_bytes() + b'{"torn')
    journal.gate("WP-1", "phase", [], failed=False)
    assert count(clone) == 5
