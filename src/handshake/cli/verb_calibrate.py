"""`handshake calibrate`: which form of edit a model handles. Contract: `models.md`, The reply."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from handshake.cli.options import Json, open_surroundings, write, write_json
from handshake.domain.errors import ExitCode

if TYPE_CHECKING:
    from handshake.loop.calibrate import Calibration, Trial
    from handshake.loop.surroundings import Surroundings


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("calibrate")(calibrate)


def calibrate(
    context: typer.Context,
    model: str = typer.Argument(help="A model id of the escalation chain, or an entry of `models:`."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Measure and say; store nothing."),
    as_json: Json = False,
) -> None:
    """Ask a model 12 small edits in each form; store what worked. Example: handshake calibrate small"""
    from handshake.loop.calibrate import calibrate as measure
    from handshake.models.chain import ProviderPool, config_for

    around = open_surroundings(context.obj, starts_programs=True)

    def said(trial: Trial) -> None:
        if not context.obj.quiet:
            why = f" ({trial.reason})" if trial.reason else ""
            sys.stderr.write(f"{trial.form:<14} {trial.name:<28} {trial.outcome}{why}\n")

    config = config_for(model, around.settings)
    with ProviderPool(around.settings, root=around.repo.root, clock=around.clock) as pool:
        found = measure(pool.provider(model), config, now=around.clock.now(), on_trial=said)
    worked = bool(found.edit_forms)
    stored = _stored(around, found) if worked and not dry_run else None
    if as_json:
        write_json({"calibration": found, "stored_in": stored})
        raise typer.Exit(int(ExitCode.DONE if worked else ExitCode.FAILED))
    for form in dict.fromkeys(trial.form for trial in found.trials):
        asked = sum(trial.form == form for trial in found.trials)
        applied = found.count(form, "right", "wrong")
        write(f"{form:<14} {applied} of {asked} applied, {found.count(form, 'right')} right")
    if not worked:
        mend = f"another models.{model}.profile ({config.profile} was tried), or a larger model"
        write(f"no form worked, nothing is stored. Next: {mend}")
        raise typer.Exit(int(ExitCode.FAILED))
    where = f"stored in {stored}" if stored else "not stored"
    write(f"models.{model}.edit_forms: [{', '.join(found.edit_forms)}] ({where})")


def _stored(around: Surroundings, found: Calibration) -> str:
    """Write `edit_forms` where the model's entry stands: the user's file, else the repository's."""
    from handshake.config.places import REPOSITORY_FILE, user_config_file
    from handshake.config.yaml_edit import set_entry_key
    from handshake.config.yaml_text import read_yaml
    from handshake.repo.atomic import write_durably

    here, users = around.repo.root / REPOSITORY_FILE, user_config_file(os.environ)
    texts: dict[Path, str] = {path: path.read_bytes().decode("utf-8") for path in (users, here) if path.is_file()}
    path = next(
        (p for p, text in texts.items() if found.model_id in (read_yaml(text, str(p)).value.get("models") or {})),
        here,
    )
    edited = set_entry_key(
        texts.get(path, "version: 1\n"),
        str(path),
        ("models", found.model_id),
        "edit_forms",
        list(found.edit_forms),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, edited.encode("utf-8"))
    return str(path)
