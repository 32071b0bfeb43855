"""`handshake decide`: a human's answer at a gate."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, cast

import typer

from handshake.cli.options import Json, note, open_surroundings, write, write_json
from handshake.domain.errors import UsageError

if TYPE_CHECKING:
    from handshake.loop.run import Run
    from handshake.loop.surroundings import Surroundings

ANSWERS = ("continue", "skip", "abort")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("decide")(decide)


def decide(
    context: typer.Context,
    wp_id: str = typer.Argument(help="The packet that waits."),
    answer: str = typer.Argument(help="continue, skip or abort."),
    message: str | None = typer.Option(None, "--note", help="A hint that goes into the task's notes."),
    add_iterations: int | None = typer.Option(None, "--add-iterations", min=1),
    add_minutes: int | None = typer.Option(None, "--add-minutes", min=1),
    add_tokens: int | None = typer.Option(None, "--add-tokens", min=1),
    add_cost: float | None = typer.Option(None, "--add-cost", min=0.0, help="In the currency of the prices."),
    level: int | None = typer.Option(None, "--level", min=0, help="Start the task again at this level."),
    as_json: Json = False,
) -> None:
    """Answer a hard gate or a pause. Example: handshake decide WP-1-Demo continue --note "use UTC" """
    from handshake.loop.decisions import write_decision
    from handshake.loop.exchange import with_remote

    if answer not in ANSWERS:
        raise UsageError(f"{answer!r} is no decision", next_step=f"use one of: {', '.join(ANSWERS)}")
    around = open_surroundings(context.obj)
    send = with_remote(around, wp_id, lambda text: note(context.obj, text))
    decision = write_decision(
        run_to_decide(around, wp_id),
        cast(Literal["continue", "skip", "abort"], answer),
        decided_by=who_decides(around),
        decided_at=around.clock.now(),
        note=message,
        add_iterations=add_iterations,
        add_minutes=add_minutes,
        add_tokens=add_tokens,
        add_cost=add_cost or None,
        level=level,
    )
    tell_if_masked(message, decision.note, lambda text: note(context.obj, text))
    send()
    if as_json:
        write_json(decision)
    else:
        write(f"{wp_id}: gate {decision.number} answered with {answer}. Next: handshake run {wp_id}")


def run_to_decide(around: Surroundings, wp_id: str) -> Run:
    """The run that a human speaks of.

    Raises:
        UsageError: there is none.
    """
    from handshake.cli.verb_status import load_runs, look_at

    runs = load_runs(around, wp_id)
    if runs:
        return runs[0]
    elsewhere = look_at(around, wp_id)  # or it says that there is no run
    raise UsageError(
        f"{wp_id} is a run of another clone, fetched as {elsewhere.branch.ref}: a word said here would not get there",
        next_step="say tracking.push: true in .handshake/config.yaml, then the same command",
    )


def tell_if_masked(said: str | None, recorded: str | None, tell: Callable[[str], None]) -> None:
    """A note that held a secret is not recorded as it was said."""
    if said != recorded:
        tell(f"the note held what looks like a secret; recorded is: {recorded}")


def who_decides(around: Surroundings) -> str:
    """The person at the keyboard: git's e-mail address, else user and machine."""
    email = around.repo.git.run("config", "user.email", check=False).stdout.decode().strip()
    return email or f"{getpass.getuser()}@{socket.gethostname()}"
