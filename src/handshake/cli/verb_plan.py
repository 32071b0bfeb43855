"""`handshake plan`: what a packet would be cut into; changes nothing."""

from __future__ import annotations

import typer

from handshake.cli.options import Json, open_surroundings, write, write_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("plan")(plan)


def plan(context: typer.Context, wp_id: str = typer.Argument(help="The packet's id."), as_json: Json = False) -> None:
    """Definitions, waves, findings and where each DONE_MEANS bullet went. Example: handshake plan WP-1-Demo"""
    from handshake.loop.preview import preview_plan
    from handshake.planning.show import plan_as_text

    around = open_surroundings(context.obj)
    made = preview_plan(around, wp_id)
    if as_json:
        write_json(made)
    else:
        write(plan_as_text(made).rstrip("\n"))
