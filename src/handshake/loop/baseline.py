"""The untouched tree of an MT, judged once before its first iteration. Contract: `models.md`, claims 3 and 4."""

from __future__ import annotations

from handshake.domain.ledger import LedgerStep, StepStatus, idempotency_key, step_id
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.progress import MtProgress, MtStatus
from handshake.domain.reply import ValidationResult
from handshake.domain.states import Phase
from handshake.gates.counted_tests import count_tests
from handshake.loop.equipment import Equipment
from handshake.loop.found_files import set_back, set_right
from handshake.loop.run import Run
from handshake.loop.validate import Grounds, run_commands


def begin_mt(run: Run, equipment: Equipment, mt: MicroTaskDefinition) -> None:
    """Run the MT's verify commands on the untouched tree, and publish the MT as in progress."""
    zero = step_id(mt.mt_id, 0)
    grounds = Grounds(zero, 0, mt, base={}, already_satisfied=True, tests_before=None, flaky_spent=True)
    set_right(run, equipment, {})
    specs = run_commands(run, equipment, grounds, "s0", mt.verify)
    set_back(run, equipment, equipment.workspace.changed_paths())
    satisfied = all(spec.passed for spec in specs if spec.blocking)
    output = "\n".join(spec.stdout_tail + spec.stderr_tail for spec in specs)
    result = ValidationResult(
        passed=satisfied,
        reasons=tuple(f"`{s.command}`: {s.reason}" for s in specs if s.blocking and not s.passed),
        spec_results=specs,
        tests_seen=count_tests(output),
    )
    handle = run.store_record(run.paths.step(zero, "validation.json"), {"results": [result]}, "report")
    now = run.around.clock.now()
    if run.ledger.step(zero) is None:
        run.ledger = run.ledger.with_step(
            LedgerStep(
                step_id=zero,
                # the tree, not the commit: what was judged is the same however often the run began
                idempotency_key=idempotency_key(mt.mt_id, 0, "none", None, _tree_of_head(run)),
                status=StepStatus.COMPLETED,
                started_at=now,
                completed_at=now,
                output_artifact_ref=handle,
            )
        )
    run.update_entry(mt.mt_id, status=MtStatus.IN_PROGRESS, already_satisfied=satisfied)
    run.update_state(current_iteration=0)
    run.set_phase(Phase.EXECUTING_MT)
    _show_files(run, mt)
    said = "verify passes already" if satisfied else "verify fails, as it should"
    run.publish(f"{mt.mt_id} starts: {said}", MT=mt.mt_id, Step=zero)


def _tree_of_head(run: Run) -> str:
    return run.around.repo.git.text("rev-parse", f"{run.job.workspace.head_commit}^{{tree}}")


def _show_files(run: Run, mt: MicroTaskDefinition) -> None:
    """The branch's `worktree/` holds this MT's files from here on, so that diffs of steps show its work."""
    began = files_at(run, run.job.workspace.head_commit, mt)
    wanted = {run.paths.snapshot(path): data for path, data in began.items()}
    if run.tip is not None:
        for place in run.branch.list(run.paths.worktree, run.tip):
            if place not in wanted:
                run.remove(place)
    for place, data in wanted.items():
        if data is not None:
            run.store(place, data)


def files_at(run: Run, commit: str, mt: MicroTaskDefinition) -> dict[str, bytes | None]:
    """The MT's own files as a commit has them."""
    tree = run.around.repo.tree(commit)
    return {path: tree.read(path) for path in mt.files.writable}


def grounds_for(run: Run, mt: MicroTaskDefinition, this_step: str, number: int) -> Grounds:
    """What this MT's claims are judged against."""
    entry = run.entry(mt.mt_id)
    verdicts = run.artifact_json(run.paths.step(step_id(mt.mt_id, 0), "validation.json")) or {"results": [{}]}
    return Grounds(
        step_id=this_step,
        number=number,
        mt=mt,
        base=files_at(run, run.job.workspace.head_commit, mt),
        already_satisfied=bool(entry.already_satisfied),
        tests_before=verdicts["results"][0].get("tests_seen"),
        flaky_spent=was_flaky(run, entry),
    )


def was_flaky(run: Run, entry: MtProgress) -> bool:
    """Whether a command of this MT failed and passed on the unchanged tree, in whatever iteration and sample."""
    stored = [run.artifact_json(run.paths.step(row.step_id, "validation.json")) or {} for row in entry.iterations]
    return any(
        result.get("flaky")
        for verdicts in stored
        for kind in ("results", "first_results")
        for result in verdicts.get(kind, ())
    )
