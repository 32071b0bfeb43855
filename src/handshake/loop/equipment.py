"""The tools of a run: models, reply store, tool bus, worktree. Made once per process, closed at its end."""

from __future__ import annotations

from dataclasses import dataclass

from handshake.domain.errors import EnvironmentProblem, ResourceExhausted
from handshake.domain.operation import EngineResult
from handshake.models.chain import ProviderPool
from handshake.models.replies import ReplyStore
from handshake.repo.store import ObjectStore
from handshake.repo.workspace import Workspace
from handshake.source.index import SourceIndex
from handshake.toolbus.bus import ToolBus


@dataclass(frozen=True)
class CodeSide:
    """What the WP branch and its worktree are made right with: no model and no command."""

    workspace: Workspace
    objects: ObjectStore
    replies: ReplyStore


@dataclass(frozen=True)
class Equipment(CodeSide):
    """What a step works with."""

    pool: ProviderPool
    bus: ToolBus
    index: SourceIndex

    def close(self) -> None:
        """End the child processes that serve models."""
        self.pool.close_all()


def refuse_broken_machine(result: EngineResult) -> EngineResult:
    """The result, unless the engine could not work at all: that is nobody's failed iteration.

    Raises:
        ResourceExhausted: the disk or memory is full.
        EnvironmentProblem: a program or the sandbox is missing.
    """
    for kind, mend in ((ResourceExhausted, "free disk space"), (EnvironmentProblem, "handshake doctor")):
        for error in result.errors:
            if error.code == kind.code:
                raise kind(error.message, next_step=f"{mend}, then run again")
    return result
