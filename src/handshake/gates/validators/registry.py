"""`registry`: one active packet for each base work packet, and it is there."""

from __future__ import annotations

from collections import Counter

from handshake.domain.packet import Finding
from handshake.domain.packet_fields import Remarks
from handshake.domain.registry import active_packets, read_registry
from handshake.gates.validators.view import View


def validate(view: View) -> list[Finding]:
    """Findings on rows, and on bases with several packets or, in strict mode, any packet, and no row."""
    path = view.settings.paths.registry
    data = view.read(path)
    entries = read_registry(data or b"")
    remarks = Remarks(path)
    packets = {packet.wp_id: packet for packet in view.packets}
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        base, active = entry.base_wp_id, entry.active
        if (base, active) in seen:
            remarks.error("HSK-REG-TWICE", entry.line - 1, f"the row {base} -> {active} stands twice", "keep one")
        seen.add((base, active))
        packet = packets.get(active)
        if packet is None:
            what = f"there is no packet and no stub {active}"
            remarks.error("HSK-REG-UNKNOWN", entry.line - 1, what, "mend the row, or write the packet")
        elif packet.is_stub != entry.is_stub and entry.is_stub:
            remarks.error(
                "HSK-REG-STUB", entry.line - 1, f"{active} is activated, and the row leads to its stub", "mend it"
            )
        elif base not in (packet.base_wp_id, active):
            what = f"{active} is of {packet.base_wp_id}, not of {base}"
            remarks.error("HSK-REG-BASE", entry.line - 1, what, "mend the row, or BASE_WP_ID of the packet")
    for base in sorted({entry.base_wp_id for entry in entries}):
        active_ids = active_packets(entries, base)
        if len(active_ids) > 1:
            lines = [entry.line - 1 for entry in entries if entry.base_wp_id == base]
            remarks.error("HSK-REG-ACTIVE", lines[1], f"{base} has {len(active_ids)} active packets", "keep one")
    counts = Counter(packet.base_wp_id for packet in view.packets if not packet.is_stub)
    least = 1 if view.settings.governance.mode == "strict" else 2
    for base, count in sorted(counts.items()):
        if count >= least and not active_packets(entries, base):
            remarks.error(
                "HSK-REG-MISSING", None, f"no row says which packet of {base} is active", f"add: | {base} | … |"
            )
    return remarks.findings
