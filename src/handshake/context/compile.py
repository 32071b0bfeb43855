"""One prompt from durable state: plan, retrieve, guard, assemble. Contract: `context.md`, Pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from handshake.context.errors import ContextGuardFailed, PromptInjectionFound
from handshake.context.guards import Compiled, run_guards
from handshake.context.injection import DERIVED, RetrievedText, reject_injections
from handshake.context.normalize import normalized_query_hash
from handshake.context.plan import MAX_READ_TOKENS, query_plan, query_text, route_taken
from handshake.context.render import Templates
from handshake.context.request import CompiledContext, ContextRequest, EditForm, JobBoundary, PreviousIteration
from handshake.context.retrieve import Place, rank
from handshake.context.sections import (
    Definition,
    completion_section,
    definition_section,
    previous_section,
    status_section,
)
from handshake.context.sources import SourceFile, read_source
from handshake.context.spans import Chosen, Piece, choose
from handshake.domain.canonical import hash_of
from handshake.domain.clock import uuid_from
from handshake.domain.context import (
    ContextSnapshot,
    IdsHash,
    PromptEnvelope,
    QueryPlan,
    RetrievalTrace,
    Selected,
    SourceRef,
    Span,
    ids_hash,
)

__all__ = [
    "CompiledContext",
    "ContextGuardFailed",
    "ContextRequest",
    "JobBoundary",
    "PreviousIteration",
    "PromptInjectionFound",
    "compile_context",
]

WHOLE_FORM_LINES = 200
REPLY_FRAME_TOKENS = 120


def compile_context(request: ContextRequest) -> CompiledContext:
    """Compile the prompt of one iteration, within `token_budget` and the context window.

    Raises:
        PromptInjectionFound: text of a file, or what the last iteration gave, tries to instruct the model.
        ContextGuardFailed: a guard rejected plan, trace or prompt; or the fixed sections alone are too long.
        EnvironmentProblem: a prompt template is missing or wrong.
    """
    scope = _read_scope(request)
    waived = reject_injections(scope.texts(request), request.injection_waivers, request.extra_patterns)
    sections = _fixed_sections(request, scope)
    limit = min(request.mt.token_budget, request.context_window - request.reserved_output_tokens)
    bare = request.count_tokens(sections.prefix + sections.suffix(request, Chosen(), scope)[0])
    if bare > limit:
        raise ContextGuardFailed(
            "RetrievalBudgetGuard",
            f"{request.mt.mt_id}: the sections without any file have {bare} tokens, over {limit}",
            next_step="a model with a larger context window, or a packet with fewer and shorter criteria",
        )
    plan = query_plan(request, limit - bare)
    places = rank(query_text(request), scope.sources, frozenset(request.mt.files.writable), _failures(request))
    places = places[: plan.budgets.max_candidates_total]
    chosen, envelope, forms = _fit(request, scope, sections, places, plan, limit)
    trace = _trace(request, scope, sections, places, plan, chosen, envelope, limit, waived)
    candidates = ids_hash([f"{place.candidate.candidate_id}@{place.source.digest}" for place in places])
    run_guards(_compiled(request, plan, trace, envelope, candidates, chosen, scope, limit))
    snapshot = _snapshot(request, scope, trace, envelope, candidates)
    return CompiledContext(envelope=envelope, query_plan=plan, trace=trace, snapshot=snapshot, edit_forms=forms)


@dataclass(frozen=True)
class _Scope:
    """The files of the MT as they were read; `missing` are writable paths that are not there."""

    modify: tuple[SourceFile, ...]
    read: tuple[SourceFile, ...]
    missing: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def sources(self) -> tuple[SourceFile, ...]:
        return (*self.modify, *self.read)

    def line(self, path: str, number: int) -> str | None:
        """A line of a file in scope; None if it is not there."""
        for source in self.sources:
            if source.path == path and 1 <= number <= len(source.lines):
                return source.lines[number - 1]
        return None

    def texts(self, request: ContextRequest) -> tuple[RetrievedText, ...]:
        """All text on its way into the prompt that neither the packet nor a template wrote."""
        files = [RetrievedText(source.path, source.lines) for source in self.sources]
        previous = request.previous
        if previous is not None:
            said = [previous.validation_tail, previous.reply_summary, previous.error or "", previous.malformed or ""]
            said += [message for _, _, message in previous.locations]
            said += [line for outcome in previous.edit_outcomes for line in (outcome.error or "", *outcome.nearest)]
            files.append(RetrievedText(DERIVED, tuple("\n".join(said).split("\n"))))
        return tuple(files)


@dataclass(frozen=True)
class _Sections:
    """The sections that do not depend on the budget of the files."""

    system: str
    definition: Definition
    status: str
    previous: str
    flags: tuple[str, ...]
    templates: Templates = field(repr=False)

    @property
    def prefix(self) -> str:
        return self.system + self.definition.text

    def suffix(self, request: ContextRequest, chosen: Chosen, scope: _Scope) -> tuple[str, dict[str, EditForm]]:
        """The rest of the prompt with those pieces, and the edit form of each writable file."""
        forms = _edit_forms(request, chosen, scope)
        files = self.templates.render("files", pieces=chosen.pieces, new_files=scope.missing)
        closing = completion_section(request, self.templates, forms)
        return self.status + files + self.previous + closing, forms


def _read_scope(request: ContextRequest) -> _Scope:
    files = request.mt.files
    modify: list[SourceFile] = []
    read: list[SourceFile] = []
    missing: list[str] = []
    warnings: list[str] = []
    for path in dict.fromkeys((*files.writable, *files.read)):
        outcome = read_source(request.worktree, path, MAX_READ_TOKENS)
        to_create = outcome.missing and path in files.create
        if outcome.warning and not to_create:
            warnings.append(outcome.warning)
        if outcome.missing and path in files.writable:
            missing.append(path)
        if outcome.source is not None:
            (modify if path in files.writable else read).append(outcome.source)
    return _Scope(tuple(modify), tuple(read), tuple(missing), tuple(warnings))


def _fixed_sections(request: ContextRequest, scope: _Scope) -> _Sections:
    templates = Templates(request.profile, request.templates)
    definition = definition_section(request, templates)
    previous, flags = previous_section(request, templates, scope.line)
    return _Sections(
        system=templates.render("system"),
        definition=definition,
        status=status_section(request, templates),
        previous=previous,
        flags=(*definition.left_out, *flags),
        templates=templates,
    )


def _failures(request: ContextRequest) -> dict[str, frozenset[int]]:
    """The lines that the last validation named, by path."""
    found: dict[str, set[int]] = {}
    for path, line, _ in request.previous.locations if request.previous else ():
        found.setdefault(path, set()).add(line)
    return {path: frozenset(lines) for path, lines in found.items()}


def _fit(
    request: ContextRequest,
    scope: _Scope,
    sections: _Sections,
    places: tuple[Place, ...],
    plan: QueryPlan,
    limit: int,
) -> tuple[Chosen, PromptEnvelope, dict[str, EditForm]]:
    """Choose, assemble, count; while the whole is over the limit, choose again with less."""
    budget = plan.budgets.max_total_evidence_tokens
    prefix = sections.prefix
    while True:
        chosen = choose(
            scope.modify,
            scope.read,
            places,
            budget,
            request.count_tokens,
            plan.budgets.max_snippets_total,
            plan.budgets.max_snippets_per_source,
        )
        suffix, forms = sections.suffix(request, chosen, scope)
        tokens = request.count_tokens(prefix + suffix)
        if tokens <= limit or budget == 0:
            return chosen, PromptEnvelope(stable_prefix=prefix, variable_suffix=suffix, token_estimate=tokens), forms
        budget = max(0, min(budget, chosen.tokens) - (tokens - limit) - 8)


def _edit_forms(request: ContextRequest, chosen: Chosen, scope: _Scope) -> dict[str, EditForm]:
    """The form that fits each writable file: whole only for what is new or stands whole in the prompt."""
    whole = {piece.source.path: piece for piece in chosen.pieces if piece.writable and piece.whole}
    return {path: _edit_form(request, path, whole, scope) for path in request.mt.files.writable}


def _edit_form(request: ContextRequest, path: str, whole: Mapping[str, Piece], scope: _Scope) -> EditForm:
    if path in scope.missing:
        return "whole"
    piece = whole.get(path)
    if piece is None:
        return "search_replace"
    if request.edit_form != "either":
        return request.edit_form
    room = request.reserved_output_tokens - REPLY_FRAME_TOKENS
    fits = len(piece.source.lines) <= WHOLE_FORM_LINES and request.count_tokens(piece.text) <= room
    return "whole" if fits else "search_replace"


def _piece_ref(piece: Piece) -> SourceRef:
    return SourceRef(
        kind="span",
        id=f"{piece.source.path}:{piece.start}-{piece.end}",
        hash=piece.source.digest,
        selector="signatures" if piece.outline else f"lines {piece.start}-{piece.end}",
        classification="low",
    )


def _trace(
    request: ContextRequest,
    scope: _Scope,
    sections: _Sections,
    places: tuple[Place, ...],
    plan: QueryPlan,
    chosen: Chosen,
    envelope: PromptEnvelope,
    limit: int,
    waived: tuple[str, ...],
) -> RetrievalTrace:
    refs = [_piece_ref(piece) for piece in chosen.pieces]
    count = request.count_tokens
    cut = [f"read: {source.path}" for source in scope.sources if source.cut]
    unseen = {s.path for s in scope.modify} - {piece.source.path for piece in chosen.pieces}
    return RetrievalTrace(
        trace_id=uuid_from(f"{request.job_id}/{request.step_id}/trace"),
        query_plan_id=plan.plan_id,
        normalized_query_hash=normalized_query_hash(plan.query_text),
        route_taken=route_taken(plan),
        candidates=tuple(place.candidate for place in places),
        selected=tuple(
            Selected(ref=ref, final_rank=rank_, final_score=piece.score, why=piece.why)
            for rank_, (ref, piece) in enumerate(zip(refs, chosen.pieces, strict=True), start=1)
        ),
        spans=tuple(
            Span(
                ref=ref,
                selector=ref.selector or "",
                start=piece.start,
                end=piece.end,
                token_estimate=count(piece.text + "\n\n"),
            )
            for ref, piece in zip(refs, chosen.pieces, strict=True)
        ),
        budgets_applied={
            "prompt_limit": limit,
            "prompt": envelope.token_estimate,
            "system_rules": count(sections.system),
            "mt_definition": count(sections.definition.text),
            "iteration_context": count(sections.status),
            "previous_output": count(sections.previous) if sections.previous else 0,
            "file_contents": chosen.tokens,
            "file_contents_limit": plan.budgets.max_total_evidence_tokens,
        },
        truncation_flags=tuple(dict.fromkeys((*sections.flags, *chosen.truncation_flags, *cut))),
        warnings=(
            *scope.warnings,
            *waived,
            *(f"{path}: to be changed, but nothing of it fits" for path in sorted(unseen)),
        ),
    )


def _compiled(
    request: ContextRequest,
    plan: QueryPlan,
    trace: RetrievalTrace,
    envelope: PromptEnvelope,
    candidates: IdsHash,
    chosen: Chosen,
    scope: _Scope,
    limit: int,
) -> Compiled:
    limit_inline = plan.budgets.tool_delta_inline_char_limit
    tail = request.previous.validation_tail[-limit_inline:] if request.previous else ""
    return Compiled(
        request=request,
        plan=plan,
        trace=trace,
        envelope=envelope,
        candidates=candidates,
        shown=tuple((piece.source.path, piece.text) for piece in chosen.pieces),
        inline_outputs=(("validation output", tail, False),) if tail else (),
        cut_reads=tuple(source.path for source in scope.sources if source.cut),
        limit=limit,
    )


def _snapshot(
    request: ContextRequest, scope: _Scope, trace: RetrievalTrace, envelope: PromptEnvelope, candidates: IdsHash
) -> ContextSnapshot:
    files = request.mt.files
    return ContextSnapshot(
        context_snapshot_id=uuid_from(f"{request.job_id}/{request.step_id}/snapshot"),
        job_id=request.job_id,
        step_id=request.step_id,
        created_at=request.created_at,
        determinism_mode=request.determinism_mode,
        model_tier=request.model_tier,
        model_id=request.model_id,
        policy_profile_id=request.policy_profile_id,
        layer_scope={"read": tuple(dict.fromkeys((*files.read, *files.modify))), "write": files.writable},
        scope_inputs_hash=hash_of([request.mt, [[source.path, source.digest] for source in scope.sources]]),
        retrieval_candidates=candidates,
        selected_sources=ids_hash([span.ref.id for span in trace.spans]),
        prompt_envelope_hashes=envelope.hashes,
        seed=request.seed,
        warnings=(*trace.warnings, *trace.truncation_flags),
    )
