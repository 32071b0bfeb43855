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
    """How far a WP branch is from the base branch. `conflicts` is None where it was not asked or git cannot say."""

    state: Literal["unfinished", "ready", "merged", "gone"]
    steps: tuple[str, ...] = ()
    conflicts: tuple[str, ...] | None = None


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
    dropped = repo.root / space.packet_path
    if dropped.is_file() and repo.tree(base).mode(space.packet_path) is None:
        place = shlex.quote(space.packet_path)
        steps.append(f"first:  mv {place} {place}.dropped  (the branch brings it along)")
    steps.append(f"merge:  git merge --no-ff {space.wp_branch}")
    return MergeState("ready", tuple(steps), conflicts_of(repo, base, tip) if try_it else None)


def conflicts_of(repo: Repository, base: str, tip: str) -> tuple[str, ...] | None:
    """The files that a merge would leave in conflict, or None where git cannot merge without a checkout."""
    if git_version() < MERGES_ALONE:
        return None
    with tempfile.TemporaryDirectory(prefix="merge-", dir=repo.state_dir) as scratch:
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
