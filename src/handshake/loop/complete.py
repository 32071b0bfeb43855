"""An MT that was proved: its commit on the WP branch, its manifest, its summary. Contract: `state.md`, WP branch.

The tracking branch speaks first, the WP branch follows: what was published as complete is what the
code branch is brought to, now or after a crash.
"""

from __future__ import annotations

from collections.abc import Mapping

from handshake.config.failpoints import failpoint
from handshake.domain.errors import HandshakeError, WorkRefused
from handshake.domain.learning import DropBackDecision
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.packet_edit import with_manifest
from handshake.domain.progress import MtStatus
from handshake.domain.reply import FailureCategory
from handshake.domain.states import Phase
from handshake.gates.manifest import changes_to, manifest_entries
from handshake.gates.work_gate import judge_own_commit
from handshake.learning.drop_back import DropBackRates, rates_of, recorded_outcomes
from handshake.loop.code_branch import advance, hold, moment_of_commit
from handshake.loop.drop_back_outcome import record_drop_back, settle_drop_back
from handshake.loop.dropback import decide_drop_back
from handshake.loop.equipment import Equipment
from handshake.loop.learn import level_rows, record_remedy
from handshake.loop.run import Run, commit_message
from handshake.models.lora import trained_since


def complete_mt(
    run: Run,
    equipment: Equipment,
    mt: MicroTaskDefinition,
    *,
    subject: str,
    trailers: dict[str, str],
    flaky: bool = False,
) -> None:
    """Commit the MT's files with their manifest, publish the MT as completed, and move the WP branch."""
    entry = run.entry(mt.mt_id)
    files = {path: equipment.workspace.read(path) for path in mt.files.writable}
    commit = commit_files(run, equipment, files, f"{mt.mt_id}: {mt.name}", {**trailers, "Job": run.job.job_id})
    summary = run.store(run.paths.summary(mt.mt_id), _summary(run, mt, commit).encode("utf-8"), "report")
    level = run.job.execution_state.current_escalation_level
    run.update_entry(
        mt.mt_id,
        status=MtStatus.COMPLETED,
        final_iteration=len(entry.iterations),
        final_model_level=level,
        summary_ref=summary,
        commit=commit,
        evidence_refs=tuple(
            row.validation_evidence_ref for row in entry.iterations[-1:] if row.validation_evidence_ref
        ),
    )
    run.job = run.job.model_copy(update={"workspace": run.job.workspace.model_copy(update={"head_commit": commit})})
    run.emit(
        "FR-EVT-MT-004",
        {
            "final_iteration": len(entry.iterations),
            "final_model_level": level,
            "commit": commit,
            "summary_ref": run.paths.summary(mt.mt_id),
        },
        key=f"{mt.mt_id}/004",
        mt_id=mt.mt_id,
    )
    if level_rows(run, entry):
        settle_drop_back(run, mt, level=level, succeeded=True)
    drop = _drop_back(run, mt, level) if level > 0 else None
    record_remedy(run, mt, flaky=flaky, drop_back=drop)
    next_mt(run)
    run.publish(subject, **trailers)
    advance(run, equipment)


def next_mt(run: Run) -> None:
    """Turn to the MT after this one; the per-level count starts anew."""
    state = run.job.execution_state
    run.update_state(current_mt_index=state.current_mt_index + 1, current_iteration=0)
    run.set_phase(Phase.EXECUTING_MT)


def commit_files(
    run: Run, equipment: Equipment, files: Mapping[str, bytes | None], subject: str, trailers: Mapping[str, str]
) -> str:
    """A commit on top of the WP branch's head: these files, and the packet with their manifest blocks.

    It is durable and held by a ref of ours, but no branch points to it yet.

    Raises:
        WorkRefused: a gate refuses it; there is no commit.
    """
    space = run.job.workspace
    when = moment_of_commit(run)
    failpoint("wp.commit:before")
    failpoint("manifest.write:before")
    changed = changes_to(run.around.repo.tree(space.base_commit), files)
    entries = manifest_entries(changed)
    back_at_base = tuple(sorted(set(files) - {entry.target_file for entry in entries}))
    failpoint("manifest.write:after")
    packet = run.around.repo.tree(space.head_commit).read(space.packet_path)
    if packet is None:
        raise HandshakeError(
            f"{space.packet_path} is not on {space.wp_branch} any more",
            next_step=f"git log {space.wp_branch} -- {space.packet_path}",
        )
    failpoint("packet.edit:before")
    edited = with_manifest(packet, entries, drop=back_at_base) if files else packet
    failpoint("packet.edit:after")
    refused = [f for f in judge_own_commit(run.packet, edited, space.packet_path, changed) if f.severity == "error"]
    if refused:
        raise WorkRefused(f"the post-work gate refuses the commit: {refused[0].text()}")
    commit = equipment.objects.write_commit(
        parent=space.head_commit,
        base_tree=space.head_commit,
        changes={**files, space.packet_path: edited},
        message=commit_message(subject, {"WP": run.job.wp_id, **trailers}),
        when=when,
    )
    hold(run, equipment, commit)
    failpoint("wp.commit:after")
    return commit


def _drop_back(run: Run, mt: MicroTaskDefinition, level: int) -> DropBackDecision:
    state, policy = run.job.execution_state, run.job.execution_policy
    failed = [row.failure_category for row in run.entry(mt.mt_id).iterations if row.failure_category]
    category = FailureCategory(failed[-1]) if failed else FailureCategory.UNKNOWN
    remaining = [run.plan.definition(mt_id) for mt_id in run.plan.order[state.current_mt_index + 1 :]]
    decision = decide_drop_back(
        strategy=policy.drop_back_strategy,
        category=category,
        done=mt,
        remaining=remaining,
        learned=_learned(run),
        lora_trained_since=_trained_since(run, mt, level),
    )
    if decision.action == "DROP_BACK":
        run.emit(
            "FR-EVT-MT-014",
            {
                "from_level": level,
                "to_level": decision.target_level,
                "reason": decision.reason,
                "confidence": decision.confidence,
            },
            key=f"{mt.mt_id}/014",
            mt_id=mt.mt_id,
        )
        run.update_state(
            current_escalation_level=decision.target_level or 0, total_drop_backs=state.total_drop_backs + 1
        )
        record_drop_back(
            run, mt, category.value, level=level, target=decision.target_level or 0, reason=decision.reason
        )
    return decision


def _trained_since(run: Run, mt: MicroTaskDefinition, level: int) -> bool:
    """Whether an adapter of a lower level was trained on the MT's tags since it failed there."""
    policy, settings = run.job.execution_policy, run.around.settings
    return any(
        trained_since(
            settings.loras, policy.escalation_chain[row.escalation_level].model_id, mt.task_tags, row.completed_at
        )
        for row in run.entry(mt.mt_id).iterations
        if row.escalation_level < level and policy.selector_at(row.escalation_level) != "none"
    )


def _learned(run: Run) -> DropBackRates:
    """What earlier drop-backs came to; asked for only where they may move the decision."""
    settings = run.around.settings
    if not settings.drop_back.learned:
        return DropBackRates()
    return rates_of(recorded_outcomes(run.around.repo, settings.tracking.namespace))


def _summary(run: Run, mt: MicroTaskDefinition, commit: str) -> str:
    entry = run.entry(mt.mt_id)
    rows = level_rows(run, entry)
    by = f"{rows[-1].model_id} (level {rows[-1].escalation_level})" if rows else "no model: it was satisfied already"
    lines = [
        f"# {mt.mt_id}: {mt.name}",
        "",
        f"- Iterations: {len(entry.iterations)}, the last by {by}",
        f"- Commit: {commit}",
        f"- Files: {', '.join(mt.files.writable) or 'none'}",
        "",
        "## Done",
        *(f"- {criterion.description}" for criterion in mt.done),
    ]
    return "\n".join(lines) + "\n"
