"""The task packet as read. Contract: `packets-and-gates.md`. Reading is `handshake.domain.packet_text`.

Only our own readers make these records, from text that they have checked. So they are plain data: a git hook reads
a packet at each commit and does not wait for a library that checks types.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from handshake.domain.packet_names import on_one_line

WP_ID_PATTERN = r"^WP-[A-Za-z0-9][A-Za-z0-9._-]*$"


class PacketStatus(StrEnum):
    """Statuses that decide something; any other text is kept as it stands in `Packet.status_text`."""

    STUB = "STUB"
    DRAFT = "Draft"
    READY_FOR_DEV = "Ready for Dev"
    IN_PROGRESS = "In Progress"
    DONE = "Done"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One problem or remark, with its place and its mend."""

    severity: Literal["error", "warning"]
    code: str
    file: str
    line: int | None = None
    what: str
    mend: str = ""

    def text(self) -> str:
        """`file:line: code: what; mend`, on one line whatever a file is called."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return on_one_line(f"{place}: {self.code}: {self.what}" + (f"; {self.mend}" if self.mend else ""))


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """An entry of WAIVERS GRANTED that has an id and names a path."""

    waiver_id: str
    paths: tuple[str, ...]
    patterns: tuple[str, ...] = ()
    text: str
    line: int


@dataclass(frozen=True, kw_only=True)
class ManifestEntry:
    """One COR-701 block. `gates` maps each of the ten names to whether its box is ticked."""

    target_file: str
    start: int
    end: int
    line_delta: int
    pre_sha1: str
    post_sha1: str
    gates: dict[str, bool] = field(default_factory=dict)
    line: int = 1


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """A report under VALIDATION_REPORTS."""

    title: str
    verdict: Literal["PASS", "FAIL"] | None
    line: int


@dataclass(frozen=True, kw_only=True)
class Packet:
    """Everything that is read from a packet. Lines are 1-based."""

    wp_id: str
    base_wp_id: str
    path: str
    status_text: str
    status_line: int
    user_signature: str | None
    metadata: dict[str, str]
    in_scope_paths: tuple[str, ...]
    out_of_scope: tuple[str, ...] = ()
    what: str = ""
    why: str = ""
    done_means: tuple[str, ...]
    test_plan: tuple[str, ...]
    risk_tier: Literal["LOW", "MEDIUM", "HIGH"] = "MEDIUM"
    execution_policy: dict[str, object] | None = None
    waivers: tuple[Waiver, ...] = ()
    manifest: tuple[ManifestEntry, ...] = ()
    reports: tuple[ValidationReport, ...] = ()
    headings: tuple[tuple[str, int], ...] = ()
    is_stub: bool = False

    @property
    def status(self) -> PacketStatus | None:
        """The status, where it is one that decides something."""
        folded = self.status_text.strip().casefold()
        return next((s for s in PacketStatus if s.value.casefold() == folded), None)
