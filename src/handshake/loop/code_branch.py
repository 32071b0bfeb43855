"""The WP branch and its worktree follow what the tracking branch says. Contract: `state.md`, Recovery 4."""

from __future__ import annotations

from datetime import datetime

from handshake.domain.errors import EnvironmentProblem, HandshakeError, UsageError
from handshake.domain.progress import MtStatus
from handshake.loop.equipment import CodeSide
from handshake.loop.found_files import keep_found, last_files
from handshake.loop.last_step import last_step_is_open
from handshake.loop.own_files import explained_contents
from handshake.loop.run import Run
from handshake.repo.store import held_ref


def hold(run: Run, equipment: CodeSide, commit: str) -> None:
    """Keep a commit that no branch has yet from the user's `gc --prune=now`."""
    ref = held_ref(run.job.wp_id)
    equipment.objects.update_ref(ref, commit, expected=run.around.repo.resolve(ref))


def moment_of_commit(run: Run) -> datetime:
    """When the next commit of the WP branch is made: now, or when a killed process made it and published nothing.

    So what is done again gives the same commit, and what was announced of it stays true.
    """
    repo, ref = run.around.repo, held_ref(run.job.wp_id)
    held = repo.ref_target(ref)
    if held is not None and repo.parents(held) == (run.job.workspace.head_commit,):
        return repo.commit_time(held)
    return run.around.clock.now()


def advance(run: Run, equipment: CodeSide) -> None:
    """Move the WP branch forward to the published head, and the worktree with it.

    Raises:
        HandshakeError: the branch holds commits that this run did not make.
    """
    keep_found(run, equipment, {})
    _follow(run, equipment)
    equipment.workspace.follow(run.job.workspace.head_commit)


def rebuild(run: Run, equipment: CodeSide) -> None:
    """The worktree at the WP branch's published head, with the MT's files of the last committed snapshot.

    Raises:
        HandshakeError: the branch holds commits that this run did not make.
    """
    _follow(run, equipment)
    saved = equipment.workspace.salvage_refs()
    equipment.workspace.ensure(run.job.workspace.head_commit, explained_contents(run, equipment))
    for ref in equipment.workspace.salvage_refs()[len(saved) :]:
        run.around.watcher.note(f"{run.job.wp_id}: what was found in the worktree is saved under {ref}")
    mts = run.plan.order
    index = run.job.execution_state.current_mt_index
    if index >= len(mts) or run.entry(mts[index]).status is not MtStatus.IN_PROGRESS:
        return
    mt = run.plan.definition(mts[index])
    equipment.workspace.write_snapshot(last_files(run, mt))


def finish(run: Run, equipment: CodeSide) -> None:
    """Give the WP branch of an ended job the commit that it still lacks, and its worktree the packet in it."""
    if last_step_is_open(run.around.repo, run.job):
        _follow(run, equipment)
        equipment.workspace.ensure(run.job.workspace.head_commit, explained_contents(run, equipment))
    elif _worktree_lacks_last_commit(run, equipment):
        equipment.workspace.sync(run.job.workspace.head_commit)


def _worktree_lacks_last_commit(run: Run, equipment: CodeSide) -> bool:
    """Whether the worktree differs only by what the last commit changed, as before it: no work of a person."""
    repo, space, workspace = run.around.repo, run.job.workspace, equipment.workspace
    if not workspace.path.is_dir() or repo.branch_tip(space.wp_branch) != space.head_commit:
        return False
    try:
        changed = workspace.changed_paths()
    except EnvironmentProblem:
        return False  # no worktree of ours any more: a person's to decide
    parent = repo.resolve(f"{space.head_commit}^")
    if parent is None or not changed:
        return False
    before, last = repo.tree(parent), repo.tree(space.head_commit)
    return all(last.read(path) != before.read(path) == workspace.read(path) for path in changed)


def _follow(run: Run, equipment: CodeSide) -> None:
    """The branch's ref becomes the published head, by compare-and-swap, and only ever forward."""
    repo, space = run.around.repo, run.job.workspace
    ref = f"refs/heads/{space.wp_branch}"
    tip = repo.resolve(ref)
    if tip == space.head_commit:
        return
    if tip is not None and not repo.is_ancestor(tip, space.head_commit):
        raise HandshakeError(
            f"{space.wp_branch} holds {tip[:12]}, which this run did not make",
            next_step=f"keep it with: git branch {space.wp_branch}-kept {tip[:12]} &&"
            f" git update-ref {ref} {space.head_commit[:12]}, then: handshake run {run.job.wp_id}",
        )
    elsewhere = equipment.workspace.checked_out_elsewhere()
    if elsewhere is not None:  # its files would stay behind, and look like a change that takes the work back
        raise UsageError(
            f"{space.wp_branch} is checked out at {elsewhere}, and would move under it",
            next_step=f"git -C {elsewhere} switch -, then: handshake run {run.job.wp_id}",
        )
    equipment.objects.update_ref(ref, space.head_commit, expected=tip)
