"""There is no other way to an engine: proven over the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import handshake

ROOT = Path(handshake.__file__).parent
# who may start a program at all; `models` and `daemon` start their own, on the user's configuration
MAY_START = ("repo/git.py", "toolbus/processes.py", "toolbus/probing.py", "toolbus/confine.py", "models/", "daemon/")
ENGINES = {"handshake.toolbus.shell": "run_shell", "handshake.toolbus.workspace": "apply_edits"}
STARTERS = {"system", "popen", "spawnv", "spawnve", "execv", "execve", "execvp", "execvpe", "posix_spawn", "fork"}


@cache
def sources() -> tuple[tuple[str, ast.Module], ...]:
    paths = sorted(ROOT.rglob("*.py"))
    return tuple((p.relative_to(ROOT).as_posix(), ast.parse(p.read_text(encoding="utf-8"))) for p in paths)


def imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def test_programs_are_started_in_few_places() -> None:
    found = {
        name
        for name, tree in sources()
        for module, what in imports(tree)
        if "subprocess" in (module, what) or module in ("multiprocessing", "pty")
    }
    assert {name for name in found if not name.startswith(MAY_START)} == set()
    calls = {
        f"{name}:{node.lineno}"
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in STARTERS
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and not name.startswith(MAY_START)
    }
    assert calls == set()


def test_only_the_bus_knows_the_engines() -> None:
    for name, tree in sources():
        for module, what in imports(tree):
            for engine, function in ENGINES.items():
                parent, _, leaf = engine.rpartition(".")
                if (module, what) == (engine, function) or module == engine or (module, what) == (parent, leaf):
                    assert name == "toolbus/bus.py", f"{name} imports {engine}"


def test_only_the_gates_decide_before_an_engine_runs() -> None:
    tree = dict(sources())["toolbus/bus.py"]
    acted = [
        node for node in ast.walk(tree) if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "_ENGINES"
    ]
    assert len(acted) == 1
