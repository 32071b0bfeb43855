"""`handshake run`: run or resume one packet in the foreground."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

import typer

from handshake.cli.options import Json, open_surroundings, write, write_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("run")(run)


def run(
    context: typer.Context,
    wp_id: str = typer.Argument(help="The packet's id, e.g. WP-1-Demo."),
    again: bool = typer.Option(False, "--again", help="Start a new job although the last one ended."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Show prompts and replies in short."),
    name_lines: bool = typer.Option(False, "--name-lines", help="Begin each line of progress with the packet's id."),
    as_json: Json = False,
) -> None:
    """Run or resume one packet here, with live progress. Example: handshake run WP-1-Demo"""
    from handshake.cli.live import LiveView
    from handshake.cli.verb_status import describe, exit_code_of
    from handshake.loop.executor import run_packet

    signal.signal(signal.SIGTERM, _end)  # as Ctrl-C: what serves models for this run is ended in order
    live = LiveView(quiet=context.obj.quiet or as_json, verbose=verbose, name=wp_id if name_lines else "")
    around = open_surroundings(context.obj, live, starts_programs=True)
    try:
        finished = run_packet(around, wp_id, again=again)
    finally:
        live.stop()
    row = describe(finished)
    if as_json:
        write_json(row)
    else:
        write(f"{wp_id}: {row['status']}")
        for line in row["next"]:
            write(f"  {line}")
    raise typer.Exit(exit_code_of(finished.job.status))


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
