"""The tools of a run: models, reply store, tool bus, worktree. Made once per process, closed at its end."""

from __future__ import annotations

from dataclasses import dataclass

from handshake.models.chain import ProviderPool
from handshake.models.replies import ReplyStore
from handshake.repo.store import ObjectStore
from handshake.repo.workspace import Workspace
from handshake.toolbus.bus import ToolBus


@dataclass(frozen=True)
class Equipment:
    """What a step works with."""

    pool: ProviderPool
    replies: ReplyStore
    bus: ToolBus
    workspace: Workspace
    objects: ObjectStore

    def close(self) -> None:
        """End the child processes that serve models."""
        self.pool.close_all()
