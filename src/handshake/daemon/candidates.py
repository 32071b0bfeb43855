"""Which packets are to be run now: a fold over files and tracking branches, made anew at each look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from handshake.domain.canonical import sha256_hex
from handshake.domain.errors import HandshakeError, PacketRefused
from handshake.domain.packet import PacketStatus
from handshake.domain.packet_text import read_packet
from handshake.domain.states import JobStatus
from handshake.loop.code_branch import last_step_is_open
from handshake.loop.human import answer_of
from handshake.loop.recover import load_run
from handshake.loop.run import Surroundings
from handshake.loop.start import read_runnable_packet
from handshake.repo.store import TrackingBranch, tracked_packets


@dataclass(frozen=True)
class Candidate:
    """A packet and what is to be done with it."""

    wp_id: str
    state: Literal["run", "wait", "done", "refused", "ignore"]
    content_hash: str
    why: str = ""


def look(around: Surroundings) -> list[Candidate]:
    """Every packet in the folder, by name, with its state, then runs whose packet is gone: that cancels nothing.

    Stubs and other folders are left alone.
    """
    folder = around.repo.root / around.settings.paths.packets
    files = sorted(path for path in folder.glob("WP-*.md") if path.is_file()) if folder.is_dir() else []
    found = []
    for path in files:
        try:
            data = path.read_bytes()
        except OSError:
            continue  # it was taken away meanwhile, or cannot be read yet: the next look sees
        found.append(_judge(around, path.stem, data))
    names = {path.stem for path in files}
    tracked = tracked_packets(around.repo, around.settings.tracking.namespace)
    return [*found, *(_judge(around, name, b"") for name in tracked if name not in names)]


def _judge(around: Surroundings, wp_id: str, data: bytes) -> Candidate:
    digest = sha256_hex(data)
    try:
        branch = TrackingBranch(around.repo, wp_id, namespace=around.settings.tracking.namespace)
        run = load_run(around, branch) if branch.tip() else None
        if run is not None and run.ended and not last_step_is_open(run):
            return Candidate(wp_id, "done", digest, run.job.status.value)
        if run is not None and run.job.status is JobStatus.AWAITING_USER and answer_of(run) is None:
            return Candidate(wp_id, "wait", digest, run.job.gate_reason or "")
        if run is not None:
            return Candidate(wp_id, "run", digest, "resume")
        reading = read_packet(data, f"{around.settings.paths.packets}/{wp_id}.md")
        if reading.packet is not None and reading.packet.status is not PacketStatus.READY_FOR_DEV:
            return Candidate(wp_id, "ignore", digest, reading.packet.status_text)
        read_runnable_packet(around, wp_id)
    except PacketRefused as refused:
        return Candidate(wp_id, "refused", digest, "\n".join((*refused.findings, refused.line())))
    except HandshakeError as error:
        return Candidate(wp_id, "refused", digest, error.line())
    return Candidate(wp_id, "run", digest, "new")
