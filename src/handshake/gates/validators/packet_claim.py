"""`packet-claim`: a packet that is worked on says by whom."""

from __future__ import annotations

import re

from handshake.domain.packet import Finding, PacketStatus
from handshake.domain.packet_fields import Remarks, is_unsigned
from handshake.domain.packet_lines import read_lines
from handshake.domain.packet_lists import key_of_line
from handshake.domain.packet_scope import is_nothing, is_placeholder
from handshake.gates.validators.view import View

_FIELD = re.compile(r"CODER(?:_[A-Z_]+)?|AGENT_ID")


def validate(view: View) -> list[Finding]:
    """A finding for each coder field of an In Progress packet that still holds a placeholder."""
    found: list[Finding] = []
    for packet in view.packets:
        if packet.is_stub or packet.status is not PacketStatus.IN_PROGRESS:
            continue
        remarks = Remarks(packet.path)
        for key, value in packet.metadata.items():
            if _FIELD.fullmatch(key) and (is_unsigned(value) or is_placeholder(value) or is_nothing(value)):
                line = _line_of(view.read(packet.path) or b"", key)
                remarks.error("HSK-VAL-CLAIM", line, f"{key} is `{value}` and the packet is In Progress", "say who")
        found += remarks.findings
    return found


def _line_of(data: bytes, key: str) -> int | None:
    for number, text in enumerate(read_lines(data).live):
        pair = key_of_line(text, number)
        if pair is not None and pair.key == key:
            return number
    return None
