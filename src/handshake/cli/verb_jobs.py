"""`handshake jobs`: the history of jobs, over all packets, branches and fetched remotes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from handshake.cli.options import Json, note, open_surroundings, write, write_json

if TYPE_CHECKING:
    from handshake.recorder.job_history import JobRow


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("jobs")(jobs)


def jobs(
    context: typer.Context,
    wp: str | None = typer.Option(None, "--wp", help="Only this packet."),
    status: str | None = typer.Option(None, "--status", help="Only jobs that stand there, e.g. completed."),
    limit: int | None = typer.Option(None, "--limit", "-n", min=1, help="Only the newest so many."),
    as_json: Json = False,
) -> None:
    """Job history: profile, outcome, iterations, tokens, cost, duration. Example: handshake jobs --status failed"""
    from handshake.domain.errors import UsageError
    from handshake.domain.states import JobStatus
    from handshake.recorder.job_history import job_history

    states = [state.value for state in JobStatus]
    if status is not None and status not in states:
        raise UsageError(f"no job stands at {status!r}", next_step=f"use one of: {', '.join(states)}")
    around = open_surroundings(context.obj)
    found, unreadable = job_history(around.repo, around.settings.tracking.namespace)
    rows = [
        row for row in found if wp in (None, row.job.wp_id) and status in (None, row.job.status.value)
    ]  # oldest first
    rows = rows[-limit:] if limit else rows
    for bad in unreadable:
        note(context.obj, f"handshake: {bad.where} cannot be read: {bad.why}")
    if as_json:
        write_json({"jobs": [_document(row) for row in rows], "unreadable": [vars(bad) for bad in unreadable]})
    elif rows:
        _write(rows)
    else:
        write("no jobs. Next: handshake new WP_ID, or drop a packet in and handshake daemon")


def _document(row: JobRow) -> dict[str, Any]:
    job, metrics = row.job, row.job.metrics
    state = job.execution_state
    return {
        "job_id": job.job_id,
        "wp_id": job.wp_id,
        "profile_id": job.profile_id,
        "status": job.status.value,
        "gate_reason": job.gate_reason,
        "iterations": state.total_iterations,
        "escalations": state.total_escalations,
        "drop_backs": state.total_drop_backs,
        "tokens_prompt": metrics.tokens_prompt,
        "tokens_completion": metrics.tokens_completion,
        "cost": metrics.cost,
        "duration_ms": metrics.duration_ms,
        "created_at": job.created_at,
        "completed_at": job.completed_at,
        "remote": row.remote,
    }


def _write(rows: list[JobRow]) -> None:
    from handshake.cli.recorded import write_table
    from handshake.domain.canonical import utc_text
    from handshake.report.plain_text import duration

    columns = (
        "began",
        "packet",
        "job",
        "profile",
        "status",
        "iterations",
        "escalations",
        "tokens",
        "cost",
        "time",
        "from",
    )
    table = []
    for row in rows:
        job = row.job
        tokens = job.metrics.tokens_prompt + job.metrics.tokens_completion
        state = job.execution_state
        counts = (state.total_iterations, state.total_escalations, tokens)
        time = duration(job.metrics.duration_ms)
        began = utc_text(job.created_at)[:16].replace("T", " ")
        cost = None if job.metrics.cost is None else round(job.metrics.cost, 4)
        where = row.remote or "here"
        table.append(
            (began, job.wp_id, job.job_id[-12:], job.profile_id, job.status.value, *counts, cost, time, where)
        )
    write_table(columns, table)
