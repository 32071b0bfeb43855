"""`handshake refine`, `sign`, `activate`: from a stub to a packet that may run. Contract: `packets-and-gates.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from handshake.cli.options import Json, open_surroundings, write, write_json
from handshake.domain.errors import ExitCode

if TYPE_CHECKING:
    from handshake.repo.git import Repository


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("refine")(refine)
    app.command("sign")(sign)
    app.command("activate")(activate)


def user_name(repo: Repository) -> str:
    """Who git says the user is."""
    return repo.git.run("config", "user.name", check=False).stdout.decode(errors="replace").strip() or "User"


def refine(
    context: typer.Context,
    wp_id: str = typer.Argument(help="The packet's id.", metavar="WP_ID"),
    as_json: Json = False,
) -> None:
    """Make the refinement from the template, or check the one that is there. Example: handshake refine WP-1-X-v1"""
    from handshake.governance.refine import check_refinement, make_refinement, refinement_path

    around = open_surroundings(context.obj)
    path = refinement_path(around.settings, wp_id)
    made = make_refinement(around.repo, around.settings, around.clock, wp_id, user_name(around.repo))
    findings = check_refinement(around.repo, around.settings, wp_id)
    errors = [finding for finding in findings if finding.severity == "error"]
    if as_json:
        write_json({"path": path, "made": made, "ok": not errors, "findings": findings})
    elif made:
        write(f"wrote {path}. Next: fill it in, then: handshake refine {wp_id}")
    else:
        for finding in findings:
            write(f"{finding.severity}: {finding.text()}")
        write(
            f"{len(errors)} errors in {path}" if errors else f"{path} stands. Next: handshake sign {wp_id} SIGNATURE"
        )
    raise typer.Exit(int(ExitCode.FAILED if errors and not made else ExitCode.DONE))


def sign(
    context: typer.Context,
    wp_id: str = typer.Argument(help="The packet's id.", metavar="WP_ID"),
    signature: str = typer.Argument(help="Yours, never used before.", metavar="SIGNATURE"),
    as_json: Json = False,
) -> None:
    """Record your signature in audit, refinement and packet. Example: handshake sign WP-1-X-v1 ada220120261804"""
    from handshake.governance.sign import sign as record

    around = open_surroundings(context.obj)
    done = record(around.repo, around.settings, around.clock, wp_id, signature)
    if as_json:
        write_json({"wp_id": wp_id, "signature": signature, "written": list(done.written)})
        return
    for path in done.written:
        write(f"signed {path}")
    write(f"Next: handshake activate {wp_id}, or: handshake check {wp_id}" if done.written else "signed already")


def activate(
    context: typer.Context,
    wp_id: str = typer.Argument(help="The stub's id.", metavar="WP_ID"),
    as_json: Json = False,
) -> None:
    """Walk a stub's checklist as far as it goes. Example: handshake activate WP-1-X-v1"""
    from handshake.governance.activate import activate as walk

    around = open_surroundings(context.obj)
    steps = walk(around.repo, around.settings, around.clock, wp_id, user_name(around.repo))
    done = all(step.done for step in steps)
    if as_json:
        write_json({"wp_id": wp_id, "done": done, "steps": [vars(step) for step in steps]})
    else:
        for step in steps:
            write(f"[{'x' if step.done else ' '}] {step.name:<10} {step.said}")
    raise typer.Exit(int(ExitCode.DONE if done else ExitCode.FAILED))
