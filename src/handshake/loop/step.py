"""One iteration, from the prepared prompt to the published decision. Contract: `loop.md`, the loop 2.2.e to i."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from handshake.domain.decision import Action, Decision
from handshake.domain.errors import CapabilityViolation, EnvironmentProblem, ModelFailed, PromptTooLong
from handshake.domain.ledger import StepStatus
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.modelcall import ModelReply, Sample, TokenUsage
from handshake.domain.progress import IterationOutcome, IterationRecord, MtStatus
from handshake.domain.reply import FailureCategory, ParsedReply
from handshake.domain.states import Phase
from handshake.gates.failures import failure_category
from handshake.loop.attempt import Attempt, try_samples
from handshake.loop.baseline import grounds_for
from handshake.loop.call import obtain_reply
from handshake.loop.complete import complete_mt
from handshake.loop.decide import LevelHistory, decide
from handshake.loop.equipment import Equipment
from handshake.loop.escalate import escalate
from handshake.loop.found_files import last_files
from handshake.loop.limits import cost_of, token_warning
from handshake.loop.prepare import Prepared, prepare
from handshake.loop.run import Run
from handshake.loop.validate import summary_of
from handshake.repo.patch import file_patch


def iterate(run: Run, equipment: Equipment, mt: MicroTaskDefinition) -> None:
    """Run one iteration of an MT and publish what came of it.

    Raises:
        EnvironmentProblem: the provider stays down; the step is pending again, nothing is burnt.
        CapabilityViolation: the reply reached beyond the worktree; the caller fails the job and publishes.
    """
    prepared = prepare(run, equipment, mt)
    began = run.ledger.step(prepared.step_id)
    started_at = began.started_at if began and began.started_at else run.around.clock.now()
    grounds = grounds_for(run, mt, prepared.step_id, prepared.number)
    before = last_files(run, mt)
    try:
        reply = obtain_reply(run, equipment, mt, prepared)
    except ModelFailed as failure:
        if failure.transient and failure.category == "model_error":
            _give_back(run, mt, prepared, failure)
            raise EnvironmentProblem(
                f"model {prepared.stored.model_id} stays down: {failure.what}",
                next_step=failure.next_step or f"start it, then: handshake run {run.job.wp_id}",
            ) from failure
        best, evidence = _no_reply(failure, before), None
        reply = _empty_reply(prepared)
    else:
        run.set_phase(Phase.VALIDATING)
        best, evidence = try_samples(run, equipment, mt, prepared, reply, grounds)
    record = _record(run, prepared, reply, best, started_at, evidence_ref=evidence)
    history = _history(run, mt, record, best)
    decision = decide(best.signal, best.validation, history, run.job.execution_policy)
    _announce(run, mt, prepared, record, decision, best)
    _store_step(run, equipment, mt, prepared, reply, before, best)
    _finish_ledger(run, prepared, best)
    if best.escape is not None:  # published with the end of the job, as one: there is nothing to go on with
        raise CapabilityViolation(best.escape, next_step=f"handshake show {run.job.wp_id}/{mt.mt_id}")
    _act(run, equipment, mt, prepared, decision, best, grounds_flaky=grounds.flaky_spent)


def _give_back(run: Run, mt: MicroTaskDefinition, prepared: Prepared, failure: ModelFailed) -> None:
    """A provider that stays down is a pause, not a burnt iteration."""
    step = run.ledger.step(prepared.step_id)
    assert step is not None
    run.ledger = run.ledger.with_step(
        step.model_copy(update={"status": StepStatus.PENDING, "error": failure.what, "recoverable": True})
    )
    run.publish(f"{mt.mt_id} iter {prepared.number}: waits for {prepared.stored.model_id}", MT=mt.mt_id)


def _no_reply(failure: ModelFailed, before: dict[str, bytes | None]) -> Attempt:
    category = failure_category(
        "", timed_out=failure.category == "model_timeout", context_overflow=isinstance(failure, PromptTooLong)
    )
    return Attempt(0, ParsedReply(), (), before, None, f"{failure.category}: {failure.what}", category)


def _empty_reply(prepared: Prepared) -> ModelReply:
    usage = TokenUsage(prompt_tokens=0, completion_tokens=0, total_tokens=0, estimated=True)
    return ModelReply(
        content_key=prepared.request(1).content_key,
        model_id=prepared.stored.model_id,
        samples=(Sample(text="", finish_reason="error"),),
        usage=usage,
        latency_ms=0,
    )


def _record(
    run: Run, prepared: Prepared, reply: ModelReply, best: Attempt, started_at: datetime, *, evidence_ref: Any
) -> IterationRecord:
    now = run.around.clock.now()
    outcome = IterationOutcome.SUCCESS if best.passed else IterationOutcome.RETRY
    if best.signal.blocked:
        outcome = IterationOutcome.BLOCKED
    spent = reply.usage.prompt_tokens, reply.usage.completion_tokens
    failed = best.problem is not None or (best.signal.claimed_complete and not best.passed)
    return IterationRecord(
        iteration=prepared.stored.iteration,
        model_id=prepared.stored.model_id,
        lora_id=prepared.stored.lora_id,
        escalation_level=prepared.stored.level,
        started_at=started_at,
        completed_at=now,
        duration_ms=max(0, int((now - started_at).total_seconds() * 1000)),
        tokens_prompt=spent[0],
        tokens_completion=spent[1],
        cost=cost_of(run.around.settings.models.get(prepared.stored.model_id), *spent),
        claimed_complete=best.signal.claimed_complete,
        validation_passed=best.validation.passed if best.validation else None,
        validation_evidence_ref=evidence_ref,
        outcome=outcome,
        failure_category=(best.category or FailureCategory.UNKNOWN).value if failed and not best.passed else None,
        error_summary=(best.problem or best.signal.malformed or best.signal.blocked_reason or "")[:500] or None,
        context_snapshot_id=prepared.stored.context_snapshot_id,
        step_id=prepared.step_id,
    )


def _history(run: Run, mt: MicroTaskDefinition, record: IterationRecord, best: Attempt) -> LevelHistory:
    count = run.job.execution_state.current_iteration
    earlier = run.entry(mt.mt_id).iterations[-(count - 1) :] if count > 1 else ()
    rows = (*earlier, record)
    failures = false_claims = 0
    for row in reversed(rows):
        if row.failure_category is None:
            break
        failures += 1
    for row in reversed(rows):
        if not (row.claimed_complete and not row.validation_passed):
            break
        false_claims += 1
    error = best.validation.error_category if best.validation else None
    unrecoverable = f"{error}: {best.problem}" if error else None
    if best.problem and best.problem.startswith("model_error"):
        unrecoverable = best.problem
    return LevelHistory(
        level=record.escalation_level,
        iteration=record.iteration,
        failures_in_a_row=failures,
        false_claims_in_a_row=false_claims,
        block_is_recoverable=_recoverable(mt, best),
        unrecoverable_error=unrecoverable,
    )


def _recoverable(mt: MicroTaskDefinition, best: Attempt) -> bool:
    """Whether the block asks for a file that the MT may read, or for output that can be shown again."""
    need = " ".join(filter(None, (best.signal.blocked_need, best.signal.blocked_reason)))
    if any(path in need for path in (*mt.files.read, *mt.files.writable)):
        return True
    return "output" in need.casefold() and not any(w in need.casefold() for w in ("credential", "password", "key"))


def _announce(
    run: Run, mt: MicroTaskDefinition, prepared: Prepared, record: IterationRecord, decision: Decision, best: Attempt
) -> None:
    if best.signal.blocked:
        run.emit(
            "FR-EVT-MT-017",
            {
                "reason": best.signal.blocked_reason or "",
                "need": best.signal.blocked_need,
                "recoverable": decision.action is Action.RETRY,
            },
            key=f"{prepared.step_id}/017",
            actor="agent",
            mt_id=mt.mt_id,
            iteration=prepared.number,
        )
    status = record.outcome.value
    if decision.action in (Action.ESCALATE, Action.HARD_GATE):
        status = IterationOutcome.ESCALATE.value
    evidence = record.validation_evidence_ref
    run.emit(
        "FR-EVT-MT-003",
        {
            "model": {
                "base": record.model_id,
                "lora": record.lora_id,
                "lora_version": prepared.stored.lora_version,
                "context_window": prepared.stored.context_window,
            },
            "execution": {
                "tokens_prompt": record.tokens_prompt,
                "tokens_completion": record.tokens_completion,
                "duration_ms": record.duration_ms,
                "escalation_level": record.escalation_level,
                "cost": record.cost,
            },
            "outcome": {
                "claimed_complete": record.claimed_complete,
                "validation_passed": record.validation_passed,
                "status": status,
                "failure_category": record.failure_category,
                "error_summary": record.error_summary,
            },
            "decision": {"action": decision.action.value, "rule": decision.rule, "reason": decision.reason},
            "context_snapshot_id": record.context_snapshot_id,
            "evidence_artifact_ref": evidence.path if evidence else None,
            "step_id": prepared.step_id,
        },
        key=f"{prepared.step_id}/003",
        mt_id=mt.mt_id,
        iteration=prepared.number,
    )
    final = record.model_copy(update={"outcome": IterationOutcome(status)})
    entry = run.entry(mt.mt_id)
    run.update_entry(mt.mt_id, iterations=(*entry.iterations, final))
    state = run.job.execution_state
    run.update_state(total_iterations=state.total_iterations + 1)
    spent_before = run.job.metrics.tokens_prompt + run.job.metrics.tokens_completion
    run.update_metrics(tokens_prompt=record.tokens_prompt, tokens_completion=record.tokens_completion, model_calls=1)
    run.add_cost(record.cost)
    if warning := token_warning(run.job, run.plan, spent_before):
        run.around.watcher.note(f"{run.job.wp_id}: {warning}")


def _store_step(
    run: Run,
    equipment: Equipment,
    mt: MicroTaskDefinition,
    prepared: Prepared,
    reply: ModelReply,
    before: dict[str, bytes | None],
    best: Attempt,
) -> None:
    def at(name: str) -> str:
        return run.paths.step(prepared.step_id, name)

    for number, sample in enumerate(reply.samples):
        name = "reply.md" if number == best.sample else f"reply-{number}.md"
        run.store(at(name), sample.text.encode("utf-8"), "transcript")
    patch = "".join(file_patch(path, before.get(path), data) for path, data in best.files.items())
    if patch:
        run.store(at("changes.patch"), patch.encode("utf-8"))
    store_snapshot(run, best.files)


def store_snapshot(run: Run, files: dict[str, bytes | None]) -> None:
    """The MT's files as they stand go onto the branch: `git diff` of two commits shows the step's work."""
    for path, data in files.items():
        place = run.paths.snapshot(path)
        if data is None and run.artifact(place) is not None:
            run.remove(place)
        elif data is not None and run.artifact(place) != data:
            run.store(place, data)


def _finish_ledger(run: Run, prepared: Prepared, best: Attempt) -> None:
    step = run.ledger.step(prepared.step_id)
    assert step is not None
    reply_path = run.paths.step(prepared.step_id, "reply.md")
    data = run.artifact(reply_path) or b""
    run.ledger = run.ledger.with_step(
        step.model_copy(
            update={
                "status": StepStatus.COMPLETED,
                "completed_at": run.around.clock.now(),
                "output_artifact_ref": run.store(reply_path, data, "transcript"),
                "error": best.problem,
            }
        )
    )


def _act(
    run: Run,
    equipment: Equipment,
    mt: MicroTaskDefinition,
    prepared: Prepared,
    decision: Decision,
    best: Attempt,
    *,
    grounds_flaky: bool,
) -> None:
    model = prepared.stored.model_id
    trailers = {"MT": mt.mt_id, "Step": prepared.step_id, "Decision": decision.action.value, "Model": model}
    said = summary_of(best.validation) if best.validation else (best.problem or best.signal.malformed or "no claim")
    subject = f"{mt.mt_id} iter {prepared.number}: {decision.action.value} ({' '.join(said.split())[:80]}) [{model}]"
    if decision.action is Action.COMPLETE:
        complete_mt(run, equipment, mt, subject=subject, trailers=trailers, flaky=grounds_flaky)
        return
    if decision.action is Action.RETRY:
        run.set_phase(Phase.EXECUTING_MT)
        if best.signal.blocked:
            run.update_entry(mt.mt_id, status=MtStatus.IN_PROGRESS)
        if run.job.execution_policy.carry_over.retry == "reset":
            _reset(run, equipment, mt)
        run.publish(subject, **trailers)
        return
    category = best.category or FailureCategory.UNKNOWN
    if run.job.execution_policy.carry_over.escalate == "reset":
        _reset(run, equipment, mt)
    escalate(run, mt, decision, category, subject=subject, trailers=trailers)


def _reset(run: Run, equipment: Equipment, mt: MicroTaskDefinition) -> None:
    """The MT's files as they were before its first iteration."""
    base = run.around.repo.tree(run.job.workspace.head_commit)
    files = {path: base.read(path) for path in mt.files.writable}
    equipment.workspace.write_snapshot(files)
    store_snapshot(run, files)
