"""TEST_PLAN commands taken apart: the tool, what stands before it, its options and what it is pointed at.

The tools are rows of `verify_table.json`. Contract: `micro-tasks.md`, Generation 5.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from handshake.source.project import Project

_QUOTED = re.compile(r"'[^']*'|\"(?:[^\"\\$`]|\\.)*\"|\\.")
_SHELL_SIGNS = re.compile(r"[;&|<>`$()\n]")
_INTO_FOLDER = re.compile(r"^cd\s+([A-Za-z0-9_./-]+)\s*&&\s*(.+)$", re.DOTALL)
_ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*=")
_PYTHON = re.compile(r"^(?:python(?:3(?:\.\d+)?)?|py)(?:\.exe)?$")


@cache
def verify_table() -> dict[str, Any]:
    """The rows of `verify_table.json`."""
    loaded: dict[str, Any] = json.loads(
        (resources.files("handshake.planning") / "verify_table.json").read_text("utf-8")
    )
    return loaded


@dataclass(frozen=True)
class KnownCommand:
    """A command that can be narrowed. `folder` is where it runs, relative to the repository."""

    text: str
    tool: dict[str, Any]
    folder: str
    prefix: str
    options: tuple[str, ...]
    positionals: tuple[str, ...]
    tail: tuple[str, ...]


def program_name(token: str) -> str:
    """A program by its plain name; every Python is `python`."""
    name = posixpath.basename(token.replace("\\", "/"))
    return "python" if _PYTHON.match(name) else name


def read_command(text: str, project: Project) -> KnownCommand | None:
    """The command as a row of the table reads it; None if no row fits, or if it is more than one plain command."""
    folder, inner = "", text.strip()
    if entered := _INTO_FOLDER.match(inner):
        folder, inner = posixpath.normpath(entered.group(1)).removeprefix("."), entered.group(2)
        if folder.startswith(("/", ".")):
            return None
    if _SHELL_SIGNS.search(_QUOTED.sub("", inner)):
        return None
    try:
        tokens = shlex.split(inner)
    except ValueError:
        return None
    lead = 0
    while lead < len(tokens) and _ASSIGNMENT.match(tokens[lead]):
        lead += 1
    lead += _wrapper_length(tokens[lead:])
    for tool in verify_table()["tools"]:
        for start in tool["starts"]:
            names = [program_name(token) for token in tokens[lead : lead + 1]] + tokens[lead + 1 : lead + len(start)]
            if names == start and _takes_paths(tool, folder, project):
                taken = lead + len(start)
                into = text.strip()[: len(text.strip()) - len(inner)]
                return _with_arguments(text, tool, folder, into + shlex.join(tokens[:taken]), tokens[taken:])
    return None


def _wrapper_length(tokens: Sequence[str]) -> int:
    named = [program_name(token) for token in tokens[:1]] + list(tokens[1:])
    return max((len(w) for w in verify_table()["wrappers"] if named[: len(w)] == w), default=0)


def _takes_paths(tool: dict[str, Any], folder: str, project: Project) -> bool:
    """Whether a script runner hands its arguments to a test tool that takes paths."""
    if "script" not in tool:
        return True
    text = project.text(posixpath.join(folder, "package.json"))
    try:
        scripts = json.loads(text or "{}").get("scripts", {})
        script = scripts.get(tool["script"], "")
    except (ValueError, AttributeError):
        return False
    inner = read_command(script, project) if isinstance(script, str) and script.strip() else None
    return inner is not None and inner.tool["positionals"] == "paths" and not inner.positionals


def _with_arguments(
    text: str, tool: dict[str, Any], folder: str, prefix: str, arguments: Sequence[str]
) -> KnownCommand | None:
    options: list[str] = []
    positionals: list[str] = []
    waiting = list(arguments)
    tail: tuple[str, ...] = ()
    while waiting:
        word = waiting.pop(0)
        name, equals, _ = word.partition("=")
        if word == "--":
            tail, waiting = ("--", *waiting), []
        elif word in tool.get("drop_words", ()):
            continue
        elif name in tool.get("drop_options", ()):
            # `--cov=x` carries its value; `-s DIR` is followed by it
            if not equals and waiting and not waiting[0].startswith("-") and not name.startswith("--cov"):
                waiting.pop(0)
        elif word.startswith("-"):
            options.append(word)
            if not equals and name in tool.get("value_options", ()) and waiting:
                options.append(waiting.pop(0))
        else:
            positionals.append(word)
    if positionals and tool["positionals"] in ("filters", "none"):
        return None
    return KnownCommand(text, tool, folder, prefix, tuple(options), tuple(positionals), tail)


def programs_of(commands: Sequence[str]) -> dict[str, str]:
    """The programs that the commands start, plain name to the first spelling."""
    found: dict[str, str] = {}
    for text in commands:
        entered = _INTO_FOLDER.match(text.strip())
        for token in (entered.group(2) if entered else text).split():
            if not _ASSIGNMENT.match(token):
                found.setdefault(program_name(token), token)
                break
    return found
