"""Each row of the table decides in a case of its own. Contract: `loop.md`, Deciding the next action."""

import pytest

from handshake.domain.decision import Action, GateReason
from handshake.domain.policy import EscalationLevel, ExecutionPolicy
from handshake.domain.reply import CompletionSignal, ValidationResult
from handshake.loop.decide import LevelHistory, decide

CHAIN = (
    EscalationLevel(level=0, model_id="a"),
    EscalationLevel(level=1, model_id="b"),
    EscalationLevel(level=2, model_id="HARD_GATE", is_hard_gate=True),
)
POLICY = ExecutionPolicy(escalation_chain=CHAIN)
CLAIM = CompletionSignal(claimed_complete=True)
BLOCKED = CompletionSignal(blocked=True, blocked_reason="no credential")
WORKING = CompletionSignal()
PASS, FAIL = ValidationResult(passed=True), ValidationResult(passed=False)


def history(**changes):
    fields = {"level": 0, "iteration": 1, "failures_in_a_row": 0, "false_claims_in_a_row": 0}
    return LevelHistory(**{**fields, **changes})


ROWS = [
    # row, completion, validation, history, action
    (1, CLAIM, PASS, history(), Action.COMPLETE),
    (1, CLAIM, PASS, history(iteration=5, skip_requested=True), Action.COMPLETE),
    (2, WORKING, None, history(skip_requested=True), Action.SKIP),
    (2, CLAIM, FAIL, history(skip_requested=True, iteration=5), Action.SKIP),
    (3, WORKING, None, history(iteration=5), Action.ESCALATE),
    (3, CLAIM, FAIL, history(iteration=5), Action.ESCALATE),
    (3, WORKING, None, history(iteration=5, level=1), Action.HARD_GATE),
    (4, CLAIM, FAIL, history(false_claims_in_a_row=1, failures_in_a_row=1), Action.RETRY),
    (4, CLAIM, FAIL, history(false_claims_in_a_row=2, failures_in_a_row=2), Action.ESCALATE),
    (4, CLAIM, FAIL, history(false_claims_in_a_row=2, level=1), Action.HARD_GATE),
    (5, BLOCKED, None, history(), Action.ESCALATE),
    (5, BLOCKED, None, history(block_is_recoverable=True), Action.RETRY),
    (6, WORKING, None, history(), Action.RETRY),
    (7, WORKING, None, history(failures_in_a_row=3, iteration=3), Action.ESCALATE),
    (7, BLOCKED, None, history(failures_in_a_row=3, block_is_recoverable=True), Action.ESCALATE),
    (0, WORKING, None, history(unrecoverable_error="validation_error: no such command"), Action.ESCALATE),
]


@pytest.mark.parametrize("rule,completion,validation,past,action", ROWS)
def test_row(rule, completion, validation, past, action):
    decision = decide(completion, validation, past, POLICY)
    assert (decision.action, decision.rule) == (action, rule)
    assert decision.reason


def test_a_claim_without_a_verdict_is_not_believed():
    assert decide(CLAIM, None, history(), POLICY).action is Action.RETRY


def test_the_top_of_the_chain_is_exhausted_and_a_cloud_level_needs_permission():
    at_top = decide(WORKING, None, history(level=1, iteration=5), POLICY)
    assert at_top.gate is GateReason.ESCALATION_EXHAUSTED
    cloud = ExecutionPolicy(escalation_chain=(CHAIN[0], EscalationLevel(level=1, model_id="c", is_cloud=True)))
    refused = decide(WORKING, None, history(iteration=5), cloud)
    assert (refused.action, refused.gate) == (Action.HARD_GATE, GateReason.CLOUD_ESCALATION_DISALLOWED)
    allowed = cloud.model_copy(update={"cloud_escalation_allowed": True})
    assert decide(WORKING, None, history(iteration=5), allowed).action is Action.ESCALATE


def test_a_chain_without_a_gate_ends_at_a_human_all_the_same():
    short = ExecutionPolicy(escalation_chain=(EscalationLevel(level=0, model_id="a"),))
    assert decide(WORKING, None, history(iteration=5), short).action is Action.HARD_GATE
