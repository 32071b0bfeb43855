"""What a daemon does now, for those who ask: a small file in the git folder, believed only while the daemon lives."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from handshake.domain.canonical import canonical_json
from handshake.domain.clock import Clock
from handshake.domain.record import Record
from handshake.repo.git import Repository
from handshake.repo.locks import living_owner


class Waiting(Record):
    """A packet that waits for another one; `path` is what both may change."""

    wp_id: str
    behind: str
    path: str | None = None


class Bulletin(Record):
    """The runs that go on, the packets that wait, and those that are refused with why."""

    running: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    refused: dict[str, str] = Field(default_factory=dict)


def daemon_lock(repo: Repository) -> Path:
    """The lock that the one daemon of a repository holds."""
    return repo.state_dir / "locks" / "daemon.lock"


def write_bulletin(repo: Repository, bulletin: Bulletin) -> None:
    """Make it known; nothing depends on it, so it is not synced."""
    place = _place(repo)
    fresh = place.with_name(place.name + ".new")
    fresh.write_bytes(canonical_json(bulletin) + b"\n")
    fresh.replace(place)


def read_bulletin(repo: Repository, clock: Clock) -> tuple[int, Bulletin] | None:
    """The living daemon's process id and bulletin, or None where no daemon watches."""
    beat = living_owner(daemon_lock(repo), clock)
    if beat is None:
        return None
    try:
        return beat.pid, Bulletin.model_validate_json(_place(repo).read_bytes())
    except (OSError, ValidationError):
        return beat.pid, Bulletin()


def _place(repo: Repository) -> Path:
    return repo.state_dir / "daemon.json"
