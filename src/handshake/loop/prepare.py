"""Before a model call: choose, compile, announce, publish. Contract: `loop.md`, the loop 2.2.c to e.

What was prepared and published is read back after a crash, never made a second time: the same prompt
has the same content key, so its stored reply is found.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from handshake.context.request import CompiledContext
from handshake.domain.canonical import sha256_hex
from handshake.domain.errors import StateCorruption
from handshake.domain.ledger import LedgerStep, StepStatus, idempotency_key, step_id
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.modelcall import ModelRequest, Sampling
from handshake.domain.operation import Sidecar
from handshake.domain.record import Record
from handshake.domain.settings import ModelConfig
from handshake.domain.states import Phase
from handshake.loop.context_request import context_request, previous_iteration
from handshake.loop.equipment import Equipment
from handshake.loop.frame import framing_grammar
from handshake.loop.limits import LONGEST_ITERATION_S, TOKENS_PER_ITERATION
from handshake.loop.recorded import CountedTexts, record_request
from handshake.loop.run import Run
from handshake.models.lora import choose_lora
from handshake.models.profiles import PROFILES, Profile
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
    local_only_payload_ref: str | None = None


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
        _refuse_changed(run, prepared)
        _begin(run, prepared, mt, fresh=False)
        return prepared
    return _prepare_anew(run, equipment, mt, number, this_step)


def as_published(run: Run, of_step: str) -> Prepared | None:
    """A step as it was sent, or is to be sent, to its model; None where the branch has no request of it."""
    stored = run.artifact_record(run.paths.step(of_step, "request.json"), StoredRequest)
    if stored is None:
        return None
    data = run.verbatim(run.paths.step(of_step, "prompt.md"))
    withheld = stored.local_only_payload_ref and sha256_hex(data or b"") != stored.prompt_hash
    if data is None or withheld:  # it held what must not leave the clone that sent it: it is compiled anew here
        return None
    prompt = data.decode("utf-8")
    return Prepared(of_step, int(of_step.rpartition("-")[2]), stored, prompt)


def _refuse_changed(run: Run, prepared: Prepared) -> None:
    """See that a published step has the prompt that was announced, and its plan: no plan, no call.

    Raises:
        StateCorruption: it has not.
    """
    whole = sha256_hex(prepared.prompt) == prepared.stored.prompt_hash
    if not whole or run.artifact(run.paths.step(prepared.step_id, "query_plan.json")) is None:
        what = "its query plan is missing" if whole else "its prompt is not the one that was announced"
        raise StateCorruption(f"{prepared.step_id}: {what}", next_step=f"handshake log {run.job.wp_id}")


def _prepare_anew(run: Run, equipment: Equipment, mt: MicroTaskDefinition, number: int, this_step: str) -> Prepared:
    state, policy = run.job.execution_state, run.job.execution_policy
    level = policy.level(state.current_escalation_level)
    used_before = tuple(row.lora_id for row in run.entry(mt.mt_id).iterations[-1:] if row.lora_id)
    selector = policy.selector_at(level.level)
    choice = choose_lora(
        level.model_copy(update={"lora_selector": selector}),
        run.around.settings.loras,
        level.model_id,
        mt.task_tags,
        used_before,
        run.around.clock.now(),
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
    request = context_request(
        run,
        equipment,
        mt,
        this_step,
        iteration,
        provider,
        profile,
        config,
        framed=_is_framed(profile, config, provider, mt),
        seed=_drawn_seed(config, number) if _is_seeded(run, config) else None,
        said=run.around.watcher.working,
    )
    counted = CountedTexts(request.count_tokens, exact=provider.facts.exact_tokens)
    compiled, sidecar = equipment.context.compiled(
        equipment.bus,
        run.stable_id(f"{this_step}/context"),
        dataclasses.replace(request, count_tokens=counted),
        run.job.capability_profile_id,
    )
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
        local_only_payload_ref=compiled.snapshot.local_only_payload_ref,
    )
    prepared = Prepared(this_step, number, stored, compiled.envelope.full_prompt)
    _store(run, prepared, compiled, sidecar)
    record_request(run, request, compiled, counted)
    _begin(run, prepared, mt, fresh=True)
    return prepared


def _is_framed(profile: Profile, config: ModelConfig, provider: Provider, mt: MicroTaskDefinition) -> bool:
    """Whether a grammar holds the reply's frame: then the prompt need not spell the closing block out."""
    wanted = profile.grammar if config.grammar is None else config.grammar
    return wanted and provider.facts.supports_grammar and len(mt.files.writable) == 1


def _drawn_seed(config: ModelConfig, number: int) -> int:
    return 1000 * (config.seed or 0) + number


def _is_seeded(run: Run, config: ModelConfig) -> bool:
    """Whether the seed is one that somebody chose: strict determinism asks for that."""
    return config.seed is not None or run.around.settings.context.determinism == "replay"


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
        previous = previous_iteration(run, mt.mt_id, equipment.workspace.path)
        claim_only = previous is not None and previous.checks_passed
        grammar = framing_grammar(mt, path, equipment.workspace.read(path), claim_only=claim_only)
    return Sampling(
        temperature=config.temperature if config.temperature is not None else profile.temperature,
        # each iteration draws anew, and a replay draws the same
        seed=_drawn_seed(config, number),
        max_output_tokens=max(16, min(most, room, window)),
        samples=config.samples or profile.samples,
        grammar=grammar,
    )


def _store(run: Run, prepared: Prepared, compiled: CompiledContext, sidecar: Sidecar) -> None:
    def at(name: str) -> str:
        return run.paths.step(prepared.step_id, name)

    if compiled.snapshot.local_only_payload_ref:
        shown = compiled.published_prompt.encode("utf-8")
        prompt = run.withhold(at("prompt.md"), prepared.prompt.encode("utf-8"), shown)
    else:
        prompt = run.store(at("prompt.md"), prepared.prompt.encode("utf-8"), "prompt_payload")
    handles = (
        prompt,
        run.store_record(at("query_plan.json"), compiled.query_plan),
        run.store_record(at("retrieval_trace.json"), compiled.trace),
    )
    run.store_record(at("prompt.md.json"), sidecar.model_copy(update={"artifact": prompt}), "report")
    run.store_record(at("context_snapshot.json"), compiled.snapshot.model_copy(update={"artifact_handles": handles}))
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
