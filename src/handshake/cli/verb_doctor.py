"""`handshake doctor`: what works on this machine, and what to do about the rest."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import typer

from handshake.cli.options import Json, write, write_json
from handshake.domain.errors import ExitCode, HandshakeError


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("doctor")(doctor)


def doctor(
    context: typer.Context,
    quick: bool = typer.Option(False, "--quick", help="Ask no model: its speed is not measured."),
    as_json: Json = False,
) -> None:
    """Check git, repository, configuration, sandbox, models. Example: handshake doctor"""
    rows = [_python(), *_git(context.obj.directory, quick=quick)]
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


def _git(directory: str, *, quick: bool) -> list[dict[str, Any]]:
    from handshake.repo.git import find_repository, git_version

    try:
        rows = [_row("git", ".".join(map(str, git_version())))]
        repo = find_repository(Path(directory))
    except HandshakeError as error:
        return [_failed("git", error)]
    rows.append(_row("repository", f"{repo.root} ({repo.object_format}, {repo.head_branch() or 'detached HEAD'})"))
    return rows + _settings(repo.root, quick=quick)


def _settings(root: Path, *, quick: bool) -> list[dict[str, Any]]:
    from handshake.config.loading import load_settings

    try:
        settings = load_settings(root, env=os.environ, overrides=None).settings
    except HandshakeError as error:
        return [_failed("config", error)]
    rows = [_row("config", f"governance {settings.governance.mode}, base branch {settings.base_branch}")]
    return [*rows, *_sandbox(settings.sandbox), *_chain(settings, root, quick=quick)]


def _sandbox(mode: Any) -> list[dict[str, Any]]:
    from handshake.toolbus.control_groups import can_limit
    from handshake.toolbus.sandbox import choose_sandbox, probed_backends

    try:
        rows = [_row("sandbox", choose_sandbox(mode).describe())]
    except HandshakeError as error:
        rows = [_failed("sandbox", error)]
    for name, backend, reason in probed_backends():
        rows.append(_row(f"  {name}", backend.level if backend is not None else reason))
    if sys.platform == "linux":
        whom = (
            "all processes of a command together" if can_limit() else "each process: control groups cannot be written"
        )
        rows.append(_row("  memory", f"is held for {whom}"))
    return rows


def _chain(settings: Any, root: Path, *, quick: bool) -> list[dict[str, Any]]:
    from handshake.models.chain import ProviderPool, check_levels, resolve_chain

    rows = []
    with ProviderPool(settings, root=root) as pool:
        known: dict[str, tuple[str, HandshakeError | None]] = {}
        for level in check_levels(resolve_chain(settings.policy, settings), root):
            name, model_id = f"level {level.level.level}", level.level.model_id
            if level.problem is not None or level.config is None:
                rows.append(_row(name, level.problem or f"{model_id}: {level.served_by}", ok=level.problem is None))
                continue
            if model_id not in known:
                known[model_id] = _in_force(pool, model_id, measured=not quick and not level.config.is_cloud)
            facts, failure = known[model_id]
            row = _row(name, f"{model_id}: {level.served_by}{facts}")
            rows.append(
                row if failure is None else {**_failed(name, failure), "what": f"{row['what']}: {failure.what}"}
            )
    return rows


def _in_force(pool: Any, model_id: str, *, measured: bool) -> tuple[str, HandshakeError | None]:
    """The window that the server really has in force, and how fast it answers; a cloud model is asked nothing."""
    from handshake.domain.clock import SystemClock
    from handshake.models.speed import measure_speed

    facts = ""
    try:
        provider = pool.provider(model_id)
        facts = f", profile {provider.facts.profile}, window {provider.facts.context_window}"
        if measured:
            speed = measure_speed(provider, SystemClock())
            rate = "in one piece" if speed.tokens_per_s is None else f"{speed.tokens_per_s:g} tokens/s"
            facts += f", {rate}{' (estimated)' if speed.estimated else ''}, first text after {speed.first_text_s:g} s"
    except HandshakeError as failure:
        return facts, failure
    return facts, None
