"""`handshake distill`: what escalations left as data. Contract: `learning.md`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from handshake.cli.options import Json, note, open_surroundings, write, write_json
from handshake.domain.errors import HandshakeError, UsageError

if TYPE_CHECKING:
    from handshake.learning.candidates import StoredCandidate
    from handshake.loop.surroundings import Surroundings


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="What escalations left as data to learn from.")
    group.command("list")(list_candidates)
    group.command("show")(show)
    group.command("export")(export)
    app.add_typer(group, name="distill")


def list_candidates(
    context: typer.Context,
    wp: str | None = typer.Option(None, "--wp", help="Only this packet.", metavar="WP_ID"),
    fetched: bool = typer.Option(False, "--fetched", help="Those of fetched branches too."),
    as_json: Json = False,
) -> None:
    """Candidates, their score, and why one is not exported. Example: handshake distill list"""
    found = _candidates(open_surroundings(context.obj), wp, fetched=fetched)
    if as_json:
        write_json({"candidates": [_describe(stored) for stored in found]})
        return
    if not found:
        write("no candidates yet: an escalation makes one (policy.enable_distillation)")
    for stored in found:
        candidate = stored.candidate
        teacher = candidate.teacher_success.model_id if candidate.teacher_success else "nobody yet"
        write(
            f"{stored.name}  {candidate.status:<7}  score {candidate.data_trust_score:<4g} "
            f" {candidate.student_attempt.model_id} -> {teacher}"
        )
        write(f"  {'; '.join(stored.refusals) or 'eligible'}")


def show(
    context: typer.Context,
    what: str = typer.Argument(help="WP_ID/MT-001.", metavar="WP_ID/MT_ID"),
    fetched: bool = typer.Option(False, "--fetched", help="Those of fetched branches too."),
    as_json: Json = False,
) -> None:
    """A candidate with its prompts and replies. Example: handshake distill show WP-1-Demo/MT-001"""
    wp_id = what.partition("/")[0]
    found = _candidates(open_surroundings(context.obj), wp_id, fetched=fetched)
    rows = [stored for stored in found if stored.name == what]
    if not rows:
        raise UsageError(f"there is no candidate {what}", next_step="handshake distill list")
    stored = rows[-1]
    if as_json:
        write_json({**_describe(stored), "texts": _texts(stored)})
        return
    write(f"{stored.name}: {stored.candidate.status}, score {stored.candidate.data_trust_score:g}")
    write(f"{'; '.join(stored.refusals) or 'eligible'}")
    for factor in stored.candidate.contributing_factors:
        write(f"  {factor}")
    for name, text in _texts(stored).items():
        write(f"\n--- {name} " + "-" * max(3, 70 - len(name)))
        write("(not what was recorded)" if text is None else text.rstrip("\n"))


def export(
    context: typer.Context,
    form: str = typer.Option(..., "--format", help="openai-chat, sharegpt, alpaca or dpo.", metavar="FORMAT"),
    output: Path | None = typer.Option(None, "--output", "-o", help="Write here, not to stdout.", metavar="FILE"),
    wp: str | None = typer.Option(None, "--wp", help="Only this packet.", metavar="WP_ID"),
    fetched: bool = typer.Option(False, "--fetched", help="Those of fetched branches too."),
) -> None:
    """Final, eligible candidates as JSON lines for a trainer. Example: handshake distill export --format dpo"""
    from handshake.learning.export import FORMATS
    from handshake.learning.export import export as export_as
    from handshake.repo.atomic import write_durably

    if form not in FORMATS:
        raise UsageError(f"there is no format {form}", next_step=f"one of: {', '.join(FORMATS)}")
    found = export_as(_candidates(open_surroundings(context.obj), wp, fetched=fetched), form)
    for name, why in found.left_out:
        note(context.obj, f"left out {name}: {why}")
    if not found.rows:
        raise HandshakeError("no candidate may be exported", next_step="handshake distill list")
    if output is None:
        sys.stdout.buffer.write(found.lines())
        sys.stdout.buffer.flush()
    else:
        write_durably(output, found.lines())
    note(context.obj, f"exported {len(found.rows)} as {form}" + (f" to {output}" if output else ""))


def _candidates(around: Surroundings, wp_id: str | None, *, fetched: bool) -> list[StoredCandidate]:
    from handshake.learning.candidates import stored_candidates

    return list(stored_candidates(around.repo, around.settings.tracking.namespace, wp_id, fetched=fetched))


def _describe(stored: StoredCandidate) -> dict[str, Any]:
    return {
        "job_id": stored.job_id,
        **stored.candidate.model_dump(mode="json"),
        "refusals": list(stored.refusals),
        "refusals_as_pair": list(stored.refusals_as_pair),
    }


def _texts(stored: StoredCandidate) -> dict[str, str | None]:
    texts = {"student: prompt": stored.student.prompt, "student: reply": stored.student.output}
    if stored.teacher is not None:
        texts |= {"teacher: prompt": stored.teacher.prompt, "teacher: reply": stored.teacher.output}
    return texts
