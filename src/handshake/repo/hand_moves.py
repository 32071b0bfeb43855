"""Moves of a tracking branch that a person may make: they add decision files and nothing else."""

from __future__ import annotations

from handshake.domain.decision_file import decision_number
from handshake.repo.git import Repository


def decisions_added(repo: Repository, old: str, new: str) -> tuple[str, ...] | None:
    """The decision files that differ between two commits of a tracking branch, the second made on the first.

    Returns:
        Their paths, or None where the move goes back, or changes anything else.
    """
    if not repo.is_ancestor(old, new):
        return None
    changed = repo.git.names("diff", "--name-only", "--no-renames", "-z", old, new, "--")
    return changed if all(decision_number(path) is not None for path in changed) else None
