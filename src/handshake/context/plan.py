"""The query plan: what will be looked up, where, and for how much. Contract: `context.md`, Query plan."""

from __future__ import annotations

from collections.abc import Mapping

from handshake.context.errors import ContextGuardFailed
from handshake.context.request import ContextRequest
from handshake.domain.clock import uuid_from
from handshake.domain.context import EvidenceBudgets, QueryPlan, RouteEntry, RouteTaken

MAX_CANDIDATES = 100
MAX_PER_FILE = 10
MAX_READ_TOKENS = 40_000

_ROUTE = (
    ("context_packs", "digests of the files in scope"),
    ("knowledge_graph", "neighbours of the files to change, along imports"),
    ("shadow_ws_lexical", "definitions that share words with the task"),
    ("shadow_ws_vector", "definitions of like meaning"),
    ("local_web_cache", "stored pages"),
    ("bounded_read_only", "the files in scope themselves"),
)
ABSENT = {
    "shadow_ws_vector": "skipped: no vector index",
    "local_web_cache": "skipped: no page cache",
}
CACHED_STAGES = {
    "context_packs": "context_packs",
    "knowledge_graph": "candidates",
    "shadow_ws_lexical": "candidates",
}


def query_text(request: ContextRequest) -> str:
    """Scope, actions and done criteria, one a line."""
    mt = request.mt
    return "\n".join((mt.scope, *mt.actions, *(criterion.description for criterion in mt.done)))


def query_plan(request: ContextRequest, evidence_tokens: int) -> QueryPlan:
    """The plan of this iteration; its id depends on job and step alone."""
    return QueryPlan(
        plan_id=uuid_from(f"{request.job_id}/{request.step_id}/plan"),
        created_at=request.created_at,
        query_text=query_text(request),
        query_kind="transform",
        route=tuple(
            RouteEntry(
                store=store,
                purpose=purpose,
                max_candidates=0 if store in ABSENT else MAX_CANDIDATES,
                required=store == "bounded_read_only",
            )
            for store, purpose in _ROUTE
        ),
        budgets=EvidenceBudgets(
            max_total_evidence_tokens=evidence_tokens,
            max_snippets_per_source=MAX_PER_FILE,
            max_candidates_total=MAX_CANDIDATES,
            max_read_tokens=MAX_READ_TOKENS,
        ),
        filters={
            "allow_external_fetch": False,
            "trust_min": -1,
            "paths": [*request.mt.files.read, *request.mt.files.writable],
        },
        determinism_mode=request.determinism_mode,
    )


def route_taken(
    plan: QueryPlan, said: Mapping[str, str] | None = None, hits: frozenset[str] = frozenset()
) -> tuple[RouteTaken, ...]:
    """Each store of the plan's route with what came of it; one that is not there says so.

    Args:
        plan: the plan.
        said: what came of a store, where there is something to say.
        hits: the stores whose answer was in the cache.

    Raises:
        ContextGuardFailed: a store that the plan requires is not there.
    """
    taken = []
    for entry in plan.route:
        if entry.store in ABSENT and entry.required:
            raise ContextGuardFailed(
                "RetrievalBudgetGuard",
                f"the plan requires {entry.store}, which is not there",
                next_step="take it out of the plan's required stores",
            )
        reason = ABSENT.get(entry.store) or (said or {}).get(entry.store) or entry.purpose
        taken.append(RouteTaken(store=entry.store, reason=reason, cache_hit=entry.store in hits))
    return tuple(taken)
