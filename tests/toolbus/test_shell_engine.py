"""engine.shell with real processes: outputs, limits, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handshake.config import failpoints
from handshake.domain.operation import OperationBudget
from handshake.toolbus.operations import shell_operation


def out(result: Any, index: int = 0) -> str:
    return str(result.outputs[index].data.decode("utf-8", "replace"))


def test_stdout_and_stderr_are_kept_apart(either: Any) -> None:
    result = either.shell("echo to-out; echo to-err >&2; exit 3", stdout_path="stdout-4.txt")
    assert result.status == "succeeded"
    assert (out(result), out(result, 1)) == ("to-out\n", "to-err\n")
    assert result.facts["exit_code"] == 3
    assert result.facts["signal"] is None
    assert result.outputs[0].handle.path == "jobs/j/steps/s/stdout-4.txt"
    assert result.facts["sandbox"]["level"] == either.sandbox.level


def test_a_program_that_is_not_there_is_127(either: Any) -> None:
    assert either.shell("./run.sh").facts["exit_code"] == 127


def test_binary_output_is_kept_to_the_byte(either: Any) -> None:
    data = bytes(range(256)) * 300
    (either.worktree / "b").write_bytes(data)
    assert either.shell("cat b; cat b >&2").outputs[0].data == data


def test_a_command_runs_in_its_directory(either: Any) -> None:
    (either.worktree / "sub").mkdir()
    assert out(either.shell("pwd", cwd="sub")).strip() == str((either.worktree / "sub").resolve())


def test_it_reads_no_input(either: Any) -> None:
    assert either.shell("cat", timeout_ms=5000).outputs[0].data == b""


def test_the_environment_is_an_allow_list(either: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "GITHUB_TOKEN", "SSH_AUTH_SOCK", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "GIT_DIR"):
        monkeypatch.setenv(name, "canary-value")
    monkeypatch.setenv("LC_TIME", "C")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    result = either.shell("export", env={"MY_SWITCH": "on"})
    assert "MY_SWITCH='on'" in out(result)
    assert "canary-value" not in out(result)
    for wanted in ("CI='1'", "NO_COLOR='1'", "PYTHONHASHSEED='0'", "PYTHONDONTWRITEBYTECODE='1'", "TZ=", "LC_TIME="):
        assert wanted in out(result)


def test_the_launchers_environment_is_as_clean(held: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "canary-value")
    seen = out(held.shell("cat /proc/*/environ"))
    assert "PYTHONHASHSEED" in seen
    assert "canary-value" not in seen


def test_the_home_is_private_and_gone_afterwards(either: Any) -> None:
    result = either.shell('cd && echo x > mark && pwd && test "$HOME" = "$(pwd)" && echo mine > "$TMPDIR/t"')
    assert result.facts["exit_code"] == 0
    home = out(result).splitlines()[0]
    assert home != os.environ.get("HOME")
    assert not Path(home, "mark").exists()


def test_the_projects_own_environment_comes_first(either: Any) -> None:
    tools = either.worktree / ".venv" / "bin"
    tools.mkdir(parents=True)
    (tools / "pytest").write_text("#!/bin/sh\necho from the project\n")
    (tools / "pytest").chmod(0o755)
    assert out(either.shell("pytest")) == "from the project\n"


def test_pytest_of_our_own_environment_runs_a_small_project(either: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # as in an environment that is switched on; another Python may lack pytest, or have plugins that write
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    (either.worktree / "calc.py").write_text("def add(a, b):\n    return a + b\n")
    (either.worktree / "test_calc.py").write_text(
        "from calc import add\n\ndef test_add():\n    assert add(1, 2) == 4\n"
    )
    result = either.shell("python -m pytest -q -p no:cacheprovider")
    assert result.facts["exit_code"] == 1
    assert "1 failed" in out(result)
    assert sorted(path.name for path in either.worktree.iterdir()) == ["calc.py", "test_calc.py"]


def test_a_signal_is_reported(either: Any) -> None:
    result = either.shell("sh -c 'kill -11 $$' ; exit $?")
    assert (result.facts["exit_code"], result.facts["signal"]) == (139, 11)
    result = either.shell("kill -9 $$")
    assert (result.facts["exit_code"], result.facts["signal"]) == (137, 9)


def test_the_clock_kills_the_whole_tree_also_what_made_itself_a_daemon(either: Any) -> None:
    (either.worktree / "run.sh").write_text("#!/bin/sh\nwhile :; do echo tick >> ticks; sleep 0.05; done\n")
    (either.worktree / "run.sh").chmod(0o755)
    started = time.monotonic()
    result = either.shell("setsid ./run.sh & (setsid ./run.sh &) ; echo begun; sleep 60", timeout_ms=1000)
    assert time.monotonic() - started < 8
    assert result.status == "failed"
    assert result.facts["timed_out"]
    assert result.errors[0].code == "HSK-408"
    assert out(result) == "begun\n"
    stopped = (either.worktree / "ticks").read_text()
    assert stopped
    time.sleep(0.3)
    assert (either.worktree / "ticks").read_text() == stopped


def test_a_child_left_in_the_background_does_not_hold_the_result(either: Any) -> None:
    started = time.monotonic()
    result = either.shell("setsid sleep 30 & echo done")
    assert time.monotonic() - started < 8
    assert (result.status, out(result)) == ("succeeded", "done\n")


def test_a_gigabyte_of_output_is_cut_and_its_writer_killed(either: Any) -> None:
    op = shell_operation(either.ids.uuid7(), "yes | head -c 1000000000", timeout_ms=60_000)
    result = either.bus.run(op)
    assert result.status == "failed"
    assert result.facts["truncated"]
    assert result.errors[0].code == "HSK-413"
    assert len(result.outputs[0].data) == 10 * 1024**2
    assert result.outputs[0].data.startswith(b"y\ny\n")
    assert result.outputs[0].truncated


def test_both_outputs_share_one_budget(bench: Any) -> None:
    op = shell_operation(bench.ids.uuid7(), "yes & yes >&2", timeout_ms=20_000)
    small = OperationBudget(wall_time_ms=20_000, output_bytes=100_000)
    spec = op.output_spec.model_copy(update={"max_bytes": 100_000}) if op.output_spec else None
    result = bench.bus.run(op.model_copy(update={"budget": small, "output_spec": spec}))
    assert sum(len(output.data) for output in result.outputs) == 100_000


def test_four_gigabytes_of_memory_are_refused(either: Any) -> None:
    result = either.shell("python -c 'x = bytearray(4_000_000_000); print(len(x))'")
    assert result.facts["exit_code"] == 1
    assert "MemoryError" in out(result, 1)


def test_cpu_time_is_held_and_counts_as_a_timeout(bench: Any) -> None:
    op = shell_operation(bench.ids.uuid7(), "while :; do :; done", timeout_ms=20_000)
    assert op.budget is not None
    result = bench.bus.run(op.model_copy(update={"budget": op.budget.model_copy(update={"cpu_time_ms": 1000})}))
    assert result.facts["timed_out"]
    assert result.facts["signal"] == signal.SIGXCPU
    assert "CPU" in result.errors[0].message


def test_a_command_that_has_five_minutes_may_compute_for_five() -> None:
    budget = shell_operation("x", "pytest", timeout_ms=300_000).budget
    assert budget is not None
    assert (budget.cpu_time_ms, budget.wall_time_ms) == (300_000, 300_000)


@pytest.mark.parametrize("attack", ["echo gitdir: /evil > .git", "python swap.py"])
def test_a_changed_git_file_is_seen_even_without_a_sandbox(bench: Any, attack: str) -> None:
    (bench.worktree / ".git").write_text("gitdir: /main/.git/worktrees/x\n")
    (bench.worktree / "swap.py").write_text("import os; os.remove('.git'); os.mkdir('.git')\n")
    result = bench.shell(attack)
    assert (result.status, result.errors[0].code) == ("failed", "HSK-4001")


def test_a_git_link_left_behind_is_refused_before_anything_runs(either: Any) -> None:
    (either.worktree / ".git").symlink_to("/etc")
    result = either.shell("echo x > made")
    assert (result.status, result.errors[0].code) == ("denied", "HSK-4001")
    assert not (either.worktree / "made").exists()


def test_the_failpoints_stand_around_the_command(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, ran in (("verify.start", False), ("verify.end", True)):
        monkeypatch.setenv(failpoints.VARIABLE, f"{place}:raise")
        mark = f"made-{place}"
        with pytest.raises(failpoints.FailpointReached):
            bench.shell(f"echo x > {mark}")
        assert (bench.worktree / mark).exists() is ran


_RUN_AND_WAIT = """
import sys
from pathlib import Path
from handshake.domain.clock import SystemClock, SystemIds
from handshake.toolbus.bus import ToolBus
from handshake.toolbus.capabilities import default_profiles
from handshake.toolbus.operations import shell_operation
from handshake.toolbus.sandbox import choose_sandbox
bus = ToolBus(worktree=Path(sys.argv[1]), clock=SystemClock(), sandbox=choose_sandbox("require"),
    profiles=default_profiles(("setsid", "./run.sh", "sleep")), record=lambda *a: None, artifact_prefix="p")
bus.run(shell_operation(SystemIds().uuid7(), "setsid ./run.sh & sleep 60", timeout_ms=60000))
"""


def test_a_run_that_is_killed_takes_its_sandboxed_command_with_it(held: Any) -> None:
    ticks = held.worktree / "ticks"
    (held.worktree / "run.sh").write_text("#!/bin/sh\nwhile :; do echo tick >> ticks; sleep 0.05; done\n")
    (held.worktree / "run.sh").chmod(0o755)
    owner = subprocess.Popen([sys.executable, "-c", textwrap.dedent(_RUN_AND_WAIT), str(held.worktree)])
    deadline = time.monotonic() + 15
    while not ticks.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    owner.kill()
    owner.wait()
    time.sleep(0.3)
    stopped = ticks.read_text()
    time.sleep(0.3)
    assert ticks.read_text() == stopped


def test_a_sandbox_that_fails_is_not_taken_for_a_failed_test(held: Any, tmp_path: Path) -> None:
    complains = tmp_path / "bwrap"
    complains.write_text("#!/bin/sh\necho 'bwrap: Creating new namespace failed' >&2; exit 1\n")
    complains.chmod(0o755)
    for program in ("/nonexistent/bwrap", str(complains)):
        bench = type(held)(held.worktree, replace(held.sandbox, program=program))
        result = bench.shell("true")
        assert (result.status, result.errors[0].code) == ("failed", "HSK-503")
        assert not any(kind == "FR-EVT-001" for kind, _, _ in bench.records)


def test_windows_is_told_about_wsl(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    result = bench.shell("true")
    assert (result.status, result.errors[0].code) == ("failed", "HSK-503")
