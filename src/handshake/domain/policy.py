"""ExecutionPolicy and the escalation chain. Contract: `loop.md`, ExecutionPolicy; `models.md`, The chain."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from handshake.domain.record import Record

HARD_GATE = "HARD_GATE"

LoraSelector = Literal["auto", "alternate", "none", "explicit"]
CarryOver = Literal["keep", "reset"]


class EscalationLevel(Record):
    """One rung of the chain. `model_id` is a name that the configuration maps to a served model."""

    level: int = Field(ge=0)
    model_id: str = Field(min_length=1)
    lora_id: str | None = None
    lora_selector: LoraSelector = "auto"
    is_cloud: bool = False
    is_hard_gate: bool = False

    @model_validator(mode="after")
    def _gate_is_named(self) -> EscalationLevel:
        if (self.model_id == HARD_GATE) != self.is_hard_gate:
            raise ValueError(f"model_id {HARD_GATE} and is_hard_gate: true go together")
        if self.lora_selector == "explicit" and self.lora_id is None:
            raise ValueError("lora_selector explicit needs a lora_id")
        return self


class CarryOverPolicy(Record):
    """What the next iteration starts from: the last one's files (`keep`) or the MT's first state (`reset`)."""

    retry: CarryOver = "keep"
    escalate: CarryOver = "reset"


def default_chain() -> tuple[EscalationLevel, ...]:
    """7B, 7B with another LoRA, 13B, 13B with another LoRA, 32B, a human."""
    named: list[tuple[str, LoraSelector]] = [
        ("qwen2.5-coder:7b", "auto"),
        ("qwen2.5-coder:7b", "alternate"),
        ("qwen2.5-coder:13b", "auto"),
        ("qwen2.5-coder:13b", "alternate"),
        ("qwen2.5-coder:32b", "none"),
    ]
    levels = [
        EscalationLevel(level=i, model_id=model, lora_selector=selector) for i, (model, selector) in enumerate(named)
    ]
    gate = EscalationLevel(level=len(levels), model_id=HARD_GATE, lora_selector="none", is_hard_gate=True)
    return (*levels, gate)


class ExecutionPolicy(Record):
    """How a job may spend. Merged once, snapshotted into the progress artifact, never re-read in a run."""

    max_iterations_per_mt: int = Field(default=5, ge=1, le=20)
    max_total_iterations: int = Field(default=100, ge=1, le=500)
    max_duration_ms: int = Field(default=3_600_000, ge=1)
    max_total_tokens: int | None = Field(default=None, ge=1)
    max_cost: float | None = Field(default=None, gt=0)
    escalation_chain: tuple[EscalationLevel, ...] = Field(default_factory=default_chain)
    cloud_escalation_allowed: bool = False
    drop_back_strategy: Literal["always", "never", "smart"] = "smart"
    lora_selection: Literal["auto_by_task_tags", "explicit", "none"] = "auto_by_task_tags"
    pause_points: tuple[str, ...] = ()
    enable_distillation: bool = True
    carry_over: CarryOverPolicy = Field(default_factory=CarryOverPolicy)

    @model_validator(mode="after")
    def _chain_counts_up(self) -> ExecutionPolicy:
        chain = self.escalation_chain
        if not chain:
            raise ValueError("escalation_chain is empty")
        if [level.level for level in chain] != list(range(len(chain))):
            raise ValueError("escalation_chain levels must be 0, 1, 2, … in order")
        if chain[0].is_hard_gate:
            raise ValueError("escalation_chain starts with a hard gate: no model could ever try")
        if any(level.is_hard_gate for level in chain[:-1]):
            raise ValueError("only the last level of escalation_chain may be a hard gate")
        return self

    def level(self, number: int) -> EscalationLevel:
        """The level of that number; past the end of the chain stands a human."""
        if number < len(self.escalation_chain):
            return self.escalation_chain[number]
        return EscalationLevel(level=number, model_id=HARD_GATE, lora_selector="none", is_hard_gate=True)

    def selector_at(self, number: int) -> LoraSelector:
        """How that level's adapter is chosen: by its own word, as far as `lora_selection` lets it."""
        selector = self.level(number).lora_selector
        let = {
            "auto_by_task_tags": True,
            "explicit": selector == "explicit",
            "none": False,
        }
        return selector if let[self.lora_selection] else "none"

    def stops_for_human(self, number: int) -> bool:
        """Whether that level is a hard gate: by its own word, or a cloud level that is not allowed."""
        level = self.level(number)
        return level.is_hard_gate or (level.is_cloud and not self.cloud_escalation_allowed)
