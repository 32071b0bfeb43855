"""The part of the configuration that gates ask for, as plain data.

`handshake.domain.settings` takes these sections in and checks them as all others; a git hook, which runs at each
commit, has them without the library that checks. Contract: `interface.md`, Configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

if TYPE_CHECKING:
    from handshake.domain.settings import Settings

_NO_OTHER_KEYS = {"extra": "forbid"}  # read by pydantic where a file's section is checked


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where governance files live, relative to the repository."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _NO_OTHER_KEYS

    packets: str = "docs/task_packets"
    refinements: str = "docs/refinements"
    board: str = "docs/TASK_BOARD.md"
    registry: str = "docs/WP_TRACEABILITY_REGISTRY.md"
    signatures: str = "docs/SIGNATURE_AUDIT.md"

    def __post_init__(self) -> None:
        """`./docs/packets/` is `docs/packets`, as git names it.

        Raises:
            ValueError: a path that does not lie in the repository.
        """
        for part in fields(self):
            written: str = getattr(self, part.name)
            steps = [step for step in written.replace("\\", "/").split("/") if step not in ("", ".")]
            if not steps or ".." in steps or written[:1] in ("/", "\\", "~") or steps[0].endswith(":"):
                raise ValueError(f"{part.name}: `{written}` does not lie in the repository")
            object.__setattr__(self, part.name, "/".join(steps))


@dataclass(frozen=True, kw_only=True)
class Governance:
    """How strict activation is."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _NO_OTHER_KEYS

    mode: Literal["standard", "strict"] = "standard"
    signed_commits: bool = False
    ascii: Literal["error", "warn"] = "error"


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """The tracking branch."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _NO_OTHER_KEYS

    push: bool = False
    remote: str = "origin"
    namespace: str = "handshake/track"


@dataclass(frozen=True, kw_only=True)
class HookSettings:
    """What `Settings` says to a gate, where it names no validators: those need the whole of it."""

    base_branch: str = "main"
    paths: Paths = field(default_factory=Paths)
    governance: Governance = field(default_factory=Governance)
    tracking: Tracking = field(default_factory=Tracking)


GateSettings: TypeAlias = "Settings | HookSettings"
