"""Git hooks: small scripts where git looks, which call `handshake hook NAME`. Contract: `packets-and-gates.md`.

A hook that somebody else put there is never touched.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from handshake.config.shipped import shipped
from handshake.repo.atomic import write_durably
from handshake.repo.git import Repository

NAMES = ("pre-commit", "pre-push", "pre-merge-commit", "reference-transaction")
MARK = b"handshake hook "


def hooks_folder(repo: Repository) -> Path:
    """Where git looks: `core.hooksPath` is respected, and a linked worktree shares the common folder."""
    # our own calls set core.hooksPath themselves (scope `command`): the user's is the last of another scope
    found = repo.git.run("config", "--show-scope", "--get-all", "core.hooksPath", check=False).stdout
    rows = [line.split("\t", 1) for line in os.fsdecode(found).splitlines() if "\t" in line]
    named = [value for scope, value in rows if scope != "command" and value]
    if not named:
        return repo.common_dir / "hooks"
    path = Path(named[-1]).expanduser()
    return path if path.is_absolute() else repo.root / path


def install_hooks(repo: Repository) -> list[tuple[str, str]]:
    """Put the hooks there, and say for each what was done: wrote, kept (ours already) or skipped (not ours)."""
    folder = hooks_folder(repo)
    done = []
    for name in NAMES:
        target = folder / name
        shown = f"{folder.name}/{name}"
        data = shipped("hooks", name).read_bytes()
        if target.exists() and MARK not in target.read_bytes():
            done.append((f'{shown} (another hook is there: call `handshake hook {name} "$@"` from it)', "skipped"))
            continue
        if target.exists() and target.read_bytes() == data:
            done.append((shown, "kept"))
            continue
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(target, data)
        target.chmod(target.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        done.append((shown, "wrote"))
    return done


def uninstall_hooks(repo: Repository) -> list[tuple[str, str]]:
    """Take away those that are ours, byte for byte; others stay."""
    folder = hooks_folder(repo)
    done = []
    for name in NAMES:
        target = folder / name
        if target.exists() and target.read_bytes() == shipped("hooks", name).read_bytes():
            target.unlink()
            done.append((f"{folder.name}/{name}", "removed"))
        elif target.exists():
            done.append((f"{folder.name}/{name}", "kept"))
    return done
