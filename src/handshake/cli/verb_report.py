"""`handshake report`: a run as one page that stands for itself."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from handshake.cli.options import Json, note, open_surroundings, write, write_json
from handshake.domain.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("report")(report)


def report(
    context: typer.Context,
    wp_id: str = typer.Argument(help="The packet's id."),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="The file; WP_ID.html when left out, - for stdout."
    ),
    as_json: Json = False,
) -> None:
    """A run as one self-contained HTML page. Example: handshake report WP-1-Demo -o run.html"""
    from handshake.cli.verb_status import look_at
    from handshake.repo.atomic import write_durably
    from handshake.report.page import render

    around = open_surroundings(context.obj)
    run = look_at(around, wp_id)
    place = output or Path(f"{wp_id}.html")
    _refuse_other_file(place, named=output is not None)
    page = render(run).encode("utf-8")
    if str(place) == "-":
        sys.stdout.buffer.write(page)
        return
    write_durably(place, page)
    if as_json:
        write_json({"wp_id": wp_id, "status": run.job.status.value, "file": str(place), "bytes": len(page)})
        return
    write(f"{place}: {len(page) / 1000:.0f} kB")
    if not run.ended:
        status = run.job.status.value.replace("_", " ")
        note(context.obj, f"handshake: {wp_id} is {status}; the page shows it as of its last commit")


def _refuse_other_file(place: Path, *, named: bool) -> None:
    """A file that nobody named is overwritten only if it is a report."""
    from handshake.report.page import GENERATOR

    if str(place) == "-":
        return
    if place.is_dir():
        raise UsageError(f"{place} is a folder", next_step="name a file with -o")
    if not named and place.is_file() and GENERATOR.encode() not in place.read_bytes()[:4000]:
        raise UsageError(f"{place} is there, and is no report", next_step=f"-o {place} overwrites it")
