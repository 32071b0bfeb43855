"""QueryPlan, RetrievalTrace, ContextSnapshot, PromptEnvelope. Contract: `context.md`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from handshake.domain.artifact import ArtifactHandle
from handshake.domain.canonical import hash_of, sha256_hex
from handshake.domain.record import Record

DeterminismMode = Literal["strict", "replay"]


class RouteEntry(Record):
    """One store to ask, in order."""

    store: str
    purpose: str
    max_candidates: int
    required: bool = False


class EvidenceBudgets(Record):
    """What retrieval may spend."""

    max_total_evidence_tokens: int
    max_snippets_total: int = 40
    max_snippets_per_source: int = 10
    max_candidates_total: int = 100
    max_read_tokens: int
    max_tool_calls: int = 0
    max_rerank_candidates: int = 0
    tool_delta_inline_char_limit: int = 2000


class QueryPlan(Record):
    """What will be looked up, where, and for how much."""

    plan_id: str
    created_at: datetime
    query_text: str
    query_kind: Literal["fact_lookup", "summarize", "compare", "transform", "export", "unknown"] = "transform"
    route: tuple[RouteEntry, ...]
    budgets: EvidenceBudgets
    filters: dict[str, Any] = Field(default_factory=lambda: {"allow_external_fetch": False})
    determinism_mode: DeterminismMode = "replay"
    policy_id: str = "mt_context_compilation"
    version: str = "1.0"


class RouteTaken(Record):
    """A store that was asked, and why."""

    store: str
    reason: str
    cache_hit: bool = False


class SourceRef(Record):
    """Where a piece of a prompt comes from."""

    kind: Literal["span", "job_step", "artifact", "entity", "doc_block", "kv"]
    id: str
    hash: str | None = None
    selector: str | None = None
    created_at: datetime | None = None
    classification: str | None = None


class PackItem(Record):
    """One statement of a pack, with where it stands. A constraint names the anchor that it holds for."""

    text: str
    source_refs: tuple[SourceRef, ...] = ()
    anchor: str | None = None


class PackAnchor(Record):
    """A definition of the packed file: 1-based lines, inclusive; `depth` counts the definitions around it."""

    anchor_id: str
    name: str
    start: int
    end: int
    depth: int = 0
    excerpt_hint: str = Field(default="", max_length=200)
    source_refs: tuple[SourceRef, ...] = ()


class PackCoverage(Record):
    """How much of the file the pack speaks of. `complete` is false where only the file's head was read."""

    lines: int
    anchored_lines: int
    grammar: str | None = None
    complete: bool = True


class ContextPack(Record):
    """A mechanical digest of one file, made from its syntax tree. Contract: `context.md`, ContextPack.

    `source_hashes` are SHA-256 of the bytes it was made from; `toolchain_hash` is of what made it.
    """

    pack_id: str
    path: str
    synopsis: str = Field(default="", max_length=800)
    facts: tuple[PackItem, ...] = ()
    constraints: tuple[PackItem, ...] = ()
    open_loops: tuple[PackItem, ...] = ()
    anchors: tuple[PackAnchor, ...] = ()
    coverage: PackCoverage
    source_hashes: tuple[str, ...]
    toolchain_hash: str


class Candidate(Record):
    """A place that may be worth showing."""

    candidate_id: str
    kind: str
    ref: SourceRef
    store: str
    scores: dict[str, float]
    base_score: float
    tiebreak: str


class Selected(Record):
    """A place that is shown."""

    ref: SourceRef
    final_rank: int
    final_score: float
    why: str


class Span(Record):
    """The lines that are shown, 1-based and inclusive."""

    ref: SourceRef
    selector: str
    start: int
    end: int
    token_estimate: int


class RetrievalTrace(Record):
    """What was looked up, found, chosen and cut, and why."""

    trace_id: str
    query_plan_id: str
    normalized_query_hash: str
    route_taken: tuple[RouteTaken, ...]
    candidates: tuple[Candidate, ...] = ()
    rerank: dict[str, Any] = Field(
        default_factory=lambda: {"used": False, "method": "none", "inputs_hash": "", "outputs_hash": ""}
    )
    diversity: dict[str, Any] = Field(default_factory=lambda: {"used": False, "method": "none", "lambda": 0})
    selected: tuple[Selected, ...] = ()
    spans: tuple[Span, ...] = ()
    budgets_applied: dict[str, int] = Field(default_factory=dict)
    truncation_flags: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    cache_keys: dict[str, str] = Field(default_factory=dict)


class PromptEnvelope(Record):
    """The prompt: a prefix that is the same in all of an MT's iterations, and the rest."""

    stable_prefix: str
    variable_suffix: str
    token_estimate: int

    @property
    def full_prompt(self) -> str:
        """What the model is sent."""
        return self.stable_prefix + self.variable_suffix

    @property
    def hashes(self) -> dict[str, str]:
        """`stable_prefix_hash`, `variable_suffix_hash`, `full_prompt_hash`."""
        return {
            "stable_prefix_hash": sha256_hex(self.stable_prefix),
            "variable_suffix_hash": sha256_hex(self.variable_suffix),
            "full_prompt_hash": sha256_hex(self.full_prompt),
        }


class IdsHash(Record):
    """A list of ids by hash and length."""

    ids_hash: str
    count: int


def ids_hash(ids: list[str]) -> IdsHash:
    """The hash of a list, order included."""
    return IdsHash(ids_hash=hash_of(ids), count=len(ids))


class ContextSnapshot(Record):
    """What the model saw and why, by hash."""

    context_snapshot_id: str
    job_id: str
    step_id: str
    created_at: datetime
    determinism_mode: DeterminismMode
    model_tier: Literal["local", "cloud"]
    model_id: str
    policy_profile_id: str
    layer_scope: dict[str, tuple[str, ...]]
    scope_inputs_hash: str
    retrieval_candidates: IdsHash
    selected_sources: IdsHash
    prompt_envelope_hashes: dict[str, str]
    artifact_handles: tuple[ArtifactHandle, ...] = ()
    seed: int | None = None
    warnings: tuple[str, ...] = ()
    local_only_payload_ref: str | None = None
