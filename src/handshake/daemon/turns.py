"""Whose turn it is: pure. Contract: `interface.md`, daemon; packets whose scopes overlap do not run at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from handshake.daemon.candidates import Candidate
from handshake.domain.scopes import shared_path


@dataclass(frozen=True)
class Wait:
    """A packet that could run but for others. `path` is what both may touch; None: `behind` says why it waits."""

    wp_id: str
    behind: str
    path: str | None

    def line(self) -> str:
        """The wait for a person."""
        if self.path is None:
            return f"{self.wp_id} waits: {self.behind}"
        return f"{self.wp_id} waits for {self.behind}: both may change {self.path}"


def turns(
    ready: Sequence[Candidate], running: Mapping[str, tuple[str, ...]], places: int
) -> tuple[tuple[Candidate, ...], tuple[Wait, ...]]:
    """Who starts now, and who waits for whom.

    What has begun goes first, then new packets, both by name. One that waits for a scope keeps later ones from
    taking that scope, so nobody waits for ever.

    Args:
        running: packet to scope, of every run that goes on; an unknown scope is empty and stops nobody.
        places: how many more may start.
    """
    starts: list[Candidate] = []
    waits: list[Wait] = []
    ahead = dict(running)
    for candidate in sorted(ready, key=lambda c: (not c.resumes, c.wp_id)):
        if len(starts) >= places:
            waits.append(Wait(candidate.wp_id, "every place is taken", None))
            continue
        met = next(
            ((name, path) for name, scope in ahead.items() if (path := shared_path(scope, candidate.scope))), None
        )
        ahead[candidate.wp_id] = candidate.scope
        if met is None:
            starts.append(candidate)
        else:
            waits.append(Wait(candidate.wp_id, *met))
    return tuple(starts), tuple(waits)
