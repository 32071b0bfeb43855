"""Each limit stops a run at its figure, and an extension moves it. Contract: `loop.md`, Limits."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from handshake.domain.artifact import handle_for
from handshake.domain.decision import GateReason
from handshake.domain.job import ExecutionState, Extension, Job, JobMetrics, Workspace
from handshake.domain.microtask import DoneCriterion, FileAccess, MicroTaskDefinition, Plan, VerificationSpec
from handshake.domain.policy import ExecutionPolicy
from handshake.domain.progress import (
    IterationOutcome,
    IterationRecord,
    LearningContext,
    MtProgress,
    ProgressArtifact,
)
from handshake.loop.limits import ARTIFACT_BYTES, reached_limit

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


def limit(*, policy=None, elapsed_ms=0, tokens_of_mt=0, extension=None, **state_or_metrics):
    policy = ExecutionPolicy(**(policy or {}))
    metrics = {k: v for k, v in state_or_metrics.items() if k in JobMetrics.model_fields}
    state = {k: v for k, v in state_or_metrics.items() if k not in metrics}
    job = Job(
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
        policy=policy,
        learning_context=LearningContext(skill_bank_snapshot_at_start=NOW),
        micro_tasks=(MtProgress(mt_id="MT-001", name="n", iterations=(row,)),),
    )
    return reached_limit(job, PLAN, progress, MT, elapsed_ms)


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
        ({"artifact_bytes": ARTIFACT_BYTES}, GateReason.RESOURCE_EXHAUSTED, None),
    ],
)
def test_each_limit_is_a_gate_that_names_its_figures(case, reason, extension):
    stop = limit(**case)
    assert stop is not None
    assert stop.reason is reason
    assert stop.figures
    if extension is not None:
        assert limit(**case, extension=extension) is None


def test_twice_the_duration_is_poison():
    stop = limit(elapsed_ms=7_200_000)
    assert stop is not None
    assert stop.poisoned
