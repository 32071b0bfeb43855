"""The post-work gate as the configuration has it: the change itself, then the validators that are named.

Contract: `packets-and-gates.md`, Post-work gate and Validators.
"""

from __future__ import annotations

from collections.abc import Sequence

from handshake.domain.gate_settings import GateSettings, HookSettings
from handshake.domain.packet import Finding
from handshake.domain.packet_text import read_packet
from handshake.gates.changes import FileChange
from handshake.gates.post_work import judge_changes, own_files, post_work
from handshake.gates.signed import Signed
from handshake.repo.git import Repository


def judge_work(repo: Repository, settings: GateSettings, base: str, head: str, packet_path: str) -> list[Finding]:
    """Every finding over what changed from `base` to `head`. Raises as `post_work`."""
    governance = settings.governance
    findings = post_work(
        repo,
        base,
        head,
        packet_path,
        mode=governance.mode,
        ascii_level=governance.ascii,
        board=settings.paths.board,
    )
    if not isinstance(settings, HookSettings) and settings.validators.post_work:
        from handshake.gates.validators.table import gate_findings

        findings += gate_findings(repo, settings, base, head)
    return findings


def judge_own_commit(signed: bytes, written: bytes, packet_path: str, changes: Sequence[FileChange]) -> list[Finding]:
    """What the same gates say of a commit that a run is about to make, before there is one.

    Args:
        signed: the packet as the run was started with.
        written: the packet with the manifest that goes into the commit.
        changes: the commit's files against the base; others are judged when they are committed.
    """
    asked, packet = read_packet(signed, packet_path).packet, read_packet(written, packet_path)
    if asked is None or packet.packet is None:
        return list(packet.errors)
    scope = Signed(asked.in_scope_paths, asked.waivers)
    work = [change for change in changes if change.path not in own_files(asked)]
    return judge_changes(work, packet.packet, scope, whole=False)
