"""What the compiler is asked and what it gives. Contract: `context.md`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from handshake.domain.context import (
    Candidate,
    ContextSnapshot,
    DeterminismMode,
    IdsHash,
    PromptEnvelope,
    QueryPlan,
    RetrievalTrace,
)
from handshake.domain.microtask import MicroTaskDefinition, Plan
from handshake.domain.reply import EditOutcome
from handshake.source.index import SourceIndex

EditForm = Literal["whole", "search_replace"]
Profile = Literal["tiny", "small", "standard"]
ModelTier = Literal["local", "cloud"]


@dataclass(frozen=True, kw_only=True)
class PreviousIteration:
    """What came of the iteration before, as far as the next prompt tells it.

    `locations` are `(path, line, message)`; `validation_tail` is the end of the commands' output;
    `malformed` says why a completion block made no claim. `checks_passed`: the files are as that iteration left
    them and every verify command passed on them, so that only the claim has to be made right.
    `evidence_ref` is the artifact of that iteration from which all of this was taken.
    """

    outcome: str
    error: str | None = None
    edit_outcomes: tuple[EditOutcome, ...] = ()
    validation_tail: str = ""
    locations: tuple[tuple[str, int, str], ...] = ()
    reply_summary: str = ""
    malformed: str | None = None
    checks_passed: bool = False
    evidence_ref: str | None = None


class DoneTask(NamedTuple):
    """An MT that the prompt calls done: whether its validation passed, and the artifact that says so."""

    mt_id: str
    name: str
    validation_passed: bool | None = None
    evidence_ref: str | None = None


@dataclass(frozen=True, kw_only=True)
class JobBoundary:
    """What was fixed when the job was created; JobBoundaryRoutingGuard holds each call to it."""

    policy_profile_id: str
    model_tiers: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class ContextRequest:
    """Everything one compilation depends on, besides the files of the worktree.

    `reserved_output_tokens` is kept free for the reply in `context_window` (both in tokens).
    `injection_waivers` are `(path, pattern)`. `human_notes` are what a person answered at a gate.
    `templates` is a folder whose templates take the place of the shipped ones of the same name;
    `template_texts` are the texts themselves, as a recorded step has them.
    `frame_given` says that a grammar frames the reply; without one the tiny profile spells the block out.
    `index` keeps packs and word counts; `tree_id` is the git tree whose counts are used, where the index has them.
    `boundary` and `stored_candidates` are given where the caller knows them; the guards then use them.
    `stored` is the candidate list of a recorded step, `edges` its imports: they are compiled from, and nothing is
    looked up.
    `not_exportable` and `local_only` are path globs: what no cloud model sees, and what is shown to local models
    but kept in `protected_store`, a folder outside of every worktree, instead of the tracking branch.
    """

    job_id: str
    wp_id: str
    step_id: str
    mt: MicroTaskDefinition
    plan: Plan
    worktree: Path
    model_id: str
    lora_id: str | None = None
    model_tier: ModelTier = "local"
    level: int = 0
    max_level: int = 0
    iteration: int = 1
    max_iterations: int = 5
    previous: PreviousIteration | None = None
    human_notes: tuple[str, ...] = ()
    done_mts: tuple[DoneTask, ...] = ()
    profile: Profile = "standard"
    edit_form: Literal["whole", "search_replace", "either"] = "either"
    context_window: int
    reserved_output_tokens: int
    count_tokens: Callable[[str], int]
    determinism_mode: DeterminismMode = "replay"
    seed: int | None = None
    created_at: datetime
    injection_waivers: tuple[tuple[str, str], ...] = ()
    extra_patterns: tuple[str, ...] = ()
    policy_profile_id: str
    templates: Path | None = None
    template_texts: Mapping[str, str] | None = None
    index: SourceIndex | None = None
    tree_id: str | None = None
    boundary: JobBoundary | None = None
    not_exportable: tuple[str, ...] = ()
    local_only: tuple[str, ...] = ()
    protected_store: Path | None = None
    stored_candidates: IdsHash | None = None
    stored: tuple[Candidate, ...] | None = None
    edges: Mapping[str, tuple[str, ...]] | None = None
    frame_given: bool = True


@dataclass(frozen=True, kw_only=True)
class CompiledContext:
    """The prompt and the papers that say why it is as it is. `edit_forms` maps each writable path to its form.

    `edges` says which file of the MT imports which; `published_prompt` is the prompt as it may be published:
    without what must stay on this machine; `template_texts` are the templates it was made with.
    """

    envelope: PromptEnvelope
    query_plan: QueryPlan
    trace: RetrievalTrace
    snapshot: ContextSnapshot
    edit_forms: Mapping[str, EditForm] = field(default_factory=dict)
    edges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    published_prompt: str = ""
    template_texts: Mapping[str, str] = field(default_factory=dict)
