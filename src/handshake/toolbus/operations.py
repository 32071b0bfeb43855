"""Planned operations: how they are made, and how their parameters read. Contract: `tool-bus.md`, PlannedOperation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, field_validator

from handshake.domain.artifact import ArtifactHandle, handle_for
from handshake.domain.errors import CapabilityViolation, UsageError
from handshake.domain.microtask import FileAccess
from handshake.domain.operation import INLINE_LIMIT, EvidencePolicy, OperationBudget, OutputSpec, PlannedOperation
from handshake.domain.record import Record
from handshake.domain.reply import Edit
from handshake.toolbus.commands import programs_of
from handshake.toolbus.registry import shipped_registry

SHELL = "engine.shell"
WORKSPACE = "engine.workspace"
CONTEXT = "engine.context"
_FILE_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")
_VARIABLE = re.compile(r"^[A-Z][A-Z0-9_]*$")
# a command's environment is ours to keep clean: these would undo it
_RESERVED = re.compile(r"^(PATH|HOME|TMPDIR|ENV|BASH_ENV|IFS|LD_.*|DYLD_.*|.*(TOKEN|SECRET|PASSWORD|API_KEY).*)$")


class ShellParams(Record):
    """Parameters of `engine.shell` / `exec`. `cwd` is relative to the worktree; outputs to the artifact prefix."""

    command: str = Field(min_length=1)
    cwd: str = "."
    timeout_ms: int = Field(ge=1)
    env: dict[str, str] = Field(default_factory=dict)
    stdout_path: str = "stdout-0.txt"
    stderr_path: str = "stderr-0.txt"

    @field_validator("command")
    @classmethod
    def _no_nul(cls, value: str) -> str:
        if "\0" in value:
            raise ValueError("a command holds no NUL")
        return value

    @field_validator("env")
    @classmethod
    def _only_harmless(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _VARIABLE.match(name) or _RESERVED.match(name) or "\0" in text:
                raise ValueError(f"{name} may not be set for a command")
        return value

    @field_validator("stdout_path", "stderr_path")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _FILE_NAME.match(value) or ".." in value.split("/"):
            raise ValueError(f"{value!r} is no artifact path")
        return value


class EditParams(Record):
    """Parameters of `engine.workspace` / `apply_edits`: the edits inline, or the input artifact that holds them."""

    edits: tuple[Edit, ...] | None = None
    edits_ref: str | None = None
    files: FileAccess
    allow_shrink: bool = False


class ContextParams(Record):
    """Parameters of `engine.context` / `build_pack`: which prompt; what it is made from is read by the engine."""

    step_id: str = Field(min_length=1)
    mt_id: str = Field(min_length=1)
    model_id: str = Field(min_length=1)
    iteration: int = Field(ge=1)


PARAMS: Mapping[str, type[ShellParams] | type[EditParams] | type[ContextParams]] = {
    "shell.exec/1": ShellParams,
    "workspace.apply_edits/1": EditParams,
    "context.build_pack/1": ContextParams,
}


def shell_operation(
    op_id: str,
    command: str,
    *,
    timeout_ms: int,
    profile_id: str = "Coder",
    cwd: str = ".",
    env: Mapping[str, str] | None = None,
    stdout_path: str = "stdout-0.txt",
    stderr_path: str = "stderr-0.txt",
) -> PlannedOperation:
    """The operation that runs a verify command.

    It asks for `proc.exec:<program>` for each program; a command that cannot be judged asks for `proc.exec`
    whole, and G-CAP then refuses it with the reason. CPU time is the registry's default, or as long as the
    timeout where that is longer: a verify command that is given five minutes may compute for five minutes.

    Args:
        op_id: a UUID.
        timeout_ms: wall clock, milliseconds.
        stdout_path, stderr_path: where the outputs lie under the bus's artifact prefix.
    """
    try:
        programs = tuple(f"proc.exec:{program}" for program in programs_of(command))
    except CapabilityViolation:
        programs = ("proc.exec",)
    budget = _default_budget(SHELL)
    cpu = max(budget.cpu_time_ms or timeout_ms, timeout_ms)
    params: dict[str, Any] = {
        "command": command,
        "cwd": cwd,
        "timeout_ms": timeout_ms,
        "stdout_path": stdout_path,
        "stderr_path": stderr_path,
    }
    if env:
        params["env"] = dict(env)
    return PlannedOperation(
        op_id=op_id,
        engine_id=SHELL,
        operation="exec",
        params=params,
        capabilities_requested=("fs.read", "fs.write", *programs),
        capability_profile_id=profile_id,
        budget=budget.model_copy(update={"wall_time_ms": timeout_ms, "cpu_time_ms": cpu}),
        determinism="D1",
        evidence_policy=EvidencePolicy(required=True, notes="stdout and stderr"),
        output_spec=OutputSpec(expected_types=("artifact.terminal_output",), max_bytes=budget.output_bytes),
    )


def edit_operation(
    op_id: str, edits: tuple[Edit, ...], files: FileAccess, *, profile_id: str = "Coder", allow_shrink: bool = False
) -> tuple[PlannedOperation, dict[str, bytes]]:
    """The operation that writes a reply's edits, and the payloads to hand to `ToolBus.run` with it.

    Edits that do not fit inline travel as an input artifact. `allow_shrink`: the task asks for a deletion, so a
    whole file may come back much shorter.
    """
    rows = [edit.model_dump(mode="json") for edit in edits]
    params: dict[str, Any] = {"edits": rows, "files": files.model_dump(mode="json")}
    if allow_shrink:
        params["allow_shrink"] = True
    inputs: tuple[ArtifactHandle, ...] = ()
    payloads: dict[str, bytes] = {}
    if inline_size(params) > INLINE_LIMIT:
        data = exact_json(rows)
        handle = handle_for("file", f"edits-{op_id}.json", data)
        del params["edits"]
        params["edits_ref"] = handle.artifact_id
        inputs, payloads = (handle,), {handle.artifact_id: data}
    operation = PlannedOperation(
        op_id=op_id,
        engine_id=WORKSPACE,
        operation="apply_edits",
        inputs=inputs,
        params=params,
        capabilities_requested=("fs.read", "fs.write"),
        capability_profile_id=profile_id,
        budget=_default_budget(WORKSPACE),
        determinism="D3",
        evidence_policy=EvidencePolicy(required=True, notes="the files as written"),
        output_spec=OutputSpec(expected_types=("artifact.file",)),
    )
    return operation, payloads


def context_operation(
    op_id: str, *, step_id: str, mt_id: str, model_id: str, iteration: int, profile_id: str = "Coder"
) -> PlannedOperation:
    """The operation that compiles the prompt of a step."""
    return PlannedOperation(
        op_id=op_id,
        engine_id=CONTEXT,
        operation="build_pack",
        params={"step_id": step_id, "mt_id": mt_id, "model_id": model_id, "iteration": iteration},
        capabilities_requested=("fs.read",),
        capability_profile_id=profile_id,
        budget=_default_budget(CONTEXT),
        determinism="D3",
        evidence_policy=EvidencePolicy(required=True, notes="the prompt"),
        output_spec=OutputSpec(expected_types=("artifact.prompt_payload",)),
    )


def edits_of(params: EditParams, payloads: Mapping[str, bytes]) -> tuple[Edit, ...]:
    """The edits of an operation, inline or from its input artifact.

    Raises:
        UsageError: neither or both are there, the artifact is missing or holds no edits.
    """
    if (params.edits is None) == (params.edits_ref is None):
        raise UsageError("apply_edits takes either edits or edits_ref")
    if params.edits is not None:
        return params.edits
    data = payloads.get(params.edits_ref or "")
    if data is None:
        raise UsageError(f"input artifact {params.edits_ref} is not there")
    try:
        return tuple(Edit.model_validate(row) for row in json.loads(data))
    except (ValueError, TypeError, ValidationError) as error:
        raise UsageError(f"input artifact {params.edits_ref} holds no edits: {type(error).__name__}") from None


def inline_size(params: Mapping[str, Any]) -> int:
    """Bytes of the parameters as JSON."""
    return len(exact_json(params))


def exact_json(value: Any) -> bytes:
    """JSON that gives back the same strings: the canonical form would normalise a file's characters."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def _default_budget(engine_id: str) -> OperationBudget:
    entry = shipped_registry().engine(engine_id)
    assert entry is not None, engine_id
    return entry.default_budget
