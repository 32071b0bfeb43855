"""Compiling a recorded prompt again, hash for hash. Contract: `context.md`, Snapshot (`replay`)."""

from __future__ import annotations

import dataclasses

from handshake.context.compile import compile_context
from handshake.context.errors import ContextGuardFailed
from handshake.context.request import CompiledContext, ContextRequest
from handshake.domain.context import ContextSnapshot


def compile_again(request: ContextRequest, stored: ContextSnapshot) -> CompiledContext:
    """Compile the same request over the same tree and hold the result to the stored snapshot.

    The worktree of the request must stand at the state the iteration began with.

    Raises:
        ContextGuardFailed: ContextDeterminismGuard, naming the first part that is not as it was.
        PromptInjectionFound: as in `compile_context`.
    """
    again = compile_context(dataclasses.replace(request, stored_candidates=stored.retrieval_candidates))
    for name in ("scope_inputs_hash", "selected_sources", "prompt_envelope_hashes", "context_snapshot_id"):
        if getattr(again.snapshot, name) != getattr(stored, name):
            raise ContextGuardFailed(
                "ContextDeterminismGuard",
                f"{stored.step_id}: {name} is not what the snapshot has",
                next_step="compare the stored prompt.md with the tree the step began with",
            )
    return again
