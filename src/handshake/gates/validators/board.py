"""`board`: the task board's form, and whether it says what the packets say."""

from __future__ import annotations

from handshake.domain.board import BoardTag, read_board
from handshake.domain.packet import Finding, Packet, PacketStatus
from handshake.domain.packet_fields import Remarks
from handshake.gates.strict import board_findings
from handshake.gates.validators.view import View

_BY_HAND = (BoardTag.SUPERSEDED.value, BoardTag.OUTDATED_ONLY.value)


def validate(view: View) -> list[Finding]:
    """Findings on every entry, and on every packet that the board should show. No board and no strict mode: none."""
    path = view.settings.paths.board
    data = view.read(path)
    if data is None and view.settings.governance.mode != "strict":
        return []
    known = {packet.wp_id: packet for packet in view.packets}
    findings: list[Finding] = []
    for packet in view.packets:
        if _is_shown(packet):
            findings += board_findings(packet, view.read, path)
    entries = read_board(data or b"")
    by_hand = {e.wp_id for e in entries if e.tag in _BY_HAND and _is_done(known.get(e.wp_id))}
    lines = {e.line for e in entries if e.wp_id in by_hand}
    findings = [f for f in findings if not (f.line in lines and f.code == "HSK-BOARD-STATUS")]
    remarks = Remarks(path)
    for entry in entries:
        if entry.wp_id not in known:
            what = f"there is no packet and no stub {entry.wp_id}"
            remarks.error("HSK-BOARD-UNKNOWN", entry.line - 1, what, "take the line out, or write the packet")
    unique = dict.fromkeys([*findings, *remarks.findings])
    return sorted(unique, key=lambda f: (f.line or 0, f.code, f.what))


def _is_shown(packet: Packet) -> bool:
    return packet.is_stub or packet.status in (
        PacketStatus.READY_FOR_DEV,
        PacketStatus.IN_PROGRESS,
        PacketStatus.DONE,
        PacketStatus.STUB,
    )


def _is_done(packet: Packet | None) -> bool:
    return packet is not None and packet.status is PacketStatus.DONE
