"""The journal: append-only JSON lines, durable before the step they announce. Contract: `events.md`, Journal.

Each workflow run has its own file. What a run announces is named by a key, so a step that is taken again
after a crash announces the same events and nothing is recorded twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from handshake.config.failpoints import failpoint
from handshake.domain.canonical import canonical_json, plain
from handshake.domain.clock import Clock, uuid_from
from handshake.domain.errors import HandshakeError, InvalidEvent, RecorderFailed, ResourceExhausted
from handshake.domain.events import EVENT_TYPES, Actor, Event, check_event, read_event
from handshake.repo.atomic import disk_error, sync_directory

LINES_PER_CHUNK = 200
_MOVE_AWAY = "move {file} away: what of it was published is on the branch, the rest is announced again"

# Measured, so never the same twice: they do not make an event another one.
_MEASURED = frozenset({"duration_ms", "latency_ms", "timestamp", "started_at", "completed_at"})


class Journal:
    """One job's events, in order: those already published, then those of earlier local files, then new ones.

    Use `Journal.open`. Nothing is written before the first `emit`.
    """

    def __init__(
        self, path: Path, *, trace_id: str, job_id: str, workflow_run_id: str, wp_id: str, clock: Clock
    ) -> None:
        self.path = path
        self._base = {
            "trace_id": trace_id,
            "job_id": job_id,
            "workflow_run_id": workflow_run_id,
            "wp_id": wp_id,
        }
        self._clock = clock
        self._lines: list[bytes] = []
        self._events: dict[str, Event] = {}
        self._taken: set[str] = set()
        self._file: BinaryIO | None = None
        self._unsynced = False

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        published: Sequence[bytes] = (),
        trace_id: str,
        job_id: str,
        workflow_run_id: str,
        wp_id: str,
        clock: Clock,
    ) -> Journal:
        """The journal of a job as this workflow run goes on with it.

        Args:
            directory: the job's local journal folder; made at the first emit.
            published: the journal's lines as the tracking branch has them, in order.

        Raises:
            InvalidEvent: a published or local line is not an event (a torn last line is dropped instead).
            RecorderFailed: the folder cannot be read.
        """
        try:
            files = sorted(directory.glob("*.jsonl"))
            own = next((file for file in files if file.stem.partition("-")[2] == workflow_run_id), None)
            path = own or directory / f"{len(files) + 1:03d}-{workflow_run_id}.jsonl"
            journal = cls(
                path,
                trace_id=trace_id,
                job_id=job_id,
                workflow_run_id=workflow_run_id,
                wp_id=wp_id,
                clock=clock,
            )
            for number, line in enumerate(published, 1):
                journal._carry(line, f"line {number} of the published journal", f"git log handshake/track/{wp_id}")
            for file in files:
                for number, line in enumerate(whole_lines(file.read_bytes()), 1):
                    journal._carry(line, f"{file}: line {number}", _MOVE_AWAY.format(file=file))
        except OSError as error:
            raise RecorderFailed(f"cannot read the journal in {directory}: {error}") from error
        return journal

    def emit(
        self,
        event_type: str,
        payload: Mapping[str, Any],
        *,
        key: str,
        actor: Actor = "system",
        mt_id: str | None = None,
        iteration: int | None = None,
    ) -> Event:
        """Record an event; `sync` makes it durable.

        An event of this key with the same payload (times and durations aside) is already recorded: then that
        one is returned and nothing is written. With another payload it is recorded under `key#2`, `key#3`...

        Args:
            key: names the event within the job, the same when the step is taken again.

        Raises:
            InvalidEvent: unknown id or wrong shape; nothing is written.
            RecorderFailed, ResourceExhausted: the journal cannot be written.
        """
        kind = EVENT_TYPES.get(event_type)
        if kind is None:
            raise InvalidEvent(f"unknown event id {event_type!r}")
        content = plain(dict(payload))
        event_id = self._free_id(event_type, content, key, mt_id, iteration)
        if event_id in self._events:
            return self._events[event_id]
        event = check_event(
            Event(
                event_id=event_id,
                event_type=event_type,
                event_name=kind.name,
                timestamp=self._clock.now(),
                actor=actor,
                mt_id=mt_id,
                iteration=iteration,
                payload=content,
                **self._base,
            )
        )
        line = canonical_json(event)
        self._append(line + b"\n")
        self._keep(event, line)
        return event

    def _free_id(
        self, event_type: str, content: dict[str, Any], key: str, mt_id: str | None, iteration: int | None
    ) -> str:
        """The id under which this very event stands, or a new one."""
        number = 1
        while True:
            name = key if number == 1 else f"{key}#{number}"
            event_id = uuid_from(f"{self._base['job_id']}/{name}")
            known = self._events.get(event_id)
            if known is None or (
                (known.event_type, known.mt_id, known.iteration) == (event_type, mt_id, iteration)
                and lasting(known.payload) == lasting(content)
            ):
                return event_id
            number += 1

    def _carry(self, line: bytes, where: str, next_step: str) -> None:
        """Take over a line that was written before, unless it is already here."""
        try:
            event = read_event(json.loads(line))
        except ValueError as error:
            raise InvalidEvent(f"{where} is not JSON: {error}", next_step=next_step) from None
        except InvalidEvent as error:
            raise InvalidEvent(f"{where}: {error.what}", next_step=next_step) from None
        if event.event_id not in self._events:
            self._keep(event, bytes(line))

    def _keep(self, event: Event, line: bytes) -> None:
        self._events[event.event_id] = event
        self._lines.append(line)

    def _append(self, data: bytes) -> None:
        try:
            if self._file is None:
                self._file = self._open_file()
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise _sink_failed(error, self.path) from error
        self._unsynced = True

    def _open_file(self) -> BinaryIO:
        """The run's file, cut back to its last whole line: what follows a torn line would be lost with it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        file = self.path.open("ab")
        if is_new:
            sync_directory(self.path.parent)
            return file
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            file.truncate(whole)
        return file

    def sync(self) -> None:
        """Make everything emitted so far durable. Called before each effect; free where nothing is new.

        Raises:
            RecorderFailed, ResourceExhausted: the journal cannot be written.
        """
        if not self._unsynced or self._file is None:
            return
        failpoint("journal.append:before")
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _sink_failed(error, self.path) from error
        self._unsynced = False
        failpoint("journal.append:after")

    def close(self) -> None:
        """Sync and close the file."""
        self.sync()
        if self._file is not None:
            self._file.close()
            self._file = None

    def lines(self) -> tuple[bytes, ...]:
        """All lines in order, without line ends."""
        return tuple(self._lines)

    def events(self) -> tuple[Event, ...]:
        """All events in order."""
        return tuple(self._events.values())

    def chunks(self, job_prefix: str) -> dict[str, bytes]:
        """The journal as the tracking branch holds it: `<job_prefix>/events/<nnn>.jsonl`, 200 lines each."""
        starts = range(0, len(self._lines), LINES_PER_CHUNK)
        return {
            f"{job_prefix}/events/{number:03d}.jsonl": b"".join(
                line + b"\n" for line in self._lines[start : start + LINES_PER_CHUNK]
            )
            for number, start in enumerate(starts, start=1)
        }


def whole_lines(data: bytes) -> Iterable[bytes]:
    """The lines of a journal file; a last line without its end was torn by a crash and is dropped."""
    return [line for line in data[: data.rfind(b"\n") + 1].split(b"\n") if line]


def lasting(value: Any) -> Any:
    """A payload without what is measured anew each time, at any depth."""
    if isinstance(value, dict):
        return {key: lasting(item) for key, item in value.items() if key not in _MEASURED}
    if isinstance(value, list):
        return [lasting(item) for item in value]
    return value


def _sink_failed(error: OSError, path: Path) -> HandshakeError:
    what = disk_error(error, f"cannot write the journal {path}")
    return what if isinstance(what, ResourceExhausted) else RecorderFailed(what.what, next_step="handshake doctor")
