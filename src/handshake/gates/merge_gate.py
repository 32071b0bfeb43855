"""May a work packet reach the base branch? Contract: `packets-and-gates.md`, Review: a FAIL blocks the merge gate.

The packets are those that a move of the base branch brings, found by content: a merge, a fast-forward, a squash and
a copied commit are judged alike.
"""

from __future__ import annotations

from handshake.domain.gate_settings import GateSettings
from handshake.domain.packet import Finding, Packet, PacketStatus
from handshake.domain.packet_fields import Remarks
from handshake.domain.packet_text import read_packet
from handshake.domain.review import ReviewLog, log_path, read_review_log
from handshake.repo.git import Repository
from handshake.repo.tree import TreeView


def merge_findings(repo: Repository, settings: GateSettings, old: str, new: str) -> list[Finding]:
    """What keeps the base branch from going from `old` to `new`, ids of two commits or trees.

    In standard mode a FAIL; in strict mode also the lack of a review that passed, and work that came after it.
    """
    folder = settings.paths.packets
    spec = f":(top,literal){folder}"
    changed = repo.git.names("diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", old, new, "--", spec)
    before, tree = TreeView(repo.git, repo.pygit2, old), TreeView(repo.git, repo.pygit2, new)
    findings: list[Finding] = []
    for path in changed:
        name = path.removeprefix(f"{folder}/")
        data = tree.read(path) if name.startswith("WP-") and name.endswith(".md") and "/" not in name else None
        packet = read_packet(data, path).packet if data is not None else None
        if packet is not None and not packet.is_stub:
            strict = settings.governance.mode == "strict" and _brings_work(packet, before.read(path), path)
            findings += _packet_findings(repo, packet, tree, old, new, strict=strict)
    return findings


def _packet_findings(
    repo: Repository, packet: Packet, tree: TreeView, old: str, new: str, *, strict: bool
) -> list[Finding]:
    path = log_path(packet.wp_id)
    remarks = Remarks(path)
    data = tree.read(path)
    log, problems = read_review_log(data, packet.wp_id) if data is not None else (None, ())
    revise = f"a new revision is needed: handshake new {_next_revision(packet.wp_id)}"
    for problem in problems:
        remarks.error("HSK-REVIEW-LOG", None, problem, f"take it back, then: handshake review {packet.wp_id}")
    if log is not None and log.failed:
        remarks.error("HSK-REVIEW-FAIL", None, f"the review of {packet.wp_id} failed", revise)
    elif packet.reports and packet.reports[-1].verdict == "FAIL":
        remarks.error("HSK-REVIEW-FAIL", None, f"the newest report of {packet.wp_id} says FAIL", revise)
    elif failed := _failed_in_history(repo, packet.wp_id, old, new):
        what = f"the review of {packet.wp_id} failed in {failed[:12]}, and its log was taken away since"
        remarks.error("HSK-REVIEW-FAIL", None, what, revise)
    elif strict:
        _remark_on_missing(repo, packet, log, new, remarks)
    return remarks.findings


def _failed_in_history(repo: Repository, wp_id: str, old: str, new: str) -> str | None:
    """The commit towards `new`, or of the packet's branch, whose log holds a FAIL: a deletion takes none back."""
    branch = repo.resolve(f"refs/heads/feat/{wp_id}")
    tips = [tip for tip in (branch, new) if tip is not None and _is_commit(repo, tip)]
    if not tips:
        return None
    left_out = [f"^{old}"] if _is_commit(repo, old) else []
    path = log_path(wp_id)
    for commit in repo.git.text("rev-list", *tips, *left_out, "--", f":(top,literal){path}").split():
        data = TreeView(repo.git, repo.pygit2, commit).read(path)
        log = read_review_log(data, wp_id)[0] if data is not None else None
        if log is not None and log.failed:
            return commit
    return None


def _is_commit(repo: Repository, sha: str) -> bool:
    return repo.git.text("cat-file", "-t", sha) == "commit"


def _brings_work(packet: Packet, before: bytes | None, path: str) -> bool:
    """Whether work arrives with it: a packet that waits, or is old and only got a word more, needs no review."""
    old = read_packet(before, path).packet if before is not None else None
    if old is not None and (old.manifest, old.status) == (packet.manifest, packet.status):
        return False
    return bool(packet.manifest) or packet.status is PacketStatus.DONE


def _remark_on_missing(repo: Repository, packet: Packet, log: ReviewLog | None, new: str, remarks: Remarks) -> None:
    review = log.newest if log is not None else None
    ask = f"handshake review {packet.wp_id}, then: handshake review {packet.wp_id} pass --report FILE"
    if log is None or review is None:
        remarks.error("HSK-REVIEW-MISSING", None, f"{packet.wp_id} was not reviewed (governance.mode: strict)", ask)
        return
    if not log.passed:
        what = f"the review of {packet.wp_id} stands at {review.state}"
        remarks.error("HSK-REVIEW-STATE", None, what, f"go on: handshake review {packet.wp_id} pass --report FILE")
        return
    if not any(report.verdict == "PASS" for report in packet.reports):
        what = f"no report under VALIDATION_REPORTS of {packet.path} says PASS"
        remarks.error("HSK-REVIEW-REPORT", None, what, ask)
    if repo.resolve(review.reviewed_commit) is None:
        what = f"the reviewed commit {review.reviewed_commit[:12]} is not here"
        remarks.error("HSK-REVIEW-STALE", None, what, f"git fetch, or review anew: {ask}")
        return
    later = _changed_since(repo, packet, review.reviewed_commit, new)
    if later:
        what = f"{', '.join(later[:3])}{' …' if len(later) > 3 else ''} changed after the review of {packet.wp_id}"
        remarks.error("HSK-REVIEW-STALE", None, what, ask)


def _changed_since(repo: Repository, packet: Packet, reviewed: str, new: str) -> list[str]:
    """Files of the packet's manifest that are not as reviewed: others are other packets' business."""
    own = {entry.target_file for entry in packet.manifest}
    before, after = TreeView(repo.git, repo.pygit2, reviewed), TreeView(repo.git, repo.pygit2, new)
    return sorted(path for path in own if before.read(path) != after.read(path))


def _next_revision(wp_id: str) -> str:
    base, mark, number = wp_id.rpartition("-v")
    return f"{base}-v{int(number) + 1}" if mark and number.isdigit() else f"{wp_id}-v2"
