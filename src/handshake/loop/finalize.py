"""The end of a run: the WP's gates over the whole branch, the packet's last words. Contract: `loop.md` 3."""

from __future__ import annotations

from handshake.config.failpoints import failpoint
from handshake.domain.board import tag_of_status, with_entry
from handshake.domain.microtask import VerificationSpec
from handshake.domain.packet import Finding, PacketStatus
from handshake.domain.packet_edit import append_section_line, set_status
from handshake.domain.progress import MtStatus, ProgressStatus
from handshake.domain.reply import SpecResult
from handshake.domain.states import JobStatus, Phase
from handshake.gates.work_gate import judge_work
from handshake.loop.code_branch import advance, hold, moment_of_commit
from handshake.loop.equipment import Equipment
from handshake.loop.found_files import set_back, set_right
from handshake.loop.run import Run, commit_message
from handshake.loop.validate import LONGEST_VERIFY_MS, Grounds, run_commands


def finalize(run: Run, equipment: Equipment) -> None:
    """Run the gates, write the packet's status, handoff and evidence, and end the job."""
    run.set_phase(Phase.GENERATING_SUMMARIES)
    run.set_phase(Phase.FINALIZING)
    specs = _run_test_plan(run, equipment)
    failed = [spec for spec in specs if not spec.passed]
    if failed:
        why = "; ".join(f"`{spec.command}`: {spec.reason}" for spec in failed)
        fail(run, f"the TEST_PLAN does not pass at the end: {why}", "validation_failed")
        return
    skipped = [e.mt_id for e in run.progress.micro_tasks if e.status is MtStatus.SKIPPED]
    commit = _final_commit(run, equipment, specs, skipped)
    space = run.job.workspace
    findings = judge_work(run.around.repo, run.around.settings, space.base_commit, commit, space.packet_path)
    errors = [f for f in findings if f.severity == "error"]
    _announce_gate(run, findings)
    if errors:
        fail(run, f"the post-work gate refuses: {errors[0].text()}", "post_work")
        return
    with_issues = bool(skipped) or bool(findings)
    _complete(run, commit, with_issues=with_issues)
    advance(run, equipment)


def fail(run: Run, reason: str, category: str, **trailers: str) -> None:
    """End the job as failed; what was validated stays on the WP branch. FR-EVT-MT-010."""
    now = run.around.clock.now()
    run.emit("FR-EVT-MT-010", {"reason": reason, "error_category": category}, key="end/010")
    run.set_phase(Phase.FAILED)
    run.set_status(JobStatus.FAILED, error=reason, completed_at=now)
    run.set_progress_status(ProgressStatus.FAILED, completed_at=now)
    run.publish(f"{run.job.wp_id} failed: {' '.join(reason.split())[:90]}", Decision="abort", **trailers)


def poison(run: Run, reason: str) -> None:
    """End the job for good: it is never retried by itself."""
    now = run.around.clock.now()
    run.set_phase(Phase.FAILED)
    run.set_status(JobStatus.POISONED, error=reason, completed_at=now)
    run.set_progress_status(ProgressStatus.FAILED, completed_at=now)
    run.publish(f"{run.job.wp_id} poisoned: {' '.join(reason.split())[:90]}")


def _run_test_plan(run: Run, equipment: Equipment) -> tuple[SpecResult, ...]:
    """The packet's whole TEST_PLAN on the branch as it is."""
    set_right(run, equipment, {})
    specs = tuple(VerificationSpec(command=command, timeout_ms=LONGEST_VERIFY_MS) for command in run.plan.test_plan)
    closing = run.plan.definition(run.plan.order[-1])
    grounds = Grounds("final", 0, closing, base={}, already_satisfied=True, tests_before=None)
    results = run_commands(run, equipment, grounds, "s0", specs)
    set_back(run, equipment, equipment.workspace.changed_paths())
    return results


def _final_commit(run: Run, equipment: Equipment, specs: tuple[SpecResult, ...], skipped: list[str]) -> str:
    space = run.job.workspace
    packet = run.around.repo.tree(space.head_commit).read(space.packet_path) or run.packet
    stats = run.progress.aggregate_stats
    tokens = stats.tokens_prompt + stats.tokens_completion
    handoff = [
        f"- Job {run.job.job_id}: {stats.by_status.get('completed', 0)} of {stats.total_mts} micro-tasks done"
        f" in {stats.total_iterations} iterations, {tokens} tokens",
        *(f"- Skipped: {mt_id}" for mt_id in skipped),
        f"- Log of the run: {run.branch.ref.removeprefix('refs/heads/')}",
    ]
    evidence = [f"- `{spec.command}`: exit {spec.exit_code}" for spec in specs]
    packet = set_status(packet, "Done")
    packet = append_section_line(packet, "STATUS_HANDOFF", handoff)
    packet = append_section_line(packet, "EVIDENCE", evidence)
    changes: dict[str, bytes] = {space.packet_path: packet, **_board(run, skipped)}
    failpoint("final.commit:before")
    commit = equipment.objects.write_commit(
        parent=space.head_commit,
        base_tree=space.head_commit,
        changes=changes,
        message=commit_message(f"{run.job.wp_id}: done", {"WP": run.job.wp_id, "Job": run.job.job_id}),
        when=moment_of_commit(run),
    )
    hold(run, equipment, commit)
    failpoint("final.commit:after")
    return commit


def _board(run: Run, skipped: list[str]) -> dict[str, bytes]:
    """The task board with this packet's line where it belongs now, if the project keeps a board.

    VALIDATED is said of what every gate passed; not yet where a review must say it, or a person skipped a task.
    """
    settings = run.around.settings
    board = run.around.repo.tree(run.job.workspace.head_commit).read(settings.paths.board)
    needs_review = settings.governance.mode == "strict" or bool(skipped)
    tag = tag_of_status(PacketStatus.DONE, needs_review=needs_review)
    return {} if board is None or tag is None else {settings.paths.board: with_entry(board, run.job.wp_id, tag)}


def _announce_gate(run: Run, findings: list[Finding]) -> None:
    errors = any(f.severity == "error" for f in findings)
    run.emit(
        "FR-EVT-GOV-GATES-001",
        {
            "gate": "post_work",
            "outcome": "fail" if errors else "pass",
            "error_codes": sorted({f.code for f in findings}),
        },
        key="end/post-work",
    )


def _complete(run: Run, commit: str, *, with_issues: bool) -> None:
    now = run.around.clock.now()
    status = JobStatus.COMPLETED_WITH_ISSUES if with_issues else JobStatus.COMPLETED
    run.job = run.job.model_copy(update={"workspace": run.job.workspace.model_copy(update={"head_commit": commit})})
    run.set_phase(Phase.COMPLETED)
    run.set_status(status, completed_at=now)
    run.set_progress_status(ProgressStatus(status.value), completed_at=now)
    run.emit(
        "FR-EVT-MT-009",
        {"outcome": status.value, "statistics": run.progress.aggregate_stats.model_dump(mode="json")},
        key="end/009",
    )
    run.publish(f"{run.job.wp_id} {status.value}", Decision="complete")
