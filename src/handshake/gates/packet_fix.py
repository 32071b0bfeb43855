"""What a packet lacks and a machine may add. Contract: `packets-and-gates.md`."""

from __future__ import annotations

from handshake.domain.packet_edit import append_section_line
from handshake.domain.packet_lines import read_lines
from handshake.domain.packet_manifest import template_block
from handshake.gates.pre_work import has_manifest_form


def fix_packet(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The packet with a manifest template where it had none, and what was added, in words.

    Raises:
        PacketRefused: the packet's sections cannot be told apart (an open fence or comment).
    """
    if has_manifest_form(read_lines(data)):
        return data, ()
    return append_section_line(data, "VALIDATION", template_block()), ("the manifest template under ## VALIDATION",)
