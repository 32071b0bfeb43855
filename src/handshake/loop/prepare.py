"""Before a model call: choose, compile, announce, publish. Contract: `loop.md`, the loop 2.2.c to e.

What was prepared and published is read back after a crash, never made a second time: the same prompt
has the same content key, so its stored reply is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from handshake.context.compile import compile_context
from handshake.context.injection import PATTERNS
from handshake.context.request import CompiledContext, ContextRequest, PreviousIteration
from handshake.domain.ledger import LedgerStep, StepStatus, idempotency_key, step_id
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.modelcall import ModelRequest, Sampling
from handshake.domain.progress import MtStatus
from handshake.domain.record import Record
from handshake.domain.reply import EditOutcome, ValidationResult
from handshake.domain.settings import ModelConfig
from handshake.domain.states import Phase
from handshake.gates.failures import failing_locations
from handshake.loop.equipment import Equipment
from handshake.loop.frame import framing_grammar
from handshake.loop.limits import LONGEST_ITERATION_S, TOKENS_PER_ITERATION
from handshake.loop.run import Run
from handshake.models.lora import choose_lora
from handshake.models.profiles import PROFILES, EditForm, Profile
from handshake.models.provider import Provider


class StoredRequest(Record):
    """`request.json` of a step: the call as published, its prompt left to `prompt.md`."""

    model_id: str
    lora_id: str | None = None
    served_as: str
    profile: str
    level: int
    iteration: int
    prefix_chars: int
    prompt_hash: str
    sampling: Sampling
    timeout_s: float
    context_snapshot_id: str
    lora_version: str | None = None
    context_window: int | None = None


@dataclass(frozen=True)
class Prepared:
    """A step that may be sent to a model."""

    step_id: str
    number: int
    stored: StoredRequest
    prompt: str

    def has_single_file_fence(self, mt: MicroTaskDefinition) -> bool:
        """Whether a bare fence in the reply is the one file that the MT may write."""
        return self.stored.profile == "tiny" and len(mt.files.writable) == 1

    def request(self, attempt: int) -> ModelRequest:
        """The call of that ordinal; each later one waits half as long again."""
        stored = self.stored
        return ModelRequest(
            model_id=stored.model_id,
            lora_id=stored.lora_id,
            served_as=stored.served_as,
            prompt_prefix=self.prompt[: stored.prefix_chars],
            prompt_suffix=self.prompt[stored.prefix_chars :],
            prompt_hash=stored.prompt_hash,
            sampling=stored.sampling,
            attempt=attempt,
            timeout_s=stored.timeout_s * 1.5 ** (attempt - 1),
        )


def prepare(run: Run, equipment: Equipment, mt: MicroTaskDefinition) -> Prepared:
    """The next step of this MT, published as `in_progress`: read back if it was, else made now.

    Raises:
        PromptInjectionFound, ContextGuardFailed: a guard blocked the prompt.
        EnvironmentProblem: the model cannot be opened.
    """
    number = len(run.entry(mt.mt_id).iterations) + 1
    this_step = step_id(mt.mt_id, number)
    prepared = as_published(run, this_step)
    if prepared is not None and run.ledger.step(this_step) is not None:
        _begin(run, prepared, mt, fresh=False)
        return prepared
    return _prepare_anew(run, equipment, mt, number, this_step)


def as_published(run: Run, of_step: str) -> Prepared | None:
    """A step as it was sent, or is to be sent, to its model; None where the branch has no request of it."""
    stored = run.artifact_record(run.paths.step(of_step, "request.json"), StoredRequest)
    if stored is None:
        return None
    data = run.verbatim(run.paths.step(of_step, "prompt.md"))
    if data is None:  # it held a secret, and was sent from another clone: it is compiled anew here
        return None
    prompt = data.decode("utf-8")
    return Prepared(of_step, int(of_step.rpartition("-")[2]), stored, prompt)


def _prepare_anew(run: Run, equipment: Equipment, mt: MicroTaskDefinition, number: int, this_step: str) -> Prepared:
    state, policy = run.job.execution_state, run.job.execution_policy
    level = policy.level(state.current_escalation_level)
    used_before = tuple(row.lora_id for row in run.entry(mt.mt_id).iterations[-1:] if row.lora_id)
    choice = choose_lora(
        level, run.around.settings.loras, level.model_id, mt.task_tags, used_before, run.around.clock.now()
    )
    lora_id = choice.lora.id if choice.lora else None
    provider = equipment.pool.provider(level.model_id, choice.lora)
    iteration = state.current_iteration + 1
    run.update_state(current_iteration=iteration, current_model_id=level.model_id, current_lora_id=lora_id)
    run.set_phase(Phase.EXECUTING_MT)
    run.emit(
        "FR-EVT-MT-013",
        {"model_id": level.model_id, "lora_id": lora_id, "selector": choice.selector, "scores": choice.scores},
        key=f"{this_step}/013",
        mt_id=mt.mt_id,
        iteration=number,
    )
    run.around.watcher.working(f"{mt.mt_id} compiling the prompt")
    profile = PROFILES[provider.facts.profile]
    config = run.around.settings.models.get(level.model_id, ModelConfig())
    compiled = compile_context(_context_request(run, equipment, mt, this_step, iteration, provider, profile, config))
    stored = StoredRequest(
        model_id=level.model_id,
        lora_id=lora_id,
        served_as=choice.lora.served_as if choice.lora else provider.facts.served_as,
        profile=profile.name,
        level=level.level,
        iteration=iteration,
        prefix_chars=len(compiled.envelope.stable_prefix),
        prompt_hash=compiled.envelope.hashes["full_prompt_hash"],
        sampling=_sampling(run, profile, config, provider, mt, compiled, number, equipment),
        timeout_s=min(config.timeout_s, LONGEST_ITERATION_S),
        context_snapshot_id=compiled.snapshot.context_snapshot_id,
        lora_version=choice.lora.version if choice.lora else None,
        context_window=provider.facts.context_window,
    )
    prepared = Prepared(this_step, number, stored, compiled.envelope.full_prompt)
    _store(run, prepared, compiled)
    _begin(run, prepared, mt, fresh=True)
    return prepared


def _context_request(
    run: Run,
    equipment: Equipment,
    mt: MicroTaskDefinition,
    this_step: str,
    iteration: int,
    provider: Provider,
    profile: Profile,
    config: ModelConfig,
) -> ContextRequest:
    state, policy = run.job.execution_state, run.job.execution_policy
    entry = run.entry(mt.mt_id)
    if entry.extra_notes:
        notes = "\n".join(filter(None, (mt.notes, *entry.extra_notes)))
        mt = mt.model_copy(update={"notes": notes})
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
        previous=_previous(run, mt.mt_id, equipment.workspace.path),
        done_mts=tuple((e.mt_id, e.name) for e in run.progress.micro_tasks if e.status is MtStatus.COMPLETED),
        profile=profile.name,
        edit_form=_edit_form(run, mt.mt_id, config.edit_forms or profile.edit_forms),
        context_window=provider.facts.context_window,
        reserved_output_tokens=config.max_output_tokens or profile.max_output_tokens,
        count_tokens=provider.count_tokens,
        determinism_mode="replay",
        seed=config.seed,
        created_at=run.around.clock.now(),
        injection_waivers=_injection_waivers(run),
        policy_profile_id=run.job.profile_id,
        templates=None,
        frame_given=_is_framed(profile, config, provider, mt),
    )


def _injection_waivers(run: Run) -> tuple[tuple[str, str], ...]:
    """Path and pattern of each waiver that names both. Contract: `context.md`, Guards."""
    from handshake.domain.packet_text import read_packet

    packet = read_packet(run.packet, run.job.workspace.packet_path).packet
    return tuple(
        (path, pattern)
        for waiver in (packet.waivers if packet else ())
        for pattern in PATTERNS
        if pattern in " ".join(waiver.text.casefold().split())
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


def _previous(run: Run, mt_id: str, worktree: Path) -> PreviousIteration | None:
    """What the last iteration left, read from the branch: nothing of a conversation is carried over."""
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
    return PreviousIteration(
        outcome=last.outcome.value,
        error=last.error_summary,
        edit_outcomes=_outcomes(run, last.step_id),
        validation_tail=output,
        locations=tuple(
            (place.path, place.line, place.message) for place in failing_locations(output, root=str(worktree))
        ),
        reply_summary=kept.get("summary", ""),
        malformed=kept.get("malformed"),
        checks_passed=_only_the_claim_failed(run, judged),
    )


def _only_the_claim_failed(run: Run, judged: ValidationResult | None) -> bool:
    """Whether the files stand as the last iteration left them, and every command passed on them."""
    kept = run.job.execution_state.current_iteration > 1 and run.job.execution_policy.carry_over.retry == "keep"
    return kept and judged is not None and bool(judged.spec_results) and all(s.passed for s in judged.spec_results)


def _is_framed(profile: Profile, config: ModelConfig, provider: Provider, mt: MicroTaskDefinition) -> bool:
    """Whether a grammar holds the reply's frame: then the prompt need not spell the closing block out."""
    wanted = profile.grammar if config.grammar is None else config.grammar
    return wanted and provider.facts.supports_grammar and len(mt.files.writable) == 1


def _sampling(
    run: Run,
    profile: Profile,
    config: ModelConfig,
    provider: Provider,
    mt: MicroTaskDefinition,
    compiled: CompiledContext,
    number: int,
    equipment: Equipment,
) -> Sampling:
    """How the replies are drawn; the length is held to the MT's iteration limit."""
    most = config.max_output_tokens or profile.max_output_tokens
    room = TOKENS_PER_ITERATION * mt.token_budget - compiled.envelope.token_estimate
    window = provider.facts.context_window - compiled.envelope.token_estimate
    grammar = None
    if _is_framed(profile, config, provider, mt):
        path = mt.files.writable[0]
        previous = _previous(run, mt.mt_id, equipment.workspace.path)
        claim_only = previous is not None and previous.checks_passed
        grammar = framing_grammar(mt, path, equipment.workspace.read(path), claim_only=claim_only)
    return Sampling(
        temperature=config.temperature if config.temperature is not None else profile.temperature,
        # each iteration draws anew, and a replay draws the same
        seed=1000 * (config.seed or 0) + number,
        max_output_tokens=max(16, min(most, room, window)),
        samples=config.samples or profile.samples,
        grammar=grammar,
    )


def _store(run: Run, prepared: Prepared, compiled: CompiledContext) -> None:
    def at(name: str) -> str:
        return run.paths.step(prepared.step_id, name)

    run.store(at("prompt.md"), prepared.prompt.encode("utf-8"), "prompt_payload")
    run.store_record(at("context_snapshot.json"), compiled.snapshot)
    run.store_record(at("query_plan.json"), compiled.query_plan)
    run.store_record(at("retrieval_trace.json"), compiled.trace)
    run.store_record(at("request.json"), prepared.stored)


def _begin(run: Run, prepared: Prepared, mt: MicroTaskDefinition, *, fresh: bool) -> None:
    """Announce the iteration and publish the step as in progress."""
    stored = prepared.stored
    known = run.ledger.step(prepared.step_id)
    run.emit(
        "FR-EVT-MT-002",
        {
            "model_id": stored.model_id,
            "lora_id": stored.lora_id,
            "escalation_level": stored.level,
            "step_id": prepared.step_id,
            "context_snapshot_id": stored.context_snapshot_id,
        },
        key=f"{prepared.step_id}/002",
        mt_id=mt.mt_id,
        iteration=prepared.number,
    )
    if not fresh and known is not None and known.status is StepStatus.IN_PROGRESS:
        return
    key = idempotency_key(mt.mt_id, stored.iteration, stored.model_id, stored.lora_id, stored.prompt_hash)
    run.ledger = run.ledger.with_step(
        LedgerStep(
            step_id=prepared.step_id,
            idempotency_key=key,
            status=StepStatus.IN_PROGRESS,
            started_at=known.started_at if known and known.started_at else run.around.clock.now(),
        )
    )
    run.publish(
        f"{mt.mt_id} iter {prepared.number}: asking {stored.model_id}",
        MT=mt.mt_id,
        Step=prepared.step_id,
        Model=stored.model_id,
    )
