"""The gates over a pull request: which range, which packets. Contract: `packets-and-gates.md`, Hooks, last item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from handshake.domain.errors import UsageError
from handshake.domain.gate_settings import GateSettings
from handshake.domain.packet import Finding
from handshake.domain.packet_names import is_packet_file
from handshake.domain.packet_text import read_packet
from handshake.domain.settings import Settings
from handshake.gates.judged_range import WP_BRANCH, JudgedRange, judged_range, left_base_at, packet_path
from handshake.gates.merge_gate import merge_findings
from handshake.gates.rules import rules_since
from handshake.gates.strict import strict_findings, without_board_status
from handshake.gates.work_gate import judge_work
from handshake.repo.git import Repository
from handshake.repo.tree import TreeView


@dataclass(frozen=True)
class PullRequest:
    """The commits that a CI system asks about, and the branch they come from (None where it is not known)."""

    base: str
    head: str
    branch: str | None


def pull_request(repo: Repository, settings: Settings, env: Mapping[str, str], asked: str | None) -> PullRequest:
    """The range asked for, else what GitHub or GitLab says of it, else HEAD since it left the base branch.

    Raises:
        UsageError: the revisions are not here (a shallow clone), or nothing changed.
    """
    branch = env.get("GITHUB_HEAD_REF") or env.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME") or repo.head_branch()
    target = env.get("GITHUB_BASE_REF") or env.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME") or settings.base_branch
    if asked is not None:
        chosen: JudgedRange | None = judged_range(repo, target, asked)
    else:
        head = _head_of(repo, env)
        base = left_base_at(repo, target, head)
        chosen = None if base == head else JudgedRange(base, head, staged=False)
    if chosen is None:
        raise UsageError(f"nothing changed since {target}", next_step="name a range: handshake ci --range A..B")
    return PullRequest(chosen.base, chosen.head, branch)


def _head_of(repo: Repository, env: Mapping[str, str]) -> str:
    """HEAD; on GitHub, where HEAD is a merge made for the check, the second parent: what was pushed."""
    head = repo.resolve("HEAD")
    if head is None:
        raise UsageError("there is no commit here", next_step="git commit first")
    parents = repo.parents(head)
    return parents[1] if env.get("GITHUB_BASE_REF") and len(parents) == 2 else head


def ci_findings(repo: Repository, settings: Settings, request: PullRequest) -> tuple[list[Finding], tuple[str, ...]]:
    """What the gates say of a pull request, and the ids of the packets it touches; by the rules before it too.

    Every packet that changed must read (in strict mode, with all that strict mode asks for). Where the branch
    is that of a packet, or one packet changed and other files beside it, the post-work gate judges the whole. What
    would arrive needs the review that a merge here would need.
    """
    findings: dict[Finding, None] = {}
    ids: dict[str, None] = {}
    for rules in rules_since(repo, settings, request.base):
        found, touched = _findings_by(repo, rules, request)
        findings |= dict.fromkeys(found)
        ids |= dict.fromkeys(path.rpartition("/")[2].removesuffix(".md") for path in touched)
    return list(findings), tuple(ids)


def _findings_by(
    repo: Repository, settings: GateSettings, request: PullRequest
) -> tuple[list[Finding], tuple[str, ...]]:
    """The findings by one set of rules, and the paths of the packets."""
    view = TreeView(repo.git, repo.pygit2, request.head)
    names = repo.git.names("diff-tree", "-r", "--name-only", "--no-renames", "-z", request.base, request.head)
    packets = [name for name in names if is_packet_file(name, settings.paths.packets)]
    findings: list[Finding] = []
    judged = _judged(settings, request, names, packets)
    if judged is not None:
        findings += judge_work(repo, settings, request.base, request.head, judged)
    for path in packets:
        data = view.read(path)
        if data is None:
            continue
        reading = read_packet(data, path)
        if path != judged:
            findings += reading.findings
        if settings.governance.mode == "strict" and reading.packet is not None and not reading.packet.is_stub:
            more = strict_findings(reading.packet, reading.lines, view.read, settings.paths)
            findings += without_board_status(more) if path == judged else more
    findings += merge_findings(repo, settings, request.base, request.head)
    return findings, (*packets, *([judged] if judged else []))


def _judged(settings: GateSettings, request: PullRequest, names: Sequence[str], packets: Sequence[str]) -> str | None:
    if request.branch and request.branch.startswith(WP_BRANCH):
        return packet_path(settings, request.branch.removeprefix("feat/"))
    work = [name for name in names if name not in packets and not name.startswith("docs/")]
    return packets[0] if len(packets) == 1 and work else None
