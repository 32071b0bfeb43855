"""What stands in the worktree and is not the run's is saved before it is set back. Contract: `state.md`, Recovery 4.

A worktree is a folder like any other: a person looks into it while the run goes, and may write there. The contract
asks for a salvage when a worktree is rebuilt; the same holds wherever a run that goes on sets files back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from handshake.domain.errors import CapabilityViolation
from handshake.domain.microtask import MicroTaskDefinition
from handshake.loop.equipment import CodeSide, Equipment
from handshake.loop.run import Run
from handshake.repo.salvage import salvage_ref

Files = Mapping[str, bytes | None]

# what test commands leave behind is saved too, since nobody can tell whose it is; but not their whole output
_MOST_LEFT = 1 << 20


def last_files(run: Run, mt: MicroTaskDefinition) -> dict[str, bytes | None]:
    """The task's own files as its last step left them."""
    return {path: run.artifact(run.paths.snapshot(path)) for path in mt.files.writable}


def set_right(run: Run, equipment: CodeSide, expected: Files) -> None:
    """Make the worktree what the run knows it to be; what else was found there is saved first.

    Args:
        expected: the running task's own files; all others are as the WP branch has them.
    """
    strange = keep_found(run, equipment, expected)
    equipment.workspace.restore(path for path in strange if path not in expected)
    equipment.workspace.write_snapshot(expected)


def keep_found(run: Run, equipment: CodeSide, expected: Files) -> tuple[str, ...]:
    """Save what is not as the run left it.

    Returns:
        The paths of it, sorted.
    """
    workspace, commit = equipment.workspace, run.job.workspace.head_commit
    changed = workspace.changed_paths()
    head = run.around.repo.tree(commit)
    strange = tuple(
        path
        for path in changed
        if (path not in expected and head.mode(path) is None)
        or not _holds(equipment, path, expected[path] if path in expected else head.read(path))
    )
    if strange:
        _save(run, equipment, {path: {data} for path, data in expected.items()}, strange)
    return strange


def set_back(run: Run, equipment: Equipment, left: Iterable[str]) -> tuple[str, ...]:
    """Set back what changed while commands ran. What stands there under a name for the first time is saved.

    Returns:
        Those of `left` that the WP branch has.
    """
    paths = tuple(left)
    new = [path for path in paths if path not in equipment.leftovers]
    equipment.leftovers.update(new)
    small = [path for path in new if not path.endswith("/")]
    if small and sum(equipment.workspace.size(path) for path in small) <= _MOST_LEFT:
        _save(run, equipment, None, small, only=small)
    return equipment.workspace.restore(paths)


def _holds(equipment: CodeSide, path: str, data: bytes | None) -> bool:
    try:
        return equipment.workspace.read(path) == data
    except CapabilityViolation:  # a link, or a repository of its own
        return False


def _save(
    run: Run,
    equipment: CodeSide,
    known: Mapping[str, set[bytes | None]] | None,
    paths: Iterable[str],
    only: Iterable[str] | None = None,
) -> None:
    commit = equipment.workspace.salvage(run.job.workspace.head_commit, known, only=only)
    if commit is not None and commit not in equipment.told:
        equipment.told.add(commit)
        named = ", ".join(sorted(paths)[:3])
        run.around.watcher.note(
            f"{run.job.wp_id}: found in the worktree: {named}; saved as {commit[:12]} "
            f"under {salvage_ref(run.job.wp_id)}"
        )
