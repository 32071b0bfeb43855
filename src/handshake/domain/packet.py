"""The task packet as read. Contract: `packets-and-gates.md`. Reading is `handshake.domain.packet_text`."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from handshake.domain.record import Record

WP_ID_PATTERN = r"^WP-[A-Za-z0-9][A-Za-z0-9._-]*$"


class PacketStatus(StrEnum):
    """Statuses that decide something; any other text is kept as it stands in `Packet.status_text`."""

    STUB = "STUB"
    DRAFT = "Draft"
    READY_FOR_DEV = "Ready for Dev"
    IN_PROGRESS = "In Progress"
    DONE = "Done"


class Finding(Record):
    """One problem or remark, with its place and its mend."""

    severity: Literal["error", "warning"]
    code: str
    file: str
    line: int | None = None
    what: str
    mend: str = ""

    def text(self) -> str:
        """`file:line: code: what; mend`."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.code}: {self.what}" + (f"; {self.mend}" if self.mend else "")


class Waiver(Record):
    """An entry of WAIVERS GRANTED that has an id and names a path."""

    waiver_id: str
    paths: tuple[str, ...]
    patterns: tuple[str, ...] = ()
    text: str
    line: int


class ManifestEntry(Record):
    """One COR-701 block. `gates` maps each of the ten names to whether its box is ticked."""

    target_file: str
    start: int
    end: int
    line_delta: int
    pre_sha1: str
    post_sha1: str
    gates: dict[str, bool] = Field(default_factory=dict)
    line: int = 1


class ValidationReport(Record):
    """A report under VALIDATION_REPORTS."""

    title: str
    verdict: Literal["PASS", "FAIL"] | None
    line: int


class Packet(Record):
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
