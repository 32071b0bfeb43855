"""`handshake new`: a packet from the template."""

from __future__ import annotations

import typer

from handshake.cli.options import Json, open_surroundings, write, write_json
from handshake.domain.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("new")(new)


def new(
    context: typer.Context,
    wp_id: str = typer.Argument(help="The new packet's id, e.g. WP-1-Faster-Start-v1."),
    as_json: Json = False,
) -> None:
    """Make a packet to fill in and sign. Example: handshake new WP-1-Faster-Start-v1"""
    from handshake.cli.verb_refine import user_name
    from handshake.governance.create import packet_from_template
    from handshake.repo.atomic import write_durably

    around = open_surroundings(context.obj)
    path = f"{around.settings.paths.packets}/{wp_id}.md"
    file = around.repo.root / path
    if file.exists():
        raise UsageError(f"{path} is there already", next_step=f"handshake check {wp_id}")
    data = packet_from_template(around.repo, around.settings, around.clock, wp_id, user_name(around.repo))
    write_durably(file, data)
    if as_json:
        write_json({"wp_id": wp_id, "path": path})
    else:
        write(f"wrote {path}. Next: fill it in, sign it, then: handshake check {wp_id}")
