"""The journal: whole lines, no event twice, durable before the effect."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from handshake.domain.clock import SteppingClock, uuid_from
from handshake.domain.errors import InvalidEvent, RecorderFailed, ResourceExhausted
from handshake.recorder import journal as recorder
from handshake.recorder.journal import Journal, lasting, whole_lines

SKIPPED = {"reason": "asked", "decided_by": "Eve"}


def opened(directory: Path, run: str = "run-1", published=(), start: int = 0) -> Journal:
    clock = SteppingClock(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=start))
    return Journal.open(
        directory, published=published, trace_id="t", job_id="j", workflow_run_id=run, wp_id="WP-1", clock=clock
    )


def skip(journal: Journal, key: str, reason: str = "asked"):
    return journal.emit("FR-EVT-MT-016", {**SKIPPED, "reason": reason}, key=key, actor="human", mt_id="MT-001")


def test_one_line_for_an_event_with_the_whole_base(tmp_path):
    journal = opened(tmp_path)
    event = journal.emit("FR-EVT-MT-017", {"reason": "r", "recoverable": True}, key="k", mt_id="MT-001", iteration=3)
    journal.sync()
    (line,) = (tmp_path / "001-run-1.jsonl").read_bytes().splitlines()
    assert journal.lines() == (line,)
    assert json.loads(line) == {
        "actor": "system",
        "event_id": uuid_from("j/k"),
        "event_name": "micro_task_blocked",
        "event_type": "FR-EVT-MT-017",
        "iteration": 3,
        "job_id": "j",
        "mt_id": "MT-001",
        "payload": {"reason": "r", "recoverable": True},
        "timestamp": "2026-01-01T00:00:00.001Z",
        "trace_id": "t",
        "workflow_run_id": "run-1",
        "wp_id": "WP-1",
    }
    assert journal.events() == (event,)


def test_nothing_is_made_before_the_first_event(tmp_path):
    journal = opened(tmp_path / "j")
    journal.sync()
    journal.close()
    assert not (tmp_path / "j").exists()
    assert journal.chunks("jobs/j") == {}


@pytest.mark.parametrize(
    ("event_type", "payload"),
    [("FR-EVT-NONE", {}), ("FR-EVT-MT-016", {"reason": "r"}), ("FR-EVT-MT-016", {**SKIPPED, "more": 1})],
)
def test_a_bad_event_is_an_error_and_not_written(tmp_path, event_type, payload):
    journal = opened(tmp_path / "j")
    with pytest.raises(InvalidEvent):
        journal.emit(event_type, payload, key="k")
    assert journal.lines() == ()
    assert not (tmp_path / "j").exists()


def test_the_same_event_again_is_not_written_again(tmp_path):
    journal = opened(tmp_path)
    assert skip(journal, "k") is skip(journal, "k")
    assert len(journal.lines()) == 1


def test_another_payload_under_the_same_key_is_another_event(tmp_path):
    journal = opened(tmp_path)
    ids = [skip(journal, "k", reason).event_id for reason in ("a", "b", "c", "b", "a")]
    assert ids == [uuid_from(f"j/{key}") for key in ("k", "k#2", "k#3", "k#2", "k")]
    assert len(journal.lines()) == 3
    other = journal.emit("FR-EVT-MT-016", {**SKIPPED, "reason": "a"}, key="k", actor="human", mt_id="MT-002")
    assert other.event_id == uuid_from("j/k#4")


def test_measured_figures_do_not_make_an_event_another_one(tmp_path):
    journal = opened(tmp_path)

    def validated(milliseconds, passed=True):
        rows = [{"index": 0, "duration_ms": milliseconds, "passed": passed}]
        payload = {"passed": passed, "sample": 0, "spec_results": rows, "evidence_artifact_ref": "r"}
        return journal.emit("FR-EVT-MT-012", {**payload, "op_ids": [], "reasons": []}, key="v")

    first = validated(10)
    assert validated(99) is first
    assert validated(10, passed=False) is not first
    assert lasting({"a": [{"latency_ms": 1, "b": {"timestamp": "x"}}]}) == {"a": [{"b": {}}]}


def test_a_resumed_run_carries_on_in_a_file_of_its_own(tmp_path):
    first = opened(tmp_path)
    for key in "abc":
        skip(first, key)
    published = first.lines()[:2]
    first.close()
    second = opened(tmp_path, "run-2", published, start=1)
    assert second.lines() == first.lines()
    assert skip(second, "b").workflow_run_id == "run-1"
    assert skip(second, "d").workflow_run_id == "run-2"
    second.close()
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["001-run-1.jsonl", "002-run-2.jsonl"]
    third = opened(tmp_path, "run-2", start=2)  # the same run opened again goes on in its file
    assert third.path.name == "002-run-2.jsonl"
    skip(third, "e")
    third.close()
    assert len((tmp_path / "002-run-2.jsonl").read_bytes().splitlines()) == 2
    assert opened(tmp_path, "run-3").lines() == third.lines()


def test_on_another_machine_the_published_lines_are_enough(tmp_path):
    first = opened(tmp_path / "here")
    skip(first, "a")
    second = opened(tmp_path / "there", "run-2", first.lines())
    assert second.lines() == first.lines()
    skip(second, "a")
    assert not (tmp_path / "there").exists()


def test_a_torn_last_line_is_dropped_and_nothing_else(tmp_path):
    first = opened(tmp_path)
    for key in "abc":
        skip(first, key)
    first.close()
    data = first.path.read_bytes()
    for cut in (1, 20, len(first.lines()[2])):
        first.path.write_bytes(data[:-cut])
        assert opened(tmp_path, "run-2").lines() == first.lines()[:2]
    again = opened(tmp_path)  # the same run goes on after the torn line, which must not swallow the next
    skip(again, "c")
    skip(again, "d")
    again.close()
    assert len(whole_lines(first.path.read_bytes())) == 4
    assert [json.loads(line)["event_id"] for line in whole_lines(first.path.read_bytes())] == [
        uuid_from(f"j/{key}") for key in "abcd"
    ]


def test_a_bad_line_that_is_not_the_last_is_an_error(tmp_path):
    first = opened(tmp_path)
    skip(first, "a")
    first.close()
    first.path.write_bytes(b"{torn\n" + first.path.read_bytes())
    with pytest.raises(InvalidEvent, match="not JSON"):
        opened(tmp_path)
    with pytest.raises(InvalidEvent, match="not an event"):
        opened(tmp_path / "x", published=[b'{"event_id": 1}'])


def test_chunks_of_two_hundred(tmp_path):
    journal = opened(tmp_path)
    for number in range(401):
        skip(journal, f"k{number}")
    chunks = journal.chunks("jobs/j")
    assert list(chunks) == [f"jobs/j/events/00{n}.jsonl" for n in (1, 2, 3)]
    assert [chunk.count(b"\n") for chunk in chunks.values()] == [200, 200, 1]
    assert b"".join(chunks.values()) == journal.path.read_bytes()


def test_a_full_disk_and_another_failure(tmp_path, monkeypatch):
    journal = opened(tmp_path)
    skip(journal, "a")
    for number, kind in ((errno.ENOSPC, ResourceExhausted), (errno.EIO, RecorderFailed)):

        def fails(handle, number=number):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(recorder.os, "fsync", fails)
        with pytest.raises(kind):
            journal.sync()
    monkeypatch.undo()
    journal.sync()
    (tmp_path / "file").touch()
    with pytest.raises(RecorderFailed, match="cannot write the journal"):
        skip(opened(tmp_path / "file/j"), "a")


def test_sync_is_free_where_nothing_is_new(tmp_path, monkeypatch):
    journal = opened(tmp_path)
    skip(journal, "a")
    calls = []
    monkeypatch.setattr(recorder.os, "fsync", calls.append)
    skip(journal, "b")
    skip(journal, "c")
    journal.sync()
    journal.sync()
    assert len(calls) == 1


KILLED = """
import sys
from pathlib import Path
from handshake.domain.clock import SteppingClock
from handshake.recorder.journal import Journal
journal = Journal.open(Path(sys.argv[1]), trace_id="t", job_id="j", workflow_run_id="run-1", wp_id="WP-1",
                       clock=SteppingClock())
for number in range(3):
    journal.emit("FR-EVT-MT-016", {"reason": str(number), "decided_by": "Eve"}, key=f"k{number}", actor="human")
    journal.sync()
"""


@pytest.mark.parametrize(("place", "lines"), [("journal.append:before@2", 2), ("journal.append:after@2", 2)])
def test_killed_it_holds_whole_lines_and_goes_on_the_same(tmp_path, place, lines):
    env = {**os.environ, "HANDSHAKE_FAILPOINT": f"{place}:kill"}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=env, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(opened(tmp_path, "run-2").lines()) == lines
    env["HANDSHAKE_FAILPOINT"] = ""
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=env, check=True)
    ids = [json.loads(line)["event_id"] for line in opened(tmp_path, "run-2").lines()]
    assert ids == [uuid_from(f"j/k{number}") for number in range(3)]
