"""The papers of a prompt: the trace of what was found and chosen, and the snapshot. Contract: `context.md`."""

from __future__ import annotations

from handshake.context.normalize import normalized_query_hash
from handshake.context.plan import route_taken
from handshake.context.request import ContextRequest
from handshake.context.scope import Scope
from handshake.context.search import Found
from handshake.context.spans import Chosen, Piece
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


def _piece_ref(piece: Piece) -> SourceRef:
    return SourceRef(
        kind="span",
        id=f"{piece.source.path}:{piece.start}-{piece.end}",
        hash=piece.source.digest,
        selector="signatures" if piece.outline else f"lines {piece.start}-{piece.end}",
        classification="low",
    )


def retrieval_trace(
    request: ContextRequest,
    plan: QueryPlan,
    found: Found,
    chosen: Chosen,
    budgets_applied: dict[str, int],
    flags: tuple[str, ...],
    warnings: tuple[str, ...],
) -> RetrievalTrace:
    """What was looked up, found, chosen and cut. `budgets_applied` are tokens by section."""
    refs = [_piece_ref(piece) for piece in chosen.pieces]
    return RetrievalTrace(
        trace_id=uuid_from(f"{request.job_id}/{request.step_id}/trace"),
        query_plan_id=plan.plan_id,
        normalized_query_hash=normalized_query_hash(plan.query_text),
        route_taken=route_taken(plan, found.said, found.hits),
        candidates=tuple(place.candidate for place in found.places),
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
                token_estimate=request.count_tokens(piece.text + "\n\n"),
            )
            for ref, piece in zip(refs, chosen.pieces, strict=True)
        ),
        budgets_applied=budgets_applied,
        truncation_flags=tuple(dict.fromkeys(flags)),
        warnings=warnings,
        cache_keys=found.keys,
    )


def context_snapshot(
    request: ContextRequest,
    scope: Scope,
    trace: RetrievalTrace,
    envelope: PromptEnvelope,
    candidates: IdsHash,
    local_only_ref: str | None = None,
) -> ContextSnapshot:
    """What the model saw and why, by hash. `local_only_ref` names a payload that is in the protected store alone."""
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
        local_only_payload_ref=local_only_ref,
    )
