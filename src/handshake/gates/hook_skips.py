"""Going round the hooks is allowed, and recorded. Contract: `packets-and-gates.md`, "HANDSHAKE_SKIP=1, recorded".

A skip is an event of the flight recorder, in a journal of this clone: `handshake events` shows it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from handshake.domain.clock import Clock
from handshake.recorder.packets import PacketJournal, packet_journals
from handshake.repo.git import Repository

CODE = "HSK-HOOK-SKIPPED"
NO_PACKET = "none"
_GATES = {"pre-commit": "pre_commit"}


def record_skip(repo: Repository, hook: str, clock: Clock) -> None:
    """Record that a person went round a hook, durable when this returns. FR-EVT-GOV-GATES-001.

    Raises:
        RecorderFailed, ResourceExhausted: it could not be recorded.
    """
    wp_id = _packet_at_hand(repo)
    payload = {"gate": _GATES.get(hook, "post_work"), "outcome": "fail", "error_codes": [CODE]}
    journal = PacketJournal(repo.state_dir, clock)
    journal.record("FR-EVT-GOV-GATES-001", payload, wp_id=wp_id, key=None, actor="human")


def record_verdict(repo: Repository, hook: str, codes: Sequence[str], clock: Clock, *, failed: bool) -> None:
    """Record what a hook's gate said of the packet at hand, durable when this returns. FR-EVT-GOV-GATES-001.

    Raises:
        RecorderFailed, ResourceExhausted: it could not be recorded.
    """
    gate = _GATES.get(hook, "post_work")
    PacketJournal(repo.state_dir, clock).gate(_packet_at_hand(repo), gate, codes, failed=failed)


def _packet_at_hand(repo: Repository) -> str:
    branch = repo.head_branch() or ""
    return branch.removeprefix("feat/") if branch.startswith("feat/WP-") else NO_PACKET


def skips(repo: Repository) -> tuple[int, datetime | None]:
    """How often hooks were skipped in this clone, and when last."""
    lines = [line for file in packet_journals(repo.state_dir) for line in file.read_bytes().splitlines()]
    times = [json.loads(line)["timestamp"] for line in lines if CODE.encode() in line and line.endswith(b"}")]
    last = datetime.fromisoformat(max(times)).astimezone(UTC) if times else None
    return len(times), last
