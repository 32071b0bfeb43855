"""engine.workspace: all or none, inside the micro-task's files, and every way out refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from handshake.config import failpoints
from handshake.domain.microtask import FileAccess
from handshake.domain.reply import Edit, SearchReplace
from handshake.toolbus import workspace
from handshake.toolbus.operations import edit_operation


def whole(path: str, content: str) -> Edit:
    return Edit(path=path, form="whole", content=content)


def swap(path: str, search: str, replace: str) -> Edit:
    return Edit(path=path, form="search_replace", replacements=(SearchReplace(search=search, replace=replace),))


def apply(bench: Any, *edits: Edit, modify: tuple[str, ...] = (), create: tuple[str, ...] = ()) -> Any:
    operation, payloads = edit_operation(bench.ids.uuid7(), edits, FileAccess(modify=modify, create=create))
    return bench.bus.run(operation, payloads, stage="iteration")


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_edits_are_written_and_told(bench: Any) -> None:
    (bench.worktree / "a.py").write_text("x = 1\ny = 2\n")
    result = apply(
        bench, swap("./a.py", "x = 1", "x = 3"), whole("new/b.py", "z = 1\n"), modify=("a.py",), create=("new/b.py",)
    )
    assert result.status == "succeeded"
    assert tree(bench.worktree) == {"a.py": b"x = 3\ny = 2\n", "new/b.py": b"z = 1\n"}
    assert result.facts["written"] == ["a.py", "new/b.py"]
    assert [row["applied"] for row in result.facts["outcomes"]] == [True, True]
    assert [handle.path for handle in result.evidence] == ["a.py", "new/b.py"]
    stages = {payload["stage"] for kind, payload, _ in bench.records if kind == "FR-EVT-CAP"}
    assert stages == {"iteration"}


def test_edits_of_one_file_build_on_each_other(bench: Any) -> None:
    (bench.worktree / "a.py").write_text("x = 1\n")
    result = apply(bench, swap("a.py", "x = 1", "x = 2"), swap("a.py", "x = 2", "x = 3"), modify=("a.py",))
    assert result.status == "succeeded"
    assert (bench.worktree / "a.py").read_text() == "x = 3\n"


def test_an_edit_that_changes_nothing_writes_nothing(bench: Any) -> None:
    place = bench.worktree / "a.py"
    place.write_text("x = 1\n")
    before = place.stat().st_mtime_ns, place.stat().st_ino
    result = apply(bench, whole("a.py", "x = 1\n"), modify=("a.py",))
    assert (result.status, result.facts["written"]) == ("succeeded", [])
    assert not result.facts["outcomes"][0]["changed"]
    assert (place.stat().st_mtime_ns, place.stat().st_ino) == before


def test_content_is_written_to_the_character(bench: Any) -> None:
    decomposed = "name = 'e\u0301 \U0001f600'\n"
    apply(bench, whole("a.py", decomposed), create=("a.py",))
    assert (bench.worktree / "a.py").read_text(encoding="utf-8") == decomposed


def test_mode_bits_are_kept_and_new_files_are_ordinary(bench: Any) -> None:
    (bench.worktree / "a.sh").write_text("echo 1\n")
    (bench.worktree / "a.sh").chmod(0o750)
    apply(bench, whole("a.sh", "echo 2\n"), whole("b.txt", "x\n"), modify=("a.sh",), create=("b.txt",))
    assert stat.S_IMODE((bench.worktree / "a.sh").stat().st_mode) == 0o750
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((bench.worktree / "b.txt").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("path", ["b.py", "a.py.bak", "A.py", "sub/a.py", "a.pyx"])
def test_a_path_outside_the_micro_task_fails_the_iteration_and_writes_nothing(bench: Any, path: str) -> None:
    (bench.worktree / "a.py").write_text("x = 1\n")
    result = apply(bench, whole("a.py", "x = 2\n"), whole(path, "y = 1\n"), modify=("a.py",))
    assert (result.status, result.errors[0].code) == ("failed", "scope_violation")
    assert path in result.errors[0].message
    assert tree(bench.worktree) == {"a.py": b"x = 1\n"}
    assert {row["category"] for row in result.facts["outcomes"]} == {"scope_violation"}


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../a.py",
        "sub/../../a.py",
        "sub/../a.py",
        "link/a.py",
        "link.py",
        "dangling.py",
        "sub",
        "pipe",
        "a.py/b.py",
        ".git/config",
        "sub/.GIT/hooks/x",
        ".git",
        ".",
        "",
        "C:/x",
        "C:x",
        "\\\\host\\x",
        "..\\x",
        "a\0b",
    ],
)
def test_a_path_that_escapes_is_a_capability_violation(bench: Any, tmp_path: Path, path: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.py").write_text("safe\n")
    root = bench.worktree
    (root / "sub").mkdir()
    (root / "a.py").write_text("x = 1\n")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "link.py").symlink_to(tmp_path / "outside" / "a.py")
    (root / "dangling.py").symlink_to(tmp_path / "outside" / "new.py")
    os.mkfifo(root / "pipe")
    result = apply(bench, whole("a.py", "x = 2\n"), whole(path, "evil\n"), modify=("a.py", path), create=(path,))
    assert (result.status, result.errors[0].code) == ("denied", "HSK-4001")
    assert (tmp_path / "outside" / "a.py").read_text() == "safe\n"
    assert not (tmp_path / "outside" / "new.py").exists()
    assert (root / "a.py").read_text() == "x = 1\n"


@pytest.mark.parametrize("path", [f"{'q' * 300}.py", f"new/{'deep/' * 2000}a.py"], ids=["name", "path"])
def test_a_name_that_no_file_can_have_is_only_out_of_scope(bench: Any, path: str) -> None:
    result = apply(bench, whole(path, "x\n"), modify=("a.py",))
    assert (result.status, result.errors[0].code) == ("failed", "scope_violation")
    assert tree(bench.worktree) == {}


def test_the_engine_looks_again_itself(bench: Any, tmp_path: Path) -> None:
    """The gate's look and the write are two moments: the engine trusts only its own."""
    from handshake.domain.clock import SystemClock
    from handshake.toolbus.engine import EngineContext

    (bench.worktree / "a.py").symlink_to(tmp_path / "x")
    operation, _ = edit_operation(bench.ids.uuid7(), (whole("a.py", "x\n"),), FileAccess(create=("a.py",)))
    context = EngineContext(worktree=bench.worktree, clock=SystemClock(), sandbox=bench.sandbox, artifact_prefix="p")
    answer = workspace.apply_edits(operation, context)
    assert (answer.status, answer.errors[0].code) == ("denied", "HSK-4001")


def test_one_failing_edit_holds_back_all(bench: Any) -> None:
    (bench.worktree / "a.py").write_text("x = 1\n")
    result = apply(
        bench, whole("b.py", "y = 1\n"), swap("a.py", "not there", "z"), modify=("a.py",), create=("b.py",)
    )
    assert (result.status, result.errors[0].code) == ("failed", "edit_failed")
    assert result.errors[0].message.startswith("a.py:")
    assert tree(bench.worktree) == {"a.py": b"x = 1\n"}
    held, failed = result.facts["outcomes"]
    assert (held["applied"], failed["applied"]) == (False, False)
    assert "another edit" in held["error"]
    assert "another edit" not in failed["error"]


def test_an_edit_that_breaks_the_syntax_is_rejected(bench: Any) -> None:
    (bench.worktree / "a.py").write_text("x = 1\n")
    result = apply(
        bench, whole("a.py", "def broken(:\n"), whole("b.py", "y = 1\n"), modify=("a.py",), create=("b.py",)
    )
    assert (result.status, result.errors[0].code) == ("failed", "edit_failed")
    assert result.facts["outcomes"][0]["category"] == "syntax_error_isolated"
    assert tree(bench.worktree) == {"a.py": b"x = 1\n"}


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_write_that_fails_in_the_middle_puts_everything_back(
    bench: Any, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    (bench.worktree / "a.txt").write_text("one\n")
    (bench.worktree / "b.txt").write_text("two\n")
    before = tree(bench.worktree)
    real, calls = Path.replace, []

    def fails(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == at:
            raise OSError(28, "No space left on device", str(target))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", fails)
    edits = (whole("a.txt", "ONE\n"), whole("b.txt", "TWO\n"), whole("deep/er/c.txt", "three\n"))
    result = apply(bench, *edits, modify=("a.txt", "b.txt"), create=("deep/er/c.txt",))
    assert (result.status, result.errors[0].code) == ("failed", "HSK-507")
    assert tree(bench.worktree) == before
    assert not (bench.worktree / "deep").exists()


def test_the_failpoints_stand_around_each_file(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failpoints, "_passed", {})
    monkeypatch.setenv(failpoints.VARIABLE, "edit.file:after@1:raise")
    with pytest.raises(failpoints.FailpointReached):
        apply(bench, whole("a.txt", "1\n"), whole("b.txt", "2\n"), create=("a.txt", "b.txt"))
    # a crash leaves what was written: recovery rebuilds the tree from the last snapshot
    assert tree(bench.worktree) == {"a.txt": b"1\n"}


def test_a_profile_that_may_not_write_is_denied(bench: Any) -> None:
    operation, payloads = edit_operation(
        bench.ids.uuid7(), (whole("a.txt", "1\n"),), FileAccess(create=("a.txt",)), profile_id="Reviewer"
    )
    result = bench.bus.run(operation, payloads, stage="iteration")
    assert (result.status, result.errors[0].code) == ("denied", "HSK-4001")
    assert not (bench.worktree / "a.txt").exists()


def test_a_shrunken_file_needs_leave(bench: Any) -> None:
    (bench.worktree / "a.txt").write_text("".join(f"line number {n} of a long file\n" for n in range(60)))
    edits, files = (whole("a.txt", "short\n"),), FileAccess(modify=("a.txt",))
    refused, _ = edit_operation(bench.ids.uuid7(), edits, files)
    assert bench.bus.run(refused).status == "failed"
    allowed, _ = edit_operation(bench.ids.uuid7(), edits, files, allow_shrink=True)
    assert bench.bus.run(allowed).status == "succeeded"
