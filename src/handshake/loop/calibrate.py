"""Which form of edit a model handles: twelve small edits asked in each form. Contract: `models.md`, The reply.

The prompts are those of a run, compiled by the same compiler; only the edits of the replies are looked at. Nothing
is written but in a temporary folder.
"""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from handshake.context.compile import ContextRequest, compile_context
from handshake.domain.edit_text import resolve_edit
from handshake.domain.errors import ModelFailed
from handshake.domain.microtask import DoneCriterion, FileAccess, MicroTaskDefinition, Plan, VerificationSpec
from handshake.domain.modelcall import ModelRequest, Sampling
from handshake.domain.record import Record
from handshake.domain.settings import ModelConfig
from handshake.models.profiles import PROFILES, EditForm, Profile
from handshake.models.provider import Provider
from handshake.models.reply import parse_reply

FORMS: tuple[EditForm, ...] = ("whole", "search_replace")
KEPT_AT = 0.5
"""A form that gives the right file in less than half of the edits is not offered, if the other form does better."""
_BUDGET = 4096


class Trial(Record):
    """One edit asked in one form. `outcome` says how far the reply came; `reason` why no further."""

    name: str
    form: EditForm
    outcome: Literal["right", "wrong", "not_applied", "no_reply"]
    reason: str = ""
    tokens: int = 0
    latency_ms: int = 0


class Calibration(Record):
    """What a model did, and the forms worth offering to it, the better one first; none where none worked."""

    model_id: str
    trials: tuple[Trial, ...]
    edit_forms: tuple[EditForm, ...]

    def count(self, form: EditForm, *outcomes: str) -> int:
        """How many edits of that form ended so."""
        return sum(1 for trial in self.trials if trial.form == form and trial.outcome in outcomes)


class _Edit(Record):
    name: str
    path: str
    task: str
    before: str
    after: str


def calibrate(
    provider: Provider,
    config: ModelConfig,
    *,
    now: datetime,
    on_trial: Callable[[Trial], None] = lambda _: None,
) -> Calibration:
    """Ask every edit in both forms, one reply each.

    Args:
        provider: the model, opened.
        config: its entry; profile, temperature, seed and time limit are taken from it.
        on_trial: is told each result as it comes.

    Raises:
        ModelFailed: the endpoint fails for another reason than time: nothing can be said of the model.
    """
    profile = PROFILES[provider.facts.profile]
    trials = []
    with tempfile.TemporaryDirectory(prefix="handshake-calibrate-") as folder:
        for form in FORMS:
            for edit in read_edits():
                trial = _tried(provider, config, profile, edit, form, Path(folder), now)
                on_trial(trial)
                trials.append(trial)
    return Calibration(
        model_id=provider.facts.model_id, trials=tuple(trials), edit_forms=forms_worth_offering(trials)
    )


def forms_worth_offering(trials: list[Trial]) -> tuple[EditForm, ...]:
    """The forms by how often they gave the right file, those that mostly fail left out; none if no file was right."""
    share = {
        form: sum(t.outcome == "right" for t in trials if t.form == form)
        / max(1, sum(t.form == form for t in trials))
        for form in FORMS
    }
    ranked = sorted(FORMS, key=lambda form: -share[form])
    kept = tuple(form for form in ranked if share[form] >= KEPT_AT)
    return kept or tuple(form for form in ranked[:1] if share[form] > 0)


def read_edits() -> Iterator[_Edit]:
    """The edits of `calibration.yaml`."""
    import yaml

    for row in yaml.safe_load(files("handshake.loop").joinpath("calibration.yaml").read_text("utf-8")):
        lines, instead = row.pop("lines", None), row.pop("instead", {})
        if lines is not None:
            text = "".join(row["before"].replace("{n}", str(n)) for n in range(1, lines + 1))
            row["before"] = row["after"] = text
        for old, new in instead.items():
            row["after"] = row["after"].replace(f"{old}\n", f"{new}\n")
        yield _Edit.model_validate(row)


def _tried(
    provider: Provider,
    config: ModelConfig,
    profile: Profile,
    edit: _Edit,
    form: EditForm,
    folder: Path,
    now: datetime,
) -> Trial:
    (folder / edit.path).write_bytes(edit.before.encode("utf-8"))
    mt = _micro_task(edit)
    request = _model_request(provider, config, profile, mt, form, folder, now)

    def trial(outcome: Any, reason: str = "", tokens: int = 0, latency_ms: int = 0) -> Trial:
        return Trial(name=edit.name, form=form, outcome=outcome, reason=reason, tokens=tokens, latency_ms=latency_ms)

    try:
        reply = provider.complete(request)
    except ModelFailed as failure:
        if failure.category != "model_timeout":
            raise
        return trial("no_reply", failure.what)
    sample, spent = reply.samples[0], (reply.usage.completion_tokens, reply.latency_ms)
    if sample.finish_reason != "stop":
        return trial("no_reply", f"the reply ended by {sample.cut_reason or sample.finish_reason}", *spent)
    parsed = parse_reply(
        sample.text,
        mt_id=mt.mt_id,
        writable=(edit.path,),
        single_file_fence=form == "whole" and profile.name == "tiny",
    )
    if parsed.edit_errors or not parsed.edits:
        return trial("not_applied", (parsed.edit_errors or ("no edit in the reply",))[0], *spent)
    given = next((one for one in parsed.edits if one.path == edit.path), None)
    if given is None or given.form != form:
        return trial("not_applied", f"the reply edits {parsed.edits[0].path} as {parsed.edits[0].form}", *spent)
    resolved = resolve_edit(edit.before.encode("utf-8"), given, allow_shrink=True)
    if resolved.data is None:
        return trial("not_applied", resolved.outcome.error or "", *spent)
    if not _same(edit.path, resolved.data.decode("utf-8"), edit.after):
        return trial("wrong", "the file is unchanged" if not resolved.outcome.changed else "", *spent)
    return trial("right", "", *spent)


def _same(path: str, given: str, wanted: str) -> bool:
    if path.endswith(".py"):
        try:
            return ast.dump(ast.parse(given)) == ast.dump(ast.parse(wanted))
        except (SyntaxError, ValueError):
            return False
    return given.split() == wanted.split()


def _micro_task(edit: _Edit) -> MicroTaskDefinition:
    return MicroTaskDefinition(
        mt_id="MT-001",
        name=f"Change {edit.path}"[:100],
        scope=edit.task,
        files=FileAccess(modify=(edit.path,)),
        actions=(edit.task,),
        verify=(VerificationSpec(command=f"python -m py_compile {edit.path}"),),
        done=(DoneCriterion(description=edit.task, verification="evidence_required"),),
        token_budget=_BUDGET,
    )


def _model_request(
    provider: Provider,
    config: ModelConfig,
    profile: Profile,
    mt: MicroTaskDefinition,
    form: EditForm,
    folder: Path,
    now: datetime,
) -> ModelRequest:
    facts = provider.facts
    most = config.max_output_tokens or profile.max_output_tokens
    compiled = compile_context(
        ContextRequest(
            job_id="calibration",
            wp_id="WP-calibration",
            step_id="MT-001_iter-001",
            mt=mt,
            plan=Plan(wp_id="WP-calibration", definitions=(mt,), waves=((mt.mt_id,),), definitions_hash="0" * 64),
            worktree=folder,
            model_id=facts.model_id,
            profile=profile.name,
            edit_form=form,
            context_window=facts.context_window,
            reserved_output_tokens=min(most, facts.context_window // 2),
            count_tokens=provider.count_tokens,
            created_at=now,
            policy_profile_id="micro_task_executor_v1",
            frame_given=False,
        )
    )
    return ModelRequest(
        model_id=facts.model_id,
        served_as=facts.served_as,
        prompt_prefix=compiled.envelope.stable_prefix,
        prompt_suffix=compiled.envelope.variable_suffix,
        prompt_hash=compiled.envelope.hashes["full_prompt_hash"],
        sampling=Sampling(
            temperature=profile.temperature if config.temperature is None else config.temperature,
            seed=config.seed or 0,
            max_output_tokens=max(16, min(most, facts.context_window - compiled.envelope.token_estimate)),
        ),
        timeout_s=config.timeout_s,
    )
