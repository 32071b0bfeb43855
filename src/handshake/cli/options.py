"""What every verb shares: global options, the repository at hand, and how results are written."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from handshake.loop.surroundings import Surroundings, Watcher
    from handshake.repo.git import Repository

SCHEMA_VERSION = "1.0"

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@dataclass(frozen=True)
class Globals:
    """Options given before the verb."""

    directory: str = "."
    quiet: bool = False
    debug: bool = False


def open_repository(options: Globals) -> Repository:
    """The repository that the command works in.

    Raises:
        UsageError, EnvironmentProblem: there is none that can be worked in.
    """
    from handshake.repo.git import find_repository

    return find_repository(Path(options.directory))


def open_surroundings(
    options: Globals, watcher: Watcher | None = None, *, starts_programs: bool = False
) -> Surroundings:
    """Repository, merged settings, system clock and ids.

    Args:
        starts_programs: the verb runs models or commands, so what starts them must be trusted; a verb that
            only reads leaves untrusted keys out.

    Raises:
        ConfigError, NotTrusted: the configuration cannot be used.
    """
    from handshake.config.loading import load_settings
    from handshake.domain.clock import SystemClock, SystemIds
    from handshake.loop.surroundings import NobodyWatches, Surroundings

    repo = open_repository(options)
    loaded = load_settings(repo.root, env=os.environ, require_trust=starts_programs)
    return Surroundings(repo, loaded.settings, SystemClock(), SystemIds(), watcher or NobodyWatches())


def write_json(document: Any) -> None:
    """One document on stdout, with its schema version."""
    from handshake.domain.canonical import plain

    value = plain(document)
    if isinstance(value, dict):
        value = {"schema_version": SCHEMA_VERSION, **value}
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_json_lines(rows: Iterable[Any]) -> None:
    """One JSON value a line on stdout."""
    from handshake.domain.canonical import plain

    for row in rows:
        sys.stdout.write(json.dumps(plain(row), ensure_ascii=False) + "\n")


def write(text: str) -> None:
    """A line of result on stdout."""
    sys.stdout.write(text + "\n")


def note(options: Globals, text: str) -> None:
    """A line of progress on stderr."""
    if not options.quiet:
        sys.stderr.write(text + "\n")
