"""`handshake config`: the merged settings."""

from __future__ import annotations

import json
import os
from typing import Any

import typer

from handshake.cli.options import Json, open_repository, write, write_json

group = typer.Typer(help="The merged configuration.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.add_typer(group, name="config")


@group.command("show")
def show(
    context: typer.Context,
    origin: bool = typer.Option(False, "--origin", help="Say where each value comes from."),
    as_json: Json = False,
) -> None:
    """Print the merged configuration. Example: handshake config show --origin"""
    import yaml

    from handshake.config.loading import load_settings
    from handshake.domain.canonical import plain

    loaded = load_settings(open_repository(context.obj).root, env=os.environ, require_trust=False)
    value = plain(loaded.settings)
    if as_json:
        write_json({"settings": value, "origins": dict(loaded.origins)})
    elif origin:
        for key, data in _leaves(value):
            write(f"{key} = {json.dumps(data, ensure_ascii=False)}  # {_origin_of(loaded.origins, key)}")
    else:
        write(yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip("\n"))


@group.command("schema")
def schema() -> None:
    """Print the JSON Schema of the configuration. Example: handshake config schema"""
    from handshake.domain.settings import Settings

    write(json.dumps(Settings.model_json_schema(), indent=2))


def _leaves(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [leaf for key, item in value.items() for leaf in _leaves(item, f"{prefix}{key}.")]
    return [(prefix.rstrip("."), value)]


def _origin_of(origins: dict[str, str], key: str) -> str:
    while key:
        if key in origins:
            return origins[key]
        key = key.rpartition(".")[0]
    return "default"
