"""What happens after an iteration: one pure function, first match wins. Contract: `loop.md`, Deciding."""

from __future__ import annotations

from dataclasses import dataclass

from handshake.domain.decision import Action, Decision, GateReason
from handshake.domain.policy import ExecutionPolicy
from handshake.domain.reply import CompletionSignal, ValidationResult

FORCED_ESCALATION_AFTER = 3
FALSE_CLAIMS_BEFORE_ESCALATION = 2


@dataclass(frozen=True)
class LevelHistory:
    """What this level has done for this MT so far, this iteration included.

    `failures_in_a_row` and `false_claims_in_a_row` count back from this iteration; `block_is_recoverable`
    says whether a blocked reply asks for something that is in the MT's read scope.
    """

    level: int
    iteration: int
    failures_in_a_row: int
    false_claims_in_a_row: int
    skip_requested: bool = False
    block_is_recoverable: bool = False
    unrecoverable_error: str | None = None


def decide(
    completion: CompletionSignal, validation: ValidationResult | None, history: LevelHistory, policy: ExecutionPolicy
) -> Decision:
    """The decision for one iteration.

    Args:
        completion: the reply's closing signal.
        validation: the verdict, or None where nothing was claimed.
        history: the level's record for this MT.
        policy: the job's snapshot.
    """
    claimed = completion.claimed_complete
    if claimed and validation is not None and validation.passed:
        return Decision(action=Action.COMPLETE, rule=1, reason="claimed and validated")
    if history.skip_requested:
        return Decision(action=Action.SKIP, rule=2, reason="the user asked to skip")
    if history.iteration >= policy.max_iterations_per_mt:
        return _climb(3, f"{history.iteration} iterations at this level", history, policy)
    if claimed and history.false_claims_in_a_row >= FALSE_CLAIMS_BEFORE_ESCALATION:
        return _climb(4, f"{history.false_claims_in_a_row} false claims in a row", history, policy)
    if completion.blocked and not history.block_is_recoverable:
        return _climb(5, f"blocked: {completion.blocked_reason or 'no reason given'}", history, policy)
    if history.unrecoverable_error is not None:
        return _climb(0, history.unrecoverable_error, history, policy)
    if history.failures_in_a_row >= FORCED_ESCALATION_AFTER:
        return _climb(7, f"{history.failures_in_a_row} failures in a row", history, policy)
    if claimed:
        return Decision(action=Action.RETRY, rule=4, reason="claimed, but validation failed")
    if completion.blocked:
        return Decision(action=Action.RETRY, rule=5, reason="blocked, and what it asks for can be shown")
    return Decision(action=Action.RETRY, rule=6, reason="still working")


def _climb(rule: int, reason: str, history: LevelHistory, policy: ExecutionPolicy) -> Decision:
    """One level up, or a human where none is left or the next is not allowed."""
    above = policy.level(history.level + 1)
    if not policy.stops_for_human(above.level):
        return Decision(action=Action.ESCALATE, rule=rule, reason=reason)
    gate = GateReason.ESCALATION_EXHAUSTED if above.is_hard_gate else GateReason.CLOUD_ESCALATION_DISALLOWED
    return Decision(action=Action.HARD_GATE, rule=rule, reason=reason, gate=gate)
