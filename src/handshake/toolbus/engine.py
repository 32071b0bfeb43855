"""What an engine is to the bus: a body that is given a checked operation and answers. Contract: `tool-bus.md`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from handshake.domain.artifact import ArtifactHandle
from handshake.domain.clock import Clock
from handshake.domain.operation import OperationError, Output, PlannedOperation
from handshake.toolbus.sandbox import Sandbox


@dataclass(frozen=True)
class EngineContext:
    """What an engine may use. `repository`: the git folder of the repository whose worktree it is."""

    worktree: Path
    clock: Clock
    sandbox: Sandbox
    artifact_prefix: str
    payloads: Mapping[str, bytes] = field(default_factory=dict)
    repository: Path | None = None


@dataclass(frozen=True)
class Answer:
    """What an engine did; the bus adds times and provenance."""

    status: Literal["succeeded", "failed", "denied"]
    outputs: tuple[Output, ...] = ()
    evidence: tuple[ArtifactHandle, ...] = ()
    errors: tuple[OperationError, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """The one function of an engine.

    Raises:
        OSError, HandshakeError: it could not act; the bus turns what it knows into a failed result.
    """

    def __call__(self, op: PlannedOperation, context: EngineContext, /) -> Answer: ...
