"""MicroTaskDefinition. Contract: `micro-tasks.md`. Users never write these; `handshake.planning` does."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from handshake.domain.record import Record

MT_ID_PATTERN = r"^MT-[0-9]{3}$"

Action = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class RiskLevel(StrEnum):
    """How much care an MT needs."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Expect(StrEnum):
    """What a verify command must give."""

    EXIT_0 = "exit_0"
    EXIT_NONZERO = "exit_nonzero"
    CONTAINS = "contains"
    NOT_CONTAINS = "not_contains"


class FileAccess(Record):
    """Repo-relative POSIX paths. `modify` and `create` are all that a reply may write."""

    read: tuple[str, ...] = Field(default=(), max_length=10)
    modify: tuple[str, ...] = Field(default=(), max_length=5)
    create: tuple[str, ...] = Field(default=(), max_length=3)

    @property
    def writable(self) -> tuple[str, ...]:
        """`modify` then `create`, in order."""
        return (*self.modify, *self.create)


class VerificationSpec(Record):
    """A command of the packet and what it must give."""

    command: str = Field(min_length=1)
    expect: Expect = Expect.EXIT_0
    pattern: str | None = None
    timeout_ms: int = Field(default=30_000, ge=1_000, le=300_000)
    blocking: bool = True

    @model_validator(mode="after")
    def _pattern_where_needed(self) -> VerificationSpec:
        if self.expect in (Expect.CONTAINS, Expect.NOT_CONTAINS) and not self.pattern:
            raise ValueError(f"expect {self.expect} needs a pattern")
        return self


class DoneCriterion(Record):
    """One thing that must be true, and how it is seen to be."""

    description: str = Field(min_length=1)
    verification: Literal["automated", "evidence_required"]
    verify_ref: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _automated_names_its_command(self) -> DoneCriterion:
        if self.verification == "automated" and self.verify_ref is None:
            raise ValueError("an automated criterion needs verify_ref")
        return self


class MicroTaskDefinition(Record):
    """An atomic part of a work packet, small enough for one model call."""

    mt_id: str
    name: str = Field(min_length=1, max_length=100)
    scope: str = Field(min_length=1, max_length=500)
    files: FileAccess
    actions: tuple[Action, ...] = Field(min_length=1, max_length=10)
    verify: tuple[VerificationSpec, ...] = Field(min_length=1, max_length=5)
    done: tuple[DoneCriterion, ...] = Field(min_length=1, max_length=8)
    depends_on: tuple[str, ...] = ()
    token_budget: int = Field(ge=512, le=8192)
    task_tags: tuple[str, ...] = ()
    risk_level: RiskLevel = RiskLevel.MEDIUM
    notes: str | None = None


class RuleFinding(Record):
    """What one of the ten rules found."""

    rule: str
    severity: Literal["ERROR", "WARNING", "INFO"]
    mt_id: str | None = None
    message: str


class Plan(Record):
    """The generated definitions of one packet, as committed in `mt_definitions.json`.

    `waves` are lists of MT ids; `criteria` maps each DONE_MEANS bullet (by its text) to the MTs
    whose `done` holds it; `focus` maps an MT to the definitions it is about, by path, in files too large
    to be shown whole or shared with other MTs; `definitions_hash` is the SHA-256 of the definitions' canonical JSON.
    """

    schema_version: str = "1.0"
    wp_id: str
    definitions: tuple[MicroTaskDefinition, ...]
    waves: tuple[tuple[str, ...], ...]
    findings: tuple[RuleFinding, ...] = ()
    criteria: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    focus: dict[str, dict[str, tuple[str, ...]]] = Field(default_factory=dict)
    test_plan: tuple[str, ...] = ()
    definitions_hash: str

    def definition(self, mt_id: str) -> MicroTaskDefinition:
        """The definition of that id.

        Raises:
            KeyError: there is none.
        """
        for definition in self.definitions:
            if definition.mt_id == mt_id:
                return definition
        raise KeyError(mt_id)

    @property
    def order(self) -> tuple[str, ...]:
        """MT ids in the order they run: wave by wave, within a wave by id."""
        return tuple(mt_id for wave in self.waves for mt_id in wave)
