"""One small repository to compile prompts for, and a request for it that a test may bend."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from handshake.context.compile import ContextRequest
from handshake.domain.microtask import DoneCriterion, FileAccess, MicroTaskDefinition, Plan, VerificationSpec

MEAN = '''"""Statistics of lists."""

from calc.check import not_empty


def mean(values):
    """The arithmetic mean."""
    not_empty(values)
    return sum(values) / (len(values) - 1)


def spread(values):
    """The largest less the smallest."""
    return max(values) - min(values)
'''

CHECK = '''"""Checks that raise."""


def not_empty(values):
    """Refuse an empty list."""
    if not values:
        raise ValueError("no values")
'''

TEST = """from calc.stats import mean


def test_mean():
    assert mean([1, 2, 3]) == 2
"""

FILES = {"calc/stats.py": MEAN, "calc/check.py": CHECK, "tests/test_stats.py": TEST}


def _high_estimate(text: str) -> int:
    return (len(text.encode("utf-8")) + 2) // 3


def _definition(**changes: Any) -> MicroTaskDefinition:
    values: dict[str, Any] = {
        "mt_id": "MT-001",
        "name": "Fix calc/stats.py: the mean",
        "scope": "`mean` divides by the number of values",
        "files": FileAccess(read=("calc/check.py", "tests/test_stats.py"), modify=("calc/stats.py",)),
        "actions": ("Correct `mean` in calc/stats.py",),
        "verify": (VerificationSpec(command="python -m pytest tests/test_stats.py"),),
        "done": (DoneCriterion(description='`mean([1, 2, 3])` gives "2"', verification="automated", verify_ref=0),),
        "token_budget": 2048,
    }
    return MicroTaskDefinition(**{**values, **changes})


def _plan_of(mt: MicroTaskDefinition) -> Plan:
    return Plan(wp_id="WP-1", definitions=(mt,), waves=((mt.mt_id,),), definitions_hash="0" * 64)


@pytest.fixture(scope="session")
def definition() -> Callable[..., MicroTaskDefinition]:
    """An MT definition; keywords replace its fields."""
    return _definition


@pytest.fixture(scope="session")
def high_estimate() -> Callable[[str], int]:
    """Tokens, estimated high, without a model."""
    return _high_estimate


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A worktree with the three files."""
    for path, text in FILES.items():
        place = tmp_path.joinpath(*path.split("/"))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode("utf-8"))
    return tmp_path


@pytest.fixture
def request_for(tree: Path) -> Callable[..., ContextRequest]:
    """A request for that worktree; keywords replace its fields."""

    def build(**changes: Any) -> ContextRequest:
        mt = changes.pop("mt", None) or _definition()
        values: dict[str, Any] = {
            "job_id": "job-1",
            "wp_id": "WP-1",
            "step_id": "MT-001-L0-I1",
            "mt": mt,
            "plan": _plan_of(mt),
            "worktree": tree,
            "model_id": "local-coder",
            "max_level": 5,
            "context_window": 8192,
            "reserved_output_tokens": 1024,
            "count_tokens": _high_estimate,
            "created_at": datetime(2026, 1, 22, 8, 43, tzinfo=UTC),
            "policy_profile_id": "micro_task_executor_v1",
        }
        return ContextRequest(**{**values, **changes})

    return build
