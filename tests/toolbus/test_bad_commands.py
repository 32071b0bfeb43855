"""Commands that behave badly: a typed result each time, nothing left behind, never a hang."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="verify commands do not run there")


def out(result: Any, index: int = 0) -> bytes:
    data: bytes = result.outputs[index].data
    return data


def test_a_program_that_is_not_there_and_one_that_may_not_run(each: Any) -> None:
    result = each.shell("./run.sh")
    assert (result.status, result.facts["exit_code"]) == ("succeeded", 127)
    (each.worktree / "run.sh").write_text("#!/bin/sh\n")
    assert each.shell("./run.sh").facts["exit_code"] == 126
    (each.worktree / "run.sh").write_text("#!/not/there\n")
    (each.worktree / "run.sh").chmod(0o755)
    assert each.shell("./run.sh").facts["exit_code"] in (126, 127)


@pytest.mark.parametrize("number", [6, 9, 11, 15])
def test_a_signal_is_told_from_an_exit_code(each: Any, number: int) -> None:
    result = each.shell(f"kill -{number} $$")
    assert (result.status, result.facts["exit_code"], result.facts["signal"]) == ("succeeded", 128 + number, number)


def test_closed_outputs_are_empty_ones(each: Any) -> None:
    started = time.monotonic()
    result = each.shell("exec >&- 2>&-; sleep 0.2; echo x; exit 4")
    assert (result.facts["exit_code"], out(result), out(result, 1)) == (4, b"", b"")
    assert time.monotonic() - started < 15


def test_writing_to_a_closed_pipe_ends_the_writer(each: Any) -> None:
    result = each.shell("yes | head -n 2", timeout_ms=15_000)
    assert (result.status, out(result)) == ("succeeded", b"y\ny\n")


def test_output_of_any_bytes_is_kept_and_recorded(each: Any) -> None:
    (each.worktree / "b").write_bytes(bytes(range(256)))
    result = each.shell("cat b; cat b >&2")
    assert out(result) == out(result, 1) == bytes(range(256))
    assert any(kind == "FR-EVT-001" for kind, _, _ in each.records)


@pytest.mark.parametrize("locale", ["C", "POSIX", "de_DE.ISO-8859-1", "ja_JP.SJIS", "nonsense"])
def test_the_locale_may_be_any(each: Any, monkeypatch: pytest.MonkeyPatch, locale: str) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    monkeypatch.setenv("LANG", locale)
    (each.worktree / "größe.txt").write_text("ü\n", encoding="utf-8")
    result = each.shell("cat gr*; ls")
    assert result.facts["exit_code"] == 0
    assert out(result).startswith("ü\n".encode())


def test_a_directory_that_is_gone_is_refused_before_anything_runs(each: Any) -> None:
    result = each.shell("ls", cwd="sub")
    assert (result.status, result.errors[0].code) == ("denied", "HSK-4001")
    (each.worktree / "sub").mkdir()
    assert each.shell("ls", cwd="sub").facts["exit_code"] == 0
    shutil.rmtree(each.worktree)
    result = each.shell("ls")
    assert (result.status, result.errors[0].code) == ("denied", "HSK-4001")


def test_a_directory_that_goes_while_a_command_runs_in_it(each: Any) -> None:
    (each.worktree / "sub").mkdir()
    remover = threading.Timer(0.4, shutil.rmtree, [each.worktree / "sub"])
    remover.start()
    result = each.shell("sleep 1; ls; cat x", cwd="sub", timeout_ms=15_000)
    remover.join()
    assert result.status == "succeeded"
    assert result.facts["exit_code"] != 0


def test_a_worktree_that_goes_while_a_command_runs_in_it(each: Any) -> None:
    remover = threading.Timer(0.4, shutil.rmtree, [each.worktree], {"ignore_errors": True})
    remover.start()
    result = each.shell("sleep 1; echo end", timeout_ms=15_000)
    remover.join()
    assert out(result) == b"end\n"
    assert result.status == "succeeded"


def test_an_output_that_is_cut_is_marked_and_the_rest_is_killed(each: Any) -> None:
    result = each.shell("yes; echo never", timeout_ms=60_000)
    assert (result.status, result.errors[0].code) == ("failed", "HSK-413")
    assert result.outputs[0].truncated
    assert len(out(result)) == 10 * 1024**2


def test_what_was_said_until_the_clock_ran_out_is_kept(each: Any) -> None:
    result = each.shell("echo begun; echo oh >&2; sleep 60", timeout_ms=800)
    assert (result.status, result.errors[0].code, result.facts["timed_out"]) == ("failed", "HSK-408", True)
    assert (out(result), out(result, 1)) == (b"begun\n", b"oh\n")


def test_the_clock_reaches_a_daemon_that_hid_itself(each: Any) -> None:
    """A session of its own, no marker in its environment, its parent gone."""
    (each.worktree / "run.sh").write_text("#!/bin/sh\nwhile /bin/sleep 0.02; do echo >> ticks; done\n")
    (each.worktree / "run.sh").chmod(0o755)
    each.shell("(setsid env -i ./run.sh &) ; sleep 60", timeout_ms=1200)
    ticks: Path = each.worktree / "ticks"
    before = ticks.stat().st_size
    assert before > 0
    time.sleep(0.3)
    assert ticks.stat().st_size == before


def test_memory_of_all_processes_together_is_held_and_named(each: Any) -> None:
    from handshake.toolbus.control_groups import can_limit

    if not can_limit():
        pytest.skip("control groups cannot be written here")
    (each.worktree / "eat.py").write_text(
        "import os, time\nfor _ in range(3):\n    if os.fork() == 0:\n        break\n"
        "x = b'x' * (100 << 20)\ntime.sleep(1)\n"
        "try:\n    while True: print(os.waitstatus_to_exitcode(os.wait()[1]))\nexcept ChildProcessError: pass\n"
    )
    op = each.operation("python eat.py; exit 1")
    small = op.model_copy(update={"budget": op.budget.model_copy(update={"memory_bytes": 200 << 20})})
    result = each.bus.run(small)
    assert (result.status, result.errors[0].code) == ("failed", "HSK-413")
    assert "of memory" in result.errors[0].message
