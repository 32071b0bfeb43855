"""`handshake plan`: what a packet would be cut into; changes nothing."""

from __future__ import annotations

import typer

from handshake.cli.options import Json, note, open_surroundings, write, write_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("plan")(plan)


def plan(context: typer.Context, wp_id: str = typer.Argument(help="The packet's id."), as_json: Json = False) -> None:
    """Definitions, waves, findings and where each DONE_MEANS bullet went. Example: handshake plan WP-1-Demo"""
    from handshake.domain.errors import JobRefused
    from handshake.loop.preview import preview_plan
    from handshake.loop.start import denied_programs
    from handshake.planning.show import plan_as_text

    around = open_surroundings(context.obj)
    made = preview_plan(around, wp_id)
    try:
        if names := denied_programs(around, made):
            note(context.obj, f"a run would be refused: commands.allow does not grant {', '.join(names)}")
    except JobRefused as refused:
        note(context.obj, f"a run would be refused: {refused}")
    if as_json:
        write_json(made)
    else:
        write(plan_as_text(made).rstrip("\n"))
