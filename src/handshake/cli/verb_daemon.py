"""`handshake daemon`: watch and run."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import typer

from handshake.cli.options import Globals, open_repository, open_surroundings, write
from handshake.domain.errors import UsageError

if TYPE_CHECKING:
    from handshake.domain.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("daemon")(daemon)


def _service(options: Globals, manager: str | None) -> str:
    from handshake.daemon.service import service_for

    wanted = manager or {"darwin": "launchd", "linux": "systemd"}.get(sys.platform, "")
    if wanted not in ("systemd", "launchd"):
        raise UsageError(
            f"there is no service manager {wanted!r}"
            if manager
            else f"no service manager is known for {sys.platform}",
            next_step="handshake daemon --install --service-manager systemd, or launchd",
        )
    root = open_repository(options).root
    return service_for(
        "systemd" if wanted == "systemd" else "launchd",
        root,
        command=[sys.executable, "-m", "handshake", "-C", str(root), "daemon"],
        home=Path.home(),
        path=os.environ.get("PATH", os.defpath),
    ).script()


def daemon(
    context: typer.Context,
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Show prompts and replies in short."),
    once: bool = typer.Option(False, "--once", help="Run what is there now, then leave."),
    install: bool = typer.Option(False, "--install", help="Print what would make it a service of yours; do nothing."),
    manager: str | None = typer.Option(None, "--service-manager", help="systemd or launchd; else this system's own."),
) -> None:
    """Watch the packet folder and run what is ready. Example: handshake daemon"""
    if install:
        write(_service(context.obj, manager).rstrip("\n"))
        return
    from handshake.config.loading import load_settings
    from handshake.config.places import user_config_file
    from handshake.daemon.watch import Daemon, Means
    from handshake.repo.git import Git

    Git.stays_small = True
    around = open_surroundings(context.obj, starts_programs=True)
    around = replace(around, repo=around.repo.by_git_alone())

    def say(text: str) -> None:
        sys.stderr.write(f"handshake: {text}\n")
        sys.stderr.flush()

    def read_settings() -> Settings:
        return load_settings(around.repo.root, env=os.environ, require_trust=True).settings

    options = (
        *(("--verbose",) if verbose else ()),
        *(("--name-lines",) if around.settings.daemon.max_parallel > 1 else ()),
    )
    watcher = Daemon(around, Means(say, read_settings, options, (user_config_file(os.environ),)))
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
