"""`handshake review`: what a packet's work looks like, and the walk from a report to its commit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from handshake.cli.options import Globals, Json, note, open_surroundings, write, write_json
from handshake.domain.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from handshake.governance.review import Reviewed
    from handshake.loop.surroundings import Surroundings


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("review")(review)


def review(
    context: typer.Context,
    wp_id: str = typer.Argument(help="The packet's id.", metavar="WP_ID"),
    verdict: str | None = typer.Argument(
        None, help="pass or fail; without it the work is shown.", metavar="[pass|fail]"
    ),
    report: Path | None = typer.Option(None, "--report", help="The report, Markdown.", metavar="FILE"),
    acknowledge: bool = typer.Option(False, "--acknowledge", help="You have read the report."),
    as_json: Json = False,
) -> None:
    """Show a packet's work, or review it. Example: handshake review WP-1-Demo pass --report review.md"""
    around = open_surroundings(context.obj)
    if verdict is None:
        _show(around, wp_id, as_json=as_json)
        return
    if verdict.casefold() not in ("pass", "fail"):
        raise UsageError(f"`{verdict}` is no verdict", next_step=f"handshake review {wp_id} pass --report FILE")
    if report is None or not report.is_file():
        raise UsageError(
            f"there is no report {report or ''}".rstrip(),
            next_step=f"handshake review {wp_id} {verdict} --report FILE",
        )
    _walk(context.obj, around, wp_id, verdict.upper(), report.read_bytes(), acknowledge=acknowledge, as_json=as_json)


def _walk(
    options: Globals,
    around: Surroundings,
    wp_id: str,
    verdict: Any,
    report: bytes,
    *,
    acknowledge: bool,
    as_json: bool,
) -> None:
    from handshake.cli.verb_refine import user_name
    from handshake.domain.review import ReviewState
    from handshake.governance.review import ReviewDesk, walk_review

    desk = ReviewDesk(
        around.repo,
        around.settings,
        around.clock,
        user_name(around.repo),
        says=lambda text: note(options, text),
    )

    def acknowledged() -> bool:
        sys.stderr.write(report.decode("utf-8", errors="replace").rstrip("\n") + "\n")
        if acknowledge or not sys.stdin.isatty():
            return acknowledge
        return typer.confirm(f"Is this your review of {wp_id}: {verdict}?", err=True)

    found = walk_review(desk, wp_id, verdict, report, acknowledge=acknowledged)
    done = found.state is ReviewState.COMMITTED
    if as_json:
        write_json({"wp_id": wp_id, "review": found, "done": done})
    else:
        write(f"{wp_id}: {found.verdict}, {found.state}")
        if not done:
            write("Next: read the report, then the same call with --acknowledge")
        elif found.verdict == "PASS":
            write(f"Next: git merge --no-ff feat/{wp_id}")
        else:
            write("This is final for the id. Next: handshake new, with a new revision")
    raise typer.Exit(int(ExitCode.DONE if done else ExitCode.WAITS_FOR_HUMAN))


def _show(around: Surroundings, wp_id: str, *, as_json: bool) -> None:
    from handshake.governance.review import what_is_reviewed

    found = what_is_reviewed(around.repo, around.settings, wp_id)
    document = _document(around, wp_id, found)
    if as_json:
        write_json(document)
        return
    write(f"{wp_id}: {document['status']}, {document['commits']} commits on {document['branch']}")
    write(document["stat"].rstrip("\n"))
    write("\nManifest")
    for entry in document["manifest"]:
        write(f"  {entry.target_file}:{entry.start}-{entry.end}  {entry.line_delta:+d}  {entry.post_sha1[:12]}")
    write("\nEvidence")
    write(document["evidence"] or "  none")
    write("\nGates")
    for finding in document["gates"]:
        write(f"  {finding.severity}: {finding.text()}")
    write("  passed" if not document["gates"] else f"  {len(document['gates'])} findings")
    write("\nReviews")
    for done in found.log.reviews:
        write(f"  {done.verdict}: {done.state}, {done.steps[-1].at:%Y-%m-%d %H:%M} by {done.steps[-1].by}")
    write("\nDiff")
    write(document["diff"].rstrip("\n"))
    write(f"\nNext: handshake review {wp_id} pass|fail --report FILE")


def _document(around: Surroundings, wp_id: str, found: Reviewed) -> dict[str, Any]:
    """Diff, manifest, evidence, gates: everything over the WP branch since it left the base branch."""
    from handshake.domain.packet_lines import read_lines
    from handshake.gates.work_gate import judge_work
    from handshake.governance.review import wp_branch

    repo, settings = around.repo, around.settings
    tip = repo.branch_tip(settings.base_branch)
    if tip is None:
        raise UsageError(f"there is no branch {settings.base_branch}", next_step="handshake config show --origin")
    base = repo.git.text("merge-base", tip, found.tip)
    plain = (
        "--no-ext-diff",
        "--no-textconv",
        "--no-color",
        base,
        found.tip,
        "--",
        ".",
        f":(exclude){found.packet.path}",
    )
    lines = read_lines(found.data)
    section = lines.section("EVIDENCE") or range(0)
    return {
        "wp_id": wp_id,
        "status": found.packet.status_text,
        "branch": wp_branch(wp_id),
        "commits": int(repo.git.text("rev-list", "--count", f"{base}..{found.tip}")),
        "stat": repo.git.text("diff", "--stat", *plain),
        "diff": repo.git.run("diff", *plain).stdout.decode("utf-8", errors="replace"),
        "manifest": list(found.packet.manifest),
        "evidence": "\n".join(lines.texts[number] for number in section).strip("\n"),
        "gates": judge_work(repo, settings, base, found.tip, found.packet.path),
        "reviews": list(found.log.reviews),
    }
