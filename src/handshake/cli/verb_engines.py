"""`handshake engines check`: whether each engine of the tool bus keeps the bus's promises on this machine."""

from __future__ import annotations

import os

import typer

from handshake.cli.options import Json, open_repository, write, write_json
from handshake.domain.errors import ExitCode

group = typer.Typer(help="The engines of the tool bus.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.add_typer(group, name="engines")


@group.command("check")
def check(context: typer.Context, as_json: Json = False) -> None:
    """Run the conformance checks of every engine. Example: handshake engines check"""
    from handshake.config.loading import load_settings
    from handshake.domain.clock import SystemClock
    from handshake.loop.conforming import check_engines
    from handshake.toolbus.sandbox import choose_sandbox

    settings = load_settings(open_repository(context.obj).root, env=os.environ, require_trust=False).settings
    sandbox = choose_sandbox(settings.sandbox)
    findings = check_engines(sandbox, SystemClock())
    passed = all(finding.passed for finding in findings)
    if as_json:
        write_json({"ok": passed, "sandbox": {"backend": sandbox.name, "level": sandbox.level}, "checks": findings})
    else:
        write(sandbox.describe())
        for finding in findings:
            write(f"{'ok  ' if finding.passed else 'FAIL'}  {finding.engine_id:<18} {finding.check}")
            if finding.reason:
                write(f"      {finding.reason}")
    raise typer.Exit(int(ExitCode.DONE if passed else ExitCode.FAILED))
