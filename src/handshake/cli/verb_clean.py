"""`handshake clean`: worktrees and branches of merged packets go."""

from __future__ import annotations

import typer

from handshake.cli.options import Json, open_surroundings, write, write_json
from handshake.domain.errors import HandshakeError, UsageError


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("clean")(clean)


def clean(
    context: typer.Context,
    wp_id: str | None = typer.Argument(None, help="Only this packet; else every one whose run ended."),
    keep: bool = typer.Option(False, "--keep", help="Hold an unmerged tip by a ref of its own, then clean."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only say what would go."),
    as_json: Json = False,
) -> None:
    """Remove worktree and branch of what is merged. Example: handshake clean WP-1-Demo"""
    from handshake.cli.verb_status import load_runs
    from handshake.loop.clean import clean_packet

    if keep and not wp_id:
        raise UsageError("--keep holds the branch of one packet", next_step="handshake clean WP_ID --keep")
    around = open_surroundings(context.obj)
    names = [wp_id] if wp_id else [run.job.wp_id for run in load_runs(around) if run.ended]
    done, left = [], {}
    for name in names:
        try:
            done.append(clean_packet(around, name, keep=keep, dry_run=dry_run))
        except HandshakeError as why:
            if wp_id:
                raise
            left[name] = why.line()
    if as_json:
        rows = [
            {
                "wp_id": row.wp_id,
                "removed": list(row.removed),
                "kept": list(row.kept),
                "ignored": list(row.set_aside[0]),
                "set_aside": row.set_aside[1],
            }
            for row in done
        ]
        write_json({"cleaned": rows, "left": left, "dry_run": dry_run})
        return
    verb = "would remove" if dry_run else "removed"
    for row in done:
        if row.removed:
            where = f"; its commits are in {', '.join(row.kept)}" if row.kept else ""
            write(f"{row.wp_id}: {verb} {' and '.join(row.removed)}{where}")
        if row.set_aside[0]:
            where = f"are in {row.set_aside[1]}" if row.set_aside[1] else "would be set aside"
            write(f"{row.wp_id}: ignored files that no commit has {where}: {', '.join(row.set_aside[0])}")
    for name, line in left.items():
        write(f"{name}: left as it is: {line}")
    if not any(row.removed for row in done) and not left:
        write(f"{wp_id}: there is nothing left to clean" if wp_id else "there is nothing to clean")
