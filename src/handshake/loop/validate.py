"""Is it true? The five conditions and the verify commands. Contract: `models.md`, A claim is not believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

from handshake.domain.microtask import Expect, MicroTaskDefinition, VerificationSpec
from handshake.domain.operation import EngineResult, sidecar_of
from handshake.domain.reply import CompletionSignal, FailureCategory, SpecResult, ValidationResult
from handshake.gates.claims import check_changed, check_evidence
from handshake.gates.counted_tests import count_tests
from handshake.gates.failures import failure_category, summary_line
from handshake.gates.graders import check_graders
from handshake.gates.stubs import check_added_lines
from handshake.gates.tampering import check_tampering
from handshake.loop.broken_machine import refuse_broken_machine
from handshake.loop.equipment import Equipment
from handshake.loop.found_files import set_back
from handshake.loop.run import Run
from handshake.planning.define import is_made_up
from handshake.source.languages import is_test_file
from handshake.toolbus.operations import shell_operation

LONGEST_VERIFY_MS = 300_000
TAIL = 6_000

Files = Mapping[str, bytes | None]


@dataclass
class Grounds:
    """What a verdict is formed on: the MT's files before it began and as they are, and what is known of it."""

    step_id: str
    number: int
    mt: MicroTaskDefinition
    base: Files
    already_satisfied: bool
    tests_before: int | None
    flaky_spent: bool = False
    outputs: Iterator[int] = field(default_factory=count)


def run_commands(
    run: Run, equipment: Equipment, grounds: Grounds, name: str, specs: tuple[VerificationSpec, ...]
) -> tuple[SpecResult, ...]:
    """Run each verify command through the tool bus on the tree as it is written."""
    results = []
    for index, spec in enumerate(specs):
        run.around.watcher.working(f"{grounds.mt.mt_id} checking: {spec.command}")
        results.append(_judge(run, equipment, grounds, name, index, spec))
    return tuple(results)


def _judge(
    run: Run, equipment: Equipment, grounds: Grounds, name: str, index: int, spec: VerificationSpec
) -> SpecResult:
    """One command: again with twice the time after a timeout, once more on the same tree after a failure."""
    first = _execute(run, equipment, grounds, spec, index, f"{name}/v{index}/1", spec.timeout_ms)
    if first.timed_out:
        longer = min(2 * spec.timeout_ms, LONGEST_VERIFY_MS)
        return _execute(run, equipment, grounds, spec, index, f"{name}/v{index}/2", longer)
    if first.passed or not first.judged or not spec.blocking or grounds.flaky_spent:
        return first
    again = _execute(run, equipment, grounds, spec, index, f"{name}/v{index}/again", spec.timeout_ms)
    if not again.passed:
        return first
    grounds.flaky_spent = True
    return again.model_copy(update={"flaky": True, "reason": "failed once, passed on the unchanged tree"})


def _execute(
    run: Run, equipment: Equipment, grounds: Grounds, spec: VerificationSpec, index: int, name: str, timeout_ms: int
) -> SpecResult:
    op_id = run.stable_id(f"{grounds.step_id}/{name}")
    number = next(grounds.outputs)
    refs = [run.paths.step(grounds.step_id, f"{name}-{number}.txt") for name in ("stdout", "stderr")]
    under_root = [ref.removeprefix(f"{run.paths.root}/") for ref in refs]
    operation = shell_operation(
        op_id,
        spec.command,
        timeout_ms=timeout_ms,
        profile_id=run.job.capability_profile_id,
        stdout_path=under_root[0],
        stderr_path=under_root[1],
    )
    run.settle()
    result = refuse_broken_machine(equipment.bus.run(operation, stage="validation"))
    stdout, stderr, truncated = _keep_outputs(run, result)
    facts = result.facts
    reason = _verdict(spec, result, stdout + stderr)
    return SpecResult(
        index=index,
        command=spec.command,
        passed=reason is None,
        blocking=spec.blocking,
        exit_code=facts.get("exit_code"),
        duration_ms=int(facts.get("duration_ms", 0)),
        timed_out=bool(facts.get("timed_out")),
        judged=result.status == "succeeded" and facts.get("signal") is None and not _not_found(facts),
        truncated=truncated,
        op_id=op_id,
        reason=reason,
        stdout_ref=refs[0] if result.outputs else None,
        stderr_ref=refs[1] if result.outputs else None,
        stdout_tail=stdout[-TAIL:],
        stderr_tail=stderr[-TAIL:],
    )


def _keep_outputs(run: Run, result: EngineResult) -> tuple[str, str, bool]:
    """Store what was said, each with its sidecar; the texts, and whether one was cut."""
    texts = ["", ""]
    for place, output in enumerate(result.outputs):
        texts[place] = output.data.decode("utf-8", errors="replace")
        if output.data:
            stored = run.store(output.handle.path, output.data, "tool_output")
            beside = sidecar_of(result, stored, truncated=output.truncated)
            run.store_record(f"{output.handle.path}.json", beside, "report")
    return texts[0], texts[1], any(output.truncated for output in result.outputs)


def _not_found(facts: Mapping[str, object]) -> bool:
    """127 is the shell's word for a command that is not there, 126 for one that cannot be run."""
    return facts.get("exit_code") in (126, 127)


def _verdict(spec: VerificationSpec, result: EngineResult, output: str) -> str | None:
    """None if the command gave what it must, else why not."""
    facts = result.facts
    if result.status == "denied":
        return f"denied: {'; '.join(error.message for error in result.errors)}"
    if facts.get("timed_out"):
        return "ran out of time"
    if result.status == "failed" or facts.get("signal") is not None or _not_found(facts):
        said = "; ".join(error.message for error in result.errors)
        return said or f"could not be judged (exit {facts.get('exit_code')}, signal {facts.get('signal')})"
    if spec.expect is Expect.EXIT_0:
        return None if facts.get("exit_code") == 0 else f"exit {facts.get('exit_code')}"
    if spec.expect is Expect.EXIT_NONZERO:
        return None if facts.get("exit_code") != 0 else "exit 0 where a failure was expected"
    found = (spec.pattern or "") in output
    if spec.expect is Expect.CONTAINS:
        return None if found else f"output lacks {spec.pattern!r}"
    return f"output has {spec.pattern!r}" if found else None


def validate(
    run: Run,
    equipment: Equipment,
    grounds: Grounds,
    signal: CompletionSignal,
    now: Files,
    sample: int,
    name: str | None = None,
) -> ValidationResult:
    """The verdict on a claim. Every condition that fails gives its own reason.

    Args:
        now: the MT's files as they are.
        name: what the commands' operations are called after; by default the sample.
    """
    mt, base = grounds.mt, grounds.base
    reasons = [
        *check_evidence(
            signal,
            mt.done,
            (*mt.files.writable, *mt.files.read),
            base,
            {**{path: equipment.workspace.read(path) for path in mt.files.read}, **now},
            writable=mt.files.writable,
            already_satisfied=grounds.already_satisfied,
        ),
        *check_added_lines(base, now),
        *check_changed(base, now, grounds.already_satisfied),
        *check_tampering(base, now, (criterion.description for criterion in mt.done if not is_made_up(criterion))),
    ]
    specs: tuple[SpecResult, ...] = ()
    if any(base.get(path) != data for path, data in now.items()) or grounds.already_satisfied:
        specs = run_commands(run, equipment, grounds, name or f"s{sample}", mt.verify)
    reasons += _strangers(run, equipment, mt)
    reasons += [f"`{s.command}`: {s.reason}" for s in specs if s.blocking and not s.passed]
    output = "\n".join(s.stdout_tail + s.stderr_tail for s in specs)
    tests_now = count_tests(output)
    own_tests = {path: (base.get(path), data) for path, data in now.items() if is_test_file(path)}
    # nothing ran, nothing can be counted
    tests_before = grounds.tests_before if specs else None
    reasons += check_graders({}, own_tests, tests_before=tests_before, tests_now=tests_now)
    passed = not reasons
    return ValidationResult(
        passed=passed,
        sample=sample,
        reasons=tuple(reasons),
        spec_results=specs,
        failure_category=None if passed else _category(specs, reasons, output),
        error_category=_error_category(specs),
        tests_seen=tests_now,
        flaky=any(s.flaky for s in specs),
    )


def _category(specs: tuple[SpecResult, ...], reasons: list[str], output: str) -> FailureCategory:
    nothing_else_failed = all(s.passed for s in specs if s.blocking)
    return failure_category(
        output,
        timed_out=any(s.timed_out for s in specs),
        flaky=any(s.flaky for s in specs) and nothing_else_failed,
        claim_reasons=tuple(reasons),
    )


def _strangers(run: Run, equipment: Equipment, mt: MicroTaskDefinition) -> list[str]:
    """Files that are not the MT's to write and changed all the same: set back, and named.

    The tree was set right before the reply was applied, so this came while the verify commands ran: what they said
    is then not about the tree that would be committed.
    """
    strange = [path for path in equipment.workspace.changed_paths() if path not in mt.files.writable]
    if not strange:
        return []
    tracked = set_back(run, equipment, strange)
    return [f"{path} is not this task's to change, and was changed while the verify commands ran" for path in tracked]


def _error_category(specs: tuple[SpecResult, ...]) -> str | None:
    blocking = [s for s in specs if s.blocking and not s.passed]
    if any((s.reason or "").startswith("denied") for s in blocking):
        return "capability_violation"
    if any(s.timed_out or not s.judged for s in blocking):
        return "validation_error"
    return None


def summary_of(result: ValidationResult) -> str:
    """A few words for a commit's subject, e.g. `2 of 5 tests fail`."""
    if result.passed:
        return "passed"
    for spec in result.spec_results:
        if not spec.passed and (line := summary_line(spec.stdout_tail + spec.stderr_tail)):
            return line
    return result.reasons[0] if result.reasons else "failed"
