"""`handshake hooks` puts the git hooks in place; `handshake hook NAME` is what they call."""

from __future__ import annotations

import os
import sys

import typer

from handshake.cli.options import Json, open_repository, write, write_json
from handshake.domain.errors import ExitCode, UsageError

group = typer.Typer(help="Git hooks: install, uninstall.", no_args_is_help=True)

SKIP = "HANDSHAKE_SKIP"


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.add_typer(group, name="hooks")
    app.command("hook", context_settings={"ignore_unknown_options": True})(hook)


@group.command("install")
def install(context: typer.Context, as_json: Json = False) -> None:
    """Put the hooks where git looks; others are left alone. Example: handshake hooks install"""
    from handshake.gates.hooks import install_hooks

    _say(install_hooks(open_repository(context.obj)), as_json=as_json)


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


def hook(
    context: typer.Context,
    name: str = typer.Argument(help="pre-commit, pre-push, pre-merge-commit or reference-transaction."),
    arguments: list[str] = typer.Argument(None, help="What git passed to the hook."),
) -> None:
    """Run the checks of one git hook; git calls this. Example: handshake hook pre-commit"""
    from handshake.gates.hook_checks import CHECKS

    if name not in CHECKS:
        raise UsageError(f"there is no hook {name}", next_step=f"use one of: {', '.join(CHECKS)}")
    if os.environ.get(SKIP) == "1":
        sys.stderr.write(f"handshake: {name} skipped because {SKIP}=1\n")
        return
    repo = open_repository(context.obj)
    given = sys.stdin.read() if name in ("pre-push", "reference-transaction") and not sys.stdin.isatty() else ""
    findings = CHECKS[name](repo, arguments or [], given)
    for finding in findings:
        sys.stderr.write(f"handshake: {finding.severity}: {finding.text()}\n")
    if any(finding.severity == "error" for finding in findings):
        sys.stderr.write(f"handshake: {name} refuses. Next: mend the above, or {SKIP}=1 git … to go round it\n")
        raise typer.Exit(int(ExitCode.FAILED))
