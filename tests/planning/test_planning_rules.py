"""Each of the ten rules fires, and a plan that breaks one of severity ERROR is refused."""

from __future__ import annotations

from typing import Any

import pytest
from planning_trees import PYTHON, plan_for

from handshake.domain.errors import JobRefused
from handshake.domain.microtask import DoneCriterion, FileAccess, MicroTaskDefinition, VerificationSpec
from handshake.planning.rules import RULES, RuleFacts, check_definitions, refuse_errors

FACTS = RuleFacts(allows=lambda path: path.startswith("src/"), smallest_window=8192, estimated_tokens=900)


def mt(mt_id: str = "MT-001", **more: Any) -> MicroTaskDefinition:
    facts: dict[str, Any] = {
        "mt_id": mt_id,
        "name": "Change a",
        "scope": "a is right",
        "files": FileAccess(modify=("src/a.py",)),
        "actions": ("Change `src/a.py`.",),
        "verify": (VerificationSpec(command="pytest -q"),),
        "done": (DoneCriterion(description="right", verification="automated", verify_ref=0),),
        "token_budget": 2000,
    }
    return MicroTaskDefinition(**(facts | more))


def found(*definitions: MicroTaskDefinition, facts: RuleFacts = FACTS) -> list[tuple[str, str, str | None]]:
    return [(f.rule, f.severity, f.mt_id) for f in check_definitions(definitions, facts)]


def test_a_sound_plan_has_no_findings() -> None:
    assert found(mt()) == []
    assert len(RULES) == 10


def test_001_an_id_used_twice() -> None:
    assert ("MT-VAL-001", "ERROR", "MT-001") in found(mt(), mt())


@pytest.mark.parametrize("mt_id", ["MT-1", "mt-001", "MT-0001", "MT-001\n"])
def test_002_an_id_of_another_form(mt_id: str) -> None:
    assert ("MT-VAL-002", "ERROR", mt_id) in found(mt(mt_id))


def test_003_a_dependency_that_is_not_there() -> None:
    assert ("MT-VAL-003", "ERROR", "MT-001") in found(mt(depends_on=("MT-009",)))


def test_004_a_circle() -> None:
    findings = check_definitions((mt("MT-001", depends_on=("MT-002",)), mt("MT-002", depends_on=("MT-001",))), FACTS)
    circle = next(f for f in findings if f.rule == "MT-VAL-004")
    assert circle.severity == "ERROR"
    assert "MT-001" in circle.message and "MT-002" in circle.message
    assert ("MT-VAL-004", "ERROR", "MT-003") in found(mt("MT-003", depends_on=("MT-003",)))


@pytest.mark.parametrize("files", [FileAccess(modify=("lib/b.py",)), FileAccess(create=("docs/b.md",))])
def test_005_a_path_outside_the_scope(files: FileAccess) -> None:
    assert ("MT-VAL-005", "ERROR", "MT-001") in found(mt(files=files))


def test_005_reading_outside_is_allowed() -> None:
    assert found(mt(files=FileAccess(read=("lib/b.py",), modify=("src/a.py",)))) == []


def test_006_a_budget_over_the_window() -> None:
    small = RuleFacts(FACTS.allows, smallest_window=2048, estimated_tokens=900)
    findings = check_definitions((mt(token_budget=1537),), small)
    assert [f.rule for f in findings] == ["MT-VAL-006"]
    assert "1537" in findings[0].message and "2048" in findings[0].message
    assert found(mt(token_budget=1536), facts=small) == []


def test_007_no_blocking_verify() -> None:
    lax = (VerificationSpec(command="pytest", blocking=False),)
    assert ("MT-VAL-007", "WARNING", "MT-001") in found(mt(verify=lax))


def test_008_a_criterion_that_a_verify_could_prove() -> None:
    evidence = (DoneCriterion(description="right", verification="evidence_required"),)
    assert ("MT-VAL-008", "WARNING", "MT-001") in found(mt(done=evidence))
    syntax = (VerificationSpec(command="python -m py_compile src/a.py"),)
    assert found(mt(done=evidence, verify=syntax)) == []


def test_008_a_reference_to_no_verify() -> None:
    astray = (DoneCriterion(description="right", verification="automated", verify_ref=3),)
    assert ("MT-VAL-008", "WARNING", "MT-001") in found(mt(done=astray))


def test_009_a_check_before_what_it_checks_is_made() -> None:
    wrong = ("Run the tests of `src/a.py`.", "Create `src/a.py`.")
    assert ("MT-VAL-009", "WARNING", "MT-001") in found(mt(actions=wrong))
    assert ("MT-VAL-009", "WARNING", "MT-001") in found(mt(actions=("Run the tests.", "Write the function.")))
    assert found(mt(actions=tuple(reversed(wrong)))) == []
    assert found(mt(actions=("Check `src/b.py`.", "Create `src/a.py`."))) == []


@pytest.mark.parametrize(("estimate", "fires"), [(900, False), (100_000, True), (0, False), (None, True)])
def test_010_budgets_against_the_scope(estimate: int | None, fires: bool) -> None:
    facts = RuleFacts(FACTS.allows, 8192, estimate)
    assert (("MT-VAL-010", "INFO", None) in found(mt(), facts=facts)) is fires


def test_010_budgets_of_more_than_twice_the_estimate() -> None:
    assert found(mt(token_budget=6000)) == [("MT-VAL-010", "INFO", None)]


def test_an_error_refuses_the_job_and_names_rule_mt_and_value() -> None:
    with pytest.raises(JobRefused) as refused:
        refuse_errors(check_definitions((mt(files=FileAccess(modify=("lib/b.py",))),), FACTS))
    assert "MT-VAL-005 MT-001" in refused.value.line()
    assert "'lib/b.py'" in refused.value.line()
    assert "Next: " in refused.value.line()


def test_warnings_do_not_refuse() -> None:
    refuse_errors(check_definitions((mt(verify=(VerificationSpec(command="pytest", blocking=False),)),), FACTS))


def test_a_window_too_small_for_any_micro_task_is_refused_at_generation() -> None:
    with pytest.raises(JobRefused, match=r"MT-VAL-006 MT-001.*640"):
        plan_for(PYTHON, ("calc/stats.py",), ("`mean` is right",), window=640)


@pytest.mark.parametrize("path", ["/etc/passwd", "../other/a.py", "C:\\x.py", "a/../../b", "~/x"])
def test_a_scope_that_leaves_the_repository_is_refused(path: str) -> None:
    with pytest.raises(JobRefused, match="MT-VAL-005"):
        plan_for(PYTHON, (path,), ("`mean` is right",))


def test_a_scope_of_governance_paths_alone_is_refused() -> None:
    with pytest.raises(JobRefused, match="governance"):
        plan_for(PYTHON, ("docs/guide.md",), ("the guide is right",))
