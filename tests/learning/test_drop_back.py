"""What drop-backs came to, and when that moves a decision."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from handshake.domain.learning import DropBackOutcome
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.reply import FailureCategory
from handshake.learning.drop_back import ENOUGH, DropBackRates, rates_of
from handshake.loop.dropback import decide_drop_back

SYNTAX, LOGIC = FailureCategory.SYNTAX_ERROR_ISOLATED, FailureCategory.LOGIC_ERROR_REGRESSION


def outcomes(category, held, again, tags=("python",)):
    def row(outcome):
        return DropBackOutcome(
            mt_id="MT-001",
            wp_id="WP-1-Shop-v1",
            created_at=datetime(2026, 1, 22, tzinfo=UTC),
            failure_category=category,
            task_tags=tags,
            from_level=1,
            to_level=0,
            reason="always",
            outcome=outcome,
        )

    return [row("SUCCEEDED")] * held + [row("ESCALATED_AGAIN")] * again + [row(None)]


def task(*tags):
    return MicroTaskDefinition.model_validate(
        {
            "mt_id": "MT-001",
            "name": "a",
            "scope": "b",
            "files": {"modify": ["a.py"]},
            "actions": ["c"],
            "verify": [{"command": "pytest"}],
            "done": [{"description": "d", "verification": "evidence_required"}],
            "token_budget": 4096,
            "task_tags": tags,
        }
    )


def decided(category, learned, *tags, strategy="smart"):
    done = task(*(tags or ("python",)))
    return decide_drop_back(strategy=strategy, category=category, done=done, remaining=[], learned=learned)


def test_rates_are_counted_for_each_category_and_tag():
    rates = rates_of([*outcomes("unknown", 2, 1, ("python", "api")), *outcomes("unknown", 0, 1, ())]).rows
    assert {key: (rate.succeeded, rate.escalated_again) for key, rate in rates.items()} == {
        ("unknown", "api"): (2, 1),
        ("unknown", "python"): (2, 1),
        ("unknown", "untagged"): (0, 1),
    }
    assert rates["unknown", "api"].success_rate == pytest.approx(0.666667)


def test_without_learning_the_table_decides():
    assert decided(SYNTAX, None).action == decided(SYNTAX, DropBackRates()).action == "DROP_BACK"
    assert decided(LOGIC, None).action == "STAY_ESCALATED"


def test_what_was_learnt_moves_the_table_both_ways_and_says_so():
    stay = decided(SYNTAX, rates_of(outcomes(SYNTAX.value, 1, ENOUGH)))
    assert (stay.action, stay.reason) == (
        "STAY_ESCALATED",
        f"learned: 1 of {ENOUGH + 1} drop-backs after syntax_error_isolated at python held",
    )
    drop = decided(LOGIC, rates_of(outcomes(LOGIC.value, ENOUGH, 0)))
    assert (drop.action, drop.target_level) == ("DROP_BACK", 0)


@pytest.mark.parametrize(("held", "again"), [(0, ENOUGH - 1), (ENOUGH - 1, 0), (3, 3)])
def test_too_few_outcomes_or_unclear_ones_move_nothing(held, again):
    for category in (SYNTAX, LOGIC):
        learned = rates_of(outcomes(category.value, held, again))
        assert decided(category, learned) == decided(category, None)


def test_the_tag_that_did_worst_decides_and_another_tag_says_nothing():
    learned = rates_of([*outcomes(SYNTAX.value, 9, 0, ("python",)), *outcomes(SYNTAX.value, 0, 9, ("api",))])
    assert decided(SYNTAX, learned, "python", "api").action == "STAY_ESCALATED"
    assert decided(LOGIC, learned, "python").action == "STAY_ESCALATED"
    assert "learned" not in decided(SYNTAX, learned, "rust").reason


@pytest.mark.parametrize(("strategy", "action"), [("always", "DROP_BACK"), ("never", "STAY_ESCALATED")])
def test_the_other_strategies_learn_nothing(strategy, action):
    for learned in (rates_of(outcomes(SYNTAX.value, 9, 0)), rates_of(outcomes(SYNTAX.value, 0, 9))):
        assert decided(SYNTAX, learned, strategy=strategy).action == action
