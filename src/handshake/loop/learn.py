"""Escalation records: which level failed how, and what helped in the end. Contract: `learning.md`."""

from __future__ import annotations

from handshake.domain.learning import ChainStep, DropBackDecision, EscalationRecord, Remediation
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.policy import EscalationLevel
from handshake.domain.progress import IterationRecord, MtProgress
from handshake.domain.reply import FailureCategory
from handshake.loop.candidate import contributing_factors, final_candidate, lora_version, pending_candidate
from handshake.loop.drop_back_outcome import settle_drop_back
from handshake.loop.run import Run


def level_rows(run: Run, entry: MtProgress) -> tuple[IterationRecord, ...]:
    """The iterations of this MT at the level where it stands."""
    count = run.job.execution_state.current_iteration
    return entry.iterations[-count:] if count else ()


def record_escalation(
    run: Run, mt: MicroTaskDefinition, target: EscalationLevel, reason: str, category: FailureCategory, *, gate: bool
) -> None:
    """The level that failed goes into the record; FR-EVT-MT-005, and FR-EVT-MT-015 with a pending candidate."""
    entry = run.entry(mt.mt_id)
    rows = level_rows(run, entry)
    last = rows[-1]
    path = run.paths.escalation(mt.mt_id)
    record = run.artifact_record(path, EscalationRecord) or EscalationRecord(
        mt_id=mt.mt_id, wp_id=run.job.wp_id, created_at=run.around.clock.now(), escalation_chain=()
    )
    step = ChainStep(
        level=last.escalation_level,
        model_id=last.model_id,
        lora_id=last.lora_id,
        lora_version=lora_version(run.around.settings.loras, last.lora_id),
        iterations=len(rows),
        failure_pattern=category.value,
        last_error=last.error_summary,
        tokens_used=sum(row.tokens_prompt + row.tokens_completion for row in rows),
        outcome="HARD_GATE" if gate else "ESCALATE",
    )
    remediation = record.remediation.model_copy(update={"failure_category": category.value})
    record = record.model_copy(
        update={"escalation_chain": (*record.escalation_chain, step), "remediation": remediation}
    )
    run.store_record(path, record)
    run.update_entry(mt.mt_id, escalation_record_ref=path)
    run.emit(
        "FR-EVT-MT-005",
        {
            "from_model": last.model_id,
            "from_lora": last.lora_id,
            "from_level": last.escalation_level,
            "to_model": target.model_id,
            "to_lora": target.lora_id,
            "to_level": target.level,
            "reason": reason,
            "failure_category": category.value,
            "iterations_at_previous_level": len(rows),
            "escalation_record_ref": path,
        },
        key=f"{last.step_id}/005",
        mt_id=mt.mt_id,
        iteration=len(entry.iterations),
    )
    settle_drop_back(run, mt, level=last.escalation_level, succeeded=False)
    if run.job.execution_policy.enable_distillation:
        pending_candidate(run, mt, rows)


def record_remedy(run: Run, mt: MicroTaskDefinition, *, flaky: bool, drop_back: DropBackDecision | None) -> None:
    """A level succeeded after an escalation: the record's remediation and the candidate's teacher side."""
    path = run.paths.escalation(mt.mt_id)
    record = run.artifact_record(path, EscalationRecord)
    if record is None:
        return
    entry = run.entry(mt.mt_id)
    rows = level_rows(run, entry)
    if not rows:  # what was satisfied without a model teaches nothing
        return
    last = rows[-1]
    step = ChainStep(
        level=last.escalation_level,
        model_id=last.model_id,
        lora_id=last.lora_id,
        lora_version=lora_version(run.around.settings.loras, last.lora_id),
        iterations=len(rows),
        tokens_used=sum(row.tokens_prompt + row.tokens_completion for row in rows),
        outcome="SUCCESS",
    )
    remediation = Remediation(
        success_level=last.escalation_level,
        success_model_id=last.model_id,
        success_lora_id=last.lora_id,
        failure_category=record.remediation.failure_category,
        contributing_factors=contributing_factors(run, mt),
        drop_back_decision=drop_back,
    )
    chain = (*record.escalation_chain, step)
    run.store_record(path, record.model_copy(update={"escalation_chain": chain, "remediation": remediation}))
    if last.escalation_level > record.escalation_chain[-1].level:  # a human's hint to a lower level is no teacher
        final_candidate(run, mt, rows, flaky=flaky)
