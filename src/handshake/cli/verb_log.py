"""`handshake log`: a run as commits."""

from __future__ import annotations

import typer

from handshake.cli.options import Json, open_surroundings, write, write_json
from handshake.domain.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("log")(log)


def log(context: typer.Context, wp_id: str = typer.Argument(help="The packet's id."), as_json: Json = False) -> None:
    """The run as commits of the tracking branch, oldest first. Example: handshake log WP-1-Demo"""
    from handshake.domain.canonical import utc_text
    from handshake.repo.store import TrackingBranch

    around = open_surroundings(context.obj)
    branch = TrackingBranch(around.repo, wp_id, namespace=around.settings.tracking.namespace)
    if branch.tip() is None:
        raise UsageError(f"{wp_id} has no run yet", next_step=f"handshake run {wp_id}")
    entries = list(branch.history())[::-1]
    if as_json:
        rows = [
            {"commit": e.sha, "when": utc_text(e.when), "subject": e.subject, "trailers": dict(e.trailers)}
            for e in entries
        ]
        write_json({"wp_id": wp_id, "branch": branch.ref, "commits": rows})
        return
    for entry in entries:
        write(f"{entry.sha[:10]}  {utc_text(entry.when)[:19]}  {entry.subject}")
