"""Distillation candidates: the student's side at the escalation, then the teacher's. Contract: `learning.md`."""

from __future__ import annotations

from handshake.domain.artifact import ArtifactHandle
from handshake.domain.learning import DistillationCandidate, StudentAttempt, TeacherSuccess
from handshake.domain.ledger import step_id
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.progress import DistillationProgress, IterationRecord
from handshake.domain.reply import ValidationResult
from handshake.domain.settings import LoraConfig
from handshake.learning.trust import JudgedAttempt, is_eligible, trust_score, weaknesses
from handshake.loop.baseline import was_flaky
from handshake.loop.run import Run
from handshake.planning.verify import is_stand_in
from handshake.source.languages import is_test_file

_PRESSED_FROM = 0.9


def pending_candidate(run: Run, mt: MicroTaskDefinition, rows: tuple[IterationRecord, ...]) -> None:
    """A level failed: its side of the pair, not eligible yet. FR-EVT-MT-015, `pending`.

    Of the level's iterations the first that wrote something is kept: it began from the files that the next
    level begins from, so that the two replies answer the same question.
    """
    row = next((row for row in rows if _patch(run, row.step_id)), rows[-1])
    attempt = StudentAttempt(
        model_id=row.model_id,
        lora_id=row.lora_id,
        lora_version=lora_version(run.around.settings.loras, row.lora_id),
        prompt_snapshot_ref=_snapshot(run, row.step_id, "prompt.md"),
        output_snapshot_ref=_snapshot(run, row.step_id, "reply.md"),
        outcome=_outcome(row),
        iterations=len(rows),
    )
    candidate = DistillationCandidate(
        skill_log_entry_id=run.stable_id(f"skill/{mt.mt_id}"),
        mt_id=mt.mt_id,
        wp_id=run.job.wp_id,
        student_attempt=attempt,
        task_type_tags=mt.task_tags,
        contributing_factors=contributing_factors(run, mt),
    )
    _publish(run, candidate, rows[-1].step_id)


def final_candidate(run: Run, mt: MicroTaskDefinition, rows: tuple[IterationRecord, ...], *, flaky: bool) -> None:
    """A higher level succeeded: its side, the score, the verdict. FR-EVT-MT-015, `final`."""
    pending = run.artifact_record(run.paths.distillation(mt.mt_id), DistillationCandidate)
    if pending is None:
        return
    last = rows[-1]
    found = weaknesses(
        _judged(run, _step_of(pending.student_attempt.output_snapshot_ref), pending.student_attempt.outcome),
        _judged(run, last.step_id),
        untouched=_blocking(_verdict(run, step_id(mt.mt_id, 0), 0)),
        stand_ins=[spec.command for spec in mt.verify if is_stand_in(spec.command)],
        writes_its_tests=any(is_test_file(path) for path in mt.files.writable),
        flaky_before=flaky or was_flaky(run, run.entry(mt.mt_id)),
    )
    teacher = TeacherSuccess(
        model_id=last.model_id,
        lora_id=last.lora_id,
        prompt_snapshot_ref=_snapshot(run, last.step_id, "prompt.md"),
        output_snapshot_ref=_snapshot(run, last.step_id, "reply.md"),
        iterations=len(rows),
    )
    final = pending.model_copy(
        update={
            "status": "final",
            "teacher_success": teacher,
            "data_trust_score": trust_score(found),
            "distillation_eligible": is_eligible(found),
            "contributing_factors": (*contributing_factors(run, mt), *(f"weak:{name}" for name in found)),
        }
    )
    _publish(run, final, last.step_id)


def contributing_factors(run: Run, mt: MicroTaskDefinition) -> tuple[str, ...]:
    """Mechanical: categories seen, pressed budgets, truncations, files, lines, levels, iterations."""
    rows = run.entry(mt.mt_id).iterations
    categories = sorted({row.failure_category for row in rows if row.failure_category})
    pressed = sum(row.tokens_prompt >= _PRESSED_FROM * mt.token_budget for row in rows)
    traces = [run.artifact_json(run.paths.step(row.step_id, "retrieval_trace.json")) or {} for row in rows]
    cut = len({flag for trace in traces for flag in trace.get("truncation_flags", ())})
    lines = max((_changed_lines(_patch(run, row.step_id)) for row in rows), default=0)
    figures = {
        "budget_pressure": pressed,
        "truncations": cut,
        "files": len(mt.files.writable),
        "lines": lines,
        "levels": len({row.escalation_level for row in rows}),
        "iterations": len(rows),
    }
    return (*(f"category:{name}" for name in categories), *(f"{name}:{value}" for name, value in figures.items()))


def lora_version(loras: tuple[LoraConfig, ...], lora_id: str | None) -> str | None:
    """The configured version of an adapter."""
    return next((lora.version for lora in loras if lora.id == lora_id), None)


def _publish(run: Run, candidate: DistillationCandidate, at_step: str) -> None:
    path = run.paths.distillation(candidate.mt_id)
    run.store_record(path, candidate)
    run.update_entry(
        candidate.mt_id,
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
        mt_id=candidate.mt_id,
    )


def _outcome(row: IterationRecord) -> str:
    if (row.error_summary or "").startswith(("model_error", "model_timeout")):
        return "ERROR"
    return "VALIDATION_FAILED" if row.claimed_complete else "INCOMPLETE"


def _snapshot(run: Run, of_step: str, name: str) -> ArtifactHandle:
    path = run.paths.step(of_step, name)
    return run.handle(path, run.artifact(path) or b"", "prompt_payload" if name == "prompt.md" else "transcript")


def _step_of(handle: ArtifactHandle) -> str:
    return handle.path.split("/")[-2]


def _patch(run: Run, of_step: str) -> str:
    return (run.artifact(run.paths.step(of_step, "changes.patch")) or b"").decode("utf-8", errors="replace")


def _changed_lines(patch: str) -> int:
    return sum(line[:1] in "+-" and line[:3] not in ("+++", "---") for line in patch.splitlines() if line)


def _verdict(run: Run, of_step: str, sample: int) -> ValidationResult | None:
    stored = run.artifact_json(run.paths.step(of_step, "validation.json")) or {"results": []}
    results = [ValidationResult.model_validate(row) for row in stored["results"]]
    return next((result for result in results if result.sample == sample), None)


def _blocking(verdict: ValidationResult | None) -> dict[str, bool]:
    return {spec.command: spec.passed for spec in verdict.spec_results if spec.blocking} if verdict else {}


def _judged(run: Run, of_step: str, outcome: str = "") -> JudgedAttempt:
    kept = (run.artifact_json(run.paths.step(of_step, "edits.json")) or {}).get("kept", 0)
    verdict = _verdict(run, of_step, kept)
    return JudgedAttempt(
        patch=_patch(run, of_step),
        passed=_blocking(verdict),
        validated=verdict is not None and verdict.passed,
        flaky=verdict is not None and verdict.flaky,
        model_error=outcome == "ERROR",
        secrets=sum(run.held_secret(run.paths.step(of_step, name)) for name in ("prompt.md", "reply.md")),
    )
