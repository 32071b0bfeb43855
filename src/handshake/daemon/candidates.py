"""What is to be done with a packet now: a fold over its file and its tracking branch. Contract: `interface.md`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from handshake.domain.canonical import sha256_hex
from handshake.domain.errors import DecisionRefused, HandshakeError, PacketRefused
from handshake.domain.job import Job
from handshake.domain.packet import Packet, PacketStatus
from handshake.domain.packet_text import read_packet
from handshake.domain.states import JobStatus, is_terminal
from handshake.loop.activate import read_runnable_packet
from handshake.loop.decisions import answer_at
from handshake.loop.last_step import last_step_is_open
from handshake.loop.paths import JobPaths
from handshake.loop.run import latest_job_id
from handshake.loop.surroundings import Surroundings
from handshake.repo.store import ObjectStore, TrackingBranch

State = Literal["run", "wait", "done", "refused", "ignore", "elsewhere"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A packet and what is to be done with it.

    `scope` is what its run may touch; empty where it is not known. `resumes`: a job of it has begun.
    """

    wp_id: str
    state: State
    content_hash: str
    why: str = ""
    scope: tuple[str, ...] = ()
    resumes: bool = False


def judge(around: Surroundings, objects: ObjectStore, wp_id: str, data: bytes | None) -> Candidate:
    """The state of one packet.

    Args:
        data: its file in the working tree, or None where that is gone: then its run is not cancelled by it.
    """
    digest = sha256_hex(data or b"")
    try:
        branch = TrackingBranch(around.repo, wp_id, around.settings.tracking.namespace, objects=objects)
        tip = branch.tip()
        job_id = latest_job_id(branch, tip) if tip else None
        if tip and job_id:
            return _judge_job(around, branch, tip, job_id, digest)
        if data is None:
            return Candidate(wp_id, "ignore", digest, "no packet and no run")
        return _judge_packet(around, wp_id, data, digest)
    except PacketRefused as refused:
        return Candidate(wp_id, "refused", digest, "\n".join((*refused.findings, refused.line())))
    except HandshakeError as error:
        return Candidate(wp_id, "refused", digest, error.line())


def _judge_packet(around: Surroundings, wp_id: str, data: bytes, digest: str) -> Candidate:
    packet = read_packet(data, f"{around.settings.paths.packets}/{wp_id}.md").packet
    if packet is not None and packet.status is not PacketStatus.READY_FOR_DEV:
        return Candidate(wp_id, "ignore", digest, packet.status_text)
    runnable, _ = read_runnable_packet(around, wp_id)
    return Candidate(wp_id, "run", digest, "new", scope=_paths_of(runnable))


def _judge_job(around: Surroundings, branch: TrackingBranch, tip: str, job_id: str, digest: str) -> Candidate:
    wp_id = branch.wp_id
    try:
        job = Job.model_validate_json(branch.read(JobPaths(job_id).job, tip) or b"")
    except ValidationError:
        return Candidate(wp_id, "run", digest, "its records are to be recovered", resumes=True)
    if is_terminal(job.status) and not last_step_is_open(around.repo, job):
        return Candidate(wp_id, "done", digest, job.status.value)
    if not (around.repo.state_dir / "journal" / job_id).is_dir():
        return Candidate(wp_id, "elsewhere", digest, f"handshake run {wp_id} takes it over")
    if job.status is JobStatus.AWAITING_USER:
        try:
            if answer_at(branch, tip, job) is None:
                return Candidate(wp_id, "wait", digest, job.gate_reason or "", resumes=True)
        except DecisionRefused as wrong:
            return Candidate(wp_id, "refused", digest, wrong.line(), resumes=True)
    packet = read_packet(branch.read("packet.md", tip) or b"", job.workspace.packet_path).packet
    return Candidate(wp_id, "run", digest, "resume", scope=_paths_of(packet), resumes=True)


def _paths_of(packet: Packet | None) -> tuple[str, ...]:
    return packet.in_scope_paths if packet else ()
