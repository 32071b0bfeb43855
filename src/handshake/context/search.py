"""Asking the stores of a plan: first what is kept, then the files themselves. Contract: `context.md`, Cache."""

from __future__ import annotations

from dataclasses import dataclass

from handshake.context.errors import ContextGuardFailed
from handshake.context.request import ContextRequest
from handshake.context.retrieve import Place, in_order, rank, recalled
from handshake.context.scope import Scope, failing_lines
from handshake.context.stage import packed_candidates, stage_keys, unpacked_candidates
from handshake.domain.context import QueryPlan
from handshake.source.index import SourceIndex
from handshake.source.words import terms


@dataclass(frozen=True)
class Found:
    """The candidates, best first, and how they were come by.

    `keys` are the stages' keys; `hits` the stores whose answer was kept; `said` what a store has to say.
    """

    places: tuple[Place, ...]
    keys: dict[str, str]
    hits: frozenset[str]
    said: dict[str, str]
    warnings: tuple[str, ...] = ()


def retrieve(request: ContextRequest, plan: QueryPlan, scope: Scope, index: SourceIndex) -> Found:
    """The candidates of a plan, cut to its budgets.

    Raises:
        ContextGuardFailed: the stored candidates of a replay are not in the files any more.
    """
    keys = dict(stage_keys(request, plan, scope))
    sources = scope.sources
    hits = {"context_packs"} if sources and all(source.pack_known for source in sources) else set()
    known = sum(source.pack_known for source in sources)
    said = {"context_packs": f"digests of the files in scope: {known} of {len(sources)} were kept"}
    if request.stored is not None:
        places = recalled(request.stored, sources)
        if places is None:
            raise ContextGuardFailed(
                "ContextDeterminismGuard",
                f"{request.step_id}: a stored candidate is not in the files any more",
                next_step="replay on the tree that the step began with",
            )
        said["shadow_ws_lexical"] = "the stored candidate list"
        return Found(places, keys, frozenset(hits), said)
    payload = index.stage(keys["candidates"])
    stored = unpacked_candidates(payload) if payload is not None else None
    kept = recalled(stored, sources) if stored is not None else None
    if kept is None:
        counts = index.counts(request.tree_id, terms(plan.query_text)) if request.tree_id else None
        if counts is not None:
            said["shadow_ws_lexical"] = f"words of the task, weighed by their rarity in {counts.files} files"
        modify = frozenset(request.mt.files.writable)
        kept = rank(plan.query_text, sources, modify, failing_lines(request), scope.edges, counts)
        least = float(plan.filters.get("trust_min", -1))
        kept = tuple(place for place in kept if place.candidate.scores.get("trust_adjust", 0.0) >= least)
        kept = kept[: plan.budgets.max_candidates_total]
        index.put_stage(keys["candidates"], packed_candidates([place.candidate for place in kept]))
    else:
        hits |= {"knowledge_graph", "shadow_ws_lexical"}
        said["shadow_ws_lexical"] = "kept from the same question over the same files"
    warnings = (index.problem,) if index.problem else ()
    return Found(in_order(kept), keys, frozenset(hits), said, warnings)
