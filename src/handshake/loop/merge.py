"""From a finished run to a merged one: what a person types, and whether git would stop them. Merging is their act."""

from __future__ import annotations

import os
import shlex
import tempfile
from dataclasses import dataclass
from typing import Literal

from handshake.domain.job import Job
from handshake.domain.states import JobStatus
from handshake.repo.git import Repository, git_version

# the first git that can merge without a checkout (`git merge-tree --write-tree`)
MERGES_ALONE = (2, 38, 0)


@dataclass(frozen=True)
class MergeState:
    """How far a WP branch is from the base branch. `conflicts` is None where it was not asked or git cannot say.

    `in_the_way`: files with changes of yours that are staged, or that git will not merge over.
    """

    state: Literal["unfinished", "ready", "merged", "gone"]
    steps: tuple[str, ...] = ()
    conflicts: tuple[str, ...] | None = None
    in_the_way: tuple[str, ...] = ()


def merge_state(repo: Repository, job: Job, *, try_it: bool = False) -> MergeState:
    """What there is to do with the branch of a job.

    Args:
        try_it: see whether it merges without conflicts; nothing is written to the repository.
    """
    if job.status not in (JobStatus.COMPLETED, JobStatus.COMPLETED_WITH_ISSUES):
        return MergeState("unfinished")
    space = job.workspace
    base, tip = repo.branch_tip(space.base_branch), repo.branch_tip(space.wp_branch)
    if base is not None and repo.resolve(space.head_commit) and repo.is_ancestor(space.head_commit, base):
        return MergeState("merged")
    if tip is None or base is None:
        return MergeState("gone")
    steps = [f"review: handshake review {job.wp_id}"]
    if repo.head_branch() != space.base_branch:
        steps.append(f"first:  git switch {shlex.quote(space.base_branch)}")
    moved_away = (repo.root / space.packet_path).is_file() and repo.tree(base).mode(space.packet_path) is None
    if moved_away:
        place = shlex.quote(space.packet_path)
        steps.append(f"first:  mv {place} {place}.dropped  (the branch brings it along)")
    steps.append(f"merge:  git merge --no-ff {space.wp_branch}")
    if not try_it:
        return MergeState("ready", tuple(steps))
    in_the_way = not_committed(repo, base, tip) - ({space.packet_path} if moved_away else set())
    return MergeState("ready", tuple(steps), conflicts_of(repo, base, tip), tuple(sorted(in_the_way)))


def not_committed(repo: Repository, base: str, tip: str) -> set[str]:
    """The files of the merge that the user's checkout holds otherwise than its head does, or untracked.

    And whatever is staged: git merges into no index that differs from the head, whichever files the branch touches.
    """
    touched = set(repo.git.names("diff", "--name-only", "--no-renames", "-z", f"{base}...{tip}"))
    rows = repo.git.names("status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all")
    staged = {row[3:] for row in rows if row[0] not in " ?!"}
    return staged | touched & {row[3:] for row in rows}


def conflicts_of(repo: Repository, base: str, tip: str) -> tuple[str, ...] | None:
    """The files that a merge would leave in conflict, or None where git cannot merge without a checkout."""
    if git_version() < MERGES_ALONE:
        return None
    own = repo.state_dir
    with tempfile.TemporaryDirectory(prefix="merge-", dir=own if os.access(own, os.W_OK) else None) as scratch:
        places = {
            "GIT_OBJECT_DIRECTORY": scratch,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.fspath(repo.common_dir / "objects"),
        }
        result = repo.git.run(
            "merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", base, tip, check=False, env=places
        )
    if result.code not in (0, 1):
        return None
    names = [os.fsdecode(name) for name in result.stdout.split(b"\0")[1:] if name]
    return tuple(sorted(set(names))) if result.code == 1 else ()
