"""Keys of what may be kept: nine parts, each of which makes a miss when it changes. Contract: `context.md`, Cache."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from handshake.context.normalize import normalized_query_hash
from handshake.context.request import ContextRequest
from handshake.context.scope import Scope, failing_lines
from handshake.domain.canonical import hash_of
from handshake.domain.context import Candidate, QueryPlan
from handshake.source.packs import toolchain_hash


@dataclass(frozen=True)
class StageKey:
    """Everything that an answer depends on."""

    kind: str
    determinism_mode: str
    policy: str
    query_hash: str
    scope_hash: str
    budgets_hash: str
    filters_hash: str
    toolchain_hash: str
    sources_hash: str

    @property
    def value(self) -> str:
        """SHA-256 of the parts."""
        return hash_of([[name, getattr(self, name)] for name in self.__dataclass_fields__])


def stage_key(kind: str, request: ContextRequest, plan: QueryPlan, scope: Scope) -> StageKey:
    """The key of one stage of this compilation.

    The candidates do not depend on how many tokens are left for them, so that figure is not in their budgets.
    """
    budgets = plan.budgets.model_dump(mode="json", exclude={"max_total_evidence_tokens"})
    failures = {path: sorted(lines) for path, lines in failing_lines(request).items()}
    return StageKey(
        kind=kind,
        determinism_mode=plan.determinism_mode,
        policy=f"{plan.policy_id} {plan.version} {request.policy_profile_id}",
        query_hash=normalized_query_hash(plan.query_text),
        scope_hash=hash_of([request.mt.files, failures]),
        budgets_hash=hash_of(budgets),
        filters_hash=hash_of(plan.filters),
        toolchain_hash=toolchain_hash(),
        sources_hash=hash_of(
            {
                "tree": request.tree_id,
                "files": [[source.path, source.digest] for source in scope.sources],
                "edges": {path: sorted(targets) for path, targets in scope.edges.items()},
            }
        ),
    )


def stage_keys(request: ContextRequest, plan: QueryPlan, scope: Scope) -> Mapping[str, str]:
    """The key of each stage that may be kept."""
    return {kind: stage_key(kind, request, plan, scope).value for kind in ("context_packs", "candidates")}


def packed_candidates(candidates: Sequence[Candidate]) -> bytes:
    """Candidates as they are kept."""
    return json.dumps([candidate.model_dump(mode="json") for candidate in candidates]).encode("utf-8")


def unpacked_candidates(payload: bytes) -> tuple[Candidate, ...] | None:
    """Candidates that were kept; None where the row is not that."""
    try:
        return tuple(Candidate.model_validate(row) for row in json.loads(payload))
    except (ValueError, ValidationError, TypeError):
        return None
