"""The verdict is the commands' own: the work does not end, patch or configure what judges it.

Contract: `models.md`, condition 4. A process that judges code has loaded it: code that ends the process before the
verdict, rewrites the test library or changes its configuration decides its own case. Known ways are named here; what
a program can do to its judge has no end, so this is a fence and no wall (the wall is the person who reviews).
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from handshake.gates.code_lines import added_lines, lines_of
from handshake.gates.stubs import parsed_python

Files = Mapping[str, bytes | None]

_CONFIGURATION = re.compile(
    r"(?:^|/)(?:conftest\.py|(?:site|user)customize\.py|[^/]+\.pth|\.?pytest\.(?:ini|toml)|tox\.ini|setup\.cfg|"
    r"pyproject\.toml|\.coveragerc|noxfile\.py|manage\.py|package\.json|\.npmrc|\.mocharc[^/]*|tsconfig[^/]*\.json|"
    r"(?:jest|vitest|vite|babel|karma|ava)\.config[^/]*|\.babelrc[^/]*|Cargo\.toml|build\.rs|\.cargo/config(?:\.toml)?|"
    r"go\.mod|go\.work|[Mm]akefile|[Jj]ustfile|tests?/__init__\.py)$"
)
_ENDS = frozenset({"_exit", "abort", "execl", "execle", "execlp", "execlpe", "execv", "execve", "execvp", "execvpe"})
_LEAVES = frozenset({"exit", "quit"})
_JUDGES = frozenset({"unittest", "pytest", "_pytest", "nose", "nose2", "doctest"})


class _Ending(NamedTuple):
    """How other languages end the process from code that tests have loaded; `except_in` is where they may."""

    suffixes: tuple[str, ...]
    ends: re.Pattern[str]
    except_in: re.Pattern[str]


_ENDINGS: tuple[_Ending, ...] = (
    _Ending(
        (".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts"),
        re.compile(r"\bprocess\s*\.\s*(?:exit|reallyExit|abort|exitCode|kill)\b|\bprocess\s*\.\s*on(?:ce)?\s*\("),
        re.compile(r"\A#!"),
    ),
    _Ending(
        (".go",),
        re.compile(r"\b(?:os|syscall)\.Exit\(|\bfunc\s+TestMain\b|\bsyscall\.Exec\("),
        re.compile(r"^package\s+main\b", re.MULTILINE),
    ),
    _Ending((".rs",), re.compile(r"\bprocess::(?:exit|abort)\b"), re.compile(r"^\s*fn\s+main\s*\(", re.MULTILINE)),
)


def check_tampering(before: Files, after: Files, criteria: Iterable[str] = ()) -> list[str]:
    """Reasons why the verdict of the commands is not their own.

    Args:
        before: the MT's files when it began; None or missing: there was none.
        after: the same files now.
        criteria: the done criteria; one that names a file of configuration asks for its change.
    """
    asked = "\n".join(criteria)
    reasons: list[str] = []
    for path in sorted(after):
        base, now = before.get(path), after[path]
        if base == now:
            continue
        name = PurePosixPath(path).name
        new_and_blank = base is None and now is not None and not now.strip()  # a package's `__init__.py`
        if _CONFIGURATION.search(path) and name not in asked and not new_and_blank:
            reasons.append(f"{path} configures what judges this task, and no criterion asks for its change")
        if now is not None:
            reasons += _endings(path, base, now)
    return reasons


def _endings(path: str, base: bytes | None, now: bytes) -> Iterator[str]:
    suffix = PurePosixPath(path).suffix.lower()
    if suffix == ".py":
        known = Counter(what for _, what in _python_tricks(path, base or b""))
        for line, what in _python_tricks(path, now):
            if known[what]:
                known[what] -= 1
            else:
                yield f"{path}:{line} {what}"
        return
    rule = next((rule for rule in _ENDINGS if suffix in rule.suffixes), None)
    if rule is None or rule.except_in.search(now.decode("utf-8", "replace")):
        return
    old, new = lines_of(base), lines_of(now)
    known_lines = {line.strip() for line in old}
    for number in sorted(added_lines(old, new)):
        text = new[number - 1].strip()
        if text not in known_lines and rule.ends.search(text):
            yield f"{path}:{number} ends the process that judges it: {text[:60]}"


def _python_tricks(path: str, data: bytes) -> list[tuple[int, str]]:
    """Line and description of each trick, in order; none where the text does not parse."""
    tree = parsed_python(data)
    if tree is None:
        return []
    found = [*_anywhere(tree), *_while_imported(tree.body)]
    if not _is_test(path):
        found += _judge_imports(tree)
    return sorted(found)


def _anywhere(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What no code of a library does: end the process past every handler."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in _ENDS and not _is_own(node.value):
            yield node.lineno, f"ends the process that judges it: {ast.unparse(node)}"
        elif isinstance(node, ast.ImportFrom) and node.module in ("os", "posix", "nt"):
            for alias in node.names:
                if alias.name in _ENDS:
                    yield node.lineno, f"ends the process that judges it: {alias.name}"
        elif isinstance(node, ast.Constant) and node.value == "_exit":
            yield node.lineno, "ends the process that judges it: '_exit'"


def _is_own(node: ast.expr) -> bool:
    """`self.abort()` is a method of the project's own."""
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _while_imported(body: Sequence[ast.stmt]) -> Iterator[tuple[int, str]]:
    """Leaving by `sys.exit` or SystemExit where an import gets, and not only a call."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) or _is_main_guard(statement):
            continue
        inner = [
            part
            for name in ("body", "orelse", "finalbody")
            for part in getattr(statement, name, [])
            if isinstance(part, ast.stmt)
        ]
        handlers = [part for handler in getattr(statement, "handlers", []) for part in handler.body]
        if inner or handlers:
            yield from _while_imported([*inner, *handlers])
        elif isinstance(statement, ast.Raise) and _called(statement.exc) == "SystemExit":
            yield statement.lineno, "leaves while it is imported: raise SystemExit"
        elif isinstance(statement, ast.Expr) and _called(statement.value) in _LEAVES:
            yield statement.lineno, f"leaves while it is imported: {ast.unparse(statement)[:60]}"


def _is_main_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)


def _called(node: ast.expr | None) -> str:
    """The last name of what is called or named, e.g. `exit` of `sys.exit(0)`."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _judge_imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Product code has no business with the test library: it could only rewrite it, or stand in for it."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value] if node.value in _JUDGES else []
        for name in names:
            if name.split(".")[0] in _JUDGES:
                yield getattr(node, "lineno", 1), f"reaches for the test library: {name}"


def _is_test(path: str) -> bool:
    parts = PurePosixPath(path).parts
    name = parts[-1]
    return (
        name.startswith(("test_", "tests")) or name.endswith("_test.py") or name == "conftest.py" or _in_tests(parts)
    )


def _in_tests(parts: Sequence[str]) -> bool:
    return any(part in ("test", "tests", "testing") for part in parts[:-1])
