"""The tools of a run: models, reply store, tool bus, worktree. Made once per process, closed at its end."""

from __future__ import annotations

from dataclasses import dataclass, field

from handshake.loop.build_pack import ContextEngine
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
    told: set[str] = field(default_factory=set, kw_only=True)
    """Salvage commits that were spoken of."""


@dataclass(frozen=True)
class Equipment(CodeSide):
    """What a step works with."""

    pool: ProviderPool
    bus: ToolBus
    index: SourceIndex
    context: ContextEngine
    leftovers: set[str] = field(default_factory=set, kw_only=True)
    """Paths that something else than an edit changed while commands ran."""

    def close(self) -> None:
        """End the child processes that serve models."""
        self.pool.close_all()
