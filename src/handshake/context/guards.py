"""The guards that run over plan, trace and texts before a prompt is used. Contract: `context.md`, Guards.

Each guard is a function that gives a reason, or None. They read the text itself, never hashes alone.
PromptInjectionGuard is in `injection.py`: it poisons the job instead of blocking the iteration.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from handshake.context.errors import ContextGuardFailed
from handshake.context.request import ContextRequest
from handshake.context.sources import digest_now
from handshake.domain.context import IdsHash, PromptEnvelope, QueryPlan, RetrievalTrace

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
    that stands in the prompt, as `(name, text, has a handle)`; `limit` is the prompt's, in tokens."""

    request: ContextRequest
    plan: QueryPlan
    trace: RetrievalTrace
    envelope: PromptEnvelope
    candidates: IdsHash
    shown: tuple[tuple[str, str], ...]
    inline_outputs: tuple[tuple[str, str, bool], ...]
    cut_reads: tuple[str, ...]
    limit: int


def context_determinism(compiled: Compiled) -> str | None:
    """Strict without a seed; a replay whose candidates are not the stored ones."""
    request = compiled.request
    if request.determinism_mode == "strict" and request.seed is None:
        return "determinism is strict and no seed is recorded"
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


def cloud_leakage(compiled: Compiled) -> str | None:
    """A cloud call with a source that must stay here."""
    if compiled.request.model_tier != "cloud":
        return None
    for path, text in compiled.shown:
        name = path.rsplit("/", 1)[-1]
        if any(fnmatchcase(path, pattern) for pattern in compiled.request.not_exportable):
            return f"{path} is not exportable and the model is in the cloud"
        if any(fnmatchcase(name.casefold(), pattern) for pattern in _HIGH_PATHS):
            return f"{path} is of high sensitivity by its name and the model is in the cloud"
        if _HIGH_TEXT.search(text):
            return f"{path} holds what looks like a secret and the model is in the cloud"
    return None


def job_boundary_routing(compiled: Compiled) -> str | None:
    """Policy profile, model tier or layer scope other than when the job was created."""
    request = compiled.request
    planned = next((d for d in request.plan.definitions if d.mt_id == request.mt.mt_id), None)
    if planned is None:
        return f"{request.mt.mt_id} is not in the plan of the job"
    if planned.files != request.mt.files:
        return f"the files of {request.mt.mt_id} are not those of the plan of the job"
    if request.boundary is None:
        return None
    if request.policy_profile_id != request.boundary.policy_profile_id:
        return f"policy profile {request.policy_profile_id}, the job has {request.boundary.policy_profile_id}"
    if request.model_tier not in request.boundary.model_tiers:
        return f"model tier {request.model_tier}, the job has {', '.join(sorted(request.boundary.model_tiers))}"
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


def index_drift(compiled: Compiled) -> str | None:
    """A selected span whose source is not the file as it is now."""
    for path, expected in sorted({(s.ref.id.rpartition(":")[0], s.ref.hash) for s in compiled.trace.spans}):
        if digest_now(compiled.request.worktree, path) != expected:
            return f"{path} changed while the prompt was compiled"
    return None


GUARDS: tuple[tuple[str, Callable[[Compiled], str | None]], ...] = (
    ("ContextDeterminismGuard", context_determinism),
    ("ArtifactHandleOnlyGuard", artifact_handle_only),
    ("CloudLeakageGuard", cloud_leakage),
    ("JobBoundaryRoutingGuard", job_boundary_routing),
    ("RetrievalBudgetGuard", retrieval_budget),
    ("IndexDriftGuard", index_drift),
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
