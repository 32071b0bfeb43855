"""Board and registry brought to what the packets say. Contract: `packets-and-gates.md`, Board, Registry.

The packet's status is the source; what else a person wrote there stays to the byte.
"""

from __future__ import annotations

from handshake.domain.board import BoardTag, read_board, tag_of_status, with_entry
from handshake.domain.packet_lines import read_lines
from handshake.domain.registry import active_packets, read_registry
from handshake.domain.settings import Settings
from handshake.gates.validators.view import working_view
from handshake.governance.refine import template_text
from handshake.repo.git import Repository

# what a person said of a packet that is done: no status can say it better
_BY_HAND = (BoardTag.SUPERSEDED.value, BoardTag.OUTDATED_ONLY.value)


def synced_board(repo: Repository, settings: Settings) -> tuple[bytes, bytes]:
    """The board as it is (empty where there is none) and as the packets want it."""
    file = repo.root / settings.paths.board
    before = file.read_bytes() if file.is_file() else b""
    board = before or template_text(repo.root, "board.md").encode()
    for packet in working_view(repo, settings).packets:
        verdict = packet.reports[-1].verdict if packet.reports else None
        tag = tag_of_status(packet.status, verdict, needs_review=settings.governance.mode == "strict")
        there = [entry for entry in read_board(board) if entry.wp_id == packet.wp_id]
        if tag is None or (len(there) == 1 and tag is BoardTag.VALIDATED and there[0].tag in _BY_HAND):
            continue
        board = with_entry(board, packet.wp_id, tag)
    return before, board


def with_active(registry: bytes, base_wp_id: str, wp_id: str) -> bytes:
    """The registry with one row for the base that names this packet."""
    lines = read_lines(registry)
    newline = lines.newline()
    entries = read_registry(registry)
    own = [entry for entry in entries if entry.base_wp_id == base_wp_id]
    if active_packets(entries, base_wp_id) == (wp_id,) and len(own) == 1 and not own[0].is_stub:
        return registry
    row = f"| {base_wp_id} | {wp_id} |".encode() + newline
    raw = list(lines.raw)
    if own:
        first, *others = [entry.line - 1 for entry in own]
        kept = [line for number, line in enumerate(raw) if number not in others]
        in_table = lines.live[first].lstrip().startswith("|")
        kept[first] = row if in_table else f"- {base_wp_id} -> {wp_id}".encode() + newline
        return b"".join(kept)
    rows = [number for number, text in enumerate(lines.live) if text.lstrip().startswith("|")]
    if not rows:
        head = registry if not registry or registry.endswith(b"\n") else registry + newline
        return head + f"- {base_wp_id} -> {wp_id}".encode() + newline
    head = b"".join(raw[: rows[-1] + 1])
    return (head if head.endswith(b"\n") else head + newline) + row + b"".join(raw[rows[-1] + 1 :])
