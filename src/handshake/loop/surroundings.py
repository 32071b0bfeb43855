"""What a run needs and does not own, and who looks on while it goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from handshake.domain.clock import Clock, IdSource
from handshake.domain.events import Event
from handshake.domain.settings import Settings
from handshake.repo.git import Repository


class Watcher(Protocol):
    """Who looks on while a run goes: the terminal, or nobody."""

    def event(self, event: Event) -> None:
        """An event was recorded."""
        ...

    def working(self, what: str) -> None:
        """Something that takes a while began."""
        ...

    def said(self, who: str, text: str) -> None:
        """A prompt or a reply, whole."""
        ...

    def note(self, text: str) -> None:
        """Something a person should know that stops nothing."""
        ...


class NobodyWatches:
    """A watcher that looks away."""

    def event(self, event: Event) -> None:
        """Nothing."""

    def working(self, what: str) -> None:
        """Nothing."""

    def said(self, who: str, text: str) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Surroundings:
    """What a run needs and does not own."""

    repo: Repository
    settings: Settings
    clock: Clock
    ids: IdSource
    watcher: Watcher = field(default_factory=NobodyWatches)
