"""Contract: `loop.md`, Smart drop-back."""

import pytest

from handshake.domain.microtask import DoneCriterion, FileAccess, MicroTaskDefinition, VerificationSpec
from handshake.domain.reply import FailureCategory
from handshake.loop.dropback import decide_drop_back


def mt(files=2, budget=1024, risk="medium"):
    return MicroTaskDefinition(
        mt_id="MT-001",
        name="n",
        scope="s",
        files=FileAccess(modify=tuple(f"f{i}.py" for i in range(files))),
        actions=("a",),
        verify=(VerificationSpec(command="pytest"),),
        done=(DoneCriterion(description="d", verification="evidence_required"),),
        token_budget=budget,
        risk_level=risk,
    )


def smart(category, remaining=(), **more):
    return decide_drop_back(
        strategy="smart", category=FailureCategory(category), done=mt(), remaining=list(remaining), **more
    )


@pytest.mark.parametrize("category", ["logic_error_regression", "hallucination_api", "context_overflow"])
def test_what_comes_again_stays(category):
    assert smart(category, [mt(files=1)]).action == "STAY_ESCALATED"


@pytest.mark.parametrize("category", ["syntax_error_isolated", "validation_flaky", "scope_violation"])
def test_what_says_nothing_of_the_next_task_drops(category):
    decision = smart(category)
    assert (decision.action, decision.target_level) == ("DROP_BACK", 0)


def test_otherwise_simpler_work_or_a_trained_lora_drops():
    assert smart("unknown").action == "STAY_ESCALATED"
    assert smart("unknown", [mt()]).action == "STAY_ESCALATED"
    assert smart("unknown", [mt(files=1), mt(budget=600)]).action == "DROP_BACK"
    assert smart("unknown", [mt(files=1, risk="high")]).action == "STAY_ESCALATED"
    assert smart("unknown", lora_trained_since=True).action == "DROP_BACK"


def test_always_and_never():
    for strategy, action in (("always", "DROP_BACK"), ("never", "STAY_ESCALATED")):
        decision = decide_drop_back(
            strategy=strategy, category=FailureCategory.LOGIC_ERROR_REGRESSION, done=mt(), remaining=[]
        )
        assert decision.action == action
