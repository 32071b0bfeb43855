"""`handshake packet fix` adds what a packet lacks and a machine may add."""

from __future__ import annotations

import typer

from handshake.cli.options import Json, open_surroundings, write, write_json
from handshake.domain.errors import UsageError

group = typer.Typer(help="Mend a packet.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.add_typer(group, name="packet")


@group.command("fix")
def fix(
    context: typer.Context,
    wp_id: str = typer.Argument(help="The packet."),
    as_json: Json = False,
) -> None:
    """Add the missing manifest template; nothing else changes. Example: handshake packet fix WP-1-Faster-Start-v1"""
    from handshake.gates.packet_fix import fix_packet
    from handshake.repo.atomic import write_durably
    from handshake.repo.packet_file import read_packet_file

    around = open_surroundings(context.obj)
    path = f"{around.settings.paths.packets}/{wp_id}.md"
    file = around.repo.root / path
    data = read_packet_file(around.repo.root, path)
    if data is None:
        raise UsageError(f"there is no packet {path}", next_step=f"handshake new {wp_id}")
    fixed, added = fix_packet(data)
    if added:
        write_durably(file, fixed)
    if as_json:
        write_json({"wp_id": wp_id, "path": path, "added": list(added)})
    else:
        write(f"{path}: added {', '.join(added)}" if added else f"{path} lacks nothing that can be added")
