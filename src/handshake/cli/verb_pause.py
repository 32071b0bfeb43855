"""`handshake pause` and `handshake cancel`: what a human asks of a run, at any time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import typer

from handshake.cli.options import Json, note, open_surroundings, write, write_json
from handshake.domain.errors import UsageError
from handshake.domain.states import JobStatus

if TYPE_CHECKING:
    from handshake.domain.decision import HumanDecision
    from handshake.loop.run import Run
    from handshake.loop.surroundings import Surroundings


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("pause")(pause)
    app.command("cancel")(cancel)


def pause(
    context: typer.Context,
    wp_id: str = typer.Argument(help="The packet that runs."),
    message: str | None = typer.Option(None, "--note", help="Why; it is recorded."),
    as_json: Json = False,
) -> None:
    """Have a run wait after the step in hand. Example: handshake pause WP-1-Demo --note "look at MT-002" """
    from handshake.repo.locks import living_owner

    around = open_surroundings(context.obj)
    _, request = _ask(around, wp_id, "pause", message, lambda text: note(context.obj, text))
    runs = living_owner(around.repo.state_dir / "locks" / f"{wp_id}.lock", around.clock) is not None
    if as_json:
        write_json(request)
        return
    when = "it waits after the step in hand" if runs else "nothing runs it now: it waits when it is next run"
    write(f"{wp_id}: pause asked for; {when}. Next: handshake decide {wp_id} continue|skip|abort")


def cancel(
    context: typer.Context,
    wp_id: str = typer.Argument(help="The packet whose run is to end."),
    message: str | None = typer.Option(None, "--note", help="Why; it is recorded."),
    as_json: Json = False,
) -> None:
    """End a run for good, now; what was validated stays. Example: handshake cancel WP-1-Demo --note "wrong scope" """
    from handshake.cli.verb_status import describe
    from handshake.loop.by_hand import end_packet

    around = open_surroundings(context.obj)
    _ask(around, wp_id, "cancel", message, lambda text: note(context.obj, text))
    run = end_packet(around, wp_id)
    row = describe(run)
    if as_json:
        write_json(row)
    else:
        write(f"{wp_id}: {row['status']}")
        for line in row["next"]:
            write(f"  {line}")
    if run.job.status is not JobStatus.CANCELLED:
        raise UsageError(f"{wp_id} ended as {run.job.status.value} before", next_step=f"handshake status {wp_id}")


def _ask(
    around: Surroundings,
    wp_id: str,
    what: Literal["pause", "cancel"],
    message: str | None,
    said: Callable[[str], None],
) -> tuple[Run, HumanDecision]:
    from handshake.cli.verb_decide import run_to_decide, tell_if_masked, who_decides
    from handshake.loop.decisions import write_request
    from handshake.loop.exchange import with_remote

    send = with_remote(around, wp_id, said)
    run = run_to_decide(around, wp_id)
    request = write_request(run, what, decided_by=who_decides(around), decided_at=around.clock.now(), note=message)
    tell_if_masked(message, request.note, said)
    send()
    return run, request
