"""Whether the next MT starts lower again. Contract: `loop.md`, Smart drop-back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from handshake.domain.learning import DropBackDecision
from handshake.domain.microtask import MicroTaskDefinition, RiskLevel
from handshake.domain.reply import FailureCategory
from handshake.learning.drop_back import DropBackRates

_STAY = {
    FailureCategory.LOGIC_ERROR_REGRESSION,
    FailureCategory.HALLUCINATION_API,
    FailureCategory.CONTEXT_OVERFLOW,
}
_DROP = {
    FailureCategory.SYNTAX_ERROR_ISOLATED,
    FailureCategory.VALIDATION_FLAKY,
    FailureCategory.SCOPE_VIOLATION,
}
_RISK = {RiskLevel.LOW: 0, RiskLevel.MEDIUM: 1, RiskLevel.HIGH: 2}


def decide_drop_back(
    *,
    strategy: Literal["always", "never", "smart"],
    category: FailureCategory,
    done: MicroTaskDefinition,
    remaining: Sequence[MicroTaskDefinition],
    learned: DropBackRates | None = None,
    lora_trained_since: bool = False,
    target_level: int = 0,
) -> DropBackDecision:
    """The decision after `done` succeeded above level 0.

    Args:
        strategy: the policy's.
        category: the failure category of the MT's last escalation.
        done: the MT that just succeeded.
        remaining: the MTs still to run.
        learned: what earlier drop-backs came to; moves `smart`, and nothing else.
        lora_trained_since: the lower LoRA was trained on the MT's tags since.
        target_level: where a drop-back goes.
    """
    if strategy == "never":
        return DropBackDecision(action="STAY_ESCALATED", reason="drop_back_strategy is never", confidence="HIGH")
    if strategy == "always":
        return _drop("drop_back_strategy is always", "HIGH", target_level)
    if learned is not None and (verdict := learned.verdict(category.value, done.task_tags)) is not None:
        drop, said = verdict
        if drop:
            return _drop(said, "MEDIUM", target_level)
        return DropBackDecision(action="STAY_ESCALATED", reason=said, confidence="MEDIUM")
    if category in _STAY:
        return DropBackDecision(
            action="STAY_ESCALATED", reason=f"{category.value} tends to come again", confidence="HIGH"
        )
    if category in _DROP:
        return _drop(f"{category.value} does not tell about the next task", "HIGH", target_level)
    if lora_trained_since:
        return _drop("the lower LoRA was trained on these tags since", "MEDIUM", target_level)
    if remaining and all(_simpler(mt, done) for mt in remaining):
        return _drop("every remaining task is simpler", "MEDIUM", target_level)
    return DropBackDecision(action="STAY_ESCALATED", reason="nothing speaks for the lower level", confidence="LOW")


def _drop(reason: str, confidence: Literal["HIGH", "MEDIUM", "LOW"], target_level: int) -> DropBackDecision:
    return DropBackDecision(action="DROP_BACK", target_level=target_level, reason=reason, confidence=confidence)


def _simpler(mt: MicroTaskDefinition, than: MicroTaskDefinition) -> bool:
    """Fewer files, lower risk or smaller budget, and nothing that is larger."""
    mine = (len(mt.files.writable), _RISK[mt.risk_level], mt.token_budget)
    theirs = (len(than.files.writable), _RISK[than.risk_level], than.token_budget)
    return all(a <= b for a, b in zip(mine, theirs, strict=True)) and mine != theirs
