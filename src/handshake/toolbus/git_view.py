"""What a sandboxed command sees of the main repository: enough for `git diff`, read-only. Contract: `tool-bus.md`.

Hooks, logs, other worktrees and the real configuration (remote URLs can hold tokens) are not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from handshake.repo.git import Git

_SHARED = ("HEAD", "objects", "refs", "packed-refs", "reftable", "shallow")
_OWN = ("HEAD", "index", "commondir", "gitdir", "refs", "reftable")
# what decides how git reads this repository; nothing that names a program, a path or a remote
_KEPT_SETTINGS = frozenset(
    {
        "core.repositoryformatversion",
        "core.filemode",
        "core.bare",
        "core.ignorecase",
        "core.precomposeunicode",
        "core.symlinks",
        "core.autocrlf",
        "core.eol",
        "extensions.objectformat",
        "extensions.refstorage",
        "extensions.noop",
    }
)


@dataclass(frozen=True)
class GitView:
    """`shown` are seen where they are; `config` stands at `config_place` instead of the real one."""

    shown: tuple[Path, ...]
    config_place: Path
    config: bytes


def git_view(common_dir: Path, worktree: Path) -> GitView | None:
    """The view for a linked worktree of the repository, or None where there is none to give.

    Args:
        common_dir: the git folder that all worktrees share; known from outside, never read from the worktree.
    """
    own = _own_folder(common_dir, worktree)
    if own is None:
        return None
    shown = [common_dir / name for name in _SHARED] + [own / name for name in _OWN]
    shown += _alternates(common_dir / "objects")
    present = tuple(place for place in shown if place.exists() and not place.is_symlink())
    config = common_dir / "config"
    return GitView(present, config, _plain_config(config, config.stat().st_mtime_ns))


def _own_folder(common_dir: Path, worktree: Path) -> Path | None:
    """The worktree's folder among the repository's, if both name each other."""
    pointer = worktree / ".git"
    for own in sorted((common_dir / "worktrees").glob("*")):
        back = own / "gitdir"
        if back.is_file() and _said(back) == str(pointer):
            named = not pointer.is_symlink() and pointer.is_file() and _said(pointer).removeprefix("gitdir: ")
            return own if named and (worktree / named).resolve() == own.resolve() else None
    return None


def _alternates(objects: Path) -> list[Path]:
    """Object folders of other repositories that this one borrows from, at any depth."""
    found: list[Path] = []
    waiting = [objects]
    while waiting:
        listed = waiting.pop() / "info" / "alternates"
        for line in listed.read_text(encoding="utf-8", errors="replace").splitlines() if listed.is_file() else ():
            place = (listed.parent.parent / line).resolve()
            if line and not line.startswith("#") and place.is_dir() and place not in found:
                found.append(place)
                waiting.append(place)
    return found


@cache
def _plain_config(place: Path, changed_at: int) -> bytes:
    """The settings of a repository that may be seen; read anew when the file changed."""
    del changed_at
    raw = Git(place.parent).run("config", "--file", str(place), "--no-includes", "--list", "-z").stdout
    lines = []
    for entry in raw.decode("utf-8", "replace").split("\0"):
        name, _, value = entry.partition("\n")
        section, _, key = name.partition(".")
        if name in _KEPT_SETTINGS and value.isalnum():
            lines.append(f"[{section}]\n\t{key} = {value}\n")
    return "".join(lines).encode()


def _said(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="surrogateescape").strip()
