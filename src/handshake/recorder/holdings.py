"""What the queryable store holds, as its index says: which jobs, up to where, what is missing and why.

The store is derived: it can be thrown away at any time. The index is replaced as a whole and the Parquet files
are never changed, so a reader sees one or the other state and needs no lock. Contract: `events.md`, Retention.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from handshake.domain.errors import RecorderFailed
from handshake.domain.record import Record

Why = Literal["retention", "damaged"]


class Holding(Record):
    """What is known of one job's events.

    `chunks` are object ids and `files` local journals with the bytes of them that `part` holds. `part` is None
    where nothing is kept: all is read from the sources, or it is older than the retention.
    """

    part: str | None = None
    wp_id: str = ""
    events: int = 0
    first: str = ""
    last: str = ""
    chunks: tuple[str, ...] = ()
    files: dict[str, int] = Field(default_factory=dict)
    expired: bool = False


class Damage(Record):
    """A line that is no event and was accepted as lost by `handshake recorder rebuild`."""

    owner: str
    where: str
    line: int
    sha256: str
    why: str


class Missing(Record):
    """Events that an answer does not count, and why."""

    job_id: str
    wp_id: str
    events: int
    first: str | None = None
    last: str | None = None
    why: Why
    said: str


class Index(Record):
    """The store's table of contents."""

    version: Literal[1] = 1
    holdings: dict[str, Holding] = Field(default_factory=dict)
    damaged: tuple[Damage, ...] = ()

    def lost_lines(self, owner: str) -> frozenset[str]:
        """The hashes of that job's lines which were accepted as lost."""
        return frozenset(row.sha256 for row in self.damaged if row.owner == owner)


def read_index(directory: Path) -> Index:
    """The index of the store; an empty one where there is none, or one of another version: it is made anew."""
    try:
        return Index.model_validate(json.loads((directory / "index.json").read_bytes()))
    except FileNotFoundError:
        return Index()
    except (ValueError, ValidationError):
        return Index()
    except OSError as error:
        raise RecorderFailed(f"cannot read {directory}: {error}", next_step="handshake recorder rebuild") from error


def write_index(directory: Path, index: Index) -> None:
    """Replace the index as a whole. It is not synced: after a power cut the store is made again.

    Raises:
        OSError: it cannot be written; the old one stands.
    """
    handle, name = tempfile.mkstemp(prefix=".index.", suffix=".tmp", dir=directory)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(index.model_dump(mode="json"), sort_keys=True))
        temporary.replace(directory / "index.json")
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
