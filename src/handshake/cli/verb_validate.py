"""`handshake validate`, `board`, `registry`: governance files judged, and the board brought up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from handshake.cli.options import Json, open_repository, open_surroundings, write, write_json
from handshake.domain.errors import ExitCode, HandshakeError

if TYPE_CHECKING:
    from handshake.domain.packet import Finding
    from handshake.loop.surroundings import Surroundings


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("validate")(validate)
    board = typer.Typer(no_args_is_help=True, help="The task board.")
    board.command("check")(board_check)
    board.command("sync")(board_sync)
    app.add_typer(board, name="board")
    registry = typer.Typer(no_args_is_help=True, help="The traceability registry.")
    registry.callback()(_registry)
    registry.command("check")(registry_check)
    app.add_typer(registry, name="registry")


def _registry() -> None:
    """The traceability registry."""


def validate(
    context: typer.Context,
    names: list[str] = typer.Argument(None, help="Validators; all when left out.", metavar="[NAME …]"),
    span: str | None = typer.Option(None, "--range", help="Judge this change, not the working tree.", metavar="A..B"),
    as_json: Json = False,
) -> None:
    """Run validators over the working tree or a change. Example: handshake validate scan board"""
    around = open_surroundings(context.obj, starts_programs=_may_start_programs(context, names or []))
    _run(around, names or [], span, as_json=as_json)


def board_check(context: typer.Context, as_json: Json = False) -> None:
    """Whether the board keeps its form and agrees with the packets. Example: handshake board check"""
    _run(open_surroundings(context.obj), ["board"], None, as_json=as_json)


def registry_check(context: typer.Context, as_json: Json = False) -> None:
    """Whether each base has one active packet that is there. Example: handshake registry check"""
    _run(open_surroundings(context.obj), ["registry"], None, as_json=as_json)


def board_sync(context: typer.Context, as_json: Json = False) -> None:
    """Write into the board what the packets say, and nothing else. Example: handshake board sync"""
    from handshake.governance.records import synced_board
    from handshake.repo.atomic import write_durably

    around = open_surroundings(context.obj)
    path = around.settings.paths.board
    before, after = synced_board(around.repo, around.settings)
    if after != before:
        write_durably(around.repo.root / path, after)
    if as_json:
        write_json({"path": path, "changed": after != before})
    else:
        write(f"wrote {path}" if after != before else f"{path} says what the packets say")


def _may_start_programs(context: typer.Context, names: list[str]) -> bool:
    """Whether a command of the project's own is asked for: then what starts programs must be trusted."""
    from handshake.config.loading import read_repository_file
    from handshake.gates.validators.table import VALIDATORS

    if names:
        return any(name not in VALIDATORS for name in names)
    raw = read_repository_file(open_repository(context.obj).root).get("validators")
    return isinstance(raw, dict) and bool(raw.get("own"))


def _run(around: Surroundings, names: list[str], span: str | None, *, as_json: bool) -> None:
    from handshake.gates.judged_range import judged_range
    from handshake.gates.validators.table import run_validators
    from handshake.gates.validators.view import tree_view, working_view

    if span is None:
        view = working_view(around.repo, around.settings)
    else:
        asked = judged_range(around.repo, around.settings.base_branch, span)
        if asked is None:
            raise HandshakeError("nothing changed in that range", next_step="handshake validate")
        view = tree_view(around.repo, around.settings, asked.base, asked.head)
    found = run_validators(view, names, around.clock)
    failed = [name for name, findings in found.items() if any(f.severity == "error" for f in findings)]
    if as_json:
        rows = [{"name": name, "ok": name not in failed, "findings": list(rows)} for name, rows in found.items()]
        write_json({"ok": not failed, "validators": rows})
    else:
        for name, findings in found.items():
            _write(name, findings)
    raise typer.Exit(int(ExitCode.FAILED if failed else ExitCode.DONE))


def _write(name: str, findings: list[Finding]) -> None:
    for finding in findings:
        write(f"{finding.severity}: {finding.text()}")
    write(f"{name}: {len(findings)} findings" if findings else f"{name}: passed")
