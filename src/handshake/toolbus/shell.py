"""`engine.shell` / `exec`: one verify command, sandboxed, bounded, its outputs kept. Contract: `tool-bus.md`.

Reached through `handshake.toolbus.bus.ToolBus` alone.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import sys
from dataclasses import replace
from pathlib import Path

from handshake.config.failpoints import failpoint
from handshake.domain.artifact import handle_for
from handshake.domain.errors import CapabilityViolation, EnvironmentProblem
from handshake.domain.operation import OperationBudget, OperationError, Output, PlannedOperation
from handshake.toolbus.control_groups import control_group
from handshake.toolbus.engine import Answer, EngineContext
from handshake.toolbus.environment import clean_environment
from handshake.toolbus.operations import ShellParams
from handshake.toolbus.paths import directory_inside
from handshake.toolbus.processes import Finished, run_bounded
from handshake.toolbus.sandbox import Level, Limits
from handshake.toolbus.scratch import operation_folder

MARKER = "HANDSHAKE_OP"
_SIGNAL_BASE = 128
_PROCESSES = 4096
# Set in the child, so that the launcher itself is not held; `$0` to `$3` are CPU seconds, KiB of memory, processes,
# the command. Soft before hard: at the soft limit the kernel sends SIGXCPU, which can be told from any other kill.
# Memory is RLIMIT_DATA: RLIMIT_AS would refuse the address space that node, Go and the JVM only reserve. bash counts
# processes with -u, dash with -p.
_SET_LIMITS = (
    'ulimit -c 0; [ "$0" = - ] || { ulimit -S -t "$0"; ulimit -H -t $(($0 + 2)); };'
    ' [ "$1" = - ] || ulimit -d "$1" 2>/dev/null;'
    ' [ "$2" = - ] || ulimit -u "$2" 2>/dev/null || ulimit -p "$2" 2>/dev/null; exec /bin/sh -c "$3"'
)


def run_shell(op: PlannedOperation, context: EngineContext) -> Answer:
    """Run the command. `succeeded` means that it ran to an end of its own; what it said is the caller's to judge.

    facts: `exit_code` (as a shell reports it), `signal`, `timed_out`, `truncated`, `duration_ms`, `sandbox`.
    outputs: stdout, stderr.

    Raises:
        EnvironmentProblem: Windows, or the program cannot be started.
        CapabilityViolation: the worktree's `.git` is not what it was, before or after.
        OSError: the disk is full.
    """
    if sys.platform == "win32":
        raise EnvironmentProblem("verify commands do not run on Windows", next_step="run Handshake inside WSL 2")
    params = ShellParams.model_validate(op.params)
    assert op.budget is not None
    budget = op.budget
    git_before = _git_state(context.worktree)
    failpoint("verify.start")
    started = context.clock.monotonic()
    finished = _launch(op.op_id, params, budget, context)
    duration_ms = round((context.clock.monotonic() - started) * 1000)
    failpoint("verify.end")
    outputs = (
        _output(context.artifact_prefix, params.stdout_path, finished.stdout, finished.truncated),
        _output(context.artifact_prefix, params.stderr_path, finished.stderr, finished.truncated),
    )
    killed_by = _signal_of(finished.returncode)
    timed_out = finished.timed_out or killed_by == signal.SIGXCPU
    facts = {
        "exit_code": finished.returncode if finished.returncode >= 0 else _SIGNAL_BASE - finished.returncode,
        "signal": killed_by,
        "timed_out": timed_out,
        "truncated": finished.truncated,
        "duration_ms": duration_ms,
        "sandbox": {"backend": context.sandbox.name, "level": context.sandbox.level},
    }
    errors = _errors(params, timed_out=timed_out, finished=finished, budget=budget)
    if _git_state(context.worktree) != git_before:
        errors = (OperationError(code=CapabilityViolation.code, message="the command changed the worktree's .git"),)
    return Answer(
        status="failed" if errors else "succeeded",
        outputs=outputs,
        evidence=tuple(output.handle for output in outputs),
        errors=errors,
        facts=facts,
    )


def _launch(op_id: str, params: ShellParams, budget: OperationBudget, context: EngineContext) -> Finished:
    worktree = context.worktree
    cwd = directory_inside(worktree, params.cwd)
    with operation_folder() as scratch:
        places = context.sandbox.places(scratch)
        env = clean_environment(
            worktree, os.environ, home=places.home, tmp=places.tmp, extra={**params.env, MARKER: op_id}
        )
        limits = Limits(
            cpu_time_ms=budget.cpu_time_ms,
            memory_bytes=budget.memory_bytes,
            processes=_PROCESSES,
        )
        plan = context.sandbox.wrap(
            with_limits(params.command, limits, context.sandbox.level),
            worktree=worktree,
            cwd=cwd,
            env=env,
            limits=limits,
            scratch=scratch,
            repository=context.repository,
        )
        if shutil.which(plan.argv[0]) is None:
            raise EnvironmentProblem(f"{plan.argv[0]} is not there any more", next_step="handshake doctor")
        assert budget.output_bytes is not None
        with control_group(op_id, limits) as group:
            finished = run_bounded(
                plan if group is None else replace(plan, argv=(*group.prefix, *plan.argv)),
                scratch=scratch,
                timeout_s=params.timeout_ms / 1000,
                output_bytes=budget.output_bytes,
                marker=f"{MARKER}={op_id}",
            )
            if group is not None and group.ran_out_of_memory():
                finished = replace(finished, out_of_memory=True)
    if plan.complaint and finished.returncode == 1 and _is_complaint(finished, plan.complaint):
        raise EnvironmentProblem(
            f"the {context.sandbox.name} sandbox failed: {finished.stderr.decode('utf-8', 'replace').strip()}",
            next_step="handshake doctor",
        )
    return finished


def _is_complaint(finished: Finished, prefix: bytes) -> bool:
    """Whether the launcher failed and not the command: one line of its own, and nothing else was ever said."""
    return finished.stderr.startswith(prefix) and not finished.stdout and finished.stderr.count(b"\n") <= 1


def with_limits(command: str, limits: Limits, level: Level) -> tuple[str, ...]:
    """The arguments that set the limits and then run `command` by the shell.

    Processes are limited here only in a user namespace: elsewhere the count is of all that this user runs.
    """
    cpu = "-" if limits.cpu_time_ms is None else str(-(-limits.cpu_time_ms // 1000))
    memory = "-" if limits.memory_bytes is None else str(limits.memory_bytes // 1024)
    processes = "-" if limits.processes is None or level != "full" else str(limits.processes)
    return ("/bin/sh", "-c", _SET_LIMITS, cpu, memory, processes, command)


def _signal_of(returncode: int) -> int | None:
    """The signal that ended the command: by wait status, or as a shell and bubblewrap report it."""
    number = -returncode if returncode < 0 else returncode - _SIGNAL_BASE
    return number if number in {int(known) for known in signal.Signals} else None


def _output(prefix: str, name: str, data: bytes, truncated: bool) -> Output:
    path = f"{prefix.rstrip('/')}/{name}" if prefix else name
    return Output(handle=handle_for("tool_output", path, data), data=data, truncated=truncated)


def _errors(
    params: ShellParams, *, timed_out: bool, finished: Finished, budget: OperationBudget
) -> tuple[OperationError, ...]:
    if finished.truncated:
        return (OperationError(code="HSK-413", message=f"the output went over {budget.output_bytes} bytes"),)
    if finished.timed_out:
        return (OperationError(code="HSK-408", message=f"the command ran over {params.timeout_ms} ms"),)
    if finished.out_of_memory and finished.returncode != 0:
        return (
            OperationError(code="HSK-413", message=f"the command used over {budget.memory_bytes} bytes of memory"),
        )
    if timed_out:
        return (OperationError(code="HSK-408", message=f"the command used over {budget.cpu_time_ms} ms of CPU"),)
    return ()


def _git_state(worktree: Path) -> tuple[int, bytes] | None:
    """What the worktree's `.git` is: its kind, and the content where it is a file."""
    git = worktree / ".git"
    try:
        mode = os.lstat(git).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(mode):
        raise CapabilityViolation(f"{git} is a symbolic link: something replaced the worktree's .git")
    return stat.S_IFMT(mode), git.read_bytes() if stat.S_ISREG(mode) else b""
