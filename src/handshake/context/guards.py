"""The guards that run over plan, trace and texts before a prompt is used. Contract: `context.md`, Guards.

Each guard is a function that gives a reason, or None. They read the text itself, never hashes alone.
PromptInjectionGuard is in `injection.py`: it poisons the job instead of blocking the iteration.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from handshake.context.errors import ContextGuardFailed
from handshake.context.plan import CACHED_STAGES
from handshake.context.request import ContextRequest
from handshake.context.sources import digest_now
from handshake.domain.context import ContextPack, IdsHash, PromptEnvelope, QueryPlan, RetrievalTrace
from handshake.source.packs import toolchain_hash

_HIGH_PATHS = (
    ".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa*", "id_ed25519*", "*.kdbx", ".netrc",
    ".npmrc", ".pypirc", "credentials*", "secrets.*",
)  # fmt: skip
_HIGH_TEXT = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}|\bsk-[A-Za-z0-9_-]{32,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"
)


@dataclass(frozen=True)
class Compiled:
    """What the guards look at. `shown` is `(path, text)` of each piece; `inline_outputs` is tool output
    that stands in the prompt, as `(name, text, has a handle)`; `limit` is the prompt's, in tokens.
    `packs` are the digests that candidates were scored by; `cache_keys` what the keys of the stages must be;
    `local_only_ref` names the payload that must stay here, where there is one."""

    request: ContextRequest
    plan: QueryPlan
    trace: RetrievalTrace
    envelope: PromptEnvelope
    candidates: IdsHash
    shown: tuple[tuple[str, str], ...]
    inline_outputs: tuple[tuple[str, str, bool], ...]
    cut_reads: tuple[str, ...]
    limit: int
    packs: tuple[ContextPack, ...] = ()
    cache_keys: Mapping[str, str] = field(default_factory=dict)
    local_only_ref: str | None = None


def context_determinism(compiled: Compiled) -> str | None:
    """Strict without a seed; a replay whose candidates are not the stored ones."""
    request = compiled.request
    if request.determinism_mode == "strict" and request.seed is None:
        return f"determinism is strict and models.{request.model_id}.seed is not set"
    stored = request.stored_candidates
    if stored is not None and stored != compiled.candidates:
        return f"the candidates are not the stored ones ({compiled.candidates.count} now, {stored.count} stored)"
    return None


def artifact_handle_only(compiled: Compiled) -> str | None:
    """A tool output over the inline limit that no handle names."""
    limit = compiled.plan.budgets.tool_delta_inline_char_limit
    for name, text, has_handle in compiled.inline_outputs:
        if len(text) > limit and not has_handle:
            return f"{name} has {len(text)} characters inline, over {limit}, and no artifact handle"
    return None


def compaction_schema(compiled: Compiled) -> str | None:
    """A decision handed on without its evidence; a constraint of a digest without the anchor that it holds for."""
    previous = compiled.request.previous
    if previous is not None and not previous.evidence_ref:
        return f"the last iteration's decision ({previous.outcome}) names no artifact as its evidence"
    for pack in compiled.packs:
        anchors = {anchor.anchor_id for anchor in pack.anchors}
        for item in pack.constraints:
            if item.anchor not in anchors or not item.source_refs:
                return f"the digest of {pack.path} holds a constraint without an anchor: {item.text[:80]}"
        for item in pack.facts:
            if not item.source_refs:
                return f"the digest of {pack.path} holds a fact without a source: {item.text[:80]}"
    return None


def memory_promotion(compiled: Compiled) -> str | None:
    """Work that the prompt calls done although its validation is absent or failed."""
    for task in compiled.request.done_mts:
        if task.validation_passed is None:
            return f"{task.mt_id} is called done and was never validated"
        if not task.validation_passed:
            return f"{task.mt_id} is called done and its validation failed"
        if not task.evidence_ref:
            return f"{task.mt_id} is called done and names no artifact that says so"
    return None


def cloud_leakage(compiled: Compiled) -> str | None:
    """A cloud call with a source that must stay here."""
    if compiled.request.model_tier != "cloud":
        return None
    for path, text in compiled.shown:
        name = path.rsplit("/", 1)[-1]
        if matches(path, compiled.request.not_exportable):
            return f"{path} is not exportable and the model is in the cloud"
        if any(fnmatchcase(name.casefold(), pattern) for pattern in _HIGH_PATHS):
            return f"{path} is of high sensitivity by its name and the model is in the cloud"
        if _HIGH_TEXT.search(text):
            return f"{path} holds what looks like a secret and the model is in the cloud"
        if matches(path, compiled.request.local_only):
            return f"{path} is local only and the model is in the cloud"
    if _HIGH_TEXT.search(compiled.envelope.full_prompt):
        return "the prompt holds what looks like a secret and the model is in the cloud"
    return None


def matches(path: str, globs: Sequence[str]) -> bool:
    """Whether a path is one of those; `*` crosses folders."""
    return any(fnmatchcase(path, pattern) for pattern in globs)


def job_boundary_routing(compiled: Compiled) -> str | None:
    """Policy profile, model tier or layer scope other than when the job was created."""
    request = compiled.request
    planned = next((d for d in request.plan.definitions if d.mt_id == request.mt.mt_id), None)
    if planned is None:
        return f"{request.mt.mt_id} is not in the plan of the job"
    if planned.files != request.mt.files:
        return f"the files of {request.mt.mt_id} are not those of the plan of the job"
    layer = {*planned.files.read, *planned.files.writable}
    for span in compiled.trace.spans:
        path = span.ref.id.rpartition(":")[0]
        if path not in layer:
            return f"{path} is shown and is not among the files of {request.mt.mt_id}"
    if request.boundary is None:
        return None
    if request.policy_profile_id != request.boundary.policy_profile_id:
        return f"policy profile {request.policy_profile_id}, the job has {request.boundary.policy_profile_id}"
    if request.model_tier not in request.boundary.model_tiers:
        return f"model tier {request.model_tier}, the job has {', '.join(sorted(request.boundary.model_tiers))}"
    return None


def local_payload(compiled: Compiled) -> str | None:
    """A payload that must stay on this machine and has no protected place to go to."""
    request = compiled.request
    for path in request.mt.files.writable:
        if matches(path, request.local_only):
            return f"{path} is local only, and what an MT writes is published on the tracking branch"
    if compiled.local_only_ref is None:
        shown = next((path for path, _ in compiled.shown if matches(path, request.local_only)), None)
        return f"{shown} is local only and the prompt names no protected payload" if shown else None
    store = request.protected_store
    if store is None:
        return "the prompt holds what is local only, and there is no protected store"
    if store.resolve().is_relative_to(request.worktree.resolve()):
        return f"the protected store {store} lies in the worktree"
    if os.name != "nt" and store.exists() and stat.S_IMODE(store.stat().st_mode) & 0o077:
        return f"the protected store {store} can be read by others"
    return None


def retrieval_budget(compiled: Compiled) -> str | None:
    """A budget passed, or a bounded read over its limit that no flag names."""
    budgets, trace = compiled.plan.budgets, compiled.trace
    if compiled.envelope.token_estimate > compiled.limit:
        return f"the prompt has {compiled.envelope.token_estimate} tokens, over {compiled.limit}"
    spent = sum(span.token_estimate for span in trace.spans)
    if spent > budgets.max_total_evidence_tokens:
        return f"{spent} tokens of evidence, over {budgets.max_total_evidence_tokens}"
    if len(trace.spans) > budgets.max_snippets_total:
        return f"{len(trace.spans)} snippets, over {budgets.max_snippets_total}"
    if len(trace.candidates) > budgets.max_candidates_total:
        return f"{len(trace.candidates)} candidates, over {budgets.max_candidates_total}"
    unflagged = [path for path in compiled.cut_reads if f"read: {path}" not in trace.truncation_flags]
    return f"{unflagged[0]} was read over its limit and no truncation flag says so" if unflagged else None


def context_pack_freshness(compiled: Compiled) -> str | None:
    """A candidate scored by a digest that is not one of the file as it is."""
    packs = {pack.path: pack for pack in compiled.packs}
    scored = [c.candidate_id.rpartition(":")[0] for c in compiled.trace.candidates if c.scores.get("pack", 0.0) > 0]
    for path in dict.fromkeys(scored):
        pack = packs.get(path)
        if pack is None:
            return f"{path} is scored by a digest that is not there"
        if pack.toolchain_hash != toolchain_hash():
            return f"the digest of {path} was made by another toolchain"
        if pack.source_hashes != (digest_now(compiled.request.worktree, path),):
            return f"the digest of {path} is stale"
    return None


def cache_key(compiled: Compiled) -> str | None:
    """A stage of the route whose answer may be kept, without its key or with another one."""
    for taken in compiled.trace.route_taken:
        stage = CACHED_STAGES.get(taken.store)
        if stage is None:
            continue
        key = compiled.trace.cache_keys.get(stage)
        if not key:
            return f"{taken.store} may be kept and has no key"
        if key != compiled.cache_keys.get(stage):
            return f"the key of {taken.store} is not that of this plan, these sources and this toolchain"
    return None


def index_drift(compiled: Compiled) -> str | None:
    """A selected span whose source is not the file as it is now."""
    for path, expected in sorted({(s.ref.id.rpartition(":")[0], s.ref.hash) for s in compiled.trace.spans}):
        if digest_now(compiled.request.worktree, path) != expected:
            return f"{path} changed while the prompt was compiled"
    return None


GUARDS: tuple[tuple[str, Callable[[Compiled], str | None]], ...] = (
    ("ContextDeterminismGuard", context_determinism),
    ("ArtifactHandleOnlyGuard", artifact_handle_only),
    ("CompactionSchemaGuard", compaction_schema),
    ("MemoryPromotionGuard", memory_promotion),
    ("CloudLeakageGuard", cloud_leakage),
    ("JobBoundaryRoutingGuard", job_boundary_routing),
    ("LocalPayloadGuard", local_payload),
    ("RetrievalBudgetGuard", retrieval_budget),
    ("ContextPackFreshnessGuard", context_pack_freshness),
    ("IndexDriftGuard", index_drift),
    ("CacheKeyGuard", cache_key),
)


def run_guards(compiled: Compiled) -> None:
    """Run the table, in order.

    Raises:
        ContextGuardFailed: the first guard that rejects, with its reason.
    """
    for name, guard in GUARDS:
        reason = guard(compiled)
        if reason is not None:
            raise ContextGuardFailed(name, reason, next_step=f"handshake show {compiled.request.wp_id}")
