"""After a merge: worktree and branch go, and no commit that no kept ref reaches. Contract: `interface.md`."""

from __future__ import annotations

from dataclasses import dataclass

from handshake.domain.errors import EnvironmentProblem, UsageError
from handshake.domain.job import Job
from handshake.loop.by_hand import owned
from handshake.loop.equipment import CodeSide
from handshake.loop.run import Run
from handshake.loop.surroundings import Surroundings
from handshake.repo.git import Repository

KEPT = "refs/handshake/kept"
# ignored, and made again by the tools that made it: nobody misses it
_MADE_AGAIN = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox", ".venv"}
_MADE_AGAIN |= {"node_modules", "target", ".gradle", ".DS_Store", "Thumbs.db", ".coverage"}
_MADE_AGAIN_ENDS = (".pyc", ".pyo", ".o", ".class", ".egg-info")


@dataclass(frozen=True)
class Cleaned:
    """What was taken away, or would be, and where what it held can be found.

    `set_aside`: ignored files of the worktree that no tool makes again, and the folder they were moved to.
    """

    wp_id: str
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    set_aside: tuple[tuple[str, ...], str | None] = ((), None)


def clean_packet(around: Surroundings, wp_id: str, *, keep: bool = False, dry_run: bool = False) -> Cleaned:
    """Remove the worktree and the WP branch of a job that ended.

    Args:
        keep: hold the branch's tip by a ref of its own, `refs/handshake/kept/<WP_ID>/<n>`, before it goes.
        dry_run: only say what would go.

    Raises:
        UsageError: the job goes on, the branch is checked out elsewhere, or its tip is reachable from no kept ref.
        LockHeld: a process runs it.
    """
    with owned(around, wp_id) as (run, side):
        repo, job = around.repo, run.job
        if not run.ended:
            raise UsageError(
                f"{wp_id} is {job.status.value}: its worktree and branch are in use",
                next_step=f"handshake run {wp_id}, or: handshake cancel {wp_id}",
            )
        _refuse_where_somebody_works(repo, job, side)
        tip = repo.branch_tip(job.workspace.wp_branch)
        keepers = _keepers(around, job, tip) if tip else ()
        if tip and not keepers and not keep:
            raise UsageError(
                f"{job.workspace.wp_branch} at {tip[:12]} is in no kept ref: neither in {job.workspace.base_branch},"
                " nor in another branch of yours, nor in a tag",
                next_step=f"git merge --no-ff {job.workspace.wp_branch},"
                f" or hold it and clean: handshake clean {wp_id} --keep",
            )
        kept = list(keepers[:1])
        if tip and not keepers and not dry_run:
            kept.append(_hold(repo, side, wp_id, tip))
        aside = _ignored_aside(side, dry_run=dry_run)
        removed = tuple(_remove(run, side, tip, dry_run=dry_run))
        return Cleaned(wp_id, removed, (*kept, *side.workspace.salvage_refs()), aside)


def _refuse_where_somebody_works(repo: Repository, job: Job, side: CodeSide) -> None:
    for place in repo.checked_out_at(job.workspace.wp_branch):
        if place.exists() and place.resolve() != side.workspace.path.resolve():
            raise UsageError(
                f"{job.workspace.wp_branch} is checked out at {place}",
                next_step=f"git -C {place} switch {job.workspace.base_branch}",
            )
    try:
        nested = [name for name in side.workspace.changed_paths() if name.endswith("/")]
    except EnvironmentProblem:
        return  # no sound worktree: what stands in its place is set aside whole
    if nested:
        raise UsageError(
            f"{side.workspace.path / nested[0]} is a repository of its own inside the worktree",
            next_step=f"mv {side.workspace.path / nested[0]} somewhere else, then: handshake clean {job.wp_id}",
        )


def _ignored_aside(side: CodeSide, *, dry_run: bool) -> tuple[tuple[str, ...], str | None]:
    """Move what no commit can have out of the worktree before it goes: a person may have put it there."""
    try:
        side.workspace.verify()
        ignored = side.workspace.ignored_paths()
    except EnvironmentProblem:
        return (), None  # no sound worktree: what stands in its place is set aside whole
    own = tuple(path for path in ignored if not _is_made_again(path))
    if not own or dry_run:
        return own, None
    return own, str(side.workspace.keep_ignored(own))


def _is_made_again(path: str) -> bool:
    parts = path.rstrip("/").split("/")
    return bool(_MADE_AGAIN & set(parts)) or parts[-1].endswith(_MADE_AGAIN_ENDS)


def _keepers(around: Surroundings, job: Job, tip: str) -> tuple[str, ...]:
    """The refs that hold a commit and are not ours to take away: the base branch first, then branches and tags."""
    repo, base = around.repo, f"refs/heads/{job.workspace.base_branch}"
    namespace = around.settings.tracking.namespace.strip("/")
    tracking = namespace if namespace.startswith("refs/") else f"refs/heads/{namespace}"
    listed = repo.git.text(
        "for-each-ref", "--format=%(refname)", f"--contains={tip}", "refs/heads", "refs/tags", KEPT
    ).splitlines()
    ours = (f"{tracking}/", "refs/heads/feat/WP-")
    return tuple(sorted((ref for ref in listed if not ref.startswith(ours)), key=lambda ref: (ref != base, ref)))


def _hold(repo: Repository, side: CodeSide, wp_id: str, tip: str) -> str:
    known = repo.git.text("for-each-ref", "--format=%(refname)", f"{KEPT}/{wp_id}/").splitlines()
    ref = f"{KEPT}/{wp_id}/{1 + max((int(name.rpartition('/')[2]) for name in known), default=0)}"
    side.objects.update_ref(ref, tip, expected=None)
    return ref


def _remove(run: Run, side: CodeSide, tip: str | None, *, dry_run: bool) -> list[str]:
    """Worktree, then branch, then the ref that held its newest commit, where nothing would be lost by that."""
    repo, job = run.around.repo, run.job
    removed = []
    if side.workspace.path.exists():
        removed.append(str(side.workspace.path))
        if not dry_run:
            side.workspace.remove()
    held = f"refs/handshake/held/{job.wp_id}"
    newest = repo.ref_target(held)
    if tip:
        removed.append(job.workspace.wp_branch)
        if not dry_run:
            side.objects.drop_ref(f"refs/heads/{job.workspace.wp_branch}", tip)
    if newest and not dry_run and _keepers(run.around, job, newest):
        side.objects.drop_ref(held, newest)
    return removed
