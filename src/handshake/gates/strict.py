"""What `governance.mode: strict` asks for beyond a signed packet. Contract: `packets-and-gates.md`, Activation.

Each check is a function from files to findings; where the files come from (working tree, commit, index)
is the caller's choice.
"""

from __future__ import annotations

import re
from pathlib import Path

from handshake.domain.board import SECTION_OF, read_board, tag_of_status
from handshake.domain.gate_settings import Paths
from handshake.domain.packet import Finding, Packet
from handshake.domain.packet_fields import Remarks
from handshake.domain.packet_lines import PacketLines
from handshake.domain.refinement import read_refinement
from handshake.domain.registry import active_packets, read_registry
from handshake.domain.signature_audit import read_signature_audit, uses_of
from handshake.gates.phase import phase_findings
from handshake.gates.refinement import refinement_findings
from handshake.gates.spec import ReadFile
from handshake.repo.git import Repository

_MINUTE = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}")


def without_board_status(findings: list[Finding]) -> list[Finding]:
    """The findings on a WP branch: there the packet moves on, and the board follows when the work has arrived."""
    return [finding for finding in findings if finding.code != "HSK-BOARD-STATUS"]


def strict_findings(packet: Packet, lines: PacketLines, read: ReadFile, paths: Paths) -> list[Finding]:
    """Refinement, signature, phases, board and registry of one packet; whether they are committed is not asked."""
    signature = packet.user_signature or ""
    return [
        *refinement_findings(packet.wp_id, paths.refinements, read, signature=signature),
        *signature_findings(packet, read, paths.signatures),
        *haste_findings(packet, read, paths),
        *phase_findings(lines, packet.path, complete=True),
        *board_findings(packet, read, paths.board),
        *registry_findings(packet, read, paths.registry),
    ]


def signature_findings(packet: Packet, read: ReadFile, path: str) -> list[Finding]:
    """The packet's signature stands in the audit, once, for this packet."""
    remarks = Remarks(path)
    signature = packet.user_signature
    if not signature:
        return []  # that it is missing is said of the packet
    uses = uses_of(signature, read_signature_audit(read(path) or b""))
    if not uses:
        remarks.error(
            "HSK-SIG-AUDIT",
            None,
            f"the signature {signature} is not in the audit",
            f"handshake sign {packet.wp_id} {signature}",
        )
    elif len(uses) > 1:
        places = ", ".join(str(use.line) for use in uses)
        remarks.error(
            "HSK-SIG-AUDIT",
            uses[1].line - 1,
            f"the signature {signature} was used {len(uses)} times (lines {places})",
            "sign with a new one",
        )
    elif packet.wp_id not in uses[0].wp_ids:
        other = ", ".join(uses[0].wp_ids) or "no packet"
        remarks.error(
            "HSK-SIG-AUDIT",
            uses[0].line - 1,
            f"the signature {signature} was used for {other}, not for {packet.wp_id}",
            "sign with a new one",
        )
    return remarks.findings


def haste_findings(packet: Packet, read: ReadFile, paths: Paths) -> list[Finding]:
    """The audit does not date the signature to the minute in which the refinement was begun."""
    remarks = Remarks(paths.signatures)
    refinement = read(f"{paths.refinements}/{packet.wp_id}.md") or b""
    begun = _MINUTE.search(read_refinement(refinement, "").refinement.date)
    for use in uses_of(packet.user_signature or "", read_signature_audit(read(paths.signatures) or b"")):
        signed = _MINUTE.search(use.text)
        if begun and signed and signed.group() == begun.group():
            what = f"{use.signature} was signed in the minute in which the refinement was begun ({signed.group()})"
            remarks.error("HSK-SIG-MINUTE", use.line - 1, what, "read what you sign; sign with a new one")
    return remarks.findings


def board_findings(packet: Packet, read: ReadFile, path: str) -> list[Finding]:
    """The board names the packet once, in the section of its tag, and the tag agrees with the packet's status."""
    remarks = Remarks(path)
    sync = "the packet counts: handshake board sync"
    data = read(path)
    if data is None:
        remarks.error("HSK-BOARD-MISSING", None, "there is no task board", "handshake board sync")
        return remarks.findings
    entries = [entry for entry in read_board(data) if entry.wp_id == packet.wp_id]
    if not entries:
        remarks.error("HSK-BOARD-PACKET", None, f"{packet.wp_id} is not on the board", "handshake board sync")
    for again in entries[1:]:
        what = f"{packet.wp_id} stands on line {entries[0].line} too"
        remarks.error("HSK-BOARD-TWICE", again.line - 1, what, "keep one line for each packet")
    # what is done and not reviewed may stand under either: in strict mode the verdict is still to come
    tags = [tag_of_status(packet.status, needs_review=waits) for waits in (False, not packet.reports)]
    wanted = {SECTION_OF[tag] for tag in tags if tag is not None}
    for entry in entries:
        section = next((name for tag, name in SECTION_OF.items() if tag == entry.tag), None)
        if section is None or section != entry.section:
            where = f"under {entry.section}" if entry.section else "under no section of the board"
            remarks.error("HSK-BOARD-TAG", entry.line - 1, f"{packet.wp_id} is [{entry.tag}] {where}", sync)
        elif wanted and section not in wanted:
            what = f"{packet.wp_id} is [{entry.tag}] here and `{packet.status_text}` in the packet"
            remarks.error("HSK-BOARD-STATUS", entry.line - 1, what, sync)
    return remarks.findings


def registry_findings(packet: Packet, read: ReadFile, path: str) -> list[Finding]:
    """The registry names this packet, and no other, as the active one of its base."""
    remarks = Remarks(path)
    entries = read_registry(read(path) or b"")
    active = active_packets(entries, packet.base_wp_id)
    mend = f"let one row say: {packet.base_wp_id} -> {packet.wp_id}"
    own = [entry for entry in entries if entry.base_wp_id == packet.base_wp_id]
    if not active:
        remarks.error("HSK-REG-MISSING", None, f"the registry has no row for {packet.base_wp_id}", mend)
    elif len(active) > 1 or active[0] != packet.wp_id:
        remarks.error(
            "HSK-REG-ACTIVE",
            own[0].line - 1,
            f"the active packet of {packet.base_wp_id} is {' and '.join(active)}, not {packet.wp_id} alone",
            mend,
        )
    elif any(entry.is_stub for entry in own):
        remarks.error("HSK-REG-STUB", own[0].line - 1, f"the row of {packet.base_wp_id} leads to a stub", mend)
    return remarks.findings


def committed_findings(repo: Repository, paths: tuple[str, ...]) -> list[Finding]:
    """Each of the files that are there is in HEAD as it stands in the working tree and in the index."""
    found = []
    for path in paths:
        if (repo.root / path).is_file() and not is_committed(repo, path):
            remarks = Remarks(path)
            remarks.error("HSK-STRICT-COMMIT", None, "it is not committed as it stands", f"git commit -- {path}")
            found += remarks.findings
    return found


def is_committed(repo: Repository, path: str) -> bool:
    """Whether a file's content in the working tree is that of HEAD, as git sees it (filters, line endings)."""
    pathspec = f":(top,literal){path}"
    if not repo.git.names("ls-files", "-z", "--", pathspec) or repo.resolve("HEAD") is None:
        return False
    # an ignored or `assume-unchanged` file is no way round it: the index is compared, then the content is hashed
    staged = repo.git.run("diff-index", "--cached", "--quiet", "HEAD", "--", pathspec, check=False).code
    file = repo.root / path
    if staged != 0 or not file.is_file():
        return False
    hashed = repo.git.run("hash-object", f"--path={path}", "--stdin", input=file.read_bytes()).stdout.decode().strip()
    return repo.git.text("rev-parse", f"HEAD:{path}") == hashed


def working_tree(root: Path) -> ReadFile:
    """Reads files of a checkout; what is no regular file there, or lies behind a link out of it, is not there."""
    top = root.resolve()

    def read(path: str) -> bytes | None:
        try:
            file = (top / path).resolve()
        except RuntimeError:  # a loop of links, up to Python 3.12
            return None
        return file.read_bytes() if file.is_relative_to(top) and file.is_file() else None

    return read
