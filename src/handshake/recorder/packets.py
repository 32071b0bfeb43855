"""Events of a packet that belong to no job: noticed, refused, a gate run by hand or by a hook. Contract: `events.md`.

Several processes may write to one packet's journal; each line is written whole, under a lock, and synced.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from handshake.domain.canonical import canonical_json, plain
from handshake.domain.clock import Clock, uuid_from
from handshake.domain.errors import HandshakeError, InvalidEvent, RecorderFailed, ResourceExhausted
from handshake.domain.events import EVENT_TYPES, Actor, Event, check_event
from handshake.recorder.secrets import SecretMask
from handshake.repo.atomic import disk_error, sync_directory

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
_LOCK_PATIENCE_S = 5.0


def packet_journals(state_dir: Path) -> list[Path]:
    """The journal files of packets, sorted."""
    return sorted((state_dir / "packets").glob("*.jsonl"))


class PacketJournal:
    """Writes events that belong to a packet and to no job.

    Args:
        state_dir: the clone's own folder (`Repository.state_dir`).
        clock: the source of timestamps.
    """

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        self._directory = state_dir / "packets"
        self._clock = clock

    def gate(self, wp_id: str, gate: str, codes: Sequence[str], *, failed: bool) -> None:
        """A gate was run over a packet outside of a run. FR-EVT-GOV-GATES-001.

        Raises:
            RecorderFailed, ResourceExhausted: it could not be recorded.
        """
        outcome = "fail" if failed else "pass"
        payload = {"gate": gate, "outcome": outcome, "error_codes": sorted(set(codes))}
        self.record("FR-EVT-GOV-GATES-001", payload, wp_id=wp_id, key=None)

    def packet(self, wp_id: str, state: str, *, path: str, content_hash: str, reason: str | None = None) -> None:
        """A packet was noticed or refused; the same of the same content is recorded once. FR-EVT-GOV-WP-001.

        Raises:
            RecorderFailed, ResourceExhausted: it could not be recorded.
        """
        payload = {"state": state, "packet_path": path, "packet_hash": content_hash}
        if reason:
            payload["reason"] = reason
        key = f"{state}/{content_hash}/{hashlib.sha256((reason or '').encode()).hexdigest()[:16]}"
        self.record("FR-EVT-GOV-WP-001", payload, wp_id=wp_id, key=key)

    def record(
        self, event_type: str, payload: Mapping[str, Any], *, wp_id: str, key: str | None, actor: Actor = "system"
    ) -> None:
        """Record one event, durable when this returns.

        Args:
            key: names the event for good: under a key that is there already nothing is written. None: each
                time is another event.

        Raises:
            InvalidEvent: unknown id or wrong shape; nothing is written.
            RecorderFailed, ResourceExhausted: it could not be recorded.
        """
        kind = EVENT_TYPES.get(event_type)
        if kind is None:
            raise InvalidEvent(f"unknown event id {event_type!r}")
        job_id = uuid_from(f"packet/{wp_id}")
        now = self._clock.now()
        event = check_event(
            Event(
                event_id=uuid_from(f"{job_id}/{key or f'{event_type}/{now.isoformat()}/{os.getpid()}'}"),
                event_type=event_type,
                event_name=kind.name,
                timestamp=now,
                actor=actor,
                trace_id=uuid_from(f"trace/{job_id}"),
                job_id=job_id,
                workflow_run_id=job_id,
                wp_id=wp_id,
                payload=SecretMask().value(plain(dict(payload))),
            )
        )
        self._append(self._path(wp_id), event.event_id, canonical_json(event) + b"\n")

    def _path(self, wp_id: str) -> Path:
        """A packet's id comes from a file name; one that is no plain name is hashed."""
        plain_name = _PLAIN_NAME.fullmatch(wp_id)
        name = wp_id if plain_name else hashlib.sha256(wp_id.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return self._directory / f"{name}.jsonl"

    def _append(self, path: Path, event_id: str, line: bytes) -> None:
        from filelock import FileLock, Timeout

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock"), timeout=_LOCK_PATIENCE_S):
                is_new = not path.exists()
                with path.open("a+b") as file:
                    file.seek(0)
                    data = file.read()
                    if event_id.encode() in data:
                        return
                    file.truncate(data.rfind(b"\n") + 1)  # a line that a crash tore would swallow this one
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
                if is_new:
                    sync_directory(path.parent)
        except Timeout:
            raise RecorderFailed(f"{path} stays locked", next_step="handshake doctor") from None
        except OSError as error:
            what: HandshakeError = disk_error(error, f"cannot write the journal {path}")
            raise what if isinstance(what, ResourceExhausted) else RecorderFailed(what.what) from error
