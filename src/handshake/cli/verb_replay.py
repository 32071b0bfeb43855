"""`handshake replay`: a recorded step once more, without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from handshake.cli.options import Json, open_surroundings, write, write_json
from handshake.domain.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from handshake.loop.run import Run
    from handshake.loop.surroundings import Surroundings


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("replay")(replay)


def replay(
    context: typer.Context,
    step: str = typer.Argument(help="WP_ID/MT-001/2 (the second iteration), or a step id that one run has."),
    rerun: bool = typer.Option(False, "--rerun", help="Also read and apply the recorded reply again."),
    show_prompt: bool = typer.Option(False, "--prompt", help="Print the prompt that was compiled."),
    as_json: Json = False,
) -> None:
    """Compile a step's prompt from its record and prove its hash. Example: handshake replay WP-1-Demo/MT-001/1"""
    from handshake.loop.replay import replay_step

    around = open_surroundings(context.obj)
    run, step_id = _find(around, step)
    found = replay_step(run, step_id, rerun=rerun)
    hashes = found.compiled.snapshot.prompt_envelope_hashes
    candidates = found.compiled.snapshot.retrieval_candidates
    if as_json:
        document = {
            "wp_id": run.job.wp_id,
            "step_id": step_id,
            "same_prompt": True,
            "prompt_envelope_hashes": hashes,
            "retrieval_candidates": candidates.model_dump(mode="json"),
            "reply": found.reply,
            "same_edits": found.edits_match,
        }
        write_json({**document, "prompt": found.compiled.envelope.full_prompt} if show_prompt else document)
    else:
        write(f"{step_id}: the same prompt, {found.compiled.envelope.token_estimate} tokens")
        write(f"  SHA-256 {hashes['full_prompt_hash']}")
        write(f"  from {candidates.count} stored candidates ({candidates.ids_hash[:12]})")
        if found.reply is not None:
            write(f"  reply: {found.reply}")
            write(f"  edits: {'the same as recorded' if found.edits_match else 'NOT the same as recorded'}")
        if show_prompt:
            write(found.compiled.envelope.full_prompt)
    if found.edits_match is False:
        raise typer.Exit(int(ExitCode.FAILED))


def _find(around: Surroundings, step: str) -> tuple[Run, str]:
    """The run and step that are meant."""
    from handshake.cli.verb_show import step_of
    from handshake.cli.verb_status import load_runs

    if "/" in step:
        wp_id, _, rest = step.partition("/")
        runs = load_runs(around, wp_id) if wp_id else []
        if not runs:
            raise UsageError(f"{wp_id} has no run yet", next_step=f"handshake run {wp_id}")
        mt_id, _, number = rest.partition("/")
        return runs[0], step_of(runs[0], mt_id, number)
    found = [run for run in load_runs(around) if run.ledger.step(step) is not None]
    if len(found) == 1:
        return found[0], step
    if not found:
        raise UsageError(f"no run has a step {step}", next_step="handshake status; then: handshake show WP_ID")
    names = ", ".join(f"{run.job.wp_id}/{step.replace('_iter-', '/')}" for run in found)
    raise UsageError(f"several runs have a step {step}", next_step=f"name one: {names}")
