"""Each limit stops a run at its figure, and an extension moves it. Contract: `loop.md`, Limits."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from handshake.domain.artifact import handle_for
from handshake.domain.decision import GateReason
from handshake.domain.errors import UsageError
from handshake.domain.job import ExecutionState, Extension, Job, JobMetrics, Workspace
from handshake.domain.microtask import DoneCriterion, FileAccess, MicroTaskDefinition, Plan, VerificationSpec
from handshake.domain.policy import EscalationLevel, ExecutionPolicy
from handshake.domain.progress import (
    IterationOutcome,
    IterationRecord,
    LearningContext,
    MtProgress,
    ProgressArtifact,
)
from handshake.domain.settings import ModelConfig, Price
from handshake.loop.limits import (
    ARTIFACT_BYTES,
    LEDGER_BYTES,
    PROGRESS_BYTES,
    RecordBytes,
    cost_of,
    reached_limit,
    refuse_unpriced,
    room_for_more,
    token_warning,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MT = MicroTaskDefinition(
    mt_id="MT-001",
    name="n",
    scope="s",
    files=FileAccess(modify=("a.py",)),
    actions=("a",),
    verify=(VerificationSpec(command="pytest"),),
    done=(DoneCriterion(description="d", verification="evidence_required"),),
    token_budget=1000,
)
PLAN = Plan(wp_id="WP-1", definitions=(MT,), waves=(("MT-001",),), definitions_hash="h")


SMALL = RecordBytes(0, 0)


def job_with(*, policy=None, extension=None, **state_or_metrics):
    policy = ExecutionPolicy(**(policy or {}))
    metrics = {k: v for k, v in state_or_metrics.items() if k in JobMetrics.model_fields}
    state = {k: v for k, v in state_or_metrics.items() if k not in metrics}
    return Job(
        job_id="j",
        workflow_run_id="r",
        trace_id="t",
        wp_id="WP-1",
        mt_definitions_ref=handle_for("file", "d", b""),
        progress_artifact_ref="p",
        run_ledger_ref="l",
        execution_policy=policy,
        execution_state=ExecutionState(started_at=NOW, last_activity_at=NOW, **state),
        metrics=JobMetrics(**metrics),
        workspace=Workspace(
            base_branch="main",
            base_commit="b",
            wp_branch="f",
            checkpoint_commit="c",
            head_commit="c",
            packet_path="p",
        ),
        extension=Extension(**(extension or {})),
        created_at=NOW,
    )


def limit(*, elapsed_ms=0, tokens_of_mt=0, record_bytes=SMALL, **of_job):
    job = job_with(**of_job)
    row = IterationRecord(
        iteration=1,
        model_id="m",
        escalation_level=0,
        started_at=NOW,
        completed_at=NOW,
        duration_ms=0,
        tokens_prompt=tokens_of_mt,
        tokens_completion=0,
        claimed_complete=False,
        outcome=IterationOutcome.RETRY,
        context_snapshot_id="s",
        step_id="MT-001_iter-001",
    )
    progress = ProgressArtifact(
        wp_id="WP-1",
        job_id="j",
        created_at=NOW,
        updated_at=NOW,
        policy=job.execution_policy,
        learning_context=LearningContext(skill_bank_snapshot_at_start=NOW),
        micro_tasks=(MtProgress(mt_id="MT-001", name="n", iterations=(row,)),),
    )
    return reached_limit(job, PLAN, progress, MT, elapsed_ms, record_bytes)


def test_a_job_within_its_limits_goes_on():
    assert limit(total_iterations=99, elapsed_ms=3_599_999, tokens_of_mt=9_999, tokens_prompt=19_999) is None


@pytest.mark.parametrize(
    "case,reason,extension",
    [
        ({"total_iterations": 100}, GateReason.MAX_TOTAL_ITERATIONS, {"iterations": 1}),
        ({"elapsed_ms": 3_600_000}, GateReason.MAX_DURATION, {"duration_ms": 1}),
        (
            {"policy": {"max_total_tokens": 50}, "tokens_prompt": 30, "tokens_completion": 20},
            GateReason.MAX_TOTAL_TOKENS,
            {"tokens": 1},
        ),
        ({"tokens_of_mt": 10_000}, GateReason.TOKEN_OVERRUN, {"tokens": 1}),
        ({"tokens_prompt": 20_000}, GateReason.TOKEN_OVERRUN, {"tokens": 1}),
        ({"artifact_bytes": ARTIFACT_BYTES}, GateReason.RESOURCE_EXHAUSTED, {"storage_bytes": 1}),
        ({"policy": {"max_cost": 2.5}, "cost": 2.5}, GateReason.RESOURCE_EXHAUSTED, {"cost": 0.01}),
    ],
)
def test_each_limit_is_a_gate_that_names_its_figures(case, reason, extension):
    stop = limit(**case)
    assert stop is not None
    assert stop.reason is reason
    assert stop.figures
    assert limit(**case, extension=extension) is None


def test_twice_the_duration_is_poison_once_a_human_was_asked():
    first = limit(elapsed_ms=7_200_000)
    assert first is not None
    assert first.reason is GateReason.MAX_DURATION
    again = limit(elapsed_ms=7_300_000, extension={"duration_ms": 50_000})
    assert again is not None
    assert again.poisoned
    assert not limit(elapsed_ms=7_299_999, extension={"duration_ms": 50_000}).poisoned


@pytest.mark.parametrize("record_bytes", [RecordBytes(PROGRESS_BYTES, 0), RecordBytes(0, LEDGER_BYTES)])
def test_records_that_grow_too_large_are_a_gate(record_bytes):
    stop = limit(record_bytes=record_bytes)
    assert stop is not None
    assert stop.reason is GateReason.RESOURCE_EXHAUSTED
    assert "MB of" in stop.figures["why"]
    assert limit(record_bytes=record_bytes, extension={"storage_bytes": 1}) is None


def test_more_of_what_ran_out_and_of_nothing_else():
    job = job_with(policy={"max_cost": 4.0}, cost=4.5)
    assert room_for_more(job, RecordBytes(0, 0)) == {"cost": 2.0}
    assert room_for_more(job, RecordBytes(PROGRESS_BYTES, 0)) == {"cost": 2.0, "storage_bytes": PROGRESS_BYTES // 2}
    assert room_for_more(job_with(policy={}), RecordBytes(0, 0)) == {}


def test_ten_times_the_estimate_is_a_warning_once():
    assert token_warning(job_with(tokens_prompt=9_999), PLAN, 0) is None
    said = token_warning(job_with(tokens_prompt=9_000, tokens_completion=1_000), PLAN, 9_999)
    assert said is not None and "10000 tokens" in said
    assert token_warning(job_with(tokens_prompt=11_000), PLAN, 10_000) is None


def test_money_is_counted_by_price_and_needs_one():
    entry = ModelConfig(price=Price(prompt=1.0, completion=2.0))
    assert cost_of(entry, 1_000_000, 500_000) == 2.0
    assert cost_of(ModelConfig(), 10, 10) is None
    assert cost_of(None, 10, 10) is None
    chain = (
        EscalationLevel(level=0, model_id="far", is_cloud=True),
        EscalationLevel(level=1, model_id="HARD_GATE", is_hard_gate=True),
    )
    policy = ExecutionPolicy(escalation_chain=chain, max_cost=1.0)
    refuse_unpriced(policy, {"far": entry})
    refuse_unpriced(policy.model_copy(update={"max_cost": None}), {})
    with pytest.raises(UsageError, match=r"far.*has no price"):
        refuse_unpriced(policy, {"far": ModelConfig()})
