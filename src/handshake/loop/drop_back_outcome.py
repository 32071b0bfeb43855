"""A drop-back on record, and later what came of it. Contract: `learning.md`, Drop-back learning."""

from __future__ import annotations

from handshake.domain.learning import DropBackOutcome
from handshake.domain.microtask import MicroTaskDefinition
from handshake.loop.run import Run


def record_drop_back(
    run: Run, mt: MicroTaskDefinition, category: str, *, level: int, target: int, reason: str
) -> None:
    """The run drops back after `mt`; what comes of it is not known yet."""
    run.store_record(
        run.paths.drop_back(mt.mt_id),
        DropBackOutcome(
            mt_id=mt.mt_id,
            wp_id=run.job.wp_id,
            created_at=run.around.clock.now(),
            failure_category=category,
            task_tags=mt.task_tags,
            from_level=level,
            to_level=target,
            reason=reason,
        ),
    )


def settle_drop_back(run: Run, mt: MicroTaskDefinition, *, level: int, succeeded: bool) -> None:
    """A model tried `mt` at `level` to an end: the outcome of a drop-back to that level which still lacks one.

    An MT that was complete without a model tells nothing: the next one does.
    """
    for entry in run.progress.micro_tasks:
        path = run.paths.drop_back(entry.mt_id)
        record = run.artifact_record(path, DropBackOutcome) if entry.mt_id != mt.mt_id else None
        if record is not None and record.outcome is None and record.to_level == level:
            outcome = "SUCCEEDED" if succeeded else "ESCALATED_AGAIN"
            run.store_record(path, record.model_copy(update={"next_mt_id": mt.mt_id, "outcome": outcome}))
