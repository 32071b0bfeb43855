"""The post-work gate: does what is being committed keep to its packet? Contract: `packets-and-gates.md`.

Packet, manifest and files are read from the two trees and from nowhere else: what lies in the working tree
changes no verdict.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from handshake.domain.packet import Finding, ManifestEntry, Packet, Waiver
from handshake.domain.packet_fields import Remarks
from handshake.domain.packet_scope import in_scope
from handshake.domain.packet_text import PacketReading, read_packet
from handshake.gates.changes import FileChange, changes_between
from handshake.gates.links import broken_links
from handshake.gates.manifest import needs_entry
from handshake.gates.manifest_gates import FileCase, judge_file
from handshake.gates.phase import phase_findings
from handshake.gates.signed import Signed, signed_before
from handshake.repo.git import Repository
from handshake.repo.tree import TreeView

_SHA = re.compile(r"^[0-9a-f]{40}(?:[0-9a-f]{24})?$")


def post_work(
    repo: Repository,
    base: str,
    head: str,
    packet_path: str,
    *,
    mode: Literal["standard", "strict"] = "standard",
    ascii_level: Literal["error", "warn"] = "error",
    board: str = "",
) -> list[Finding]:
    """Every finding over what changed from `base` to `head`, two commits or trees; an empty list passes.

    Args:
        packet_path: repo-relative path of the one packet that this change is for.
        mode: `strict` asks for `SKELETON APPROVED` once the manifest is filled.
        ascii_level: how grave a packet is that is not ASCII.
        board: repo-relative path of the task board, where the packet's own line may move.

    Raises:
        GitFailed, EnvironmentProblem: it could not be judged.
    """
    old, new = _named(repo, base), _named(repo, head)
    remarks = Remarks(packet_path)
    changes = changes_between(repo, old, new)
    if not changes:
        remarks.error("HSK-POST-NOTHING", None, "nothing changed", "commit or stage the work first")
        return remarks.findings
    data = TreeView(repo.git, repo.pygit2, new).read(packet_path)
    if data is None:
        _remark_on_absence(repo, packet_path, remarks)
        return remarks.findings
    reading = read_packet(data, packet_path)
    remarks.findings += reading.findings
    _remark_on_ascii(reading, remarks, ascii_level)
    remarks.findings += phase_findings(reading.lines, packet_path, manifest_is_evidence=mode == "strict")
    if reading.packet is not None:
        own = own_files(reading.packet)
        others = [change for change in changes if change.path not in own]
        work = [change for change in others if not _is_on_board(change, reading.packet, board)]
        # a commit of the packet alone is how a scope comes to be signed
        signed = signed_before(repo, old, new, reading.packet, remarks) if work else Signed()
        moved = (_named(repo, base), _named(repo, head)) != (old, new)
        folder = packet_path.rpartition("/")[0]
        broken = broken_links(repo, new, reading.lines, folder) if reading.packet.manifest else ()
        remarks.findings += judge_changes(work, reading.packet, signed, broken=broken, moved=moved)
    return sorted(remarks.findings, key=lambda f: (f.severity, f.file, f.line or 0, f.code, f.what))


def _named(repo: Repository, revision: str) -> str:
    """The object a revision names now; a full id names itself."""
    if _SHA.match(revision):
        return revision
    return repo.git.text("rev-parse", "--verify", "--end-of-options", revision)


def _remark_on_absence(repo: Repository, packet_path: str, remarks: Remarks) -> None:
    """The working tree changes no verdict; what to do about it depends on where the packet is."""
    if (repo.root / packet_path).is_file():
        said, mend = "the packet is not in what is being committed", f"git add {packet_path}"
    else:
        folder = packet_path.rpartition("/")[0]
        said, mend = "there is no such packet", f"see those that are here: git ls-files {folder}"
    remarks.error("HSK-POST-PACKET", None, said, mend)


def _remark_on_ascii(reading: PacketReading, remarks: Remarks, level: Literal["error", "warn"]) -> None:
    lines = reading.lines.not_ascii
    if lines:
        say = remarks.error if level == "error" else remarks.warning
        say("HSK-POST-ASCII", lines[0], f"{len(lines)} lines are not ASCII", "write `-`, straight quotes and `...`")


def _is_on_board(change: FileChange, packet: Packet, board: str) -> bool:
    """Whether the change moves the packet's own line on the task board, and no byte or mode beside it."""
    if change.path != board or change.before_mode != change.after_mode:
        return False
    from handshake.domain.board import moves_only

    return moves_only(change.before, change.after, packet.wp_id)


def own_files(packet: Packet) -> tuple[str, ...]:
    """The packet's own papers: a change of theirs is judged by other means."""
    return packet.path, f"docs/validator_gates/{packet.wp_id}.json"


def judge_changes(
    changes: Sequence[FileChange],
    packet: Packet,
    signed: Signed,
    *,
    broken: tuple[tuple[str, int], ...] = (),
    moved: bool = False,
    whole: bool = True,
) -> list[Finding]:
    """What scope and manifest say of changed files; the packet's own papers must not be among them.

    Args:
        broken: linked paths that are not there, with their lines.
        moved: whether the revisions moved while they were judged.
        whole: whether these are all changed files, so that a block of any other is one too many.
    """
    remarks = Remarks(packet.path)
    by_file: dict[str, list[ManifestEntry]] = {}
    for entry in packet.manifest:
        by_file.setdefault(entry.target_file, []).append(entry)
    for change in changes:
        entries = by_file.get(change.path, [])
        waived = is_waived(change.path, signed.waivers)
        inside = waived or in_scope(change.path, signed.scope)
        if not inside:
            remarks.error(
                "C701-G02",
                (entries[0].line - 1) if entries else None,
                f"{change.path} is not in IN_SCOPE_PATHS",
                "take the change out, or have a waiver name the file",
            )
        if not entries and needs_entry(change.path):
            remarks.error(
                "C701-G05",
                None,
                f"{change.path} has no manifest block",
                f"handshake manifest write {packet.wp_id}",
            )
        case = FileCase(
            change=change,
            entries=tuple(entries),
            in_scope=inside,
            waived=waived,
            known=signed.known,
            broken_links=broken,
            moved=moved,
        )
        remarks.findings += judge_file(case, packet.path, packet.wp_id)
    if whole:
        _remark_on_idle_blocks(packet, {change.path for change in changes}, remarks)
    return remarks.findings


def _remark_on_idle_blocks(packet: Packet, changed: set[str], remarks: Remarks) -> None:
    folded = {path.casefold(): path for path in sorted(changed, reverse=True)}
    for entry in packet.manifest:
        if entry.target_file in changed:
            continue
        same = folded.get(entry.target_file.casefold())
        what = f"; the file's name is {same}" if same else ""
        remarks.error(
            "C701-G06" if same else "C701-G05",
            entry.line - 1,
            f"the manifest has a block for {entry.target_file}, which did not change{what}",
            f"handshake manifest write {packet.wp_id}",
        )


def is_waived(path: str, waivers: Sequence[Waiver]) -> bool:
    """Whether a waiver with an id names the path."""
    return any(path in waiver.paths or in_scope(path, (*waiver.paths, *waiver.patterns)) for waiver in waivers)
