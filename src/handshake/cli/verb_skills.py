"""`handshake skills`: what finished jobs say about the adapters. Contract: `learning.md`, LoRA feedback."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from handshake.cli.options import Json, open_surroundings, write, write_json
from handshake.domain.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from handshake.learning.drop_back import DropBackRates
    from handshake.learning.skills import SkillProposal, SkillsProposal
    from handshake.loop.surroundings import Surroundings

PROPOSAL = ".handshake/skills-proposal.yaml"


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="What finished jobs say about the adapters.")
    group.callback()(_group)
    group.command("refresh")(refresh)
    app.add_typer(group, name="skills")


def _group() -> None:
    """What finished jobs say about the adapters."""


def refresh(
    context: typer.Context,
    accept: bool = typer.Option(False, "--accept", help="Write the proposal into `loras:`."),
    as_json: Json = False,
) -> None:
    """Propose what the adapters are weak at, in a file to accept. Example: handshake skills refresh"""
    around = open_surroundings(context.obj)
    if accept:
        _accept(around)
        return
    from handshake.learning.candidates import stored_candidates
    from handshake.learning.drop_back import rates_of, recorded_outcomes
    from handshake.learning.skills import finished_jobs, proposal_text, propose
    from handshake.repo.atomic import write_durably

    namespace = around.settings.tracking.namespace
    jobs = list(finished_jobs(around.repo, namespace))
    candidates = stored_candidates(around.repo, namespace)
    proposal = propose(jobs, candidates, around.settings.loras, around.clock.now())
    rates = rates_of(recorded_outcomes(around.repo, namespace))
    write_durably(around.repo.root / PROPOSAL, proposal_text(proposal).encode("utf-8"))
    if as_json:
        rows = [{**vars(rate), "success_rate": rate.success_rate} for rate in rates.rows.values()]
        write_json({"proposal": proposal, "drop_backs": rows, "file": PROPOSAL})
        return
    _write(proposal, rates)


def _write(proposal: SkillsProposal, rates: DropBackRates) -> None:
    write(f"{proposal.jobs} finished jobs")
    for skill in proposal.skills:
        due = ", distillation due" if skill.distillation_due else ""
        write(
            f"{skill.lora_id or '(no adapter)'} on {skill.base_model}: {skill.micro_tasks} tasks,"
            f" {skill.success_rate:.0%} succeeded, priority {skill.training_priority},"
            f" {skill.candidates_since_training} candidates{due}"
        )
        for why in skill.why:
            write(f"  {why}")
    for rate in rates.rows.values():
        write(
            f"drop-back after {rate.failure_category} at {rate.tag}: {rate.succeeded} of {rate.count} held"
            f" ({rate.success_rate:.0%})"
        )
    write(f"proposal: {PROPOSAL}. Next: read it, then handshake skills refresh --accept")


def _accept(around: Surroundings) -> None:
    from handshake.repo.atomic import write_durably

    skills = [skill for skill in _read_proposal(around.repo.root / PROPOSAL) if skill.lora_id]
    path, text = _registry_file(around)
    edited = text
    for skill in skills:
        edited = _registered(around, edited, str(path), skill)
    if edited == text:
        write(f"nothing to change in {path}")
        return
    write_durably(path, edited.encode("utf-8"))
    write(f"written: {path}. Next: git diff, then handshake config show --origin")


def _registered(around: Surroundings, text: str, name: str, skill: SkillProposal) -> str:
    """The registry's text with what is proposed for one adapter; what is so already is not written."""
    from handshake.config.yaml_edit import set_item_key

    lora = next((lora for lora in around.settings.loras if lora.id == skill.lora_id), None)
    if lora is None:
        return text
    assert skill.lora_id is not None
    where = ("loras", "id", skill.lora_id)
    if lora.weak_on_task_types != skill.weak_on_task_types:
        text = set_item_key(text, name, where, "weak_on_task_types", list(skill.weak_on_task_types))
    if lora.training_priority != skill.training_priority:
        text = set_item_key(text, name, where, "training_priority", skill.training_priority)
    return text


def _read_proposal(path: Path) -> tuple[SkillProposal, ...]:
    from pydantic import ValidationError

    from handshake.config.yaml_text import read_yaml
    from handshake.learning.skills import SkillsProposal

    if not path.is_file():
        raise UsageError(f"there is no {PROPOSAL}", next_step="handshake skills refresh")
    try:
        return SkillsProposal.model_validate(read_yaml(path.read_text("utf-8"), PROPOSAL).value).skills
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"{PROPOSAL}: {'.'.join(map(str, first['loc']))}: {first['msg']}", next_step="handshake skills refresh"
        ) from None


def _registry_file(around: Surroundings) -> tuple[Path, str]:
    """The file whose `loras:` counts: the user's where it has any, else the repository's."""
    from handshake.config.places import REPOSITORY_FILE, user_config_file
    from handshake.config.yaml_text import read_yaml

    for path in (user_config_file(os.environ), around.repo.root / REPOSITORY_FILE):
        if path.is_file() and "loras" in read_yaml(text := path.read_bytes().decode("utf-8"), str(path)).value:
            return path, text
    raise ConfigError("no configuration file has `loras:`", next_step=f"add them to {REPOSITORY_FILE}")
