"""What stops a runaway, checked before an iteration. Contract: `loop.md`, the loop 2.a-b, and Limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from handshake.domain.decision import GateReason
from handshake.domain.errors import UsageError
from handshake.domain.job import Job
from handshake.domain.microtask import MicroTaskDefinition, Plan
from handshake.domain.policy import ExecutionPolicy
from handshake.domain.progress import ProgressArtifact
from handshake.domain.settings import ModelConfig

TOKENS_PER_ITERATION = 2
TOKENS_PER_MT = 10
JOB_TOKENS_WARNING = 10
JOB_TOKENS_GATE = 20
POISON_AFTER = 2
LONGEST_ITERATION_S = 300.0
PROGRESS_BYTES = 10 * 1024 * 1024
LEDGER_BYTES = 50 * 1024 * 1024
ARTIFACT_BYTES = 500 * 1024 * 1024


class RecordBytes(NamedTuple):
    """Sizes of the two records that grow with the run."""

    progress: int
    ledger: int


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
    job: Job,
    plan: Plan,
    progress: ProgressArtifact,
    mt: MicroTaskDefinition,
    elapsed_ms: int,
    record_bytes: RecordBytes,
) -> Stop | None:
    """The first limit that is reached, in the loop's order, or None.

    Args:
        elapsed_ms: time spent in all attempts, waiting for humans left out.
        record_bytes: how large progress and ledger were when they were last published.
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
    # one long iteration may lead from below the limit to past twice of it: a human is asked before anything is final
    if elapsed_ms >= POISON_AFTER * longest and extra.duration_ms > 0:
        return Stop(None, figures)
    if elapsed_ms >= longest:
        return Stop(GateReason.MAX_DURATION, figures)
    return _token_limit(job, plan, progress, mt) or _money_limit(job) or _storage_limit(job, record_bytes)


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


def token_warning(job: Job, plan: Plan, tokens_before: int) -> str | None:
    """The warning when the job's tokens pass ten times its estimate; said once."""
    estimate = sum(definition.token_budget for definition in plan.definitions)
    spent, limit = job.metrics.tokens_prompt + job.metrics.tokens_completion, JOB_TOKENS_WARNING * estimate
    if not tokens_before < limit <= spent:
        return None
    return f"{spent} tokens spent, {JOB_TOKENS_WARNING} times the estimate; at {JOB_TOKENS_GATE} times the job stops"


def _money_limit(job: Job) -> Stop | None:
    most, spent = job.execution_policy.max_cost, job.metrics.cost or 0.0
    if most is None or spent < most + job.extension.cost:
        return None
    figures = {"cost": spent, "max_cost": most + job.extension.cost}
    return Stop(
        GateReason.RESOURCE_EXHAUSTED, {**figures, "why": f"{spent:.4g} of {figures['max_cost']:.4g} is spent"}
    )


def _storage_limit(job: Job, record_bytes: RecordBytes) -> Stop | None:
    extra = job.extension.storage_bytes
    for name, stored, limit in _stored(job, record_bytes):
        if stored >= limit + extra:
            said = f"{name.replace('_', ' ')}: {stored / 1024**2:.1f} MB of {(limit + extra) / 1024**2:.1f}"
            return Stop(GateReason.RESOURCE_EXHAUSTED, {name: stored, "limit": limit + extra, "why": said})
    return None


def _stored(job: Job, record_bytes: RecordBytes) -> tuple[tuple[str, int, int], ...]:
    return (
        ("progress_bytes", record_bytes.progress, PROGRESS_BYTES),
        ("ledger_bytes", record_bytes.ledger, LEDGER_BYTES),
        ("artifact_bytes", job.metrics.artifact_bytes, ARTIFACT_BYTES),
    )


def room_for_more(job: Job, record_bytes: RecordBytes) -> dict[str, float | int]:
    """What `continue` adds at a gate for resources, as `Extension` fields: half as much again of what ran out."""
    added: dict[str, float | int] = {}
    if _money_limit(job) is not None:
        added["cost"] = job.extension.cost + (job.execution_policy.max_cost or 0.0) / 2
    over = [limit for _, stored, limit in _stored(job, record_bytes) if stored >= limit + job.extension.storage_bytes]
    if over:
        added["storage_bytes"] = job.extension.storage_bytes + max(over) // 2
    return added


def refuse_unpriced(policy: ExecutionPolicy, models: Mapping[str, ModelConfig]) -> None:
    """See that a limit on money can be kept: what leaves the machine must have a price.

    Raises:
        UsageError: `max_cost` is set, and a cloud level's model has no price.
    """
    if policy.max_cost is None:
        return
    for level in policy.escalation_chain:
        entry = models.get(level.model_id)
        if level.is_cloud and (entry is None or entry.price is None):
            raise UsageError(
                f"policy.max_cost is set, but {level.model_id} (level {level.level}, cloud) has no price",
                next_step=f"set models.{level.model_id}.price, or leave max_cost out",
            )


def cost_of(entry: ModelConfig | None, tokens_prompt: int, tokens_completion: int) -> float | None:
    """What a call cost, or None for a model without a price."""
    if entry is None or entry.price is None:
        return None
    spent = entry.price.prompt * tokens_prompt + entry.price.completion * tokens_completion
    return round(spent / 1_000_000, 6)
