"""Which change a gate judges, and for which packet. Contract: `packets-and-gates.md`, Post-work gate."""

from __future__ import annotations

from dataclasses import dataclass

from handshake.domain.errors import UsageError
from handshake.domain.gate_settings import GateSettings
from handshake.domain.packet_names import is_packet_file
from handshake.repo.git import Repository

WP_BRANCH = "feat/WP-"


@dataclass(frozen=True)
class JudgedRange:
    """From `base` to `head`, full ids; `head` is the tree of the index where `staged`."""

    base: str
    head: str
    staged: bool


def judged_range(
    repo: Repository,
    base_branch: str,
    asked: str | None = None,
    *,
    index_file: str | None = None,
    only_staged: bool = False,
) -> JudgedRange | None:
    """The range asked for, else the index if anything is staged, else HEAD; None where nothing changed.

    The base is where HEAD left the base branch, for the index too: a packet's manifest speaks of the whole WP.

    Args:
        asked: `A..B` (from A) or `A...B` (from where B left A).
        index_file: the index that a hook was given in `GIT_INDEX_FILE`.
        only_staged: the index alone; None where nothing is staged.

    Raises:
        UsageError: a revision of `asked` or the base branch does not exist, or they have no common ancestor.
        GitFailed: the index has conflicts.
    """
    if asked is not None:
        return _asked(repo, asked)
    head = repo.resolve("HEAD")
    tree = staged_tree(repo, index_file)
    if head is None:
        empty = repo.git.run("mktree", input=b"").stdout.decode().strip()
        return None if tree == empty else JudgedRange(empty, tree, staged=True)
    base = left_base_at(repo, base_branch, head, *_merged(repo))
    if tree != repo.tree(head).tree_id:
        return JudgedRange(base, tree, staged=True)
    return None if base == head or only_staged else JudgedRange(base, head, staged=False)


def staged_tree(repo: Repository, index_file: str | None = None) -> str:
    """The index as a tree. Raises GitFailed where it has conflicts."""
    return repo.git.text("write-tree", env={"GIT_INDEX_FILE": index_file} if index_file else None)


def left_base_at(repo: Repository, base_branch: str, *revisions: str) -> str:
    """The commit at which a line of work left the base branch (the local one, else that of `origin`).

    Args:
        revisions: a commit, or the parents of a merge to be.

    Raises:
        UsageError: there is no such branch, or no common ancestor.
    """
    for name in (f"refs/heads/{base_branch}", f"refs/remotes/origin/{base_branch}"):
        found = repo.git.run("merge-base", name, *revisions, check=False)
        if found.code == 0:
            return found.stdout.decode().split("\n", 1)[0].strip()
        if repo.resolve(name) is not None:
            return _merge_base(repo, name, *revisions)
    raise UsageError(
        f"the base branch {base_branch} is not here, so that a change cannot be judged against it",
        next_step=f"git fetch origin {base_branch}:{base_branch}, or set base_branch in .handshake/config.yaml",
    )


def packet_path(settings: GateSettings, wp_id: str) -> str:
    """Where the packet of that exact id lies."""
    return f"{settings.paths.packets}/{wp_id}.md"


def packet_of_change(repo: Repository, settings: GateSettings, judged: JudgedRange, *, branch: str | None) -> str:
    """The id of the packet a change is for: that of the WP branch, else of the one packet that changed.

    Raises:
        UsageError: it cannot be told.
    """
    if branch and branch.startswith(WP_BRANCH):
        return branch.removeprefix("feat/")
    names = repo.git.names("diff-tree", "-r", "--name-only", "--no-renames", "-z", judged.base, judged.head)
    changed = [name for name in names if is_packet_file(name, settings.paths.packets)]
    if len(changed) != 1:
        what = f"{len(changed)} packets changed" if changed else "no packet changed"
        raise UsageError(
            f"which packet is this change for? {what}, and the branch is none of a packet",
            next_step="name it: handshake post-work WP-…",
        )
    return changed[0].rpartition("/")[2].removesuffix(".md")


def _merged(repo: Repository) -> list[str]:
    """The other parents of a merge that waits to be committed."""
    try:
        return (repo.git_dir / "MERGE_HEAD").read_text(encoding="ascii").split()
    except OSError:
        return []


def _asked(repo: Repository, asked: str) -> JudgedRange:
    symmetric = "..." in asked
    left, _, right = asked.partition("..." if symmetric else "..")
    ends = [repo.resolve(name) for name in (left or "HEAD", right or "HEAD")]
    if None in ends or ".." not in asked:
        raise UsageError(f"`{asked}` is no range of commits here", next_step="--range main..HEAD")
    base, head = str(ends[0]), str(ends[1])
    return JudgedRange(_merge_base(repo, base, head) if symmetric else base, head, staged=False)


def _merge_base(repo: Repository, one: str, *others: str) -> str:
    found = repo.git.run("merge-base", one, *others, check=False)
    if found.code != 0:
        raise UsageError(
            f"{_short(one)} and {_short(others[0])} have no common ancestor here",
            next_step="git fetch --unshallow, or name a range: --range A..B",
        )
    return found.stdout.decode().split("\n", 1)[0].strip()


def _short(revision: str) -> str:
    return revision.removeprefix("refs/heads/") if revision.startswith("refs/") else revision[:12]
