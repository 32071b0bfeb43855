"""Why git cannot work in a folder, in a person's words, with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from handshake.domain.errors import EnvironmentProblem, HandshakeError, UsageError

if TYPE_CHECKING:
    from handshake.repo.git import GitResult


def why_unusable(folder: Path, result: GitResult, lines: list[str]) -> HandshakeError:
    """The error for a folder of which git did not say all that was asked; `lines` is what it said."""
    facts: dict[str, Any] = dict(zip(("bare", "inside"), lines, strict=False))
    if facts.get("bare") == "true":
        return UsageError(
            f"{folder} is a bare repository: it has no checkout", next_step=f"git clone {folder} <folder>"
        )
    if "dubious ownership" in result.stderr:
        return EnvironmentProblem(
            f"git refuses {folder}: it belongs to another user",
            next_step=f"if you trust it: git config --global --add safe.directory {folder}",
        )
    if "not a git repository" in result.stderr:
        return UsageError(f"{folder} is not in a git repository", next_step="git init, or change into one")
    if facts.get("inside") == "false":
        return UsageError(f"{folder} is inside a git folder", next_step="change into the checkout")
    if result.code == 0:
        return UsageError(f"{folder} has a line break in its path", next_step="rename the folder")
    # what git does not know it lists in the lines that follow, e.g. an extension of a newer git
    said = " ".join(result.stderr.split()).removeprefix("fatal: ")[:300]
    return EnvironmentProblem(
        f"git cannot open {folder}: {said or result.reason}", next_step=f"git -C {folder} status"
    )
