"""ArtifactHandle: an immutable file named by its SHA-256. Contract: `tool-bus.md`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from handshake.domain.canonical import sha256_hex
from handshake.domain.clock import uuid_from
from handshake.domain.record import Record

ArtifactKind = Literal["file", "tool_output", "transcript", "dataset_slice", "prompt_payload", "report"]
Classification = Literal["low", "medium", "high"]


class ArtifactHandle(Record):
    """Names one artifact. `path` is relative to the tracking branch's root (or the worktree for kind `file`)."""

    artifact_id: str
    kind: ArtifactKind
    path: str
    uri: str
    content_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)
    classification: Classification = "low"
    exportable: bool = True
    retention_ttl_days: int | None = None


def handle_for(kind: ArtifactKind, path: str, data: bytes) -> ArtifactHandle:
    """The handle of `data` stored at `path`. Same path and bytes give the same handle."""
    digest = sha256_hex(data)
    return ArtifactHandle(
        artifact_id=uuid_from(f"artifact:{path}:{digest}"),
        kind=kind,
        path=path,
        uri=f"handshake:{path}",
        content_hash=digest,
        size_bytes=len(data),
    )
