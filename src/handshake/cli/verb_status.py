"""`handshake status`: where each run stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from handshake.cli.options import Json, open_surroundings, write, write_json
from handshake.domain.errors import ExitCode, UsageError
from handshake.domain.states import JobStatus

if TYPE_CHECKING:
    from handshake.domain.progress import IterationRecord
    from handshake.loop.merge import MergeState
    from handshake.loop.run import Run
    from handshake.loop.surroundings import Surroundings
    from handshake.recorder.job_history import Unreadable

_EXIT = {
    JobStatus.COMPLETED: ExitCode.DONE,
    JobStatus.COMPLETED_WITH_ISSUES: ExitCode.DONE,
    JobStatus.AWAITING_USER: ExitCode.WAITS_FOR_HUMAN,
    JobStatus.CANCELLED: ExitCode.CANCELLED,
    JobStatus.POISONED: ExitCode.POISONED,
}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("status")(status)


def status(
    context: typer.Context,
    wp_id: str | None = typer.Argument(None, help="Only this packet."),
    as_json: Json = False,
) -> None:
    """Where each run stands. Example: handshake status"""
    around = open_surroundings(context.obj)
    rows = [_row(run, try_merge=wp_id is not None) for run in visible_runs(around, wp_id)]
    if wp_id and not rows:
        raise UsageError(f"{wp_id} has no run yet", next_step=f"handshake run {wp_id}")
    watching = _daemon(around)
    if as_json:
        write_json({"runs": rows, "daemon": watching})
        return
    if watching and not wp_id:
        _write_daemon(watching)
    if not rows:
        write("no runs yet. Next: handshake new WP_ID, or drop a packet in and handshake daemon")
    for row in rows:
        _write_row(row, detailed=wp_id is not None)


def _daemon(around: Surroundings) -> dict[str, Any] | None:
    """The daemon that watches here and what it makes known, or None."""
    from handshake.daemon.bulletin import read_bulletin

    found = read_bulletin(around.repo, around.clock)
    return {"pid": found[0], **found[1].model_dump(mode="json")} if found else None


def _write_daemon(watching: dict[str, Any]) -> None:
    write(f"daemon: process {watching['pid']} watches")
    for row in watching["waiting"]:
        shared = f": both may change {row['path']}" if row["path"] else ""
        behind = f"for {row['behind']}" if row["path"] else f"({row['behind']})"
        write(f"{row['wp_id']}: waits {behind}{shared}")
    for name in watching["refused"]:
        write(f"{name}: refused. Next: handshake check {name}")


def load_runs(around: Surroundings, wp_id: str | None = None) -> list[Run]:
    """The newest job of each tracking branch, by name."""
    from handshake.loop.recover import load_run
    from handshake.repo.store import TrackingBranch, tracked_packets

    namespace = around.settings.tracking.namespace
    names = [wp_id] if wp_id else tracked_packets(around.repo, namespace)
    branches = [TrackingBranch(around.repo, name, namespace=namespace) for name in names]
    return [run for branch in branches if branch.tip() and (run := load_run(around, branch))]


def visible_runs(around: Surroundings, wp_id: str | None = None) -> list[Run | Unreadable]:
    """The newest job of each tracking branch, by name: those of this clone, then fetched ones that it lacks.

    For those who look. A run that was fetched is read where it was fetched to, and nothing may be written there.
    One that cannot be read stands in the list with why, unless it alone was asked for.

    Raises:
        StateCorruption: the packet that was asked for has no commit that holds together.
    """
    from handshake.domain.errors import EnvironmentProblem, StateCorruption
    from handshake.loop.recover import load_run
    from handshake.recorder.job_history import Unreadable
    from handshake.recorder.sources import tracking_refs
    from handshake.repo.store import TrackingBranch

    found: dict[str, Run | Unreadable] = {}
    for ref in tracking_refs(around.repo, around.settings.tracking.namespace):
        if ref.wp_id in found or wp_id not in (None, ref.wp_id):
            continue
        try:
            run = load_run(around, TrackingBranch(around.repo, ref.wp_id, namespace=ref.namespace))
        except (StateCorruption, EnvironmentProblem, UsageError) as error:
            if wp_id is not None:
                raise
            found[ref.wp_id] = Unreadable(ref.wp_id, error.what)
        else:
            if run is not None:
                found[ref.wp_id] = run
    return [found[name] for name in sorted(found)]


def look_at(around: Surroundings, wp_id: str) -> Run:
    """One run, here or fetched, to be read only.

    Raises:
        UsageError: there is none.
        StateCorruption: no commit of it holds together.
    """
    from handshake.loop.run import Run

    for run in visible_runs(around, wp_id):
        if isinstance(run, Run):
            return run
    raise UsageError(f"{wp_id} has no run yet", next_step=f"handshake run {wp_id}")


def remote_of(run: Run) -> str | None:
    """Where a run was fetched from, or None for one of this clone."""
    rest = run.branch.ref.removeprefix("refs/remotes/")
    return None if rest == run.branch.ref else rest.partition("/")[0]


def _row(run: Run | Unreadable, *, try_merge: bool) -> dict[str, Any]:
    from handshake.recorder.job_history import Unreadable

    if not isinstance(run, Unreadable):
        return describe(run, try_merge=try_merge)
    next_step = f"git log --stat {run.where}"
    return {"wp_id": run.where, "status": "unreadable", "gate_reason": None, "error": run.why, "micro_tasks": [],
            "next": [f"look: {next_step}"]}  # fmt: skip


def exit_code_of(status: JobStatus) -> int:
    """The exit code for a job that stands there."""
    return int(_EXIT.get(status, ExitCode.FAILED))


def describe(run: Run, *, try_merge: bool = False) -> dict[str, Any]:
    """A run for people and machines. `try_merge`: see whether its branch would merge without conflicts."""
    from handshake.domain.progress import use_by_level
    from handshake.loop.merge import merge_state
    from handshake.loop.packet_changed import changed_parts

    merge = merge_state(run.around.repo, run.job, try_it=try_merge)
    changed = changed_parts(run) if remote_of(run) is None else ()
    job, progress = run.job, run.progress
    rows = [row for entry in progress.micro_tasks for row in entry.iterations]
    state = progress.current_state
    return {
        "wp_id": job.wp_id,
        "job_id": job.job_id,
        "status": job.status.value,
        "gate_reason": job.gate_reason,
        "error": job.error,
        "active_mt": state.active_mt if not run.ended else None,
        "level": state.active_model_level,
        "micro_tasks": [
            {
                "mt_id": entry.mt_id,
                "name": entry.name,
                "status": entry.status.value,
                "iterations": len(entry.iterations),
                "level": entry.final_model_level,
                **_spent(entry.iterations),
                "commit": entry.commit,
            }
            for entry in progress.micro_tasks
        ],
        "iterations": state.total_iterations,
        "escalations": state.total_escalations,
        "tokens_prompt": job.metrics.tokens_prompt,
        "tokens_completion": job.metrics.tokens_completion,
        "cost": job.metrics.cost,
        "levels": [use.model_dump(mode="json") for use in use_by_level(rows)],
        "duration_ms": job.metrics.duration_ms,
        "wp_branch": job.workspace.wp_branch,
        "tracking_branch": run.branch.ref.removeprefix("refs/heads/"),
        "remote": remote_of(run),
        "merge": merge.state,
        "conflicts": merge.conflicts,
        "in_the_way": merge.in_the_way,
        "packet_changed": changed,
        "next": [*_on_changed_packet(run, changed), *next_commands(run, merge)],
    }


def _on_changed_packet(run: Run, changed: tuple[str, ...]) -> list[str]:
    """That the packet on the disk is not the one that was run, and how that one is run."""
    if not changed:
        return []
    wp, what = run.job.wp_id, f"{run.job.workspace.packet_path} is not what was run: {', '.join(changed)} changed"
    again = f"handshake run {wp} --again" if run.ended else f"handshake cancel {wp}, then handshake run {wp} --again"
    return [f"beware: {what} since. To run it as it is now: {again}"]


def _spent(rows: tuple[IterationRecord, ...]) -> dict[str, Any]:
    from handshake.domain.progress import total_cost

    return {
        "tokens_prompt": sum(row.tokens_prompt for row in rows),
        "tokens_completion": sum(row.tokens_completion for row in rows),
        "cost": total_cost(rows),
    }


def next_commands(run: Run, merge: MergeState | None = None) -> list[str]:
    """What a person would do now."""
    from handshake.loop.merge import merge_state

    job, wp = run.job, run.job.wp_id
    if remote_of(run) is not None:
        return [f"look: handshake report {wp}"]
    if job.status in (JobStatus.COMPLETED, JobStatus.COMPLETED_WITH_ISSUES):
        return _after_completion(run, merge or merge_state(run.around.repo, job))
    if job.status is JobStatus.AWAITING_USER:
        return _at_a_gate(run)
    if job.status is JobStatus.FAILED:
        return [f"look:  handshake log {wp}", f"again: handshake run {wp} --again"]
    if run.ended:
        return [f"look: handshake log {wp}"]
    return _goes_on(run) or [f"resume: handshake run {wp}"]


def _at_a_gate(run: Run) -> list[str]:
    """Answer it; or, where that was done, what follows the answer."""
    from handshake.domain.errors import DecisionRefused
    from handshake.loop.decisions import answer_at

    wp = run.job.wp_id
    look = f"look:   handshake show {wp}/{run.progress.current_state.active_mt}"
    try:
        answer = answer_at(run.branch, run.tip, run.job) if run.tip else None
    except DecisionRefused as why:
        return [f"refused: {why.what}", look, f"decide: handshake decide {wp} continue|skip|abort"]
    if answer is None:
        return [look, f"decide: handshake decide {wp} continue|skip|abort"]
    said = f"answered: {answer.decision}, by {answer.by}"
    return [said, *(_goes_on(run) or [f"resume: handshake run {wp}"])]


def _goes_on(run: Run) -> list[str]:
    """Which process runs it, and how it is stopped; nothing where none does."""
    from handshake.repo.locks import living_owner

    wp = run.job.wp_id
    owner = living_owner(run.around.repo.state_dir / "locks" / f"{wp}.lock", run.around.clock)
    return [f"runs:  process {owner.pid} on {owner.host}", f"pause: handshake pause {wp}"] if owner else []


def _after_completion(run: Run, merge: MergeState) -> list[str]:
    """Review and merge, then clean up."""
    wp, base = run.job.wp_id, run.job.workspace.base_branch
    log = f"log:    handshake log {wp}"
    if merge.state == "ready":
        warning = [f"beware: merging conflicts in {', '.join(merge.conflicts)}"] if merge.conflicts else []
        if merge.in_the_way:
            warning.append(
                f"beware: commit or stash first, git merges over no open change: {', '.join(merge.in_the_way)}"
            )
        return [*warning, *merge.steps, log]
    said = {"merged": f"merged into {base}", "gone": f"{run.job.workspace.wp_branch} is gone"}[merge.state]
    left = run.around.repo.branch_tip(run.job.workspace.wp_branch) is not None
    return [said, *([f"clean:  handshake clean {wp}"] if left and merge.state == "merged" else []), log]


def spent_text(row: dict[str, Any]) -> str:
    """Tokens, and money where the models have prices."""
    tokens = f"{row['tokens_prompt']} tokens in, {row['tokens_completion']} out"
    return tokens if row["cost"] is None else f"{tokens}, cost {row['cost']:.4f}"


def _write_row(row: dict[str, Any], *, detailed: bool) -> None:
    done = sum(mt["status"] in ("completed", "skipped") for mt in row["micro_tasks"])
    gate = f" ({row['gate_reason']})" if row["gate_reason"] else ""
    gate += f" [{row['remote']}]" if row.get("remote") else ""
    ready = ", ready to merge" if row.get("merge") == "ready" and not row.get("remote") else ""
    write(f"{row['wp_id']}: {row['status']}{gate}, {done} of {len(row['micro_tasks'])} micro-tasks{ready}")
    if row["error"]:
        write(f"  {row['error']}")
    if detailed:
        for mt in row["micro_tasks"]:
            level = f", level {mt['level']}" if mt["level"] is not None else ""
            taken = f", {spent_text(mt)}" if mt["iterations"] else ""
            write(f"  {mt['mt_id']}  {mt['status']:<11} {mt['iterations']:>2} iterations{level}{taken}  {mt['name']}")
        for use in row["levels"]:
            tries = "1 iteration" if use["iterations"] == 1 else f"{use['iterations']} iterations"
            what = f"{tries}, {use['passed']} passed, {spent_text(use)}"
            write(f"  level {use['level']}  {use['model_id']}: {what}")
    for line in row["next"]:
        write(f"  {line}")
