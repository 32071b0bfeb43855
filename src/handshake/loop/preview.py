"""The plan of a packet without running it: no model is opened, nothing is written. Contract: `micro-tasks.md`."""

from __future__ import annotations

from pathlib import PurePosixPath

from handshake.domain.errors import PacketRefused
from handshake.domain.microtask import Plan
from handshake.domain.packet_text import read_packet
from handshake.loop.start import base_commit_of, make_plan, merged_policy
from handshake.loop.surroundings import Surroundings
from handshake.models.chain import config_for
from handshake.models.profiles import profile_of
from handshake.repo.packet_file import read_packet_file

UNKNOWN_WINDOW = 32_768


def preview_plan(around: Surroundings, wp_id: str) -> Plan:
    """The plan that a run would start with, as far as the configuration tells without asking the models.

    Raises:
        PacketRefused: the packet cannot be read; a missing signature or status does not matter here.
        JobRefused: a rule is broken.
    """
    path = str(PurePosixPath(around.settings.paths.packets) / f"{wp_id}.md")
    data = read_packet_file(around.repo.root, path)
    if data is None:
        raise PacketRefused(f"{path} is not there", next_step=f"handshake new {wp_id}")
    reading = read_packet(data, path)
    if reading.packet is None:
        lines = tuple(finding.text() for finding in reading.findings)
        raise PacketRefused(f"{path} cannot be read", findings=lines, next_step=f"handshake check {wp_id}")
    policy = merged_policy(around, reading.packet)
    entries = [
        config_for(level.model_id, around.settings) for level in policy.escalation_chain if not level.is_hard_gate
    ]
    window = min(entry.context_window or UNKNOWN_WINDOW for entry in entries)
    return make_plan(around, reading.packet, base_commit_of(around), profile_of(entries[0]).name, window)
