"""May this packet run? Contract: `packets-and-gates.md`, Activation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from handshake.domain.packet import Finding, Packet, PacketStatus
from handshake.domain.packet_fields import Remarks
from handshake.domain.packet_text import is_runnable, read_packet
from handshake.domain.registry import active_packets, read_registry
from handshake.domain.settings import Settings
from handshake.gates.phase import phase_findings


@dataclass(frozen=True)
class ActivePacket:
    """A packet that asks to be run, with what stands in its way."""

    path: str
    data: bytes
    packet: Packet | None
    findings: tuple[Finding, ...]

    @property
    def may_run(self) -> bool:
        """Whether nothing stands in its way."""
        return self.packet is not None and not any(f.severity == "error" for f in self.findings)


def activation_findings(packet: Packet, folder: Path, settings: Settings, registry_text: str | None) -> list[Finding]:
    """What stands between a packet that reads well and its run, beyond the findings of reading.

    Args:
        folder: the packet folder in the working tree; other revisions are looked for there.
        registry_text: the traceability registry, None where there is none.

    Raises:
        EnvironmentProblem, UsageError: signed commits are asked for and git cannot be asked.
    """
    findings = is_runnable(packet)
    file = folder / packet.path.replace("\\", "/").rpartition("/")[2]
    if file.is_file() and not packet.is_stub:
        data = file.read_bytes()
        findings += phase_findings(read_packet(data, packet.path).lines, packet.path, manifest_is_evidence=False)
    if not packet.is_stub:
        findings += _revision_findings(packet, folder, registry_text)
    if settings.governance.mode == "strict" and not packet.is_stub:
        findings = _with_strict(findings, packet, file, settings)
    if settings.governance.signed_commits:
        findings += commit_findings(packet.path, file)
    return findings


def _with_strict(findings: list[Finding], packet: Packet, file: Path, settings: Settings) -> list[Finding]:
    """The findings, with what strict mode adds, each once."""
    from handshake.gates.strict import committed_findings, strict_findings, working_tree
    from handshake.repo.git import find_repository

    repo = find_repository(file.parent, libgit2=False)  # the daemon asks this, and stays small
    read = working_tree(repo.root)
    lines = read_packet(read(packet.path) or b"", packet.path).lines
    refinement = f"{settings.paths.refinements}/{packet.wp_id}.md"
    more = [
        *strict_findings(packet, lines, read, settings.paths),
        *committed_findings(repo, (packet.path, refinement)),
    ]
    # the registry and the phases are asked again, and more of them
    asked_again = ("HSK-ACT-REGISTRY", "HSK-ACT-AMBIGUOUS", "HSK-PHASE")
    return [*(f for f in findings if f.code not in asked_again), *more]


def _revision_findings(packet: Packet, folder: Path, registry_text: str | None) -> list[Finding]:
    remarks = Remarks(packet.path)
    entries = read_registry((registry_text or "").encode("utf-8", "replace"))
    active = active_packets(entries, packet.base_wp_id)
    if len(active) > 1:
        remarks.error(
            "HSK-ACT-REGISTRY",
            None,
            f"the registry names {len(active)} active packets for {packet.base_wp_id}: {', '.join(active)}",
            "keep one",
        )
    elif active and active[0] != packet.wp_id:
        remarks.error(
            "HSK-ACT-REGISTRY",
            None,
            f"the registry names {active[0]} as the active packet of {packet.base_wp_id}",
            f"to run this one, write {packet.base_wp_id} -> {packet.wp_id} there",
        )
    elif not active:
        others = _other_revisions(packet, folder)
        if others:
            remarks.error(
                "HSK-ACT-AMBIGUOUS",
                None,
                f"{packet.base_wp_id} has several revisions ({', '.join(others)}) and the registry names none",
                f"write {packet.base_wp_id} -> {packet.wp_id} in the registry",
            )
    return remarks.findings


def _other_revisions(packet: Packet, folder: Path) -> list[str]:
    revision = re.compile(re.escape(packet.base_wp_id) + r"(?:-v\d+)?$")
    others = []
    for file in sorted(folder.glob("WP-*.md")) if folder.is_dir() else []:
        if file.stem == packet.wp_id or not revision.match(file.stem):
            continue
        other = read_packet(file.read_bytes(), file.name).packet
        if other is None or not other.is_stub:
            others.append(file.stem)
    return others


def commit_findings(path: str, file: Path) -> list[Finding]:
    """Whether the packet as it stands is committed, by a commit with a signature that git verifies.

    Raises:
        EnvironmentProblem: git cannot be asked.
    """
    from handshake.repo.git import find_repository

    remarks = Remarks(path)
    repo = find_repository(file.parent, libgit2=False)  # the daemon asks this, and stays small
    head = repo.resolve("HEAD")
    if head is None or repo.tree(head).read(path) != file.read_bytes():
        remarks.error("HSK-ACT-SIGNED", None, "the packet as it stands is not committed", "git commit -S it")
        return remarks.findings
    commit = repo.git.text("log", "-1", "--format=%H", head, "--", f":(top,literal){path}")
    if repo.git.run("verify-commit", commit, check=False).code != 0:
        remarks.error(
            "HSK-ACT-SIGNED",
            None,
            f"the packet's last commit {commit[:12]} has no signature that git verifies",
            f"git verify-commit {commit[:12]}",
        )
    return remarks.findings


def find_active_packets(root: Path, settings: Settings) -> tuple[ActivePacket, ...]:
    """Every packet in the folder that asks to be run, or cannot be read, by name. Stubs and others are left out."""
    folder = root / settings.paths.packets
    registry_file = root / settings.paths.registry
    registry = registry_file.read_text(encoding="utf-8", errors="replace") if registry_file.is_file() else None
    found = []
    for file in sorted(folder.glob("WP-*.md")) if folder.is_dir() else []:
        path = f"{settings.paths.packets}/{file.name}"
        data = file.read_bytes()
        reading = read_packet(data, path)
        packet, findings = reading.packet, list(reading.findings)
        if packet is not None:
            if packet.is_stub or packet.status not in (PacketStatus.READY_FOR_DEV, PacketStatus.IN_PROGRESS):
                continue
            findings += activation_findings(packet, folder, settings, registry)
        found.append(ActivePacket(path, data, packet, tuple(findings)))
    return tuple(found)
