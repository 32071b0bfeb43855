"""Installing hooks: where git looks, beside what is there, and back to the byte."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from handshake.cli.main import run_command
from handshake.domain.errors import EnvironmentProblem
from handshake.gates.hooks import MARK, NAMES, hook_states, hooks_folder, install_hooks, uninstall_hooks
from handshake.repo.git import find_repository


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.relative_to(folder).as_posix(): (
            path.lstat().st_mode,
            os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes(),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def states(repo) -> dict[str, str]:
    return {hook.name: hook.state for hook in hook_states(repo)}


def test_install_is_safe_to_repeat_and_uninstall_restores_to_the_byte(project) -> None:
    folder = project.root / ".git" / "hooks"
    own = folder / "pre-commit"
    own.write_bytes(b"#!/bin/sh\r\n# caf\xe9\nexit 0")
    own.chmod(0o751)
    (project.root / "tools").mkdir()
    (project.root / "tools/push.sh").write_text("#!/bin/sh\n")
    (folder / "pre-push").symlink_to("../../tools/push.sh")
    before = snapshot(folder)
    assert [state for _, state in install_hooks(project.repo)] == ["wrote"] * 4
    once = snapshot(folder)
    assert [state for _, state in install_hooks(project.repo)] == ["kept"] * 4
    assert snapshot(folder) == once
    assert set(states(project.repo).values()) == {"ours"}
    for name in NAMES:
        assert (folder / name).stat().st_mode & stat.S_IXUSR
        assert not (folder / name).is_symlink()
    assert [state for _, state in uninstall_hooks(project.repo)] == ["restored", "restored", "removed", "removed"]
    assert snapshot(folder) == before
    assert uninstall_hooks(project.repo) == [("hooks/pre-commit", "kept"), ("hooks/pre-push", "kept")]


def test_a_hooks_folder_that_was_made_goes_again(project) -> None:
    project.git("config", "core.hooksPath", ".own/hooks")
    install_hooks(project.repo)
    assert states(project.repo)["pre-commit"] == "ours"
    uninstall_hooks(project.repo)
    assert not (project.root / ".own/hooks").exists()


def test_the_folder_is_where_git_looks(project, tmp_path_factory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    project.git("worktree", "add", "-q", str(elsewhere / "linked"), "-b", "linked")
    linked = find_repository(elsewhere / "linked")
    assert hooks_folder(linked) == hooks_folder(project.repo) == project.root / ".git" / "hooks"
    project.git("config", "core.hooksPath", ".githooks")
    assert hooks_folder(project.repo) == project.root / ".githooks"
    assert hooks_folder(linked) == elsewhere / "linked" / ".githooks"
    project.git("config", "core.hooksPath", str(elsewhere / "all"))
    assert hooks_folder(linked) == hooks_folder(project.repo) == elsewhere / "all"
    # git itself agrees
    asked = project.git("-C", str(elsewhere / "linked"), "rev-parse", "--git-path", "hooks")
    assert Path(asked) == elsewhere / "all"


@pytest.mark.parametrize("verb", [["hooks", "install"], ["init"]])
def test_hooks_that_other_repositories_run_too_are_told(project, tmp_path_factory, capsys, monkeypatch, verb) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
    command = ["-C", str(project.root), *verb]

    def said(place: str) -> str:
        (home / "gitconfig").write_text(f"[core]\n\thooksPath = {place}\n")
        assert run_command(command) == 0
        return capsys.readouterr().err

    warned = said((home / "all").as_posix())
    assert f"core.hooksPath names {home / 'all'}, outside this repository" in warned
    assert warned.count("\n") == 1
    assert (home / "all" / "pre-commit").is_file()
    assert said(".githooks") == said((project.root / ".git" / "hooks").as_posix()) == ""


def test_where_no_folder_is_nothing_is_installed_and_the_setting_is_named(project) -> None:
    project.git("config", "core.hooksPath", os.devnull)
    with pytest.raises(EnvironmentProblem, match=r"core\.hooksPath names .* no folder"):
        install_hooks(find_repository(project.root))


def test_a_hook_that_was_put_over_ours_again_is_kept_once(project) -> None:
    folder = hooks_folder(project.repo)
    folder.mkdir(exist_ok=True)
    place = folder / "pre-commit"
    theirs = b"#!/bin/sh\nexit 0\n"
    place.write_bytes(theirs)
    place.chmod(0o755)
    for ends in (install_hooks, uninstall_hooks):
        install_hooks(project.repo)
        place.write_bytes(theirs)
        ends(project.repo)
        assert ends is uninstall_hooks or states(project.repo)["pre-commit"] == "ours"
    assert not (folder / "pre-commit.before-handshake").exists()
    assert place.read_bytes() == theirs


def test_hooks_that_cannot_be_moved_aside_are_left_alone(project) -> None:
    folder = project.root / ".git" / "hooks"
    (folder / "pre-commit").write_text('#!/bin/sh\nexec handshake hook pre-commit "$@"\n')
    (folder / "pre-push").write_text("#!/bin/sh\n# mine\n")
    (folder / "pre-push.before-handshake").write_text("#!/bin/sh\n# older\n")
    before = snapshot(folder)
    done = dict(install_hooks(project.repo))
    skipped = [name for name, state in done.items() if state == "skipped"]
    assert len(skipped) == 2
    assert "calls Handshake itself" in skipped[0]
    assert "remove one of them" in skipped[1]
    uninstall_hooks(project.repo)
    assert snapshot(folder) == before


def test_a_hook_of_another_version_is_replaced_and_one_without_its_bit_is_named(project) -> None:
    folder = project.root / ".git" / "hooks"
    (folder / "pre-commit").write_bytes(b"#!/bin/sh\n" + MARK + b": older\n")
    assert states(project.repo)["pre-commit"] == "older"
    assert hook_states(project.repo)[0].ignored
    install_hooks(project.repo)
    assert states(project.repo)["pre-commit"] == "ours"
    assert not hook_states(project.repo)[0].ignored


@pytest.mark.parametrize("name", ["a b", "it's $HOME `x`"])
def test_a_path_with_blanks_and_quotes_is_quoted(tmp_path: Path, make_project, monkeypatch, name: str) -> None:
    bin_folder = tmp_path / name
    bin_folder.mkdir()
    command = bin_folder / "handshake"
    command.write_text("#!/bin/sh\nexit 3\n")
    command.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(bin_folder / "python"))
    project = make_project(tmp_path / "project")
    install_hooks(project.repo)
    project.git("checkout", "-q", "-b", "feat/WP-1-Demo-v1")
    project.write("x", "x")
    project.git("add", "-A")
    done = project.try_git("commit", "-q", "-m", "x")
    assert done.returncode == 1
    assert done.stderr == b""
