"""`handshake show`: prompt, reply, evidence and decision of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from handshake.cli.options import Json, open_surroundings, write, write_json
from handshake.domain.errors import UsageError

if TYPE_CHECKING:
    from handshake.loop.run import Run

_TEXTS = ("prompt.md", "reply.md", "edits.json", "validation.json", "changes.patch")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("show")(show)


def show(
    context: typer.Context,
    what: str = typer.Argument(help="WP_ID, WP_ID/MT-001 or WP_ID/MT-001/2 (the second iteration)."),
    as_json: Json = False,
) -> None:
    """A run, a micro-task or one step. Example: handshake show WP-1-Demo/MT-001/1"""
    from handshake.cli.verb_status import describe, look_at

    around = open_surroundings(context.obj)
    wp_id, _, rest = what.partition("/")
    run = look_at(around, wp_id)
    if not rest:
        found: dict[str, Any] = {
            **describe(run),
            "definitions": [d.model_dump(mode="json") for d in run.plan.definitions],
        }
        write_json(found) if as_json else _write_run(run)
        return
    mt_id, _, number = rest.partition("/")
    step = step_of(run, mt_id, number)
    document = _step_document(run, mt_id, step)
    if as_json:
        write_json(document)
    else:
        _write_step(document)


def step_of(run: Run, mt_id: str, number: str) -> str:
    """The id of a micro-task's step: the one of that number or id, else the last one.

    Raises:
        UsageError: there is none.
    """
    from handshake.domain.ledger import step_id

    if mt_id not in run.plan.order:
        raise UsageError(f"{run.job.wp_id} has no {mt_id}", next_step=f"handshake show {run.job.wp_id}")
    steps = [s.step_id for s in run.ledger.steps if s.step_id.startswith(f"{mt_id}_")]
    if not steps:
        raise UsageError(f"{mt_id} has not begun", next_step=f"handshake status {run.job.wp_id}")
    if not number:
        return steps[-1]
    wanted = step_id(mt_id, int(number)) if number.isdigit() else number
    if wanted not in steps:
        raise UsageError(f"there is no step {wanted}", next_step=f"steps of {mt_id}: {', '.join(steps)}")
    return wanted


def _step_document(run: Run, mt_id: str, step: str) -> dict[str, Any]:
    ledger = run.ledger.step(step)
    rows = [row for row in run.entry(mt_id).iterations if row.step_id == step]
    texts = {
        name: data.decode("utf-8", errors="replace")
        for name in _TEXTS
        if (data := run.artifact(run.paths.step(step, name))) is not None
    }
    decision = next(
        (
            event.payload["decision"]
            for event in run.journal.events()
            if event.event_type == "FR-EVT-MT-003" and event.payload.get("step_id") == step
        ),
        None,
    )
    return {
        "wp_id": run.job.wp_id,
        "mt_id": mt_id,
        "step": ledger.model_dump(mode="json") if ledger else None,
        "iteration": rows[0].model_dump(mode="json") if rows else None,
        "decision": decision,
        "files": texts,
    }


def _write_run(run: Run) -> None:
    from handshake.cli.verb_status import spent_text

    for definition in run.plan.definitions:
        entry = run.entry(definition.mt_id)
        write(f"{definition.mt_id}  {entry.status.value}  {definition.name}")
        write(f"  writes: {', '.join(definition.files.writable) or 'nothing'}")
        for criterion in definition.done:
            write(f"  done:   {criterion.description}")
        for row in entry.iterations:
            said = f": {row.error_summary}" if row.error_summary else ""
            taken = spent_text(row.model_dump(include={"tokens_prompt", "tokens_completion", "cost"}))
            write(f"  {row.step_id}  level {row.escalation_level}, {taken}  {row.outcome.value}{said}"[:160])


def _write_step(document: dict[str, Any]) -> None:
    from handshake.cli.verb_status import spent_text

    write(f"{document['wp_id']} {document['mt_id']} {document['step']['step_id']}: {document['step']['status']}")
    if document["iteration"]:
        write(f"spent: {spent_text(document['iteration'])}")
    if document["decision"]:
        write(f"decision: {document['decision']['action']} ({document['decision']['reason']})")
    for name, text in document["files"].items():
        write(f"\n--- {name} " + "-" * max(3, 70 - len(name)))
        write(text.rstrip("\n"))
