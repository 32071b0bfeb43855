"""What the context compiler is asked for a step, from records and the worktree. Contract: `context.md`.

Nothing of an earlier conversation is carried over: what the last iteration left is read from the tracking branch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from handshake.context.injection import PATTERNS, contains
from handshake.context.request import ContextRequest, DoneTask, JobBoundary, PreviousIteration
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.progress import MtProgress, MtStatus
from handshake.domain.reply import EditOutcome, ValidationResult
from handshake.domain.settings import ModelConfig
from handshake.gates.failures import failing_locations
from handshake.loop.equipment import Equipment
from handshake.loop.run import Run
from handshake.models.profiles import EditForm, Profile
from handshake.models.provider import Provider
from handshake.source.index import SourceIndex


def context_request(
    run: Run,
    equipment: Equipment,
    mt: MicroTaskDefinition,
    this_step: str,
    iteration: int,
    provider: Provider,
    profile: Profile,
    config: ModelConfig,
    *,
    framed: bool,
    seed: int | None,
    said: Callable[[str], None],
) -> ContextRequest:
    """The request of one iteration. `said` is told of work that takes a while; `seed` is what is recorded."""
    state, policy, settings = run.job.execution_state, run.job.execution_policy, run.around.settings.context
    tree_id = indexed_tree(run, equipment.index, said)
    return ContextRequest(
        job_id=run.job.job_id,
        wp_id=run.job.wp_id,
        step_id=this_step,
        mt=mt,
        plan=run.plan,
        worktree=equipment.workspace.path,
        model_id=state.current_model_id,
        lora_id=state.current_lora_id,
        model_tier=provider.facts.tier,
        level=state.current_escalation_level,
        max_level=len(policy.escalation_chain) - 1,
        iteration=iteration,
        max_iterations=policy.max_iterations_per_mt,
        previous=previous_iteration(run, mt.mt_id, equipment.workspace.path),
        human_notes=run.entry(mt.mt_id).extra_notes,
        done_mts=tuple(_done_task(e) for e in run.progress.micro_tasks if e.status is MtStatus.COMPLETED),
        profile=profile.name,
        edit_form=_edit_form(run, mt.mt_id, config.edit_forms or profile.edit_forms),
        context_window=provider.facts.context_window,
        reserved_output_tokens=config.max_output_tokens or profile.max_output_tokens,
        count_tokens=provider.count_tokens,
        determinism_mode=settings.determinism,
        seed=seed,
        created_at=run.around.clock.now(),
        injection_waivers=_injection_waivers(run, settings.injection_patterns),
        extra_patterns=settings.injection_patterns,
        policy_profile_id=run.job.profile_id,
        templates=_templates(run, settings.templates),
        index=equipment.index,
        tree_id=tree_id,
        boundary=_boundary(run),
        not_exportable=settings.not_exportable,
        local_only=settings.local_only,
        protected_store=protected_store(run),
        frame_given=framed,
    )


def indexed_tree(run: Run, index: SourceIndex, said: Callable[[str], None]) -> str | None:
    """The tree of the code branch's head, with the index brought to it; None where words are not counted."""
    settings = run.around.settings.context
    if not settings.index:
        return None
    tree = run.around.repo.tree(run.job.workspace.head_commit)
    if not index.knows(tree.tree_id) and len(tree.ids()) > settings.index_files:
        return None
    index.refresh(tree, lambda done, total: said(f"counting the repository's words: {done} of {total} files"))
    return tree.tree_id


def protected_store(run: Run) -> Path:
    """Where prompts are kept that must not leave this machine: a folder that only its owner can read."""
    folder = run.around.repo.state_dir / "verbatim"
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    return folder


def _boundary(run: Run) -> JobBoundary:
    """What the policy that was fixed at the job's creation allows."""
    tiers = {"cloud" if level.is_cloud else "local" for level in run.job.execution_policy.escalation_chain}
    return JobBoundary(policy_profile_id=run.job.protocol_id, model_tiers=frozenset(tiers))


def _templates(run: Run, folder: str | None) -> Path | None:
    return None if folder is None else run.around.repo.root / Path(folder).expanduser()


def _done_task(entry: MtProgress) -> DoneTask:
    """A completed MT, with what says that it was validated: its last iteration, or its untouched tree."""
    last = entry.iterations[-1] if entry.iterations else None
    passed = last.validation_passed if last is not None else entry.already_satisfied
    evidence = next((ref.path for ref in entry.evidence_refs), None) or (
        entry.summary_ref.path if entry.summary_ref else None
    )
    return DoneTask(entry.mt_id, entry.name, passed, evidence)


def _injection_waivers(run: Run, more_patterns: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Path and pattern of each waiver that names both. Contract: `context.md`, Guards."""
    from handshake.domain.packet_text import read_packet

    packet = read_packet(run.packet, run.job.workspace.packet_path).packet
    return tuple(
        (path, pattern)
        for waiver in (packet.waivers if packet else ())
        for pattern in (*PATTERNS, *more_patterns)
        if contains(waiver.text, pattern)
        for path in (*waiver.paths, *waiver.patterns)
    )


def _edit_form(run: Run, mt_id: str, forms: tuple[EditForm, ...]) -> Literal["whole", "search_replace", "either"]:
    """The model's forms; after two failures of one form in a row, the other. Contract: `models.md`."""
    if len(forms) == 1:
        return forms[0]
    failed: list[str] = []
    for row in run.entry(mt_id).iterations[-2:]:
        outcomes = _outcomes(run, row.step_id)
        failed += [o.form for o in outcomes if not o.applied][:1]
    if len(failed) == 2 and failed[0] == failed[1]:
        return "search_replace" if failed[0] == "whole" else "whole"
    return "either"


def _outcomes(run: Run, of_step: str) -> tuple[EditOutcome, ...]:
    stored = run.artifact_json(run.paths.step(of_step, "edits.json")) or {}
    kept = stored.get("kept", 0)
    for sample in stored.get("samples", []):
        if sample["sample"] == kept:
            return tuple(EditOutcome.model_validate(o) for o in sample["outcomes"])
    return ()


def previous_iteration(run: Run, mt_id: str, worktree: Path) -> PreviousIteration | None:
    """What the last iteration left, read from the branch; None before the first."""
    iterations = run.entry(mt_id).iterations
    if not iterations:
        return None
    last = iterations[-1]
    edits = run.artifact_json(run.paths.step(last.step_id, "edits.json")) or {}
    verdicts = run.artifact_json(run.paths.step(last.step_id, "validation.json")) or {"results": []}
    results = [ValidationResult.model_validate(v) for v in verdicts["results"]]
    judged = next((r for r in results if r.sample == edits.get("kept", 0)), None)
    tails = [s.stdout_tail + s.stderr_tail for s in judged.spec_results if not s.passed] if judged else []
    output = "\n".join(tails)
    kept: dict[str, Any] = next((s for s in edits.get("samples", []) if s["sample"] == edits.get("kept", 0)), {})
    evidence = last.validation_evidence_ref
    return PreviousIteration(
        outcome=last.outcome.value,
        error=last.error_summary,
        edit_outcomes=_outcomes(run, last.step_id),
        validation_tail=output,
        locations=tuple(
            (in_worktree(place.path, worktree, run.plan.definition(mt_id)), place.line, place.message)
            for place in failing_locations(output, root=str(worktree))
        ),
        reply_summary=kept.get("summary", ""),
        malformed=kept.get("malformed"),
        checks_passed=_only_the_claim_failed(run, judged),
        evidence_ref=evidence.path if evidence else run.paths.step(last.step_id, "reply.md"),
    )


def in_worktree(path: str, worktree: Path, mt: MicroTaskDefinition) -> str:
    """A path that a tool named, relative to the worktree: some tools name files relative to the package they test.

    One that is not there is looked for among the MT's files, then under the folders that its commands name.
    """
    if (worktree / path).is_file():
        return path
    among = [known for known in (*mt.files.writable, *mt.files.read) if known.endswith(f"/{path}")]
    if len(among) == 1:
        return among[0]
    words = [word.removeprefix("./").removesuffix("/...") for spec in mt.verify for word in spec.command.split()]
    under = [f"{word.rstrip('/')}/{path}" for word in words if word and not word.startswith(("-", "/", ".."))]
    return next((found for found in under if (worktree / found).is_file()), path)


def _only_the_claim_failed(run: Run, judged: ValidationResult | None) -> bool:
    """Whether the files stand as the last iteration left them, and every command passed on them."""
    kept = run.job.execution_state.current_iteration > 1 and run.job.execution_policy.carry_over.retry == "keep"
    return kept and judged is not None and bool(judged.spec_results) and all(s.passed for s in judged.spec_results)
