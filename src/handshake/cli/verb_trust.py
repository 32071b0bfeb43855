"""`handshake trust`: let this repository's configuration start programs."""

from __future__ import annotations

import typer

from handshake.cli.options import open_repository, write


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("trust")(trust)


def trust(context: typer.Context) -> None:
    """Record, outside the repository, that its configuration may start programs. Example: handshake trust"""
    from handshake.config.loading import read_repository_file
    from handshake.config.trust import program_keys
    from handshake.config.trust import trust as record

    repo = open_repository(context.obj)
    raw = read_repository_file(repo.root)
    keys = program_keys(raw)
    digest = record(repo.root, raw)
    write(f"trusted {', '.join(keys) or 'nothing that starts programs'} of {repo.root} ({digest[:12]})")
