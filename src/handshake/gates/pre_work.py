"""The pre-work gate: may work on this packet begin? Contract: `packets-and-gates.md`, Pre-work gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handshake.domain.gate_settings import Paths
from handshake.domain.packet import Finding
from handshake.domain.packet_fields import Remarks
from handshake.domain.packet_lines import PacketLines
from handshake.domain.packet_manifest import FIELDS, GATE_CODES, manifest_blocks
from handshake.domain.packet_text import PacketReading, read_packet
from handshake.gates.phase import phase_findings

if TYPE_CHECKING:
    from handshake.gates.spec import ReadFile


def pre_work(
    data: bytes | None, path: str, *, strict: ReadFile | None = None, paths: Paths | None = None
) -> list[Finding]:
    """Every finding on a packet's bytes; `data` is None where there is no file.

    Args:
        strict: reads the files of governance; given where `governance.mode` is strict.
        paths: where they lie.
    """
    remarks = Remarks(path)
    if data is None:
        remarks.error("HSK-PRE-FILE", None, "there is no such packet", "make it with `handshake new <WP_ID>`")
        return remarks.findings
    reading = read_packet(data, path)
    findings = [*reading.findings, *pre_work_findings(reading, path, manifest_is_evidence=strict is not None)]
    if strict is not None and reading.packet is not None and not reading.packet.is_stub:
        from handshake.gates.strict import strict_findings

        findings += [
            f for f in strict_findings(reading.packet, reading.lines, strict, paths or Paths()) if f not in findings
        ]
    return findings


def pre_work_findings(reading: PacketReading, path: str, *, manifest_is_evidence: bool = True) -> list[Finding]:
    """The findings of the gate itself, less those of reading. For the flag see `phase_findings`."""
    remarks = Remarks(path)
    packet = reading.packet
    if packet is not None and packet.is_stub:
        remarks.error("HSK-PRE-STUB", None, "a stub is never worked on", f"handshake new {packet.wp_id}")
    elif packet is not None and not packet.user_signature:
        remarks.error("HSK-PRE-SIGNATURE", None, "USER_SIGNATURE is pending", "sign it: USER_SIGNATURE: <yours>")
    remarks.findings += phase_findings(reading.lines, path, manifest_is_evidence=manifest_is_evidence)
    if not has_manifest_form(reading.lines):
        remarks.error(
            "HSK-PRE-MANIFEST",
            None,
            "## VALIDATION has no manifest block with its seven fields and ten gate boxes",
            f"add it: handshake packet fix {packet.wp_id if packet else 'WP_ID'}",
        )
    return remarks.findings


def has_manifest_form(lines: PacketLines) -> bool:
    """Whether there is a block, filled or template, with every field and every box."""
    return any(
        len(block.values) == len(FIELDS) and set(block.boxes) >= set(GATE_CODES) for block in manifest_blocks(lines)
    )
