"""`handshake events`: the flight recorder's events, through DuckDB; with `--follow` as they come."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from handshake.cli.options import Json, open_surroundings, write, write_json_lines

if TYPE_CHECKING:
    from handshake.domain.events import Event


# a day, or a moment as events show and hold it
_MOMENTS = ["%Y-%m-%d", *(f"%Y-%m-%dT%H:%M:%S{rest}" for rest in ("Z", "", ".%fZ", ".%f"))]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("events")(events)


def events(
    context: typer.Context,
    wp: str | None = typer.Option(None, "--wp", help="Only this packet."),
    mt: str | None = typer.Option(None, "--mt", help="Only this micro-task."),
    event_type: str | None = typer.Option(None, "--type", help="Only this id or name, e.g. FR-EVT-MT-005."),
    since: datetime | None = typer.Option(None, "--since", help="Only from this UTC time on.", formats=_MOMENTS),
    follow: bool = typer.Option(False, "--follow", "-f", help="Go on with new events as they come; Ctrl-C ends."),
    as_json: Json = False,
) -> None:
    """Recorded events, oldest first. Example: handshake events --wp WP-1-Demo --type FR-EVT-MT-012"""
    from handshake.cli.recorded import open_store, tell_missing
    from handshake.recorder.follow import Follower
    from handshake.recorder.queries import Wanted, query_events

    wanted = Wanted(wp=wp, mt=mt, event_type=event_type, since=since and since.replace(tzinfo=UTC))
    store = open_store(context.obj)
    follower = Follower(store.repo, store.namespace) if follow else None
    found, missing = query_events(store, wanted)
    tell_missing(context.obj, missing)
    for event in found:
        _show(event, as_json=as_json)
    if follower is None:
        return
    for event in found:
        follower.saw(event.event_id)
    sys.stdout.flush()
    for event in follower.forever(open_surroundings(context.obj).clock):
        if wanted.fits(event):
            _show(event, as_json=as_json)
            sys.stdout.flush()


def _show(event: Event, *, as_json: bool) -> None:
    from handshake.cli.live import line_of
    from handshake.cli.recorded import cell_text
    from handshake.domain.canonical import utc_text

    if as_json:
        write_json_lines([event])
        return
    said = line_of(event) or ", ".join(f"{k}={v}" for k, v in list(event.payload.items())[:4])
    line = f"{event.event_type:<20} {event.wp_id}  {cell_text(said)[:140]}"
    write(f"{utc_text(event.timestamp)[:23]}  {line}")
