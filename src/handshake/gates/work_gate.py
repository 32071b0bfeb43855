"""The post-work gate as the configuration has it: the change itself, then the validators that are named.

Contract: `packets-and-gates.md`, Post-work gate and Validators.
"""

from __future__ import annotations

from handshake.domain.packet import Finding
from handshake.domain.settings import Settings
from handshake.gates.post_work import post_work
from handshake.repo.git import Repository


def judge_work(repo: Repository, settings: Settings, base: str, head: str, packet_path: str) -> list[Finding]:
    """Every finding over what changed from `base` to `head`. Raises as `post_work`."""
    governance = settings.governance
    findings = post_work(repo, base, head, packet_path, mode=governance.mode, ascii_level=governance.ascii)
    if settings.validators.post_work:
        from handshake.gates.validators.table import gate_findings

        findings += gate_findings(repo, settings, base, head)
    return findings
