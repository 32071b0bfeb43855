"""`handshake hooks` puts the git hooks in place; `handshake hook NAME` is what they call."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from handshake.cli.hook_run import SKIP
from handshake.cli.options import Globals, Json, note, open_repository, write, write_json

if TYPE_CHECKING:
    from handshake.repo.git import Repository

group = typer.Typer(help="Git hooks: install, uninstall, status.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.add_typer(group, name="hooks")
    app.command("hook", context_settings={"ignore_unknown_options": True})(hook)


@group.command("install")
def install(context: typer.Context, as_json: Json = False) -> None:
    """Put the hooks where git looks; others are left alone. Example: handshake hooks install"""
    from handshake.gates.hooks import install_hooks

    repo = open_repository(context.obj)
    _say(install_hooks(repo), as_json=as_json)
    warn_of_shared_hooks(context.obj, repo)


def warn_of_shared_hooks(options: Globals, repo: Repository) -> None:
    """One line where the hooks that were just installed are not this repository's alone."""
    from handshake.gates.hooks import shared_folder

    folder = shared_folder(repo)
    if folder is not None:
        own = shlex.quote(str(repo.common_dir / "hooks"))
        mend = f"handshake hooks uninstall, git config core.hooksPath {own}, handshake hooks install"
        said = f"core.hooksPath names {folder}, outside this repository: whoever looks there runs these hooks too"
        note(options, f"warning: {said}. Next, to have them here alone: {mend}")


@group.command("uninstall")
def uninstall(context: typer.Context, as_json: Json = False) -> None:
    """Take our hooks away again. Example: handshake hooks uninstall"""
    from handshake.gates.hooks import uninstall_hooks

    _say(uninstall_hooks(open_repository(context.obj)), as_json=as_json)


def _say(done: list[tuple[str, str]], *, as_json: bool) -> None:
    if as_json:
        write_json({"hooks": [{"hook": name, "state": state} for name, state in done]})
        return
    for name, state in done:
        write(f"{state:<8} {name}")


@group.command("status")
def status(context: typer.Context, as_json: Json = False) -> None:
    """Which hooks are ours, what they run first, how often they were skipped. Example: handshake hooks status"""
    from handshake.domain.canonical import utc_text
    from handshake.gates.hook_skips import skips
    from handshake.gates.hooks import hook_states, hooks_folder

    repo = open_repository(context.obj)
    rows = hook_states(repo)
    count, last = skips(repo)
    if as_json:
        hooks = [
            {
                "hook": row.name,
                "state": row.state,
                "runs_first": row.before and row.before.name,
                "ignored": row.ignored,
            }
            for row in rows
        ]
        when = utc_text(last) if last else None
        write_json({"folder": str(hooks_folder(repo)), "hooks": hooks, "skips": count, "last_skip": when})
        return
    write(f"in {hooks_folder(repo)}")
    for row in rows:
        more = f", runs {row.before.name} first" if row.before else ""
        more += ", not executable: git ignores it" if row.ignored else ""
        mend = ". Next: handshake hooks install" if row.state in ("none", "older", "other") or row.ignored else ""
        write(f"{row.name:<22} {_STATES[row.state]}{more}{mend}")
    if last:
        write(f"skipped {count} times by {SKIP}=1, last {utc_text(last)}")


_STATES = {
    "ours": "installed",
    "older": "installed by another version",
    "through pre-commit": "installed; the pre-commit framework runs it",
    "other": "a hook of somebody else's",
    "none": "not installed",
}


def hook(
    context: typer.Context,
    name: str = typer.Argument(help="pre-commit, pre-push, pre-merge-commit or reference-transaction."),
    arguments: list[str] = typer.Argument(None, help="What git passed to the hook."),
) -> None:
    """Run the checks of one git hook; git calls this. Example: handshake hook pre-commit"""
    from handshake.cli.hook_run import run_hook

    raise typer.Exit(run_hook(name, arguments or [], Path(context.obj.directory)))
