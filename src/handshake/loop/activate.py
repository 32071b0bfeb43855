"""The packet in the user's working tree, and whether it may run: dropping the file is enough."""

from __future__ import annotations

from pathlib import PurePosixPath

from handshake.domain.errors import PacketRefused
from handshake.domain.packet import Packet
from handshake.domain.packet_text import read_packet
from handshake.gates.activation import activation_findings
from handshake.loop.surroundings import Surroundings
from handshake.repo.packet_file import read_packet_file, refuse_odd_revisions


def read_runnable_packet(around: Surroundings, wp_id: str) -> tuple[Packet, bytes]:
    """The packet from the user's working tree: dropping the file is enough.

    Raises:
        PacketRefused: it is not there, or something in it must be mended first; every finding is named.
    """
    settings = around.settings
    path = str(PurePosixPath(settings.paths.packets) / f"{wp_id}.md")
    data = read_packet_file(around.repo.root, path)
    if data is None:
        raise PacketRefused(f"{path} is not there", next_step=f"handshake new {wp_id}")
    reading = read_packet(data, path)
    registry_file = around.repo.root / settings.paths.registry
    registry = registry_file.read_text(encoding="utf-8", errors="replace") if registry_file.is_file() else None
    findings = [f for f in reading.findings if f.severity == "error"]
    if reading.packet is not None and not findings:
        refuse_odd_revisions(around.repo.root, settings.paths.packets, reading.packet.base_wp_id)
        found = activation_findings(reading.packet, around.repo.root / settings.paths.packets, settings, registry)
        findings = [f for f in found if f.severity == "error"]
    if reading.packet is None or findings:
        lines = tuple(finding.text() for finding in findings)
        raise PacketRefused(
            f"{path} cannot run: {len(lines)} finding{'s' if len(lines) != 1 else ''}; {lines[0] if lines else ''}",
            findings=lines,
            next_step=f"mend the packet, then: handshake check {wp_id}",
        )
    return reading.packet, data
