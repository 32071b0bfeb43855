"""Each of the six gates is made to fire; the first that denies stops, and every outcome is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from handshake.domain.artifact import handle_for
from handshake.domain.microtask import FileAccess
from handshake.domain.operation import EvidencePolicy, OperationBudget, OutputSpec, PlannedOperation
from handshake.domain.reply import Edit
from handshake.toolbus.operations import edit_operation, shell_operation

ORDER = ["G-SCHEMA", "G-CAP", "G-INTEGRITY", "G-BUDGET", "G-PROVENANCE", "G-DET"]
OP = "01890a5d-ac96-774b-bcce-b302099a8057"


def op(**change: Any) -> PlannedOperation:
    return shell_operation(OP, "cat seen", timeout_ms=5000).model_copy(update=change)


def params(**change: Any) -> dict[str, Any]:
    return {**op().params, **change}


def budget(**change: Any) -> OperationBudget:
    return (op().budget or OperationBudget()).model_copy(update=change)


DENIED: list[tuple[str, str, dict[str, Any], str]] = [
    ("G-SCHEMA", "HSK-400", {"schema_version": "poe-0.9"}, "poe-1.0"),
    ("G-SCHEMA", "HSK-400", {"op_id": "7"}, "no UUID"),
    ("G-SCHEMA", "HSK-400", {"engine_id": "engine.rocket"}, "unknown engine"),
    ("G-SCHEMA", "HSK-400", {"operation": "launch"}, "no operation"),
    ("G-SCHEMA", "HSK-400", {"engine_id": "engine.context", "operation": "build_pack"}, "no body"),
    ("G-SCHEMA", "HSK-400", {"engine_version_req": ">=2.0"}, "1.0.0"),
    ("G-SCHEMA", "HSK-400", {"engine_version_req": "latest"}, "latest"),
    ("G-SCHEMA", "HSK-400", {"output_spec": None}, "output_spec"),
    ("G-SCHEMA", "HSK-400", {"output_spec": OutputSpec(expected_types=("artifact.file",))}, "artifact.file"),
    ("G-SCHEMA", "HSK-400", {"params": {"command": "cat seen"}}, "timeout_ms"),
    ("G-SCHEMA", "HSK-400", {"params": params(shell="zsh")}, "shell"),
    ("G-SCHEMA", "HSK-400", {"params": params(env={"PATH": "."})}, "PATH"),
    ("G-SCHEMA", "HSK-400", {"params": params(env={"MY_API_KEY": "x"})}, "MY_API_KEY"),
    ("G-SCHEMA", "HSK-400", {"params": params(stdout_path="../x")}, "artifact path"),
    ("G-CAP", "HSK-4001", {"capabilities_requested": ()}, "no capabilities"),
    ("G-CAP", "HSK-4001", {"capability_profile_id": ""}, "no capability profile"),
    ("G-CAP", "HSK-4001", {"capability_profile_id": "Reviewer"}, "not granted"),
    (
        "G-CAP",
        "HSK-4001",
        {"capabilities_requested": ("fs.read", "fs.write", "proc.exec")},
        "proc.exec is not granted",
    ),
    ("G-CAP", "HSK-4001", {"capabilities_requested": (*op().capabilities_requested, "fs.erase")}, "unknown"),
    ("G-CAP", "HSK-4001", {"capabilities_requested": (*op().capabilities_requested, "net.http")}, "not for"),
    ("G-CAP", "HSK-4001", {"capabilities_requested": ("fs.read", "proc.exec:cat")}, "fs.write"),
    ("G-CAP", "HSK-4001", {"capabilities_requested": ("fs.read", "fs.write", "proc.exec:ls")}, "proc.exec:cat"),
    ("G-CAP", "HSK-4001", {"params": params(command="cat seen; rm x")}, "proc.exec:rm"),
    ("G-CAP", "HSK-4001", {"params": params(command="cat $(")}, "parsed"),
    ("G-INTEGRITY", "HSK-422", {"params": params(command="cat " + "x" * 33_000)}, "artifact"),
    ("G-INTEGRITY", "HSK-4001", {"params": params(cwd="..")}, "leaves the worktree"),
    ("G-INTEGRITY", "HSK-4001", {"params": params(cwd="/etc")}, "leaves the worktree"),
    ("G-INTEGRITY", "HSK-4001", {"params": params(cwd="out")}, "leaves the worktree"),
    ("G-INTEGRITY", "HSK-4001", {"params": params(cwd="nowhere")}, "no directory"),
    ("G-INTEGRITY", "HSK-422", {"inputs": (handle_for("file", "x", b"x"),)}, "not handed over"),
    ("G-BUDGET", "HSK-400-BUDGET", {"budget": None}, "budget"),
    ("G-BUDGET", "HSK-400-BUDGET", {"budget": OperationBudget(output_bytes=5)}, "wall_time_ms"),
    ("G-BUDGET", "HSK-400-BUDGET", {"budget": budget(wall_time_ms=10**7)}, "wall_time_ms"),
    ("G-BUDGET", "HSK-400-BUDGET", {"budget": budget(memory_bytes=10**12)}, "memory_bytes"),
    ("G-BUDGET", "HSK-400-BUDGET", {"budget": budget(wall_time_ms=4000)}, "timeout_ms"),
    ("G-BUDGET", "HSK-400-BUDGET", {"budget": budget(output_bytes=100)}, "output_spec"),
    ("G-PROVENANCE", "HSK-400-PROVENANCE", {"evidence_policy": None}, "evidence_policy"),
    ("G-PROVENANCE", "HSK-400-PROVENANCE", {"evidence_policy": EvidencePolicy(required=False)}, "evidence"),
    ("G-DET", "HSK-400-DET", {"determinism": "D2"}, "ceiling D1"),
]


@pytest.mark.parametrize(("gate", "code", "change", "reason"), DENIED)
def test_a_gate_denies_and_stops(bench: Any, gate: str, code: str, change: dict[str, Any], reason: str) -> None:
    (bench.worktree / "seen").write_text("x")
    (bench.worktree / "out").symlink_to("/etc")
    result = bench.bus.run(op(**change))
    assert result.status == "denied"
    assert [error.code for error in result.errors] == [code]
    assert reason in result.errors[0].message
    assert gate in result.errors[0].message
    before = ORDER[: ORDER.index(gate)]
    assert bench.gates() == [(name, "pass") for name in before] + [(gate, "deny")]
    assert not result.outputs
    assert not any(kind == "FR-EVT-001" for kind, _, _ in bench.records)


def test_what_passes_all_six_runs_and_is_recorded(bench: Any) -> None:
    (bench.worktree / "seen").write_text("x")
    result = bench.bus.run(op())
    assert result.status == "succeeded"
    assert bench.gates() == [(name, "pass") for name in ORDER]
    assert bench.checks() == {"fs.read": "allow", "fs.write": "allow", "proc.exec:cat": "allow"}
    command = next(payload for kind, payload, _ in bench.records if kind == "FR-EVT-001")
    assert command["command"] == "cat seen"
    assert command["stdout_ref"] == "jobs/j/steps/s/stdout-0.txt"
    assert command["sandbox"] == {"backend": "off", "level": "none"}
    keys = [key for _, _, key in bench.records]
    assert len(keys) == len(set(keys))
    assert f"{OP}/gate/G-CAP" in keys


def test_the_result_carries_its_provenance(bench: Any) -> None:
    (bench.worktree / "seen").write_text("x")
    result = bench.bus.run(op())
    said = result.provenance
    assert (said.engine_id, said.engine_version, said.determinism) == ("engine.shell", "1.0.0", "D1")
    assert said.capabilities_granted == ("fs.read", "fs.write", "proc.exec:cat")
    assert said.outputs == tuple(output.handle.content_hash for output in result.outputs)
    assert said.environment["sandbox"] == "off"
    assert result.evidence == tuple(output.handle for output in result.outputs)
    again = bench.bus.run(op()).provenance
    assert again.config_hash == said.config_hash


def test_a_deny_of_one_program_is_an_event(bench: Any) -> None:
    result = bench.shell("cat a | rm b")
    assert result.status == "denied"
    assert bench.checks() == {
        "fs.read": "allow",
        "fs.write": "allow",
        "proc.exec:cat": "allow",
        "proc.exec:rm": "deny",
    }


def test_a_command_of_builtins_starts_no_program_and_runs(bench: Any) -> None:
    assert bench.shell("test -d . && echo yes").outputs[0].data == b"yes\n"
    assert "proc.exec" not in bench.checks()


def test_an_input_artifact_must_be_what_its_handle_says(bench: Any) -> None:
    edits = (Edit(path="a.txt", form="whole", content="x\n" * 40_000),)
    operation, payloads = edit_operation(OP, edits, FileAccess(create=("a.txt",)))
    assert operation.inputs
    forged = {name: data.replace(b"x", b"y") for name, data in payloads.items()}
    result = bench.bus.run(operation, forged)
    assert (result.status, result.errors[0].code) == ("denied", "HSK-422")
    assert not (bench.worktree / "a.txt").exists()
    assert bench.bus.run(operation, payloads).status == "succeeded"
    assert (bench.worktree / "a.txt").read_text() == "x\n" * 40_000


def test_commands_are_judged_at_job_creation_without_running(bench: Any, worktree: Path) -> None:
    passed = bench.bus.check(shell_operation(OP, "sh -c 'cat x > made'", timeout_ms=1000), stage="creation")
    assert passed.outcome == "pass"
    denied = bench.bus.check(shell_operation(OP, "cat x; curl y", timeout_ms=1000), stage="creation")
    assert denied.outcome == "deny"
    assert "proc.exec:curl" in (denied.reason or "")
    assert not list(worktree.iterdir())
    stages = {payload["stage"] for kind, payload, _ in bench.records if kind == "FR-EVT-CAP"}
    assert stages == {"creation"}


def test_a_result_without_evidence_is_not_believed(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from handshake.toolbus import bus
    from handshake.toolbus.engine import Answer

    monkeypatch.setattr(bus, "_ENGINES", {"engine.shell": lambda op, context: Answer(status="succeeded")})
    result = bench.bus.run(op())
    assert result.status == "failed"
    assert "evidence" in result.errors[0].message
    assert bench.gates()[-1] == ("G-DET", "deny")


@pytest.mark.parametrize(("number", "code"), [(28, "HSK-507"), (13, "HSK-503")], ids=["disk full", "no permission"])
def test_what_the_machine_refuses_is_a_failed_result(
    bench: Any, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    from handshake.toolbus import bus

    def fails(op: Any, context: Any) -> Any:
        raise OSError(number, "told so", "some/file")

    monkeypatch.setattr(bus, "_ENGINES", {"engine.shell": fails})
    result = bench.bus.run(op())
    assert (result.status, result.errors[0].code) == ("failed", code)
    assert "some/file" in result.errors[0].message
