"""What each git hook checks: functions from (repository, arguments, standard input) to findings.

Contract: `packets-and-gates.md`, Hooks. A commit with nothing relevant is done at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from handshake.config.hook_settings import hook_settings
from handshake.domain.gate_settings import GateSettings
from handshake.domain.packet import Finding
from handshake.domain.packet_names import is_packet_file
from handshake.domain.packet_text import read_packet
from handshake.gates.judged_range import WP_BRANCH, judged_range, left_base_at, packet_path, staged_tree
from handshake.gates.packet_secrets import secret_findings
from handshake.gates.pre_work import pre_work
from handshake.gates.rules import rules_since
from handshake.gates.work_gate import judge_work
from handshake.repo.git import Repository
from handshake.repo.tree import TreeView

Check = Callable[[Repository, Sequence[str], str], list[Finding]]

_ZEROS = frozenset("0")


def _settings(repo: Repository) -> GateSettings:
    return hook_settings(repo.root, os.environ)


def check_commit(repo: Repository, _arguments: Sequence[str], _given: str) -> list[Finding]:
    """`pre-commit`: staged packets read and hold no secrets; on a WP branch the gates hold over the staged change."""
    settings = _settings(repo)
    branch = repo.head_branch() or ""
    judged = None
    if branch.startswith(WP_BRANCH):
        judged = judged_range(repo, settings.base_branch, index_file=_index_file(repo), only_staged=True)
        if judged is None:
            return []  # nothing is staged
    tree = TreeView(repo.git, None, judged.head if judged else staged_tree(repo, _index_file(repo)))
    before = TreeView(repo.git, None, "HEAD")
    findings: list[Finding] = []
    packets = _changed_packets(before, tree, settings.paths.packets)
    for path in packets:
        data = tree.read(path) or b""
        findings += [*read_packet(data, path).findings, *secret_findings(before.read(path), data, path)]
    if judged is not None:
        path = packet_path(settings, branch.removeprefix("feat/"))
        strict = tree.read if settings.governance.mode == "strict" else None
        packet = tree.read(path)
        if packet is not None:
            found = pre_work(packet, path, strict=strict, paths=settings.paths)
            # by its code, not by `without_board_status`: strict mode is not imported where it is not asked for
            findings += [finding for finding in found if finding.code != "HSK-BOARD-STATUS"]
        findings += judge_work(repo, settings, judged.base, judged.head, path)
    if heads := _merge_heads(repo):
        # a merge that was refused or had conflicts is completed by `git commit`, which calls this hook alone
        findings += _merged_work(repo, settings, heads)
    for rules in rules_since(repo, settings, "HEAD"):
        # by other rules than those in force the packets may lie elsewhere: there it is looked for them
        if branch == rules.base_branch and (packets or rules is not settings) and (head := repo.resolve("HEAD")):
            findings += _merge_findings(repo, rules, head, tree.commit)
    return list(dict.fromkeys(findings))


def _index_file(repo: Repository) -> str | None:
    """The index of the commit in hand: `git commit -a` and `git commit FILE` have one of their own."""
    named = os.environ.get("GIT_INDEX_FILE")
    return str(repo.root / named) if named else None


def _changed_packets(before: TreeView, after: TreeView, folder: str) -> list[str]:
    """The packets that are added or changed."""
    old, new = before.children(folder), after.children(folder)
    paths = [f"{folder}/{name}" for name in sorted(new) if new[name] != old.get(name)]
    return [path for path in paths if is_packet_file(path, folder)]


def check_push(repo: Repository, _arguments: Sequence[str], given: str) -> list[Finding]:
    """`pre-push`: the post-work gate over every WP branch that is pushed."""
    settings = _settings(repo)
    findings: list[Finding] = []
    for line in (given or _pushed_by_framework(repo)).splitlines():
        # what was pushed is named as it was typed: `HEAD@{2 days ago}` holds blanks
        local_ref, local_sha, remote_ref, remote_sha = line.rsplit(" ", 3)
        if set(local_sha) == _ZEROS:
            continue
        # `git push origin HEAD:review` names no branch, and pushes the one that is checked out
        local = repo.head_branch() or local_ref if local_ref in ("HEAD", "@") else local_ref
        branches = [ref.removeprefix("refs/heads/") for ref in (local, remote_ref)]
        if set(remote_sha) != _ZEROS:
            if repo.resolve(remote_sha) is not None:
                findings += _arrivals(repo, settings, branches, remote_sha, local_sha)
            elif settings.base_branch in branches:
                findings += _unknown(remote_ref, remote_sha)
        branch = next(iter(_wp_branches(branches)), None)
        base = left_base_at(repo, settings.base_branch, local_sha) if branch else local_sha
        if branch and base != local_sha:
            findings += judge_work(
                repo, settings, base, local_sha, packet_path(settings, branch.removeprefix("feat/"))
            )
    return findings


def _unknown(ref: str, tip: str) -> list[Finding]:
    """A forced push over commits that are not here: what it would bring cannot be told."""
    what = f"the remote's {tip[:12]} is not here, so that what arrives cannot be judged"
    return [
        Finding(severity="error", code="HSK-REVIEW-UNKNOWN", file=ref, what=what, mend="git fetch, then push again")
    ]


def _pushed_by_framework(repo: Repository) -> str:
    """What the pre-commit framework says of a push: it reads standard input itself."""
    local, remote = (os.environ.get(f"PRE_COMMIT_{side}_BRANCH", "") for side in ("LOCAL", "REMOTE"))
    pushed = os.environ.get("PRE_COMMIT_TO_REF") or (repo.resolve(local) if local else None)
    return f"{local} {pushed} {remote} {'0' * 40}" if local and remote and pushed else ""


def check_merge(repo: Repository, _arguments: Sequence[str], _given: str) -> list[Finding]:
    """`pre-merge-commit`: the post-work gate over each WP branch that is merged."""
    settings = _settings(repo)
    findings: list[Finding] = []
    heads, head = _merge_heads(repo), repo.resolve("HEAD")
    for merged in heads if head else ():
        findings += _arrivals(repo, settings, [repo.head_branch() or ""], str(head), merged)
    return [*findings, *_merged_work(repo, settings, heads)]


def _merged_work(repo: Repository, settings: GateSettings, heads: Mapping[str, str]) -> list[Finding]:
    """The post-work gate over each WP branch among the commits that are merged."""
    findings: list[Finding] = []
    for merged, name in heads.items():
        patterns = (f"refs/heads/{WP_BRANCH}*", f"refs/remotes/*/{WP_BRANCH}*")
        refs = repo.git.text("for-each-ref", "--format=%(refname)", f"--points-at={merged}", *patterns).split()
        for wp_id in sorted({ref.rpartition("/")[2] for ref in (*refs, *_wp_branches([name]))}):
            base = repo.git.text("merge-base", "HEAD", merged)
            findings += judge_work(repo, settings, base, merged, packet_path(settings, wp_id))
    return findings


def _merge_heads(repo: Repository) -> dict[str, str]:
    """What is being merged, each with the name it was merged by, if that is known.

    `MERGE_HEAD` is not written yet when `pre-merge-commit` runs; the heads are in the environment. See
    `builtin/merge.c` of git: `GITHEAD_<id>` names each head for the strategies, and hooks inherit it.
    """
    mark = "GITHEAD_"
    named = {name.removeprefix(mark): os.environ[name] for name in sorted(os.environ) if name.startswith(mark)}
    try:
        written = (repo.git_dir / "MERGE_HEAD").read_text(encoding="ascii").split()
    except FileNotFoundError:
        written = []
    return {**dict.fromkeys(written, ""), **named}


def _wp_branches(names: Iterable[str]) -> list[str]:
    """The WP branches among names as they were typed: `feat/WP-1~2` is of that branch, `origin/feat/WP-1` too."""
    # no ref holds `~`, `^`, `:` or `@{` (git-check-ref-format(1)); the rest says where from its tip
    found = [re.split(r"[~^:]|@\{", name.removeprefix("refs/heads/"), maxsplit=1)[0] for name in names]
    return [name[name.index(WP_BRANCH) :] for name in found if name.startswith(WP_BRANCH) or f"/{WP_BRANCH}" in name]


def _arrivals(repo: Repository, settings: GateSettings, branches: Sequence[str], old: str, new: str) -> list[Finding]:
    """What the base branch gets, if it is one of `branches`; what a remote has already is not for us to refuse."""
    if repo.resolve(old) is None:
        return []
    findings: list[Finding] = []
    for rules in rules_since(repo, settings, old):
        if rules.base_branch in branches:
            pattern = f"refs/remotes/*/{rules.base_branch}"
            upstream = repo.git.text("for-each-ref", "--format=%(objectname)", pattern).splitlines()
            if not any(repo.is_ancestor(new, tip) for tip in upstream):
                findings += _merge_findings(repo, rules, old, new)
    return list(dict.fromkeys(findings))


def _merge_findings(repo: Repository, rules: GateSettings, old: str, new: str) -> list[Finding]:
    """The merge gate's, imported where it is asked: a commit with nothing relevant is done at once."""
    from handshake.gates.merge_gate import merge_findings

    return merge_findings(repo, rules, old, new)


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
        branch = ref.removeprefix("refs/heads/")
        if branch != ref and _ZEROS not in (set(old), set(new)) and _is_merging():
            findings += _taken_back(ref, new, _arrivals(repo, settings, [branch], old, new))
        if not ref.startswith(f"{prefix}/") or (set(new) == _ZEROS and _is_packed(repo, ref, old)):
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


def _is_packed(repo: Repository, ref: str, old: str) -> bool:
    """Whether git drops the loose file of a ref that it has packed just before, in `git gc` or `git pack-refs`.

    It asks its hooks about that as about a deletion (`prune_ref` in git's refs/files-backend.c). A true one of a
    packed ref holds the lock on the packed refs while it asks, and pruning has let it go.
    """
    packed = repo.common_dir / "packed-refs"
    if packed.with_name("packed-refs.lock").exists():
        return False
    try:
        rows = packed.read_bytes()
    except FileNotFoundError:
        return False
    return b"\n" + os.fsencode(f"{old} {ref}") + b"\n" in b"\n" + rows


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
    from handshake.repo.hand_moves import decisions_added

    return old == new or bool(decisions_added(repo, old, new))


CHECKS: Mapping[str, Check] = {
    "pre-commit": check_commit,
    "pre-push": check_push,
    "pre-merge-commit": check_merge,
    "reference-transaction": check_refs,
}
