"""One prompt from durable state: plan, retrieve, guard, assemble. Contract: `context.md`, Pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from handshake.context.errors import ContextGuardFailed, PromptInjectionFound
from handshake.context.guards import Compiled, matches, run_guards
from handshake.context.injection import reject_injections
from handshake.context.papers import context_snapshot, retrieval_trace
from handshake.context.plan import query_plan
from handshake.context.previous import PreviousSection, previous_section
from handshake.context.render import Templates
from handshake.context.request import (
    CompiledContext,
    ContextRequest,
    DoneTask,
    EditForm,
    JobBoundary,
    PreviousIteration,
)
from handshake.context.retrieve import Place
from handshake.context.scope import Held, Scope, held_back, read_scope
from handshake.context.search import retrieve
from handshake.context.sections import Section, completion_section, definition_section, status_section
from handshake.context.spans import Chosen, Piece, choose
from handshake.context.stage import stage_keys
from handshake.domain.context import IdsHash, PromptEnvelope, QueryPlan, RetrievalTrace, ids_hash
from handshake.source.index import SourceIndex

__all__ = [
    "CompiledContext",
    "ContextGuardFailed",
    "ContextRequest",
    "DoneTask",
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
    # a provider may ask its server to count: no text is counted twice
    request = dataclasses.replace(request, count_tokens=cache(request.count_tokens))
    _refuse_names_of_several_lines(request)
    index = request.index or SourceIndex(None)
    scope = read_scope(request, index)
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
    found = retrieve(request, plan, scope, index)
    chosen, envelope, forms = _fit(request, scope, sections, found.places, plan, limit)
    cut = tuple(f"read: {source.path}" for source in scope.sources if source.cut)
    trace = retrieval_trace(
        request,
        plan,
        found,
        chosen,
        _budgets_applied(request, plan, sections, chosen, envelope, limit),
        (*sections.previous.flags, *sections.flags, *chosen.truncation_flags, *cut),
        (*scope.warnings, *found.warnings, *waived, *_unseen(scope, chosen)),
    )
    candidates = ids_hash([f"{place.candidate.candidate_id}@{place.source.digest}" for place in found.places])
    published = _published(request, sections, chosen, scope)
    payload = None if published is None else f"local:{envelope.hashes['full_prompt_hash']}"
    run_guards(_compiled(request, plan, trace, envelope, candidates, chosen, scope, sections, limit, payload))
    return CompiledContext(
        envelope=envelope,
        query_plan=plan,
        trace=trace,
        snapshot=context_snapshot(request, scope, trace, envelope, candidates, payload),
        edit_forms=forms,
        edges={path: tuple(sorted(targets)) for path, targets in scope.edges.items()},
        published_prompt=envelope.full_prompt if published is None else published,
        template_texts=sections.templates.texts,
    )


def _refuse_names_of_several_lines(request: ContextRequest) -> None:
    """A model must repeat the names of the files it changes: one that holds a line break could speak to it."""
    for path in request.mt.files.writable:
        if not path.isprintable():
            raise ContextGuardFailed(
                "PromptInjectionGuard",
                f"{request.mt.mt_id} changes {path!r}, a name with control characters",
                next_step="rename the file, or take it out of the packet's scope",
            )


@dataclass(frozen=True)
class _Sections:
    """The sections that do not depend on the budget of the files."""

    system: str
    definition: Section
    status: Section
    previous: PreviousSection
    flags: tuple[str, ...]
    templates: Templates = field(repr=False)

    @property
    def prefix(self) -> str:
        return self.system + self.definition.text

    def suffix(self, request: ContextRequest, chosen: Chosen, scope: Scope) -> tuple[str, dict[str, EditForm]]:
        """The rest of the prompt with those pieces, and the edit form of each writable file."""
        forms = _edit_forms(request, chosen, scope)
        # the nearer the text to change stands to the request, the likelier a tiny model changes it
        last = request.profile == "tiny"
        pieces = sorted(chosen.pieces, key=lambda piece: piece.writable) if last else chosen.pieces
        files = self.templates.render("files", pieces=pieces, new_files=scope.missing)
        whole = {p.source.path: p.source for p in chosen.pieces if p.writable and p.whole}
        closing = completion_section(request, self.templates, forms, whole, scope.missing)
        return self.status.text + files + self.previous.text + closing, forms


def _fixed_sections(request: ContextRequest, scope: Scope) -> _Sections:
    templates = Templates(request.profile, request.templates, request.template_texts)
    definition, status = definition_section(request, templates), status_section(request, templates)
    return _Sections(
        system=templates.render("system"),
        definition=definition,
        status=status,
        previous=previous_section(request, templates, scope),
        flags=(*definition.left_out, *status.left_out),
        templates=templates,
    )


def _fit(
    request: ContextRequest,
    scope: Scope,
    sections: _Sections,
    places: tuple[Place, ...],
    plan: QueryPlan,
    limit: int,
) -> tuple[Chosen, PromptEnvelope, dict[str, EditForm]]:
    """Choose, assemble, count; while the whole is over the limit, choose again with less."""
    budget = plan.budgets.max_total_evidence_tokens
    held = held_back(request, scope) if request.profile == "tiny" else Held(scope.read, ())
    prefix = sections.prefix
    while True:
        chosen = choose(
            scope.modify,
            held.shown,
            places,
            budget,
            request.count_tokens,
            plan.budgets.max_snippets_total,
            plan.budgets.max_snippets_per_source,
        )
        flags = (*chosen.truncation_flags, *(f"held back: {path}" for path in held.held_back))
        chosen = dataclasses.replace(chosen, truncation_flags=flags)
        suffix, forms = sections.suffix(request, chosen, scope)
        tokens = request.count_tokens(prefix + suffix)
        if tokens <= limit or budget == 0:
            return chosen, PromptEnvelope(stable_prefix=prefix, variable_suffix=suffix, token_estimate=tokens), forms
        budget = max(0, min(budget, chosen.tokens) - (tokens - limit) - 8)


def _edit_forms(request: ContextRequest, chosen: Chosen, scope: Scope) -> dict[str, EditForm]:
    """The form that fits each writable file: whole only for what is new or stands whole in the prompt."""
    whole = {piece.source.path: piece for piece in chosen.pieces if piece.writable and piece.whole}
    return {path: _edit_form(request, path, whole, scope) for path in request.mt.files.writable}


def _edit_form(request: ContextRequest, path: str, whole: Mapping[str, Piece], scope: Scope) -> EditForm:
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


def _published(request: ContextRequest, sections: _Sections, chosen: Chosen, scope: Scope) -> str | None:
    """The prompt without the text of files that are local only; None where it shows none of them."""
    if not any(matches(piece.source.path, request.local_only) for piece in chosen.pieces):
        return None
    pieces = tuple(
        dataclasses.replace(piece, withheld=matches(piece.source.path, request.local_only)) for piece in chosen.pieces
    )
    return sections.prefix + sections.suffix(request, dataclasses.replace(chosen, pieces=pieces), scope)[0]


def _compiled(
    request: ContextRequest,
    plan: QueryPlan,
    trace: RetrievalTrace,
    envelope: PromptEnvelope,
    candidates: IdsHash,
    chosen: Chosen,
    scope: Scope,
    sections: _Sections,
    limit: int,
    payload: str | None,
) -> Compiled:
    shown = tuple((piece.source.path, piece.text) for piece in chosen.pieces)
    return Compiled(
        request=request,
        plan=plan,
        trace=trace,
        envelope=envelope,
        candidates=candidates,
        shown=(*shown, *sections.previous.quoted),
        inline_outputs=sections.previous.outputs,
        cut_reads=tuple(source.path for source in scope.sources if source.cut),
        limit=limit,
        packs=tuple(source.pack for source in scope.sources if source.pack is not None),
        cache_keys=stage_keys(request, plan, scope),
        local_only_ref=payload,
    )


def _unseen(scope: Scope, chosen: Chosen) -> tuple[str, ...]:
    """A warning for each file to modify of which nothing fits."""
    shown = {piece.source.path for piece in chosen.pieces}
    return tuple(f"{s.path}: to be changed, but nothing of it fits" for s in scope.modify if s.path not in shown)


def _budgets_applied(
    request: ContextRequest,
    plan: QueryPlan,
    sections: _Sections,
    chosen: Chosen,
    envelope: PromptEnvelope,
    limit: int,
) -> dict[str, int]:
    """Tokens that each section took, and the limits they were held to."""
    count = request.count_tokens
    return {
        "prompt_limit": limit,
        "prompt": envelope.token_estimate,
        "system_rules": count(sections.system),
        "mt_definition": count(sections.definition.text),
        "iteration_context": count(sections.status.text),
        "previous_output": count(sections.previous.text) if sections.previous.text else 0,
        "file_contents": chosen.tokens,
        "file_contents_limit": plan.budgets.max_total_evidence_tokens,
    }
