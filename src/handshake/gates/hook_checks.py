"""What each git hook checks: functions from (repository, arguments, standard input) to findings.

Contract: `packets-and-gates.md`, Hooks. A commit with nothing relevant is done at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from handshake.config.loading import load_settings
from handshake.domain.packet import Finding
from handshake.domain.packet_text import read_packet
from handshake.domain.settings import Settings
from handshake.gates.post_work import post_work
from handshake.repo.git import Repository
from handshake.repo.hand_moves import decisions_added

Check = Callable[[Repository, Sequence[str], str], list[Finding]]

WP_BRANCH = "feat/WP-"
_ZEROS = frozenset("0")


def _settings(repo: Repository) -> Settings:
    return load_settings(repo.root, env=os.environ, require_trust=False).settings


def check_commit(repo: Repository, _arguments: Sequence[str], _given: str) -> list[Finding]:
    """`pre-commit`: staged packets parse; on a WP branch the gates hold over the staged change."""
    settings = _settings(repo)
    # `git commit -a` and `git commit FILE` commit another index than the one that lies there (githooks(5))
    index = {"GIT_INDEX_FILE": os.environ["GIT_INDEX_FILE"]} if os.environ.get("GIT_INDEX_FILE") else None
    cached = ("diff", "--cached", "--name-only", "--no-renames", "-z")
    staged = repo.git.names(*cached, "--diff-filter=ACM", env=index)
    folder = f"{settings.paths.packets}/"
    findings: list[Finding] = []
    for path in staged:
        name = path.removeprefix(folder)
        if path.startswith(folder) and name.startswith("WP-") and name.endswith(".md") and "/" not in name:
            data = repo.git.run("cat-file", "blob", f":{path}", env=index).stdout
            findings += read_packet(data, path).findings
    branch = repo.head_branch() or ""
    if branch.startswith(WP_BRANCH) and repo.git.names(*cached, env=index):
        tree = repo.git.text("write-tree", env=index)
        findings += _gate(repo, settings, branch, "HEAD", tree)
    head = repo.resolve("HEAD")
    if head and branch == settings.base_branch and any(path.startswith(folder) for path in staged):
        from handshake.gates.merge_gate import merge_findings

        findings += merge_findings(repo, settings, head, repo.git.text("write-tree", env=index))
    return findings


def check_push(repo: Repository, _arguments: Sequence[str], given: str) -> list[Finding]:
    """`pre-push`: the post-work gate over every WP branch that is pushed."""
    settings = _settings(repo)
    findings: list[Finding] = []
    for line in given.splitlines():
        local_ref, local_sha, *_rest = line.split(" ")
        branch = local_ref.removeprefix("refs/heads/")
        if branch.startswith(WP_BRANCH) and set(local_sha) != _ZEROS:
            findings += _gate(repo, settings, branch, local_sha, local_sha)
        if branch == settings.base_branch and set(local_sha) != _ZEROS and set(_rest[-1]) != _ZEROS:
            findings += _arrivals(repo, settings, _rest[-1], local_sha)
    return findings


def check_merge(repo: Repository, _arguments: Sequence[str], _given: str) -> list[Finding]:
    """`pre-merge-commit`: the post-work gate over a WP branch that is merged."""
    settings = _settings(repo)
    merged = repo.resolve("MERGE_HEAD")
    if merged is None:
        return []
    names = repo.git.text(
        "for-each-ref", "--format=%(refname:short)", f"--points-at={merged}", f"refs/heads/{WP_BRANCH}*"
    )
    findings: list[Finding] = []
    for branch in names.splitlines():
        base = repo.git.text("merge-base", "HEAD", merged)
        findings += post_work(repo, base, merged, _packet_path(settings, branch))
        findings += _validated(repo, settings, base, merged)
    head = repo.resolve("HEAD")
    if head and repo.head_branch() == settings.base_branch:
        findings += _arrivals(repo, settings, head, merged)
    return findings


def _arrivals(repo: Repository, settings: Settings, old: str, new: str) -> list[Finding]:
    """What the base branch gets; where a remote has it already, it is not for us to refuse."""
    from handshake.gates.merge_gate import merge_findings

    pattern = f"refs/remotes/*/{settings.base_branch}"
    upstream = repo.git.text("for-each-ref", "--format=%(objectname)", pattern).splitlines()
    if repo.resolve(old) is None or any(repo.is_ancestor(new, tip) for tip in upstream):
        return []
    return merge_findings(repo, settings, old, new)


def check_refs(repo: Repository, arguments: Sequence[str], given: str) -> list[Finding]:
    """`reference-transaction`: a tracking branch moves only forward, and by hand only for a decision.

    A merge that only moves the base branch forward has no commit, and calls no other hook: it is judged here.
    """
    if not arguments or arguments[0] != "prepared":
        return []
    settings = _settings(repo)
    namespace = settings.tracking.namespace
    prefix = namespace if namespace.startswith("refs/") else f"refs/heads/{namespace}"
    findings: list[Finding] = []
    for line in given.splitlines():
        old, new, ref = line.split(" ", 2)
        if ref == f"refs/heads/{settings.base_branch}" and _ZEROS not in (set(old), set(new)) and _is_merging():
            findings += _taken_back(ref, new, _arrivals(repo, settings, old, new))
        if not ref.startswith(f"{prefix}/"):
            continue
        # git says zeros for an old value that the caller did not name, whatever the ref holds (githooks(5))
        before = repo.ref_target(ref) if set(old) == _ZEROS else old
        if not _only_decides(repo, before, new):
            wp_id = ref.removeprefix(f"{prefix}/")
            findings.append(
                Finding(
                    severity="error",
                    code="HSK-TRACK",
                    file=ref,
                    what="the log of a run is written by Handshake alone",
                    mend=f"answer a gate: handshake decide {wp_id} …; start anew: handshake run {wp_id} --again",
                )
            )
    return findings


def _taken_back(ref: str, new: str, findings: list[Finding]) -> list[Finding]:
    """What was found, and how to undo what git did before it asked: it moves the files first, then the branch."""
    if not any(finding.severity == "error" for finding in findings):
        return findings
    said = "the branch stays where it is, and git has put the files there already"
    mend = f"take them back: git read-tree -m -u {new[:12]} HEAD"
    return [*findings, Finding(severity="error", code="HSK-REVIEW-FF", file=ref, what=said, mend=mend)]


def _is_merging() -> bool:
    """Git tells its hooks what it is about (git(1), GIT_REFLOG_ACTION)."""
    return os.environ.get("GIT_REFLOG_ACTION", "").startswith(("merge", "pull"))


def _only_decides(repo: Repository, old: str | None, new: str) -> bool:
    """Whether the move adds nothing but decision files: that is how a decision comes from another machine."""
    if set(new) == _ZEROS:
        return False
    if old is None:
        return True  # fetched or pushed for the first time: there is nothing to overwrite
    return decisions_added(repo, old, new) is not None


def _gate(repo: Repository, settings: Settings, branch: str, revision: str, head: str) -> list[Finding]:
    base_tip = repo.branch_tip(settings.base_branch)
    if base_tip is None:
        return []
    base = repo.git.text("merge-base", base_tip, revision)
    return [*post_work(repo, base, head, _packet_path(settings, branch)), *_validated(repo, settings, base, head)]


def _validated(repo: Repository, settings: Settings, base: str, head: str) -> list[Finding]:
    """What the validators find that the configuration names."""
    if not settings.validators.post_work:
        return []
    from handshake.gates.validators.table import gate_findings

    return gate_findings(repo, settings, base, head)


def _packet_path(settings: Settings, branch: str) -> str:
    return f"{settings.paths.packets}/{branch.removeprefix('feat/')}.md"


CHECKS: Mapping[str, Check] = {
    "pre-commit": check_commit,
    "pre-push": check_push,
    "pre-merge-commit": check_merge,
    "reference-transaction": check_refs,
}
