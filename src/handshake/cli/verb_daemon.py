"""`handshake daemon`: watch and run."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import typer

from handshake.cli.options import open_surroundings


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("daemon")(daemon)


def daemon(
    context: typer.Context,
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Show prompts and replies in short."),
    once: bool = typer.Option(False, "--once", help="Run what is there now, then leave."),
) -> None:
    """Watch the packet folder and run what is ready. Example: handshake daemon"""
    from handshake.daemon.watch import Daemon

    def say(text: str) -> None:
        sys.stderr.write(f"handshake: {text}\n")
        sys.stderr.flush()

    watcher = Daemon(
        open_surroundings(context.obj, starts_programs=True), say, child_options=("--verbose",) if verbose else ()
    )

    def end(_signal: int, _frame: FrameType | None) -> None:
        watcher.stop()

    signal.signal(signal.SIGTERM, end)
    try:
        if once:
            raise typer.Exit(watcher.run_once())
        watcher.run_forever()
    except KeyboardInterrupt:
        watcher.stop()
        raise
