"""`handshake diff`: what a run, a micro-task or one step changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from handshake.cli.options import Json, open_surroundings, write_json
from handshake.domain.errors import UsageError

if TYPE_CHECKING:
    from handshake.loop.run import Run


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("diff")(diff)


def diff(
    context: typer.Context,
    what: str = typer.Argument(help="WP_ID, WP_ID/MT-001 or WP_ID/MT-001/2 (the second iteration)."),
    stat: bool = typer.Option(False, "--stat", help="Only files and counts of lines."),
    as_json: Json = False,
) -> None:
    """What a run, a micro-task or a step changed, as a patch. Example: handshake diff WP-1-Demo/MT-001"""
    import sys

    from handshake.cli.verb_decide import run_to_decide
    from handshake.cli.verb_show import step_of

    around = open_surroundings(context.obj)
    wp_id, _, rest = what.partition("/")
    run = run_to_decide(around, wp_id)
    mt_id, _, number = rest.partition("/")
    if mt_id and mt_id not in run.plan.order:
        raise UsageError(f"{wp_id} has no {mt_id}", next_step=f"handshake show {wp_id}")
    commits = None if number else _commits(run, mt_id)
    if commits is not None:
        patch = _between(run, *commits, stat=stat)
    else:
        step = step_of(run, mt_id, number)
        patch = run.artifact(run.paths.step(step, "changes.patch")) or b""
        if stat:
            patch = around.repo.git.run("apply", "--stat", "-", input=patch).stdout if patch else b""
    if as_json:
        write_json({"wp_id": wp_id, "what": what, "patch": patch.decode("utf-8", errors="replace")})
    else:
        sys.stdout.write(patch.decode("utf-8", errors="replace"))


def _commits(run: Run, mt_id: str) -> tuple[str, str] | None:
    """The commits before and after; None where the micro-task has none yet."""
    space = run.job.workspace
    if not mt_id:
        return space.base_commit, space.head_commit
    commit = run.entry(mt_id).commit
    return None if commit is None else (f"{commit}^", commit)


def _between(run: Run, before: str, after: str, *, stat: bool) -> bytes:
    git = run.around.repo.git
    if run.around.repo.resolve(after) is None:
        raise UsageError(
            f"commit {after[:12]} is not in this clone",
            next_step=f"git fetch the branch {run.job.workspace.wp_branch}",
        )
    # the user's ways to show a diff (external programs, textconv, prefixes) are not a patch's
    plain = ("--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/")
    form = ("--stat",) if stat else ("--patch", "--binary")
    return git.run("diff", *plain, *form, before, after, "--").stdout
