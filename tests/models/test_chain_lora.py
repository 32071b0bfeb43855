"""The scores of the contract, row by row."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from handshake.domain.errors import ConfigError
from handshake.domain.policy import EscalationLevel
from handshake.domain.settings import LoraConfig
from handshake.models.lora import choose_lora, score_lora, trained_since

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


def lora(lora_id: str = "l", **fields) -> LoraConfig:
    return LoraConfig(**{"id": lora_id, "base_model": "base", "served_as": lora_id, **fields})


@pytest.mark.parametrize(
    ("fields", "tags", "score"),
    [
        ({}, ["python"], 0.0),
        ({"trained_on_task_types": ("python",)}, ["python"], 1.0),
        ({"trained_on_task_types": ("python", "tests")}, ["python", "tests"], 2.0),
        ({"trained_on_task_types": ("python",)}, ["python", "python"], 1.0),
        ({"specialization": ("refactor",)}, ["python", "refactor"], 0.5),
        ({"weak_on_task_types": ("sql",)}, ["sql"], -0.5),
        ({"trained_on_task_types": ("sql",), "weak_on_task_types": ("sql",)}, ["sql"], 0.5),
        ({"last_trained_at": "2026-06-10"}, [], 0.2),
        ({"last_trained_at": "2026-06-08T12:00:00Z"}, [], 0.2),
        ({"last_trained_at": "2026-06-08T11:59:59Z"}, [], 0.0),
        ({"last_trained_at": "2026-07-01"}, [], 0.0),
        ({"eval_metrics": {"pass_at_1": 0.71}}, [], 0.3),
        ({"eval_metrics": {"pass_at_1": 0.7}}, [], 0.0),
        (
            {
                "trained_on_task_types": ("a",),
                "specialization": ("a",),
                "weak_on_task_types": ("b",),
                "last_trained_at": "2026-06-14",
                "eval_metrics": {"pass_at_1": 0.9},
            },
            ["a", "b"],
            1.5,
        ),
    ],
)
def test_scores(fields, tags, score):
    assert score_lora(lora(**fields), tags, NOW) == pytest.approx(score)


A = lora("a", trained_on_task_types=("python",))
B = lora("b", trained_on_task_types=("python",), specialization=("python",))
C = lora("c", weak_on_task_types=("python",))
OTHER = lora("z", base_model="other", trained_on_task_types=("python",), specialization=("python",))


def level(selector: str, lora_id: str | None = None) -> EscalationLevel:
    return EscalationLevel(level=1, model_id="base", lora_selector=selector, lora_id=lora_id)


@pytest.mark.parametrize(
    ("selector", "lora_id", "loras", "used", "chosen"),
    [
        ("auto", None, (A, B, C, OTHER), (), "b"),
        ("auto", None, (B, lora("b2", trained_on_task_types=("python",), specialization=("python",))), (), "b"),
        ("auto", None, (lora("y", specialization=("python",)), lora("x", specialization=("python",))), (), "x"),
        ("auto", None, (C,), (), None),
        ("auto", None, (lora("n"),), (), None),
        ("auto", None, (), (), None),
        ("auto", None, (OTHER,), (), None),
        ("alternate", None, (A, B, C), ("b",), "a"),
        ("alternate", None, (A, B, C), (), "b"),
        ("alternate", None, (A, C), ("a",), "c"),
        ("alternate", None, (A, B), ("a", "b"), "b"),
        ("alternate", None, (B,), ("b",), "b"),
        ("alternate", None, (), ("b",), None),
        ("none", None, (A, B), (), None),
        ("explicit", "c", (A, B, C), (), "c"),
    ],
)
def test_selectors(selector, lora_id, loras, used, chosen):
    choice = choose_lora(level(selector, lora_id), loras, "base", ("python",), used, NOW)
    assert (choice.lora.id if choice.lora else None) == chosen
    assert choice.selector == selector
    assert set(choice.scores) == {one.id for one in loras if one.base_model == "base"}


@pytest.mark.parametrize("lora_id", ["nope", "z"])
def test_an_explicit_lora_that_is_not_there_is_an_error(lora_id):
    with pytest.raises(ConfigError, match=f"LoRA '{lora_id}'"):
        choose_lora(level("explicit", lora_id), (A, OTHER), "base", (), (), NOW)


def test_a_date_that_is_none_is_an_error():
    with pytest.raises(ConfigError, match="last_trained_at 'yesterday'"):
        score_lora(lora(last_trained_at="yesterday"), (), NOW)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"trained_on_task_types": ("sql", "python"), "last_trained_at": "2026-06-15T12:00:01Z"}, True),
        ({"trained_on_task_types": ("python",), "last_trained_at": "2026-06-15T12:00:00Z"}, False),
        ({"trained_on_task_types": ("sql",), "last_trained_at": "2026-07-01"}, False),
        ({"trained_on_task_types": ("python",), "last_trained_at": "2026-07-01", "base_model": "other"}, False),
        ({"trained_on_task_types": ("python",)}, False),
    ],
)
def test_what_was_trained_since(fields, found):
    assert trained_since([lora(**fields)], "base", ["python"], NOW) is found
