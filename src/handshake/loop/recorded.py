"""What a prompt was compiled from, recorded beside it: it can be compiled again. Contract: `context.md`.

The files are not in it: git has them, in the WP branch's commit that is named and in the tracking branch's
`worktree/` of the commit before the call.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from pydantic import Field, ValidationError

from handshake.context.request import CompiledContext, ContextRequest, DoneTask, PreviousIteration
from handshake.context.sources import digest_now
from handshake.domain.canonical import sha256_hex
from handshake.domain.context import DeterminismMode
from handshake.domain.errors import StateCorruption
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.record import Record
from handshake.loop.run import Run

NAME = "compile_request.json"
_LARGEST_TABLE = 5_000


class RecordedRequest(Record):
    """`compile_request.json` of a step.

    `base_commit` is the commit whose tree the worktree stood on; `digests` are SHA-256 of the files that were
    looked at. `token_counts` are the server's counts by the SHA-256 of the text, where its own tokenizer counted:
    the same prompt can then be compiled without the model. `templates` are the texts, if they were not the shipped
    ones.
    """

    step_id: str
    base_commit: str
    mt: MicroTaskDefinition
    model_id: str
    lora_id: str | None = None
    model_tier: Literal["local", "cloud"]
    level: int
    max_level: int
    iteration: int
    max_iterations: int
    previous: PreviousIteration | None = None
    human_notes: tuple[str, ...] = ()
    done_mts: tuple[DoneTask, ...] = ()
    profile: Literal["tiny", "small", "standard"]
    edit_form: Literal["whole", "search_replace", "either"]
    context_window: int
    reserved_output_tokens: int
    determinism_mode: DeterminismMode
    seed: int | None = None
    created_at: datetime
    injection_waivers: tuple[tuple[str, str], ...] = ()
    extra_patterns: tuple[str, ...] = ()
    policy_profile_id: str
    not_exportable: tuple[str, ...] = ()
    local_only: tuple[str, ...] = ()
    frame_given: bool
    edges: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    tree_id: str | None = None
    digests: dict[str, str | None] = Field(default_factory=dict)
    token_counts: dict[str, int] | None = None
    templates: dict[str, str] | None = None
    templates_hash: str


class CountedTexts:
    """A tokenizer that remembers what it said, where that cannot be said again without the model's server."""

    def __init__(self, count: Callable[[str], int], *, exact: bool) -> None:
        self._count = count
        self._exact = exact
        self._told: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        """Tokens of the text."""
        found = self._count(text)
        if self._exact and len(self._told) < _LARGEST_TABLE:
            self._told[sha256_hex(text)[:16]] = found
        return found

    @property
    def table(self) -> dict[str, int] | None:
        """What was said, by the text's hash; None for the estimate, which needs no server."""
        return self._told if self._exact else None


_SAME_NAMES = frozenset(RecordedRequest.model_fields) & frozenset(ContextRequest.__dataclass_fields__)
_TAKEN_FROM_ANSWER = frozenset({"templates", "edges"})


def record_request(run: Run, request: ContextRequest, compiled: CompiledContext, counted: CountedTexts) -> None:
    """Store what the step was compiled from."""
    files = request.mt.files
    quoted = [path for path, _, _ in request.previous.locations] if request.previous else []
    looked_at = dict.fromkeys((*files.writable, *files.read, *quoted))
    recorded = RecordedRequest(
        **{name: getattr(request, name) for name in _SAME_NAMES - _TAKEN_FROM_ANSWER},
        edges=dict(compiled.edges),
        base_commit=run.job.workspace.head_commit,
        digests={path: digest_now(request.worktree, path) for path in looked_at},
        token_counts=counted.table,
        templates=dict(compiled.template_texts) if request.templates is not None else None,
        templates_hash=templates_hash(compiled.template_texts),
    )
    # not the canonical layout: that normalises text, and a prompt is made of texts as they are
    text = recorded.model_dump_json(indent=1, exclude_none=True) + "\n"
    run.store(run.paths.step(request.step_id, NAME), text.encode("utf-8"), "prompt_payload")


def recorded_request(run: Run, step_id: str) -> RecordedRequest | None:
    """What a step was compiled from; None where it is not on record, or only with secrets masked.

    Raises:
        StateCorruption: the record does not parse.
    """
    data = run.verbatim(run.paths.step(step_id, NAME))
    if data is None:
        return None
    try:
        return RecordedRequest.model_validate_json(data)
    except ValidationError as error:
        raise StateCorruption(
            f"{step_id}: {NAME} does not parse: {error.errors()[0]['msg']}",
            next_step=f"git log -p -- '*{step_id}/{NAME}' on the tracking branch",
        ) from None


def templates_hash(texts: object) -> str:
    """SHA-256 of the templates in use."""
    from handshake.domain.canonical import hash_of

    return hash_of(texts)
