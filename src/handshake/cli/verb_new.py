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
    from handshake.config.shipped import shipped
    from handshake.domain.canonical import utc_text
    from handshake.gates.new_packet import new_packet
    from handshake.repo.atomic import write_durably

    around = open_surroundings(context.obj)
    path = f"{around.settings.paths.packets}/{wp_id}.md"
    file = around.repo.root / path
    if file.exists():
        raise UsageError(f"{path} is there already", next_step=f"handshake check {wp_id}")
    own = around.repo.root / ".handshake" / "templates" / "packet.md"
    template = (own if own.is_file() else shipped("templates", "packet.md")).read_text(encoding="utf-8")
    name = around.repo.git.run("config", "user.name", check=False).stdout.decode(errors="replace").strip()
    text = new_packet(template, wp_id=wp_id, date=utc_text(around.clock.now()), requestor=name or "User")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_durably(file, text.encode("utf-8"))
    if as_json:
        write_json({"wp_id": wp_id, "path": path})
    else:
        write(f"wrote {path}. Next: fill it in, sign it, then: handshake check {wp_id}")
