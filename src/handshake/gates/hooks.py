"""Git hooks: small scripts where git looks, which call `handshake hook NAME`. Contract: `packets-and-gates.md`.

A hook that was there before is moved aside and run first; taking ours away moves it back, to the byte.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from handshake.config.shipped import shipped
from handshake.domain.errors import EnvironmentProblem
from handshake.repo.atomic import write_durably
from handshake.repo.git import Repository

NAMES = ("pre-commit", "pre-push", "pre-merge-commit", "reference-transaction")
MARK = b"# Managed by `handshake hooks`"
BEFORE = ".before-handshake"
LEGACY = ".legacy"  # where the pre-commit framework moves a hook that it finds

State = Literal["ours", "older", "through pre-commit", "other", "none"]


@dataclass(frozen=True)
class HookState:
    """One hook as it is. `before` is the hook that ours runs first, `ignored` says that git cannot run it."""

    name: str
    path: Path
    state: State
    before: Path | None = None
    ignored: bool = False


def hooks_folder(repo: Repository) -> Path:
    """Where git looks: `core.hooksPath` is respected, and a linked worktree shares the common folder.

    A relative one counts from the top of the worktree that the command runs in (githooks(5)).
    """
    # our own calls set core.hooksPath themselves (scope `command`): the user's is the last of another scope
    found = repo.git.run("config", "--show-scope", "--get-all", "core.hooksPath", check=False).stdout
    rows = [line.split("\t", 1) for line in os.fsdecode(found).splitlines() if "\t" in line]
    named = [value for scope, value in rows if scope != "command" and value]
    if not named:
        return repo.common_dir / "hooks"
    path = Path(named[-1]).expanduser()
    return path if path.is_absolute() else repo.root / path


def shared_folder(repo: Repository) -> Path | None:
    """The folder of hooks where it lies outside this repository: others may run what is put there."""
    folder = hooks_folder(repo).resolve()
    own = (repo.root, repo.main_root, repo.common_dir)
    return None if any(folder.is_relative_to(place.resolve()) for place in own) else folder


def script_of(name: str) -> bytes:
    """The script of a hook as it is installed here: the shipped one, and where this Handshake is."""
    text = shipped("hooks", name).read_bytes().replace(b"\r\n", b"\n")
    command = _this_command()
    return (
        text.replace(b"\ninstalled=\n", b"\ninstalled=" + shlex.quote(command).encode() + b"\n") if command else text
    )


def _this_command() -> str:
    """The `handshake` beside the running Python: a virtual environment's is often not on PATH."""
    name = "handshake.exe" if os.name == "nt" else "handshake"
    place = Path(sys.executable).parent / name
    return place.as_posix() if place.is_file() else ""


def hook_states(repo: Repository) -> list[HookState]:
    """Each hook as it is now."""
    return [_state(hooks_folder(repo), name) for name in NAMES]


def _state(folder: Path, name: str) -> HookState:
    place = folder / name
    before = folder / f"{name}{BEFORE}"
    found = before if os.path.lexists(before) else None
    if _is_ours(place):
        state: State = "ours" if place.read_bytes() == script_of(name) else "older"
    elif _is_ours(folder / f"{name}{LEGACY}"):
        state = "through pre-commit"
    else:
        state = "other" if os.path.lexists(place) else "none"
    ignored = os.name != "nt" and place.is_file() and not os.access(place, os.X_OK)
    return HookState(name, place, state, found, ignored)


def _is_ours(place: Path) -> bool:
    return place.is_file() and not place.is_symlink() and MARK in place.read_bytes()


def install_hooks(repo: Repository) -> list[tuple[str, str]]:
    """Put the hooks there, and say for each what was done: wrote, kept (ours already), or skipped (and why).

    Raises:
        EnvironmentProblem: git is told to look for hooks where no folder is (`/dev/null`, as some switch hooks off).
    """
    folder = hooks_folder(repo)
    if folder.exists() and not folder.is_dir():
        raise EnvironmentProblem(
            f"core.hooksPath names {folder}, which is no folder: git runs no hooks here",
            next_step="git config --show-origin core.hooksPath, mend it, then: handshake hooks install",
        )
    if not folder.is_dir():
        folder.mkdir(parents=True)
        _made_note(repo).write_text(str(folder), encoding="utf-8")
    return [_install(_state(folder, name)) for name in NAMES]


def _install(hook: HookState) -> tuple[str, str]:
    shown = f"{hook.path.parent.name}/{hook.name}"
    if hook.state == "through pre-commit":
        return f"{shown} (the pre-commit framework runs it)", "kept"
    if hook.state == "ours":
        _make_executable(hook.path)
        return shown, "kept"
    before = hook.path.with_name(f"{hook.name}{BEFORE}")
    if hook.state == "other":
        if b"handshake hook" in _content(hook.path):
            return f"{shown} (a hook is there that calls Handshake itself)", "skipped"
        if hook.before is not None and _content(hook.before) != _content(hook.path):
            return f"{shown} (another hook is there, and {before.name} too: remove one of them)", "skipped"
        hook.path.replace(before)
        shown += f" (runs {before.name} first)"
    write_durably(hook.path, script_of(hook.name))
    _make_executable(hook.path)
    return shown, "wrote"


def _content(place: Path) -> bytes:
    return place.read_bytes() if place.is_file() else b""


def _make_executable(place: Path) -> None:
    place.chmod(place.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def uninstall_hooks(repo: Repository) -> list[tuple[str, str]]:
    """Take ours away and move back what was there before; hooks of others stay."""
    folder = hooks_folder(repo)
    done = [row for name in NAMES for row in _uninstall(_state(folder, name))]
    note = _made_note(repo)
    if note.is_file() and note.read_text(encoding="utf-8") == str(folder):
        note.unlink()
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return done


def _uninstall(hook: HookState) -> list[tuple[str, str]]:
    shown = f"{hook.path.parent.name}/{hook.name}"
    if hook.state in ("ours", "older"):
        if hook.before is not None:
            hook.before.replace(hook.path)
            return [(shown, "restored")]
        hook.path.unlink()
        return [(shown, "removed")]
    if hook.state == "through pre-commit":
        hook.path.with_name(f"{hook.name}{LEGACY}").unlink()
        if hook.before is not None and hook.before.is_file() and _content(hook.before) == _content(hook.path):
            hook.before.unlink()  # the framework was here before us and is again
        return [(f"{shown}{LEGACY}", "removed")]
    if hook.state != "other":
        return []
    if hook.before is not None and hook.before.is_file() and _content(hook.before) == _content(hook.path):
        hook.before.unlink()  # the same hook was put over ours: `pre-commit install --overwrite`
    return [(shown, "kept")]


def _made_note(repo: Repository) -> Path:
    """Remembers a hooks folder that we made, so that it goes with our hooks."""
    return repo.state_dir / "hooks-folder"
