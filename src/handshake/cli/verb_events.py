"""`handshake events`: the flight recorder's events, through DuckDB."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import typer

from handshake.cli.options import Json, open_surroundings, write, write_json_lines


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("events")(events)


def events(
    context: typer.Context,
    wp: str | None = typer.Option(None, "--wp", help="Only this packet."),
    mt: str | None = typer.Option(None, "--mt", help="Only this micro-task."),
    event_type: str | None = typer.Option(None, "--type", help="Only this id or name, e.g. FR-EVT-MT-005."),
    since: datetime | None = typer.Option(
        None, "--since", help="Only from this UTC time on.", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]
    ),
    as_json: Json = False,
) -> None:
    """Recorded events, oldest first. Example: handshake events --wp WP-1-Demo --type FR-EVT-MT-012"""
    from handshake.cli.live import line_of
    from handshake.domain.canonical import utc_text
    from handshake.recorder.queries import query_events

    found = query_events(
        _sources(context), wp=wp, mt=mt, event_type=event_type, since=since and since.replace(tzinfo=UTC)
    )
    if as_json:
        write_json_lines(found)
        return
    for event in found:
        said = line_of(event) or ", ".join(f"{k}={v}" for k, v in list(event.payload.items())[:4])
        write(f"{utc_text(event.timestamp)[:23]}  {event.event_type:<20} {event.wp_id}  {said[:140]}")


def _sources(context: typer.Context) -> Iterable[Iterable[bytes]]:
    """The lines of every journal: those on tracking branches first, then the local ones."""
    from handshake.repo.store import TrackingBranch, tracked_packets

    around = open_surroundings(context.obj)
    namespace = around.settings.tracking.namespace
    for name in tracked_packets(around.repo, namespace):
        branch = TrackingBranch(around.repo, name, namespace=namespace)
        for path in branch.list("jobs"):
            if "/events/" in path:
                yield (branch.read(path) or b"").splitlines()
    for file in sorted((around.repo.state_dir / "journal").glob("*/*.jsonl")):
        yield file.read_bytes().splitlines()
