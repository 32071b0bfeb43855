"""The commands of a TEST_PLAN, read as the tool bus will read them. Contract: `packets-and-gates.md`, The packet."""

from __future__ import annotations

from handshake.domain.errors import CapabilityViolation
from handshake.domain.packet import Finding, Packet
from handshake.domain.packet_commands import is_governance_command
from handshake.domain.packet_fields import Remarks
from handshake.domain.packet_lines import PacketLines
from handshake.toolbus.commands import programs_of


def command_findings(packet: Packet, lines: PacketLines) -> list[Finding]:
    """A finding for each command whose programs cannot be told: no run would start with it."""
    remarks = Remarks(packet.path)
    for command in packet.test_plan:
        if is_governance_command(command):
            continue
        try:
            programs_of(command)
        except CapabilityViolation as problem:
            remarks.error(
                "HSK-PKT-TEST", _line_of(command, lines), problem.what, "write a command that a plain shell reads"
            )
    return remarks.findings


def _line_of(command: str, lines: PacketLines) -> int | None:
    """The line it begins on; one that is continued is found by its first words."""
    section = lines.section("TEST_PLAN") or range(len(lines.texts))
    for number in section:
        text = lines.texts[number].strip().removesuffix("\\").strip()
        if text and (command in text or command.startswith(text.removeprefix("$ "))):
            return number
    return None
