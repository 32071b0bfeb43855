"""Which change a gate judges. Contract: `packets-and-gates.md`, Post-work gate, first sentence."""

from __future__ import annotations

from dataclasses import dataclass

from handshake.domain.errors import UsageError
from handshake.repo.git import Repository


@dataclass(frozen=True)
class JudgedRange:
    """From `base` to `head`, full ids; `head` is the tree of the index where `staged`."""

    base: str
    head: str
    staged: bool


def judged_range(
    repo: Repository, base_branch: str, asked: str | None = None, *, index_file: str | None = None
) -> JudgedRange | None:
    """The range asked for, else the index if anything is staged, else HEAD; None where nothing changed.

    The base is where HEAD left the base branch, for the index too: a packet's manifest speaks of the whole WP.

    Args:
        asked: `A..B` (from A) or `A...B` (from where B left A).
        index_file: the index that a hook was given in `GIT_INDEX_FILE`.

    Raises:
        UsageError: a revision of `asked` does not exist.
        GitFailed: the index has conflicts.
    """
    if asked is not None:
        return _asked(repo, asked)
    head = repo.resolve("HEAD")
    env = {"GIT_INDEX_FILE": index_file} if index_file else None
    tree = repo.git.text("write-tree", env=env)
    empty = repo.git.run("mktree", input=b"").stdout.decode().strip()
    if head is None:
        return None if tree == empty else JudgedRange(empty, tree, staged=True)
    base = _merge_base(repo, base_branch, head) or head
    if tree != repo.git.text("rev-parse", f"{head}^{{tree}}"):
        return JudgedRange(base, tree, staged=True)
    return None if base == head else JudgedRange(base, head, staged=False)


def _asked(repo: Repository, asked: str) -> JudgedRange:
    symmetric = "..." in asked
    left, _, right = asked.partition("..." if symmetric else "..")
    ends = [repo.resolve(name) for name in (left or "HEAD", right or "HEAD")]
    if None in ends or ".." not in asked:
        raise UsageError(f"`{asked}` is no range of commits here", next_step="--range main..HEAD")
    base, head = str(ends[0]), str(ends[1])
    return JudgedRange(_merge_base(repo, base, head) or base if symmetric else base, head, staged=False)


def _merge_base(repo: Repository, one: str, other: str) -> str | None:
    if repo.resolve(one) is None:
        return None
    found = repo.git.run("merge-base", one, other, check=False)
    return found.stdout.decode().split("\n", 1)[0].strip() or None if found.code == 0 else None
