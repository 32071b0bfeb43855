"""What becomes of a packet before it is a job goes on record. FR-EVT-GOV-WP-001; contract: `events.md`."""

from __future__ import annotations

from typing import Literal

from handshake.domain.canonical import sha256_hex
from handshake.loop.surroundings import Surroundings
from handshake.recorder.packets import PacketJournal


def record_packet(
    around: Surroundings, wp_id: str, state: Literal["noticed", "refused"], reason: str | None = None
) -> None:
    """Record it, once for each content and reason; a packet whose file is gone has nothing to be recorded of.

    Raises:
        RecorderFailed, ResourceExhausted: it could not be recorded.
    """
    path = f"{around.settings.paths.packets}/{wp_id}.md"
    file = around.repo.root / path
    if not file.is_file():
        return
    digest = sha256_hex(file.read_bytes())
    journal = PacketJournal(around.repo.state_dir, around.clock)
    journal.packet(wp_id, state, path=path, content_hash=digest, reason=reason)
