"""One process, one packet: lock, load or create, recover, carry on. Contract: `interface.md`, `run`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from handshake.domain.canonical import utc_text
from handshake.domain.errors import HandshakeError, JobRefused, PacketRefused, UsageError, WaitsForHuman
from handshake.domain.ledger import StepStatus
from handshake.loop.activate import read_runnable_packet
from handshake.loop.build_pack import ContextEngine
from handshake.loop.code_branch import finish
from handshake.loop.conforming import failing_engines
from handshake.loop.equipment import CodeSide, Equipment
from handshake.loop.exchange import shared
from handshake.loop.human import ends_by_hand
from handshake.loop.packet_events import record_packet
from handshake.loop.preview import UNKNOWN_WINDOW
from handshake.loop.recorded_replies import RecordedReplies
from handshake.loop.recover import leave_lost_tip, load_run, names_last_whole, recover, unborn_job
from handshake.loop.run import Run
from handshake.loop.shortage import carry_through
from handshake.loop.start import (
    base_commit_of,
    make_plan,
    merged_policy,
    new_job,
    refuse_denied_commands,
    refuse_lost_log,
)
from handshake.loop.surroundings import Surroundings
from handshake.models.chain import ProviderPool, ResolvedLevel, preflight, resolve_chain
from handshake.models.replies import ReplyStore
from handshake.repo.locks import RunLock, read_heartbeat
from handshake.repo.store import ObjectStore, TrackingBranch, clear_stale_ref_lock, held_ref
from handshake.repo.workspace import Workspace
from handshake.source.index import SourceIndex
from handshake.toolbus.bus import ToolBus
from handshake.toolbus.capabilities import profiles_of
from handshake.toolbus.control_groups import clear_left_groups
from handshake.toolbus.operations import CONTEXT
from handshake.toolbus.registry import registry_of
from handshake.toolbus.sandbox import choose_sandbox
from handshake.toolbus.scratch import clear_left_folders


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
    before = read_heartbeat(lock.path)
    objects = ObjectStore(around.repo, settings.identity, keep_packs=True)
    recorded = RecordedReplies(around.repo, wp_id, settings.tracking.namespace)
    with lock, ProviderPool(settings, root=around.repo.root, recorded=recorded) as pool, closing(objects):
        branch = TrackingBranch(around.repo, wp_id, settings.tracking.namespace, objects=objects)
        for ref in (branch.ref, held_ref(wp_id), f"refs/heads/feat/{wp_id}"):
            clear_stale_ref_lock(around.repo, ref)
        objects.clear_left_packs()
        clear_left_folders()
        clear_left_groups()
        with shared(around, branch), names_last_whole(branch):
            run = load_run(around, branch)
            if run is not None:
                leave_lost_tip(run, objects)
            if run is None and not again:
                refuse_lost_log(around, branch)
            if run is None or (run.ended and again):
                run = _created(around, branch, objects, pool, wp_id)
            elif run.ended:
                return _finished(run, objects)
            else:
                if not ends_by_hand(run):  # that needs no model
                    preflight(resolve_chain(run.job.execution_policy, settings), around.repo.root)
                recover(run, reply_store(run), utc_text(before.ts) if before else None)
            lock.workflow_run_id = run.job.workflow_run_id
            with (
                closing(SourceIndex(around.repo.state_dir / "context")) as index,
                _gathered_at_the_end(around, objects, branch),
            ):
                return carry_through(run, lambda run: equip(run, objects, pool, index))


def _finished(run: Run, objects: ObjectStore) -> Run:
    """An ended job, whose WP branch and packs may lack what its process did not live to do. No sandbox is needed."""
    finish(run, CodeSide(workspace_of(run, objects), objects, reply_store(run)))
    objects.close()
    _gather(run.around, run.branch)
    return run


@contextmanager
def _gathered_at_the_end(around: Surroundings, objects: ObjectStore, branch: TrackingBranch) -> Iterator[None]:
    """The run's packs are gathered where it ends, or where it stops at a gate and may wait for days."""
    try:
        yield
    except WaitsForHuman:
        objects.close()
        _gather(around, branch)
        raise
    objects.close()
    _gather(around, branch)


def _gather(around: Surroundings, branch: TrackingBranch) -> None:
    """How a run ended is not for its packs to say: one that rotted may be another packet's, and all of them stay."""
    try:
        branch.repack()
    except (HandshakeError, OSError) as error:
        why = error.what if isinstance(error, HandshakeError) else str(error)
        around.watcher.note(f"packs are not gathered, all stay as they are: {why}. Next: git fsck --full")


def _created(
    around: Surroundings, branch: TrackingBranch, objects: ObjectStore, pool: ProviderPool, wp_id: str
) -> Run:
    """A new job; the packet is on record as noticed, or as refused with why. FR-EVT-GOV-WP-001."""
    record_packet(around, wp_id, "noticed")
    try:
        return _create(around, branch, objects, pool, wp_id)
    except (PacketRefused, JobRefused) as refused:
        record_packet(around, wp_id, "refused", refused.what)
        raise


def _create(
    around: Surroundings, branch: TrackingBranch, objects: ObjectStore, pool: ProviderPool, wp_id: str
) -> Run:
    packet, data = read_runnable_packet(around, wp_id)
    policy = merged_policy(around, packet)
    if policy.stops_for_human(0):
        raise UsageError(
            "level 0 of the chain is a cloud level, and cloud_escalation_allowed is false: no model may try",
            next_step="set policy.cloud_escalation_allowed: true, or begin the chain with a local model",
        )
    around.watcher.working("looking for the models of the chain")
    levels = preflight(resolve_chain(policy, around.settings), around.repo.root)
    first = pool.provider(levels[0].level.model_id).facts
    choose_sandbox(around.settings.sandbox)  # refused before anything is written, not in the middle
    around.watcher.working("cutting the scope into micro-tasks")
    window = min(first.context_window, _smallest_named(levels))
    plan = make_plan(around, packet, base_commit_of(around), first.profile, window)
    refuse_denied_commands(around, packet, plan)
    unknown = [mt_id for mt_id in policy.pause_points if mt_id not in plan.order]
    if unknown:
        raise UsageError(
            f"pause_points names {', '.join(unknown)}, which the plan does not have",
            next_step=f"handshake plan {wp_id}",
        )
    return new_job(around, branch, objects, packet, data, plan, policy, unborn_job(around, branch))


def _smallest_named(levels: tuple[ResolvedLevel, ...]) -> int:
    """The smallest context window that the configuration names; higher levels are opened when needed."""
    named = [level.config.context_window for level in levels if level.config and level.config.context_window]
    return min(named, default=UNKNOWN_WINDOW)


def equip(run: Run, objects: ObjectStore, pool: ProviderPool, index: SourceIndex) -> Equipment:
    """The tools of this run."""
    around, settings = run.around, run.around.settings
    workspace = workspace_of(run, objects)

    def record(event_type: str, payload: dict[str, object], key: str) -> None:
        index = run.job.execution_state.current_mt_index
        mt_id = run.plan.order[index] if index < len(run.plan.order) else None
        run.emit(event_type, payload, key=key, mt_id=mt_id, iteration=running_iteration(run, mt_id))

    sandbox = choose_sandbox(settings.sandbox)
    around.watcher.note(sandbox.describe())
    context = ContextEngine()
    bus = ToolBus(
        worktree=workspace.path,
        clock=around.clock,
        sandbox=sandbox,
        profiles=profiles_of(around.repo.root, settings.commands.allow),
        registry=registry_of(around.repo.root),
        bodies={CONTEXT: context},
        failing=failing_engines(sandbox, around.clock),
        record=record,
        artifact_prefix=run.paths.root,
        repository=around.repo.common_dir,
    )
    return Equipment(workspace, objects, reply_store(run), pool, bus, index, context)


def running_iteration(run: Run, mt_id: str | None) -> int | None:
    """The iteration in which something happens: from it the event's prompt, reply and evidence are reached."""
    steps = [s for s in run.ledger.steps if s.status is StepStatus.IN_PROGRESS] if mt_id else []
    return int(steps[-1].step_id.rpartition("-")[2]) if steps else None


def workspace_of(run: Run, objects: ObjectStore) -> Workspace:
    """The worktree of this run."""
    around = run.around
    return Workspace(
        around.repo,
        run.job.wp_id,
        run.job.workspace.wp_branch,
        around.settings.worktrees.dir,
        objects=objects,
        clock=around.clock,
    )


def reply_store(run: Run) -> ReplyStore:
    """Where this job's replies are kept: durable, local, never pushed."""
    return ReplyStore(run.around.repo.state_dir / "replies" / run.job.job_id)
