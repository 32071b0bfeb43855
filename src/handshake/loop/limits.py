"""What stops a runaway, checked before an iteration. Contract: `loop.md`, the loop 2.a-b, and Limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from handshake.domain.decision import GateReason
from handshake.domain.job import Job
from handshake.domain.microtask import MicroTaskDefinition, Plan
from handshake.domain.progress import ProgressArtifact

TOKENS_PER_ITERATION = 2
TOKENS_PER_MT = 10
JOB_TOKENS_WARNING = 10
JOB_TOKENS_GATE = 20
POISON_AFTER = 2
LONGEST_ITERATION_S = 300.0
PROGRESS_BYTES = 10 * 1024 * 1024
LEDGER_BYTES = 50 * 1024 * 1024
ARTIFACT_BYTES = 500 * 1024 * 1024


@dataclass(frozen=True)
class Stop:
    """A limit that is reached: the gate, or poison, with the figures that led there."""

    reason: GateReason | None
    figures: dict[str, Any]

    @property
    def poisoned(self) -> bool:
        """Whether the job must never be retried by itself."""
        return self.reason is None


def reached_limit(
    job: Job, plan: Plan, progress: ProgressArtifact, mt: MicroTaskDefinition, elapsed_ms: int
) -> Stop | None:
    """The first limit that is reached, in the loop's order, or None.

    Args:
        elapsed_ms: time spent in all attempts, waiting for humans left out.
    """
    policy, state, extra = job.execution_policy, job.execution_state, job.extension
    most_iterations = policy.max_total_iterations + extra.iterations
    if state.total_iterations >= most_iterations:
        return Stop(
            GateReason.MAX_TOTAL_ITERATIONS,
            {"total_iterations": state.total_iterations, "max_total_iterations": most_iterations},
        )
    longest = policy.max_duration_ms + extra.duration_ms
    figures = {"elapsed_ms": elapsed_ms, "max_duration_ms": longest}
    if elapsed_ms >= POISON_AFTER * longest:
        return Stop(None, figures)
    if elapsed_ms >= longest:
        return Stop(GateReason.MAX_DURATION, figures)
    return _token_limit(job, plan, progress, mt) or _storage_limit(job)


def _token_limit(job: Job, plan: Plan, progress: ProgressArtifact, mt: MicroTaskDefinition) -> Stop | None:
    spent = job.metrics.tokens_prompt + job.metrics.tokens_completion
    extra = job.extension.tokens
    most = job.execution_policy.max_total_tokens
    if most is not None and spent >= most + extra:
        return Stop(GateReason.MAX_TOTAL_TOKENS, {"tokens": spent, "max_total_tokens": most + extra})
    on_mt = sum(row.tokens_prompt + row.tokens_completion for row in progress.entry(mt.mt_id).iterations)
    if on_mt >= TOKENS_PER_MT * mt.token_budget + extra:
        limit = TOKENS_PER_MT * mt.token_budget + extra
        return Stop(GateReason.TOKEN_OVERRUN, {"mt_id": mt.mt_id, "tokens": on_mt, "limit": limit})
    estimate = sum(definition.token_budget for definition in plan.definitions)
    if spent >= JOB_TOKENS_GATE * estimate + extra:
        return Stop(GateReason.TOKEN_OVERRUN, {"tokens": spent, "limit": JOB_TOKENS_GATE * estimate + extra})
    return None


def _storage_limit(job: Job) -> Stop | None:
    stored = job.metrics.artifact_bytes
    if stored >= ARTIFACT_BYTES:
        return Stop(GateReason.RESOURCE_EXHAUSTED, {"artifact_bytes": stored, "limit": ARTIFACT_BYTES})
    return None
