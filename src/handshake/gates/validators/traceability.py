"""`traceability`: work packets in commits, board and packets name each other."""

from __future__ import annotations

import re

from handshake.domain.board import read_board
from handshake.domain.packet import Finding, PacketStatus
from handshake.domain.packet_fields import Remarks
from handshake.gates.validators.view import View

LOOK_BACK = 2000
_TRAILER = re.compile(r"^Handshake-WP:[ \t]*(\S+)[ \t]*$", re.MULTILINE)
_SUBJECT = re.compile(
    r"^\W*(?:feat|fix|docs|chore|gov|test|refactor)?\W*\[?(WP-[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9])\]?\s*:"
)


def validate(view: View) -> list[Finding]:
    """Commits and board entries without a packet, and finished packets without a commit."""
    known = {packet.wp_id: packet for packet in view.packets}
    named = _named_in_commits(view)
    findings: list[Finding] = []
    for wp_id, commit in sorted(named.items()):
        if wp_id not in known and not any(p.base_wp_id == wp_id for p in view.packets):
            remarks = Remarks(f"commit {commit[:12]}")
            what = f"it names {wp_id}, and there is no such packet"
            remarks.error("HSK-VAL-TRACE", None, what, f"write {view.settings.paths.packets}/{wp_id}.md")
            findings += remarks.findings
    for packet in view.packets:
        if packet.status is PacketStatus.DONE and packet.manifest and packet.wp_id not in named:
            remarks = Remarks(packet.path)
            what = "it is Done, and no commit names it"
            remarks.error("HSK-VAL-TRACE", packet.status_line - 1, what, f"commits of it say: {packet.wp_id}: …")
            findings += remarks.findings
    board = Remarks(view.settings.paths.board)
    for entry in read_board(view.read(view.settings.paths.board) or b""):
        if entry.wp_id not in known:
            what = f"it names {entry.wp_id}, and there is no such packet"
            board.error("HSK-VAL-TRACE", entry.line - 1, what, "take the line out, or write the packet")
    return [*findings, *board.findings]


def _named_in_commits(view: View) -> dict[str, str]:
    """Each packet id that a trailer or the head of a subject names, with the newest commit that does."""
    if view.tip is None:
        return {}
    log = view.repo.git.names("log", "-z", f"--max-count={LOOK_BACK}", "--format=%H%n%B", view.tip, "--")
    named: dict[str, str] = {}
    for record in log:
        commit, _, message = record.partition("\n")
        subject = _SUBJECT.match(message.split("\n", 1)[0])
        for wp_id in [*_TRAILER.findall(message), *([subject.group(1)] if subject else [])]:
            named.setdefault(wp_id, commit)
    return named
