"""There is no other way to an engine: proven over the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import handshake

ROOT = Path(handshake.__file__).parent
# who may start a program at all; `models` and `daemon` start their own, on the user's configuration
MAY_START = (
    "repo/git.py",
    "repo/object_reader.py",
    "toolbus/processes.py",
    "toolbus/probing.py",
    "toolbus/confine.py",
    "models/",
    "daemon/",
)
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


# who writes files, and what: none of it is a worktree's file on a model's behalf but the engine's
MAY_WRITE = {
    "toolbus/workspace.py": "an MT's edits: the engine",
    "toolbus/": "scratch folders, control groups, conformance",
    "repo/": "git folders, and worktrees as commits and records have them",
    "config/trust.py": "the user's record of trust",
    "config/hook_settings.py": "what the hooks read of a checked configuration, in the git folder",
    "recorder/": "the journal and the query store",
    "models/": "stored replies, model files, a child's log",
    "daemon/": "its own board in the git folder",
    "gates/hooks.py": "git hooks, asked for by the user",
    "gates/validators/own.py": "a scratch copy of what a check is to read",
    "governance/": "packets, boards and records that the user asked for, in the user's checkout",
    "source/store.py": "the index, in a folder of its own",
    "loop/step_secrets.py": "what was masked, in the git folder",
    "loop/calibrate.py": "a scratch folder",
    "loop/replay.py": "a scratch folder",
    "loop/merge.py": "a scratch folder in which a merge is tried",
    "loop/context_request.py": "prompts that stay here, in the git folder",
    "cli/": "what the user asked a verb to write",
}
WRITERS = {"write_text", "write_bytes", "unlink", "rename", "mkdir", "rmdir", "symlink_to", "hardlink_to", "touch"}
WRITERS |= {"chmod", "lchmod", "rmtree", "copyfile", "copytree", "move", "mkstemp", "mkdtemp", "NamedTemporaryFile"}
WRITERS |= {"TemporaryDirectory", "makedirs", "removedirs", "truncate", "write_durably"}


def writes(node: ast.AST) -> bool:
    """Whether a call changes files: by its name, or opens one to be written."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name == "move" and ast.unparse(node.func) != "shutil.move":
        return False  # of states and of groups
    if name != "open":
        return name in WRITERS
    given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    return any(isinstance(arg, ast.Constant) and str(arg.value)[:1] in "wax" and arg.value for arg in given)


def test_files_are_written_in_few_places() -> None:
    found = {
        f"{name}:{node.lineno}"
        for name, tree in sources()
        for node in ast.walk(tree)
        if writes(node) and not name.startswith(tuple(MAY_WRITE))
    }
    assert found == set()


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
