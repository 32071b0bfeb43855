"""A reply against the tree: each sample is read, applied all or none, and judged. Contract: `models.md`, Samples.

Nothing here decides what happens next; it finds out what is true.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from handshake.domain.artifact import ArtifactHandle
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.modelcall import ModelReply, Sample
from handshake.domain.operation import sidecar_of
from handshake.domain.reply import (
    CompletionSignal,
    EditOutcome,
    FailureCategory,
    ParsedReply,
    ValidationResult,
)
from handshake.gates.failures import failure_category
from handshake.loop.broken_machine import refuse_broken_machine
from handshake.loop.equipment import Equipment
from handshake.loop.found_files import last_files, set_right
from handshake.loop.left_out import PutBack, criteria_of, left_out, put_back, told
from handshake.loop.prepare import Prepared
from handshake.loop.run import Run
from handshake.loop.validate import Files, Grounds, validate
from handshake.models.reply import parse_reply
from handshake.planning.define import is_made_up
from handshake.toolbus.operations import edit_operation

_DELETES = re.compile(
    r"\b(?:delet(?:e[sd]?|ing|ion)|remov(?:e[sd]?|ing|al)|dropp?(?:s|ed|ing)?|strip(?:s|ped|ping)?|prun(?:e[sd]?|ing)|"
    r"(?:is|are|be) gone|no longer (?:ha(?:s|ve)|holds?|contains?|defines?|exists?)|shorten(?:s|ed|ing)?)\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"`[^`]*`")


@dataclass(frozen=True)
class Attempt:
    """What one sample did to the tree.

    `files` are the MT's files after it; `first_verdict` is that on the reply as it came, where it was read once more.
    """

    sample: int
    parsed: ParsedReply
    outcomes: tuple[EditOutcome, ...]
    files: dict[str, bytes | None]
    validation: ValidationResult | None
    problem: str | None = None
    category: FailureCategory | None = None
    escape: str | None = None
    repeated: bool = False
    first_verdict: ValidationResult | None = None

    @property
    def signal(self) -> CompletionSignal:
        """The closing signal."""
        return self.parsed.signal

    @property
    def passed(self) -> bool:
        """Claimed, and true."""
        return self.validation is not None and self.validation.passed

    @property
    def worth(self) -> tuple[int, int, int]:
        """How good: verify commands passed, then something applied, then the earlier sample."""
        checks = sum(s.passed for s in self.validation.spec_results) if self.validation else 0
        applied = any(o.applied and o.changed for o in self.outcomes)
        return (checks, int(applied and self.problem is None), -self.sample)


@dataclass(frozen=True)
class _Trial:
    """One iteration's reply against the tree: what each of its samples is tried on. `seen` are outcomes so far."""

    run: Run
    equipment: Equipment
    mt: MicroTaskDefinition
    prepared: Prepared
    before: Files
    grounds: Grounds
    seen: set[str] = field(default_factory=set)


def try_samples(
    run: Run, equipment: Equipment, mt: MicroTaskDefinition, prepared: Prepared, reply: ModelReply, grounds: Grounds
) -> tuple[Attempt, ArtifactHandle | None]:
    """Apply and judge each sample from the same tree, in order, until one passes.

    Returns:
        the attempt whose files stand in the worktree now, and the handle of `validation.json`.
    """
    before = last_files(run, mt)
    set_right(run, equipment, before)  # a person may have written there while the model answered
    trial = _Trial(run, equipment, mt, prepared, before, grounds)
    attempts: list[Attempt] = []
    for number, sample in enumerate(reply.samples):
        run.show(f"reply {number + 1} of {len(reply.samples)}", sample.text)
        equipment.workspace.write_snapshot(trial.before)
        attempt = _try(trial, number, sample)
        attempts.append(attempt)
        if attempt.passed or attempt.escape:
            break
    best = next((a for a in attempts if a.passed or a.escape), max(attempts, key=lambda a: a.worth))
    equipment.workspace.write_snapshot(best.files)
    _store_edits(run, prepared, reply, best, attempts)
    return best, _store_validation(run, prepared, attempts)


def read_files(equipment: Equipment, mt: MicroTaskDefinition) -> dict[str, bytes | None]:
    """The MT's own files as they stand in the worktree."""
    return {path: equipment.workspace.read(path) for path in mt.files.writable}


def _try(trial: _Trial, number: int, sample: Sample) -> Attempt:
    mt, before = trial.mt, trial.before
    if sample.finish_reason != "stop":
        why = "was cut off at its length limit" if sample.finish_reason == "length" else "was stopped early"
        kind = failure_category(
            "",
            context_overflow=sample.finish_reason == "length",
            timed_out=sample.cut_reason in ("time", "stall"),
            claimed=False,
        )
        return _nothing(number, before, ParsedReply(), f"the reply {why}; nothing of it was applied", kind)
    parsed = parse_reply(
        sample.text,
        mt_id=mt.mt_id,
        writable=mt.files.writable,
        single_file_fence=trial.prepared.has_single_file_fence(mt),
    )
    if parsed.edit_errors:
        return _nothing(number, before, parsed, "; ".join(parsed.edit_errors))
    if not parsed.edits and not parsed.signal.claimed_complete:
        return Attempt(number, parsed, (), dict(before), None, problem=parsed.signal.malformed)
    attempt = _judge(trial, number, parsed)
    if attempt.passed or attempt.escape or attempt.repeated or asks_for_deletion(mt):
        return attempt
    return _with_put_back(trial, attempt)


def _judge(trial: _Trial, number: int, parsed: ParsedReply, added: PutBack | None = None) -> Attempt:
    """Apply a reply's edits to the tree and hold its claim to what is there then."""
    name = f"s{number}" if added is None else f"s{number}-put-back"
    outcomes, problem, category, escape = _apply(trial, name, parsed)
    if added is not None:
        outcomes = tuple(o.model_copy(update={"put_back": added.names.get(o.path)}) for o in outcomes)
    files = read_files(trial.equipment, trial.mt)
    if problem is not None:
        return Attempt(number, parsed, outcomes, files, None, problem, category, escape)
    if _seen_before(trial.seen, files, parsed):
        return Attempt(number, parsed, outcomes, files, None, "the same as an earlier sample", repeated=True)
    if not parsed.signal.claimed_complete:
        return Attempt(number, parsed, outcomes, files, None, problem=parsed.signal.malformed)
    verdict = validate(trial.run, trial.equipment, trial.grounds, parsed.signal, files, number, name)
    _announce(trial, verdict, name)
    return Attempt(
        number, parsed, outcomes, files, verdict, "; ".join(verdict.reasons) or None, verdict.failure_category
    )


def _with_put_back(trial: _Trial, attempt: Attempt) -> Attempt:
    """A failed attempt that lost code, judged once more with the code put back; else its files stay as they were."""
    lost_most = any(outcome.category == "shrink" for outcome in attempt.outcomes)
    checks = attempt.validation.spec_results if attempt.validation else ()
    if not lost_most and all(result.passed for result in checks):
        return attempt
    before, base, criteria = trial.before, trial.grounds.base, criteria_of(trial.mt)
    gone = left_out(attempt.parsed.edits, before, base, criteria)
    if not gone:
        return attempt
    added = put_back(attempt.parsed, before, base, criteria)
    if added is not None:
        trial.equipment.workspace.write_snapshot(before)
        again = _judge(trial, attempt.sample, added.parsed, added)
        if all(outcome.applied for outcome in again.outcomes):
            return replace(again, first_verdict=attempt.validation)
    return attempt if lost_most else _taken_back(before, attempt, {path: told(names) for path, names in gone.items()})


def asks_for_deletion(mt: MicroTaskDefinition) -> bool:
    """Whether a criterion of the packet's asks that something go: then a file may come back much shorter."""
    return any(
        _DELETES.search(_CODE.sub("", criterion.description)) for criterion in mt.done if not is_made_up(criterion)
    )


def _nothing(
    number: int,
    before: Files,
    parsed: ParsedReply,
    problem: str,
    category: FailureCategory = FailureCategory.INCOMPLETE_IMPLEMENTATION,
) -> Attempt:
    return Attempt(number, parsed, (), dict(before), None, problem, category)


def _taken_back(before: Files, attempt: Attempt, gone: dict[str, str]) -> Attempt:
    """The edits lost code and the checks fail: the files stay as they were, and the next prompt says what is lost."""
    lost = {"applied": False, "changed": False, "category": "elision"}
    outcomes = tuple(
        outcome.model_copy(update={**lost, "error": gone.get(outcome.path, "not kept: the reply left code out")})
        for outcome in attempt.outcomes
    )
    problem = "; ".join(f"{path}: {what}" for path, what in gone.items())
    kind = FailureCategory.INCOMPLETE_IMPLEMENTATION
    return Attempt(
        attempt.sample,
        attempt.parsed,
        outcomes,
        dict(before),
        None,
        problem,
        kind,
        first_verdict=attempt.validation,
    )


def _apply(
    trial: _Trial, name: str, parsed: ParsedReply
) -> tuple[tuple[EditOutcome, ...], str | None, FailureCategory | None, str | None]:
    """All edits or none, through the tool bus."""
    if not parsed.edits:
        return (), None, None, None
    run, step_id = trial.run, trial.prepared.step_id
    operation, payloads = edit_operation(
        run.stable_id(f"{step_id}/{name}/edit"),
        parsed.edits,
        trial.mt.files,
        profile_id=run.job.capability_profile_id,
        allow_shrink=asks_for_deletion(trial.mt),
    )
    run.settle()
    result = refuse_broken_machine(trial.equipment.bus.run(operation, payloads, stage="iteration"))
    outcomes = tuple(EditOutcome.model_validate(o) for o in result.facts.get("outcomes", ()))
    if result.status == "succeeded":
        written = [sidecar_of(result, handle) for handle in result.evidence]
        run.store_record(
            run.paths.step(step_id, f"written-{name.removeprefix('s')}.json"), {"files": written}, "report"
        )
        return outcomes, None, None, None
    problem = "; ".join(error.message for error in result.errors) or "the edits did not apply"
    outside = result.status == "denied" or any(error.code == "scope_violation" for error in result.errors)
    kinds = [outcome.category for outcome in outcomes if outcome.category]
    category: FailureCategory | None = failure_category(
        "", scope_violation=outside, edit_failed=True, edit_error=problem, edit_category=next(iter(kinds), None)
    )
    if kinds.count(FailureCategory.SYNTAX_ERROR_ISOLATED.value) > 1:
        category = FailureCategory.SYNTAX_ERROR_SYSTEMIC
    return outcomes, problem, category, problem if result.status == "denied" else None


def _seen_before(seen: set[str], files: Files, parsed: ParsedReply) -> bool:
    from handshake.domain.canonical import hash_of, sha256_hex

    key = hash_of(
        [
            {path: sha256_hex(data) if data is not None else None for path, data in files.items()},
            [line.evidence_location for line in parsed.signal.evidence],
            parsed.signal.claimed_complete,
        ]
    )
    if key in seen:
        return True
    seen.add(key)
    return False


def _announce(trial: _Trial, verdict: ValidationResult, name: str) -> None:
    run, prepared = trial.run, trial.prepared
    specs: list[dict[str, Any]] = [
        {"command": s.command, "passed": s.passed, "exit_code": s.exit_code, "flaky": s.flaky, "reason": s.reason}
        for s in verdict.spec_results
    ]
    run.emit(
        "FR-EVT-MT-012",
        {
            "passed": verdict.passed,
            "sample": verdict.sample,
            "spec_results": specs,
            "evidence_artifact_ref": run.paths.step(prepared.step_id, "validation.json"),
            "op_ids": [s.op_id for s in verdict.spec_results],
            "reasons": list(verdict.reasons),
        },
        key=f"{prepared.step_id}/{name}/012",
        mt_id=trial.mt.mt_id,
        iteration=prepared.number,
    )


def _store_edits(run: Run, prepared: Prepared, reply: ModelReply, best: Attempt, attempts: list[Attempt]) -> None:
    rows = [
        {
            "sample": attempt.sample,
            "edits": [{"path": e.path, "form": e.form} for e in attempt.parsed.edits],
            "edit_errors": attempt.parsed.edit_errors,
            "outcomes": attempt.outcomes,
            "claimed_complete": attempt.signal.claimed_complete,
            "malformed": attempt.signal.malformed,
            "problem": attempt.problem,
            "summary": _summary(attempt),
        }
        for attempt in attempts
    ]
    # how each reply ended, tried or not: `stop`, `length`, `error`, `cut:<why>`
    ends = [":".join(filter(None, (sample.finish_reason, sample.cut_reason))) for sample in reply.samples]
    record = {"kept": best.sample, "samples": rows, "ends": ends}
    run.store_record(run.paths.step(prepared.step_id, "edits.json"), record)


def _summary(attempt: Attempt) -> str:
    """What the last output was, for the next prompt: paths and forms, not the text."""
    if not attempt.parsed.edits:
        return "no edit"
    added = {outcome.path: outcome.put_back for outcome in attempt.outcomes if outcome.put_back}
    return ", ".join(
        f"{edit.form.replace('_', '/')} edit of {edit.path}"
        + (f" ({', '.join(added[edit.path])} left out, and put back)" if edit.path in added else "")
        for edit in attempt.parsed.edits
    )


def _store_validation(run: Run, prepared: Prepared, attempts: list[Attempt]) -> ArtifactHandle | None:
    verdicts = [attempt.validation for attempt in attempts if attempt.validation is not None]
    first = [attempt.first_verdict for attempt in attempts if attempt.first_verdict is not None]
    if not verdicts and not first:
        return None
    path = run.paths.step(prepared.step_id, "validation.json")
    return run.store_record(path, {"results": verdicts, **({"first_results": first} if first else {})}, "report")
