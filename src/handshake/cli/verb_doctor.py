"""`handshake doctor`: what works on this machine, and what to do about the rest."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import typer

from handshake.cli.options import Json, write, write_json
from handshake.domain.errors import ExitCode, HandshakeError


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("doctor")(doctor)


def doctor(context: typer.Context, as_json: Json = False) -> None:
    """Check git, repository, configuration, sandbox, models. Example: handshake doctor"""
    rows = [_python(), *_git(context.obj.directory)]
    if as_json:
        write_json({"ok": all(row["ok"] for row in rows), "checks": rows})
    else:
        for row in rows:
            write(f"{'ok  ' if row['ok'] else 'FAIL'}  {row['check']:<14} {row['what']}")
            if row["mend"]:
                write(f"      {'':<14} mend: {row['mend']}")
    raise typer.Exit(int(ExitCode.DONE if all(row["ok"] for row in rows) else ExitCode.ENVIRONMENT))


def _row(check: str, what: str, *, ok: bool = True, mend: str = "") -> dict[str, Any]:
    return {"check": check, "ok": ok, "what": what, "mend": mend}


def _failed(check: str, error: HandshakeError) -> dict[str, Any]:
    return _row(check, error.what, ok=False, mend=error.next_step)


def _python() -> dict[str, Any]:
    return _row("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _git(directory: str) -> list[dict[str, Any]]:
    from handshake.repo.git import find_repository, git_version

    try:
        rows = [_row("git", ".".join(map(str, git_version())))]
        repo = find_repository(Path(directory))
    except HandshakeError as error:
        return [_failed("git", error)]
    rows.append(_row("repository", f"{repo.root} ({repo.object_format}, {repo.head_branch() or 'detached HEAD'})"))
    return rows + _settings(repo.root)


def _settings(root: Path) -> list[dict[str, Any]]:
    from handshake.config.loading import load_settings

    try:
        settings = load_settings(root, env=os.environ, overrides=None).settings
    except HandshakeError as error:
        return [_failed("config", error)]
    rows = [_row("config", f"governance {settings.governance.mode}, base branch {settings.base_branch}")]
    return [*rows, _sandbox(settings.sandbox), *_chain(settings, root)]


def _sandbox(mode: Any) -> dict[str, Any]:
    from handshake.toolbus.sandbox import choose_sandbox

    try:
        return _row("sandbox", choose_sandbox(mode).describe())
    except HandshakeError as error:
        return _failed("sandbox", error)


def _chain(settings: Any, root: Path) -> list[dict[str, Any]]:
    from handshake.models.chain import check_levels, resolve_chain

    rows = []
    for level in check_levels(resolve_chain(settings.policy, settings), root):
        what = f"{level.level.model_id}: {level.served_by}"
        rows.append(_row(f"level {level.level.level}", level.problem or what, ok=level.problem is None))
    return rows
