from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from handshake.domain.canonical import committed_json
from handshake.domain.clock import CountingIds, SteppingClock, SystemIds, uuid_from
from handshake.domain.errors import IllegalTransition, InvalidEvent, JobRefused
from handshake.domain.events import EVENT_TYPES, Event, check_event, read_event
from handshake.domain.job import PROFILE_ID, JobInputs, check_pairing
from handshake.domain.ledger import LedgerStep, RunLedger, StepStatus, idempotency_key, step_id
from handshake.domain.microtask import DoneCriterion, FileAccess, MicroTaskDefinition, VerificationSpec
from handshake.domain.policy import EscalationLevel, ExecutionPolicy

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def mt(**changes):
    fields = {
        "mt_id": "MT-001",
        "name": "n",
        "scope": "s",
        "files": FileAccess(modify=("a.py",)),
        "actions": ("do",),
        "verify": (VerificationSpec(command="pytest"),),
        "done": (DoneCriterion(description="d", verification="automated", verify_ref=0),),
        "token_budget": 512,
    }
    return MicroTaskDefinition(**{**fields, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "x" * 101},
        {"scope": "x" * 501},
        {"actions": ()},
        {"actions": ("a",) * 11},
        {"actions": ("a" * 201,)},
        {"verify": ()},
        {"verify": (VerificationSpec(command="c"),) * 6},
        {"done": ()},
        {"done": (DoneCriterion(description="d", verification="evidence_required"),) * 9},
        {"token_budget": 511},
        {"token_budget": 8193},
        {"unknown": 1},
    ],
)
def test_a_definition_past_a_limit_is_refused(changes):
    with pytest.raises(ValidationError):
        mt(**changes)


@pytest.mark.parametrize("kind,most", [("read", 10), ("modify", 5), ("create", 3)])
def test_lists_of_files_have_their_limits(kind, most):
    FileAccess(**{kind: tuple(f"f{i}" for i in range(most))})
    with pytest.raises(ValidationError):
        FileAccess(**{kind: tuple(f"f{i}" for i in range(most + 1))})


def test_verify_and_done_need_what_they_name():
    with pytest.raises(ValidationError, match="needs a pattern"):
        VerificationSpec(command="c", expect="contains")
    with pytest.raises(ValidationError):
        VerificationSpec(command="c", timeout_ms=999)
    with pytest.raises(ValidationError, match="needs verify_ref"):
        DoneCriterion(description="d", verification="automated")


def test_the_default_chain_is_the_contracts():
    chain = ExecutionPolicy().escalation_chain
    assert [(level.model_id, level.lora_selector) for level in chain] == [
        ("qwen2.5-coder:7b", "auto"),
        ("qwen2.5-coder:7b", "alternate"),
        ("qwen2.5-coder:13b", "auto"),
        ("qwen2.5-coder:13b", "alternate"),
        ("qwen2.5-coder:32b", "none"),
        ("HARD_GATE", "none"),
    ]
    assert chain[-1].is_hard_gate


@pytest.mark.parametrize(
    "chain,why",
    [
        ([], "empty"),
        ([{"level": 1, "model_id": "m"}], "0, 1, 2"),
        ([{"level": 0, "model_id": "HARD_GATE", "is_hard_gate": True}], "starts with a hard gate"),
        ([{"level": 0, "model_id": "HARD_GATE"}], "go together"),
        ([{"level": 0, "model_id": "m", "lora_selector": "explicit"}], "needs a lora_id"),
    ],
)
def test_a_chain_that_cannot_work_is_refused(chain, why):
    with pytest.raises(ValidationError, match=why):
        ExecutionPolicy(escalation_chain=chain)


@pytest.mark.parametrize(
    "field,value", [("max_iterations_per_mt", 0), ("max_iterations_per_mt", 21), ("max_total_iterations", 501)]
)
def test_policy_ranges(field, value):
    with pytest.raises(ValidationError):
        ExecutionPolicy(**{field: value})


def test_past_the_end_of_the_chain_and_at_a_forbidden_cloud_level_stands_a_human():
    policy = ExecutionPolicy(
        escalation_chain=(
            EscalationLevel(level=0, model_id="m"),
            EscalationLevel(level=1, model_id="c", is_cloud=True),
        )
    )
    assert not policy.stops_for_human(0)
    assert policy.stops_for_human(1)
    assert policy.stops_for_human(2)
    assert not policy.model_copy(update={"cloud_escalation_allowed": True}).stops_for_human(1)


def test_kind_profile_and_protocol_go_together():
    check_pairing("micro_task_execution", PROFILE_ID, PROFILE_ID)
    for kind, profile, protocol in [
        ("micro_task_execution", "other", PROFILE_ID),
        ("micro_task_execution", PROFILE_ID, "other"),
        ("doc_edit", PROFILE_ID, PROFILE_ID),
        ("nonsense", PROFILE_ID, PROFILE_ID),
    ]:
        with pytest.raises(JobRefused):
            check_pairing(kind, profile, protocol)
    with pytest.raises(JobRefused, match="legacy") as legacy:
        check_pairing("workflow_run", PROFILE_ID, PROFILE_ID)
    assert "micro_task_execution" in legacy.value.next_step


def test_definitions_from_outside_are_refused():
    scope = {"in_scope_paths": ["a"], "done_means": ["b"], "test_plan": ["pytest"]}
    JobInputs.model_validate({"wp_id": "WP-1", "wp_scope": scope})
    with pytest.raises(JobRefused, match="mt_definitions"):
        JobInputs.model_validate({"wp_id": "WP-1", "wp_scope": scope, "mt_definitions": []})


def test_a_ledger_only_grows_and_moves_forward():
    ledger = RunLedger(ledger_id="l", wp_id="w", job_id="j", created_at=NOW)
    step = LedgerStep(step_id=step_id("MT-001", 7), idempotency_key="k", status=StepStatus.IN_PROGRESS)
    ledger = ledger.with_step(step)
    assert step.step_id == "MT-001_iter-007"
    done = step.model_copy(update={"status": StepStatus.COMPLETED})
    ledger = ledger.with_step(done)
    assert ledger.step("MT-001_iter-007") == done
    with pytest.raises(IllegalTransition):
        ledger.with_step(step)
    assert committed_json(ledger).decode().count("MT-001_iter-007") == 1


def test_the_idempotency_key_depends_on_each_of_its_parts():
    parts = ["MT-001", 1, "m", None, "h"]
    changed = [["MT-002", *parts[1:]], ["MT-001", 2, "m", None, "h"], ["MT-001", 1, "x", None, "h"]]
    changed += [["MT-001", 1, "m", "lora", "h"], ["MT-001", 1, "m", None, "g"]]
    keys = {idempotency_key(*p) for p in [parts, *changed]}
    assert len(keys) == 6


def event(**changes):
    fields = {
        "event_id": "e",
        "event_type": "FR-EVT-MT-016",
        "event_name": "micro_task_skipped",
        "timestamp": NOW,
        "actor": "human",
        "trace_id": "t",
        "job_id": "j",
        "workflow_run_id": "r",
        "wp_id": "WP-1",
        "payload": {"reason": "r", "decided_by": "me"},
    }
    return Event(**{**fields, **changes})


def test_all_seventeen_micro_task_events_are_known():
    assert [f"FR-EVT-MT-{n:03d}" in EVENT_TYPES for n in range(1, 18)] == [True] * 17


@pytest.mark.parametrize(
    "changes,why",
    [
        ({"event_type": "FR-EVT-MT-018"}, "unknown event id"),
        ({"event_name": "other"}, "is named"),
        ({"payload": {"reason": "r"}}, "lacks decided_by"),
        ({"payload": {"reason": "r", "decided_by": "m", "more": 1}}, "unknown fields more"),
        ({"trace_id": ""}, "no trace_id"),
        (
            {
                "event_type": "FR-EVT-006",
                "event_name": "llm_inference",
                "payload": {"model_id": "", "token_usage": {}},
            },
            "lacks token_usage.completion_tokens",
        ),
        (
            {
                "event_type": "FR-EVT-006",
                "event_name": "llm_inference",
                "payload": {
                    "model_id": "",
                    "token_usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
                },
            },
            "wrong model_id",
        ),
        ({"payload": {"reason": 1, "decided_by": "m"}}, "wrong reason: Input should be a valid string"),
        (
            {
                "event_type": "FR-EVT-CAP",
                "event_name": "capability_check",
                "payload": {"capability_id": "c", "actor_id": "a", "decision_outcome": "perhaps"},
            },
            "wrong decision_outcome",
        ),
        ({"event_type": "FR-EVT-WF-RECOVERY", "event_name": "workflow_recovery"}, "must be system"),
    ],
)
def test_an_event_of_a_wrong_shape_is_refused(changes, why):
    check_event(event())
    with pytest.raises(InvalidEvent, match=why):
        check_event(event(**changes))


def test_an_event_read_back_is_checked():
    good = event().model_dump(mode="json")
    assert read_event(good) == event()
    with pytest.raises(InvalidEvent, match="not an event"):
        read_event({**good, "actor": "nobody"})


def test_ids_are_version_7_and_repeatable_where_they_must_be():
    ids = CountingIds()
    first, second = ids.uuid7(), ids.uuid7()
    assert first[14] == "7" and first < second
    assert SystemIds().uuid7()[14] == "7"
    assert uuid_from("a") == uuid_from("a") != uuid_from("b")


def test_a_stepping_clock_repeats_itself():
    one, two = SteppingClock(), SteppingClock()
    assert [one.now(), one.now()] == [two.now(), two.now()]
    before = one.now()
    one.sleep(5)
    assert (one.now() - before).total_seconds() > 5
