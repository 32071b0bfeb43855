"""`handshake daemon`: watch and run."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

import typer

from handshake.cli.options import open_surroundings

if TYPE_CHECKING:
    from handshake.domain.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("daemon")(daemon)


def daemon(
    context: typer.Context,
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Show prompts and replies in short."),
    once: bool = typer.Option(False, "--once", help="Run what is there now, then leave."),
) -> None:
    """Watch the packet folder and run what is ready. Example: handshake daemon"""
    from handshake.config.loading import load_settings
    from handshake.daemon.watch import Daemon, Means

    around = open_surroundings(context.obj, starts_programs=True)

    def say(text: str) -> None:
        sys.stderr.write(f"handshake: {text}\n")
        sys.stderr.flush()

    def read_settings() -> Settings:
        return load_settings(around.repo.root, env=os.environ, require_trust=True).settings

    options = (
        *(("--verbose",) if verbose else ()),
        *(("--name-lines",) if around.settings.daemon.max_parallel > 1 else ()),
    )
    watcher = Daemon(around, Means(say, read_settings, options))
    interrupted = False

    def end(number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt  # the second Ctrl-C: do not wait for the runs
        interrupted = number == signal.SIGINT
        watcher.stop()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    code = watcher.run_once() if once else watcher.run_forever()
    if interrupted:
        raise KeyboardInterrupt
    raise typer.Exit(code or 0)
