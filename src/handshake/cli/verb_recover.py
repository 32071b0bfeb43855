"""`handshake recover`: put an interrupted run right without going on with it."""

from __future__ import annotations

from typing import Any

import typer

from handshake.cli.options import Json, note, open_surroundings, write, write_json
from handshake.domain.errors import LockHeld


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("recover")(recover)


def recover(
    context: typer.Context,
    wp_id: str | None = typer.Argument(None, help="Only this packet; else every interrupted run of this clone."),
    as_json: Json = False,
) -> None:
    """Put records, branch and worktree of interrupted runs right. Example: handshake recover WP-1-Demo"""
    from handshake.cli.verb_status import load_runs
    from handshake.domain.states import JobStatus
    from handshake.loop.by_hand import recover_packet

    around = open_surroundings(context.obj)
    names = [wp_id] if wp_id else []
    if not wp_id:
        interrupted = (JobStatus.RUNNING, JobStatus.STALLED)
        journals = around.repo.state_dir / "journal"
        runs = [run for run in load_runs(around) if run.job.status in interrupted]
        names = [run.job.wp_id for run in runs if (journals / run.job.job_id).is_dir()]
    rows: list[dict[str, Any]] = []
    for name in names:
        try:
            run = recover_packet(around, name)
        except LockHeld as held:
            if wp_id:
                raise
            note(context.obj, f"{name} is not interrupted: {held.what}")
            continue
        ledger = run.ledger
        rows.append(
            {
                "wp_id": name,
                "status": run.job.status.value,
                "resume_point": ledger.resume_point,
                "resume_reason": ledger.resume_reason,
            }
        )
    if as_json:
        write_json({"recovered": rows})
        return
    for row in rows:
        why = f" ({row['resume_reason']})" if row["resume_reason"] else ""
        write(f"{row['wp_id']}: {row['status']}{why}. Next: handshake run {row['wp_id']}")
    if not rows:
        write("nothing is interrupted")
