"""A new job from a signed packet: checks first, then one commit that makes it real. Contract: `loop.md` 1."""

from __future__ import annotations

from handshake.config.failpoints import failpoint
from handshake.domain.artifact import handle_for
from handshake.domain.canonical import committed_json, hash_of
from handshake.domain.clock import sorted_after
from handshake.domain.errors import CapabilityViolation, JobRefused, PacketRefused, UsageError
from handshake.domain.job import (
    PROFILE_ID,
    ExecutionState,
    Job,
    JobInputs,
    JobKind,
    WorkPacketScope,
    Workspace,
    check_pairing,
)
from handshake.domain.ledger import RunLedger
from handshake.domain.microtask import Plan
from handshake.domain.operation import CapabilityCheck
from handshake.domain.packet import Packet
from handshake.domain.packet_commands import is_governance_command
from handshake.domain.policy import ExecutionPolicy
from handshake.domain.progress import LearningContext, MtProgress, ProgressArtifact, aggregate
from handshake.domain.states import JobStatus
from handshake.loop.limits import refuse_unpriced
from handshake.loop.recover import UnbornJob
from handshake.loop.run import Run, commit_message, latest_job_id
from handshake.loop.surroundings import Surroundings
from handshake.models.profiles import PROFILES
from handshake.planning.generate import generate_plan
from handshake.repo.store import ObjectStore, TrackingBranch, held_ref
from handshake.toolbus.capabilities import decide, profiles_of
from handshake.toolbus.commands import programs_of


def scope_of(packet: Packet) -> WorkPacketScope:
    """What the packet asks for, as the generator reads it."""
    return WorkPacketScope(
        in_scope_paths=packet.in_scope_paths,
        out_of_scope=packet.out_of_scope,
        done_means=packet.done_means,
        test_plan=packet.test_plan,
        description=packet.what,
        risk_tier=packet.risk_tier,
    )


def merged_policy(around: Surroundings, packet: Packet) -> ExecutionPolicy:
    """Defaults, then the configuration, then the packet's EXECUTION_POLICY block.

    Raises:
        PacketRefused: the block has an unknown key or a wrong value.
        UsageError: money is limited and a cloud model has no price.
    """
    policy = _with_block(around.settings.policy, packet)
    refuse_unpriced(policy, around.settings.models)
    return policy


def _with_block(base: ExecutionPolicy, packet: Packet) -> ExecutionPolicy:
    from pydantic import ValidationError

    if not packet.execution_policy:
        return base
    try:
        return ExecutionPolicy.model_validate({**base.model_dump(mode="json"), **packet.execution_policy})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "EXECUTION_POLICY"
        raise PacketRefused(
            f"{packet.path}: EXECUTION_POLICY: {key}: {first['msg']}", next_step="mend the block in the packet"
        ) from None


def base_commit_of(around: Surroundings) -> str:
    """The commit that the work starts from.

    Raises:
        UsageError: the base branch has no commit.
    """
    branch = around.settings.base_branch
    commit = around.repo.branch_tip(branch)
    if commit is None:
        has = "the repository has no commit yet" if not around.repo.has_commits else f"there is no branch {branch}"
        raise UsageError(
            has,
            next_step="git commit something first"
            if not around.repo.has_commits
            else "set base_branch in .handshake/config.yaml",
        )
    return commit


def make_plan(
    around: Surroundings, packet: Packet, base_commit: str, first_profile: str, smallest_window: int
) -> Plan:
    """The definitions of a packet over the tree at `base_commit`. Same packet, tree and config: same bytes.

    Raises:
        JobRefused: a rule is broken.
    """
    inputs = JobInputs(wp_id=packet.wp_id, wp_scope=scope_of(packet))
    return generate_plan(
        wp_id=packet.wp_id,
        packet_path=packet.path,
        scope=inputs.wp_scope,
        tree=around.repo.tree(base_commit),
        smallest_window=smallest_window,
        files_per_mt=PROFILES[first_profile].files_per_mt,
        is_governance_command=is_governance_command,
    )


def denied_programs(around: Surroundings, plan: Plan) -> list[str]:
    """The capabilities that the plan's commands need and the configuration does not grant, sorted.

    Raises:
        JobRefused: a command that the shell grammar cannot read.
    """
    checks = check_commands(around, plan)
    return sorted({check.capability_id for check in checks if check.decision_outcome == "deny"})


def refuse_denied_commands(around: Surroundings, packet: Packet, plan: Plan) -> None:
    """See that every program of the plan may run, before anything is written.

    Raises:
        JobRefused: a verify command reaches beyond the allow-list, or the shell grammar cannot read it.
    """
    names = ", ".join(denied_programs(around, plan))
    if names:
        raise JobRefused(
            f"{packet.path}: TEST_PLAN needs {names}, which commands.allow does not grant",
            next_step="add the program to commands.allow in .handshake/config.yaml, then: handshake trust",
        )


def check_commands(around: Surroundings, plan: Plan) -> list[CapabilityCheck]:
    """Every program of every verify command against the profile: the check at job creation.

    Raises:
        JobRefused: a command that the shell grammar cannot read.
    """
    profile = profiles_of(around.repo.root, around.settings.commands.allow)["Coder"]
    commands = {spec.command for mt in plan.definitions for spec in mt.verify} | set(plan.test_plan)
    programs: set[str] = set()
    for command in sorted(commands):
        try:
            programs.update(programs_of(command))
        except CapabilityViolation as error:
            raise JobRefused(
                f"TEST_PLAN of {plan.wp_id}: {error.what}",
                next_step=f"mend the command in the packet, then: handshake plan {plan.wp_id}",
            ) from None
    return [decide(profile, f"proc.exec:{program}", stage="creation") for program in sorted(programs)]


def new_job(
    around: Surroundings,
    branch: TrackingBranch,
    objects: ObjectStore,
    packet: Packet,
    data: bytes,
    plan: Plan,
    policy: ExecutionPolicy,
    unborn: UnbornJob | None = None,
) -> Run:
    """Create the job: its records on the tracking branch, its checkpoint commit held for the WP branch.

    Args:
        unborn: a job that a killed process announced and never published: this is that job.

    Raises:
        UsageError: the WP branch exists and does not descend from the base.
    """
    now = around.clock.now()
    base = base_commit_of(around)
    wp_branch = f"feat/{packet.wp_id}"
    start = _start_of_branch(around, wp_branch, base)
    tip = branch.tip()
    last = latest_job_id(branch, tip) if tip else None
    job_id = unborn.job_id if unborn else sorted_after(around.ids.uuid7(), last)
    message = commit_message(f"{packet.wp_id}: the packet as signed", {"WP": packet.wp_id, "Job": job_id})
    failpoint("wp.commit:before")
    checkpoint = objects.write_commit(
        parent=start, base_tree=start, changes={packet.path: data}, message=message, when=now
    )
    held = held_ref(packet.wp_id)
    objects.update_ref(held, checkpoint, expected=around.repo.resolve(held))
    failpoint("wp.commit:after")
    job = _job_record(
        around,
        packet,
        plan,
        policy,
        job_id,
        Workspace(
            base_branch=around.settings.base_branch,
            base_commit=base,
            wp_branch=wp_branch,
            checkpoint_commit=checkpoint,
            head_commit=checkpoint,
            packet_path=packet.path,
        ),
        trace_id=unborn.trace_id if unborn else around.ids.uuid7(),
    )
    progress = _progress_record(around, packet, plan, policy, job)
    ledger = RunLedger(ledger_id=around.ids.uuid7(), wp_id=packet.wp_id, job_id=job_id, created_at=job.created_at)
    run = Run(
        around,
        branch,
        job=job,
        plan=plan,
        progress=progress,
        ledger=ledger,
        packet=data,
        tip=tip,
    )
    run.store("packet.md", data)
    run.store("README.md", _README.encode("utf-8"))
    run.store_record(run.paths.definitions, plan)
    _announce(run, plan, policy, data)
    run.set_status(JobStatus.RUNNING, started_at=now)
    run.publish(f"{packet.wp_id} starts: {len(plan.definitions)} micro-tasks in {len(plan.waves)} waves")
    return run


def refuse_lost_log(around: Surroundings, branch: TrackingBranch) -> None:
    """A WP branch with commits of a run, and no log of it: to start anew on top of them would ask all again.

    Raises:
        UsageError: so it is.
    """
    wp_branch, base = f"feat/{branch.wp_id}", around.repo.branch_tip(around.settings.base_branch)
    tip = around.repo.branch_tip(wp_branch)
    if tip is None or base is None:
        return
    jobs = around.repo.git.text("log", "--format=%(trailers:key=Handshake-Job,valueonly)", f"{base}..{tip}", "--")
    if jobs.strip():
        log = branch.ref.removeprefix("refs/heads/")
        raise UsageError(
            f"{wp_branch} holds commits of a run whose log {log} is gone",
            next_step=f"put it back at its commit (which git fsck --no-reflogs names): git branch {log} COMMIT;"
            f" or start anew: handshake run {branch.wp_id} --again",
        )


def _start_of_branch(around: Surroundings, wp_branch: str, base: str) -> str:
    tip = around.repo.branch_tip(wp_branch)
    if tip is None:
        return base
    if not around.repo.is_ancestor(base, tip):
        raise UsageError(
            f"{wp_branch} exists and does not descend from {around.settings.base_branch} ({base[:12]})",
            next_step=f"git branch -m {wp_branch} {wp_branch}-old",
        )
    return tip


def _job_record(
    around: Surroundings,
    packet: Packet,
    plan: Plan,
    policy: ExecutionPolicy,
    job_id: str,
    workspace: Workspace,
    *,
    trace_id: str,
) -> Job:
    check_pairing(JobKind.MICRO_TASK_EXECUTION.value, PROFILE_ID, PROFILE_ID)
    now = around.clock.now()
    root = f"jobs/{job_id}"
    first = policy.level(0)
    return Job(
        job_id=job_id,
        workflow_run_id=around.ids.uuid7(),
        trace_id=trace_id,
        wp_id=packet.wp_id,
        mt_definitions_ref=handle_for("file", f"{root}/mt_definitions.json", committed_json(plan)),
        progress_artifact_ref=f"{root}/progress_artifact.json",
        run_ledger_ref=f"{root}/run_ledger.json",
        execution_policy=policy,
        execution_state=ExecutionState(started_at=now, last_activity_at=now, current_model_id=first.model_id),
        workspace=workspace,
        created_at=now,
    )


def _progress_record(
    around: Surroundings, packet: Packet, plan: Plan, policy: ExecutionPolicy, job: Job
) -> ProgressArtifact:
    progress = ProgressArtifact(
        wp_id=packet.wp_id,
        job_id=job.job_id,
        created_at=job.created_at,
        updated_at=job.created_at,
        policy=policy,
        learning_context=LearningContext(
            skill_bank_snapshot_at_start=job.created_at,
            loras_available=tuple(sorted(lora.id for lora in around.settings.loras)),
        ),
        micro_tasks=tuple(MtProgress(mt_id=mt_id, name=plan.definition(mt_id).name) for mt_id in plan.order),
    )
    return progress.model_copy(update={"aggregate_stats": aggregate(progress)})


def _announce(run: Run, plan: Plan, policy: ExecutionPolicy, data: bytes) -> None:
    run.emit(
        "FR-EVT-GOV-WP-001",
        {"state": "activated", "packet_path": run.job.workspace.packet_path, "packet_hash": hash_of(data.hex())},
        key="start/wp",
    )
    for gate in ("phase", "pre_work"):  # a packet that fails one of them never becomes a job
        passed: dict[str, object] = {"gate": gate, "outcome": "pass", "error_codes": []}
        run.emit("FR-EVT-GOV-GATES-001", passed, key=f"start/{gate.replace('_', '-')}")
    for check in check_commands(run.around, plan):
        payload = check.model_dump(mode="json", exclude_none=True)
        run.emit("FR-EVT-CAP", payload, key=f"start/cap/{check.capability_id}")
    run.emit(
        "FR-EVT-MT-001",
        {
            "total_mts": len(plan.definitions),
            "execution_policy": policy.model_dump(mode="json"),
            "mt_ids": list(plan.order),
            "execution_waves": [list(wave) for wave in plan.waves],
            "micro_tasks": [
                {
                    "mt_id": mt.mt_id,
                    "task_tags": list(mt.task_tags),
                    "token_budget": mt.token_budget,
                    "files": len(mt.files.writable),
                }
                for mt in plan.definitions
            ],
        },
        key="start/001",
    )


_README = """# The log of a work packet

Each commit on this branch is one state change of a run; the newest tells where it stands.
`packet.md` is the packet as signed. Under `jobs/<job id>/`:

- `job.json`, `progress_artifact.json`, `run_ledger.json`, `mt_definitions.json`: the records
- `events/`: the journal, JSON lines
- `steps/<step id>/`: prompt, reply, edits, validation, outputs and patch of one iteration
- `worktree/`: the running micro-task's files; `git diff` of two commits shows what a step changed
- `decisions/`: answers of humans at gates; `escalations/`, `distillation/`, `drop_backs/`, `summaries/`

Read it with `git log -p`, or with `handshake log` and `handshake show`. Only Handshake writes here.
"""
