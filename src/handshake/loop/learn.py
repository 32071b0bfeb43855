"""Escalation records and distillation candidates: what a failure teaches. Contract: `learning.md`."""

from __future__ import annotations

from handshake.domain.learning import (
    ChainStep,
    DistillationCandidate,
    DropBackDecision,
    EscalationRecord,
    Remediation,
    StudentAttempt,
    TeacherSuccess,
)
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.policy import EscalationLevel
from handshake.domain.progress import DistillationProgress, IterationRecord, MtProgress
from handshake.domain.reply import FailureCategory
from handshake.learning.trust import ELIGIBLE_FROM, trust_score
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
        lora_version=_lora_version(run, last.lora_id),
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
    if run.job.execution_policy.enable_distillation:
        _pending_candidate(run, mt, rows)


def _pending_candidate(run: Run, mt: MicroTaskDefinition, rows: tuple[IterationRecord, ...]) -> None:
    last = rows[-1]
    outcome = "VALIDATION_FAILED" if last.claimed_complete else "INCOMPLETE"
    candidate = DistillationCandidate(
        skill_log_entry_id=run.stable_id(f"skill/{mt.mt_id}"),
        mt_id=mt.mt_id,
        wp_id=run.job.wp_id,
        student_attempt=StudentAttempt(
            model_id=last.model_id,
            lora_id=last.lora_id,
            lora_version=_lora_version(run, last.lora_id),
            prompt_snapshot_ref=run.paths.step(last.step_id, "prompt.md"),
            output_snapshot_ref=run.paths.step(last.step_id, "reply.md"),
            outcome=outcome,
            iterations=len(rows),
        ),
        task_type_tags=mt.task_tags,
        contributing_factors=_factors(run.entry(mt.mt_id)),
    )
    _publish_candidate(run, mt, candidate, last.step_id)


def _factors(entry: MtProgress) -> tuple[str, ...]:
    """Mechanical: categories seen and levels tried."""
    categories = sorted({row.failure_category for row in entry.iterations if row.failure_category})
    levels = sorted({row.escalation_level for row in entry.iterations})
    return (*(f"category:{c}" for c in categories), f"levels:{len(levels)}", f"iterations:{len(entry.iterations)}")


def _publish_candidate(run: Run, mt: MicroTaskDefinition, candidate: DistillationCandidate, at_step: str) -> None:
    path = run.paths.distillation(mt.mt_id)
    run.store_record(path, candidate)
    run.update_entry(
        mt.mt_id,
        distillation_candidate=DistillationProgress(
            eligible=candidate.distillation_eligible,
            skill_log_entry_id=candidate.skill_log_entry_id,
            task_type_tags=candidate.task_type_tags,
            candidate_ref=path,
        ),
    )
    run.emit(
        "FR-EVT-MT-015",
        {"candidate_ref": path, "status": candidate.status, "eligible": candidate.distillation_eligible},
        key=f"{at_step}/015/{candidate.status}",
        mt_id=mt.mt_id,
    )


def record_remedy(run: Run, mt: MicroTaskDefinition, *, flaky: bool, drop_back: DropBackDecision | None) -> None:
    """A level succeeded after an escalation: the record's remediation and the candidate's teacher side."""
    path = run.paths.escalation(mt.mt_id)
    record = run.artifact_record(path, EscalationRecord)
    if record is None:
        return
    entry = run.entry(mt.mt_id)
    rows = level_rows(run, entry)
    last = rows[-1]
    step = ChainStep(
        level=last.escalation_level,
        model_id=last.model_id,
        lora_id=last.lora_id,
        lora_version=_lora_version(run, last.lora_id),
        iterations=len(rows),
        tokens_used=sum(row.tokens_prompt + row.tokens_completion for row in rows),
        outcome="SUCCESS",
    )
    remediation = Remediation(
        success_level=last.escalation_level,
        success_model_id=last.model_id,
        success_lora_id=last.lora_id,
        failure_category=record.remediation.failure_category,
        contributing_factors=_factors(entry),
        drop_back_decision=drop_back,
    )
    chain = (*record.escalation_chain, step)
    run.store_record(path, record.model_copy(update={"escalation_chain": chain, "remediation": remediation}))
    _final_candidate(run, mt, last, len(rows), flaky=flaky)


def _final_candidate(run: Run, mt: MicroTaskDefinition, last: IterationRecord, count: int, *, flaky: bool) -> None:
    path = run.paths.distillation(mt.mt_id)
    pending = run.artifact_record(path, DistillationCandidate)
    if pending is None:
        return
    score = trust_score(
        blocking_commands=sum(spec.blocking for spec in mt.verify),
        evidence_verified=True,
        flaky=flaky,
        writes_its_tests=any("test" in path for path in mt.files.writable),
        changed=True,
        student_tried=pending.student_attempt.outcome != "ERROR",
    )
    final = pending.model_copy(
        update={
            "status": "final",
            "teacher_success": TeacherSuccess(
                model_id=last.model_id,
                lora_id=last.lora_id,
                prompt_snapshot_ref=run.paths.step(last.step_id, "prompt.md"),
                output_snapshot_ref=run.paths.step(last.step_id, "reply.md"),
                iterations=count,
            ),
            "data_trust_score": score,
            "distillation_eligible": score >= ELIGIBLE_FROM,
            "contributing_factors": _factors(run.entry(mt.mt_id)),
        }
    )
    _publish_candidate(run, mt, final, last.step_id)


def _lora_version(run: Run, lora_id: str | None) -> str | None:
    return next((lora.version for lora in run.around.settings.loras if lora.id == lora_id), None)
