"""The post-work gate: does what is being committed keep to its packet? Contract: `packets-and-gates.md`.

Packet, manifest and files are read from the two trees and from nowhere else: what lies in the working tree
changes no verdict.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
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
from handshake.repo.git import Repository
from handshake.repo.tree import TreeView

_SHA = re.compile(r"^[0-9a-f]{40}(?:[0-9a-f]{24})?$")


@dataclass(frozen=True)
class _Signed:
    """The packet whose scope and waivers count, and the one whose manifest is judged."""

    scope: tuple[str, ...]
    waivers: tuple[Waiver, ...]
    old_entries: tuple[ManifestEntry, ...]


def post_work(
    repo: Repository,
    base: str,
    head: str,
    packet_path: str,
    *,
    mode: Literal["standard", "strict"] = "standard",
    ascii_level: Literal["error", "warn"] = "error",
) -> list[Finding]:
    """Every finding over what changed from `base` to `head`, two commits or trees; an empty list passes.

    Args:
        packet_path: repo-relative path of the one packet that this change is for.
        mode: `strict` asks for `SKELETON APPROVED` once the manifest is filled.
        ascii_level: how grave a packet is that is not ASCII.

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
        remarks.error(
            "HSK-POST-PACKET", None, "the packet is not in what is being committed", f"git add {packet_path}"
        )
        return remarks.findings
    reading = read_packet(data, packet_path)
    remarks.findings += reading.findings
    _remark_on_ascii(reading, remarks, ascii_level)
    remarks.findings += phase_findings(reading.lines, packet_path, manifest_is_evidence=mode == "strict")
    if reading.packet is not None:
        signed = _signed(repo, old, new, packet_path, reading.packet, remarks)
        moved = (_named(repo, base), _named(repo, head)) != (old, new)
        _judge_changes(repo, changes, reading.packet, signed, new, remarks, moved=moved)
    return sorted(remarks.findings, key=lambda f: (f.severity, f.file, f.line or 0, f.code, f.what))


def _named(repo: Repository, revision: str) -> str:
    """The object a revision names now; a full id names itself."""
    if _SHA.match(revision):
        return revision
    return repo.git.text("rev-parse", "--verify", "--end-of-options", revision)


def _remark_on_ascii(reading: PacketReading, remarks: Remarks, level: Literal["error", "warn"]) -> None:
    lines = reading.lines.not_ascii
    if lines:
        say = remarks.error if level == "error" else remarks.warning
        say("HSK-POST-ASCII", lines[0], f"{len(lines)} lines are not ASCII", "write `-`, straight quotes and `...`")


def _signed(repo: Repository, base: str, head: str, packet_path: str, packet: Packet, remarks: Remarks) -> _Signed:
    """Scope and waivers as signed before the change: at the base, else where the packet first came in."""
    before = TreeView(repo.git, repo.pygit2, base).read(packet_path)
    old = None if before is None else read_packet(before, packet_path).packet
    entries = old.manifest if old else ()
    if before is None:
        first = _first_with(repo, base, head, packet_path)
        data = None if first is None else TreeView(repo.git, repo.pygit2, first).read(packet_path)
        old = None if data is None else read_packet(data, packet_path).packet
    if old is None:
        if before is not None:
            remarks.error(
                "HSK-POST-SCOPE", None, "the packet at the base cannot be read: its scope is unknown", "git log -- it"
            )
            return _Signed((), (), ())
        old = packet
    elif set(packet.in_scope_paths) - set(old.in_scope_paths):
        widened = ", ".join(sorted(set(packet.in_scope_paths) - set(old.in_scope_paths)))
        remarks.warning(
            "HSK-POST-SCOPE",
            None,
            f"this change adds {widened} to its own scope; the scope that was signed counts",
            "commit a change of scope before the work",
        )
    return _Signed(old.in_scope_paths, old.waivers, entries)


def _first_with(repo: Repository, base: str, head: str, path: str) -> str | None:
    """The first commit after `base` that has the packet; `head` may be a bare tree: then HEAD's commits count."""
    kinds = [repo.git.text("cat-file", "-t", revision) for revision in (base, head)]
    tip = head if kinds[1] == "commit" else repo.resolve("HEAD")
    if tip is None:
        return None
    exclude = [f"^{base}"] if kinds[0] == "commit" else []
    listed = repo.git.text(
        "rev-list", "--reverse", "--topo-order", tip, *exclude, "--", f":(top,literal){path}"
    ).split()
    return next((commit for commit in listed if TreeView(repo.git, repo.pygit2, commit).read(path) is not None), None)


def _judge_changes(
    repo: Repository,
    changes: Sequence[FileChange],
    packet: Packet,
    signed: _Signed,
    head: str,
    remarks: Remarks,
    *,
    moved: bool,
) -> None:
    by_file: dict[str, list[ManifestEntry]] = {}
    for entry in packet.manifest:
        by_file.setdefault(entry.target_file, []).append(entry)
    own = (packet.path, f"docs/validator_gates/{packet.wp_id}.json")
    changed = {change.path for change in changes}
    broken = broken_links(repo, head, packet.path)
    for change in changes:
        if change.path in own:
            continue
        waived = is_waived(change.path, signed.waivers)
        inside = waived or in_scope(change.path, signed.scope)
        entries = by_file.get(change.path, [])
        if not inside:
            remarks.error(
                "C701-G02",
                (entries[0].line - 1) if entries else None,
                f"{change.path} is not in IN_SCOPE_PATHS",
                "take the change out, or have a waiver name the file",
            )
        if not entries and needs_entry(change.path):
            remarks.error(
                "C701-G05", None, f"{change.path} has no manifest block", f"add one to the packet of {packet.wp_id}"
            )
        case = FileCase(
            change=change,
            entries=tuple(entries),
            in_scope=inside,
            waived=waived,
            old_entries=signed.old_entries,
            broken_links=broken,
            moved=moved,
        )
        remarks.findings += judge_file(case, packet.path, packet.wp_id)
    for entry in packet.manifest:
        if entry.target_file not in changed:
            same = next((path for path in sorted(changed) if path.casefold() == entry.target_file.casefold()), None)
            what = f"; the file's name is {same}" if same else ""
            remarks.error(
                "C701-G06" if same else "C701-G05",
                entry.line - 1,
                f"the manifest has a block for {entry.target_file}, which did not change{what}",
                "take the block out of the packet",
            )


def is_waived(path: str, waivers: Sequence[Waiver]) -> bool:
    """Whether a waiver with an id names the path."""
    return any(path in waiver.paths or in_scope(path, (*waiver.paths, *waiver.patterns)) for waiver in waivers)
