"""One process, one packet: lock, load or create, recover, carry on. Contract: `interface.md`, `run`."""

from __future__ import annotations

from handshake.domain.errors import UsageError
from handshake.loop.controller import carry_on
from handshake.loop.equipment import Equipment
from handshake.loop.recover import load_run, recover
from handshake.loop.run import Run, Surroundings
from handshake.loop.start import base_commit_of, make_plan, merged_policy, new_job, read_runnable_packet
from handshake.models.chain import ProviderPool, preflight
from handshake.models.replies import ReplyStore
from handshake.repo.locks import RunLock
from handshake.repo.store import ObjectStore, TrackingBranch, clear_stale_ref_lock, open_object_store
from handshake.repo.workspace import Workspace
from handshake.toolbus.bus import ToolBus
from handshake.toolbus.capabilities import profile_for
from handshake.toolbus.sandbox import choose_sandbox


def run_packet(around: Surroundings, wp_id: str, *, again: bool = False) -> Run:
    """Run or resume one packet in this process until it ends or waits.

    Args:
        again: start a new job although the last one ended.

    Raises:
        LockHeld: another live process runs this packet.
        PacketRefused, JobRefused, EnvironmentProblem: nothing was started.
        WaitsForHuman: the job stands at a gate.
    """
    settings = around.settings
    lock = RunLock(around.repo.state_dir / "locks" / f"{wp_id}.lock", around.clock)
    before = lock.read_heartbeat()
    with lock:
        branch = TrackingBranch(around.repo, wp_id, namespace=settings.tracking.namespace, identity=settings.identity)
        clear_stale_ref_lock(around.repo, branch.ref)
        clear_stale_ref_lock(around.repo, f"refs/heads/feat/{wp_id}")
        objects = open_object_store(around.repo, identity=settings.identity)
        pool = ProviderPool(settings)
        try:
            run = load_run(around, branch)
            if run is None or (run.ended and again):
                run = _create(around, branch, objects, pool, wp_id)
            elif not run.ended:
                preflight(run.job.execution_policy, settings, pool)
                recover(run, _replies(around, run), before.ts if before else None)
            lock.describe(run.job.workflow_run_id)
            carry_on(run, equip(around, run, objects, pool))
            return run
        finally:
            pool.close_all()


def _create(
    around: Surroundings, branch: TrackingBranch, objects: ObjectStore, pool: ProviderPool, wp_id: str
) -> Run:
    packet, data = read_runnable_packet(around, wp_id)
    policy = merged_policy(around, packet)
    around.watcher.working("looking for the models of the chain")
    facts = preflight(policy, around.settings, pool)
    choose_sandbox(around.settings.sandbox)  # refused before anything is written, not in the middle
    base = base_commit_of(around)
    around.watcher.working("cutting the scope into micro-tasks")
    plan = make_plan(around, packet, base, facts[0].profile, min(f.context_window for f in facts))
    unknown = [mt_id for mt_id in policy.pause_points if mt_id not in plan.order]
    if unknown:
        raise UsageError(
            f"pause_points names {', '.join(unknown)}, which the plan does not have",
            next_step=f"handshake plan {wp_id}",
        )
    return new_job(around, branch, objects, packet, data, plan, policy)


def equip(around: Surroundings, run: Run, objects: ObjectStore, pool: ProviderPool) -> Equipment:
    """The tools of this run."""
    settings = around.settings
    workspace = Workspace(around.repo, run.job.wp_id, run.job.workspace.wp_branch, settings.worktrees.dir)

    def record(event_type: str, payload: dict[str, object], key: str) -> None:
        index = run.job.execution_state.current_mt_index
        mt_id = run.plan.order[index] if index < len(run.plan.order) else None
        run.emit(event_type, payload, key=key, mt_id=mt_id)

    bus = ToolBus(
        worktree=workspace.path,
        clock=around.clock,
        sandbox=choose_sandbox(settings.sandbox),
        profiles={"Coder": profile_for(settings.commands.allow)},
        record=record,
        artifact_prefix=run.paths.root,
    )
    return Equipment(pool, _replies(around, run), bus, workspace, objects)


def _replies(around: Surroundings, run: Run) -> ReplyStore:
    return ReplyStore(around.repo.state_dir / "replies" / run.job.job_id)
