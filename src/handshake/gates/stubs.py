"""No unfinished work among the added lines. Contract: `models.md`, A claim is not believed, condition 2."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from handshake.gates.code_lines import added_lines, lines_of

_MARKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b(TODO|FIXME|XXX|TBD)\b"), "holds {0}"),
    (re.compile(r"(?:#|//|--|/\*|<!--|;|%|^\s*\*)\s*(todo|fixme|tbd|xxx)\b", re.IGNORECASE), "holds {0}"),
    (re.compile(r"\b(implement\s+me)\b", re.IGNORECASE), 'says "{0}"'),
)
_STUBS = re.compile(
    r"\b(?:todo|unimplemented)!\s*[({\[]"
    r"|\b(?:panic!?|throw\s+new\s+\w*(?:Error|Exception)|throw\s+\w*Error|raise|abort|die|fatalError)\b"
    r".*\b(?:not\s+(?:yet\s+)?implemented|unimplemented)\b"
    r"|\bthrow\s+new\s+(?:NotImplemented\w*|UnsupportedOperationException)\b",
    re.IGNORECASE,
)
_RAISES = re.compile(r"^\s*raise\s+NotImplementedError\b|^\s*return\s+NotImplemented\s*$")
_MAY_BE_EMPTY = frozenset({"abstractmethod", "abstractproperty", "overload"})

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def check_added_lines(before: Mapping[str, bytes | None], after: Mapping[str, bytes | None]) -> list[str]:
    """Condition 2: no TODO, FIXME, XXX, TBD, "implement me", `pass`-only or `NotImplemented` body was added.

    Args:
        before: the MT's files when it began; None or missing: there was none.
        after: the same files now.

    Returns:
        One reason for each place. A line that stood in the file before, wherever, is not an added one.
    """
    reasons: list[str] = []
    for path in sorted(after):
        data = after[path]
        if data is None or b"\0" in data or before.get(path) == data:
            continue
        old, new = lines_of(before.get(path)), lines_of(data)
        known = {line.strip() for line in old}
        added = added_lines(old, new)
        fresh = [number for number in sorted(added) if new[number - 1].strip() not in known]
        reasons += _marked(path, new, fresh)
        reasons += _stubbed(path, data, new, added, fresh)
    return reasons


def _marked(path: str, lines: list[str], fresh: list[int]) -> Iterator[str]:
    for number in fresh:
        for pattern, text in _MARKS:
            found = pattern.search(lines[number - 1])
            if found:
                yield f"{path}:{number} {text.format(' '.join(found[1].split()))}"
                break


def _stubbed(path: str, data: bytes, lines: list[str], added: frozenset[int], fresh: list[int]) -> Iterator[str]:
    python = PurePosixPath(path).suffix.lower() == ".py"
    tree = parsed_python(data) if python else None
    if tree is not None:
        for name, line, what in _empty_functions(tree, added):
            yield f"{path}:{line} the body of {name} is only {what}"
        return
    for number in fresh:
        if _STUBS.search(lines[number - 1]) or (python and _RAISES.search(lines[number - 1])):
            yield f"{path}:{number} is not implemented: {lines[number - 1].strip()[:60]}"


def parsed_python(data: bytes) -> ast.Module | None:
    """The syntax tree, None if the text does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _empty_functions(tree: ast.Module, added: frozenset[int]) -> Iterator[tuple[str, int, str]]:
    """Qualified name, line and body of each function with a stub for a body that has an added line."""
    waiting: list[tuple[ast.AST, str, bool]] = [(tree, "", False)]
    while waiting:
        node, prefix, protocol = waiting.pop(0)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                waiting.append((child, f"{prefix}{child.name}.", _is_protocol(child)))
            elif isinstance(child, _Function):
                waiting.append((child, f"{prefix}{child.name}.", False))
                what = None if protocol or _may_be_empty(child) else _stub_body(child)
                lines = range(child.lineno, (child.end_lineno or child.lineno) + 1)
                if what and any(number in added for number in lines):
                    yield f"{prefix}{child.name}", child.lineno, what
            else:
                waiting.append((child, prefix, protocol))


def _stub_body(function: _Function) -> str | None:
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    if len(body) != 1:
        return None
    only = body[0]
    if isinstance(only, ast.Pass):
        return "`pass`"
    if isinstance(only, ast.Expr) and isinstance(only.value, ast.Constant) and only.value.value is ...:
        return "`...`"
    if isinstance(only, ast.Raise) and "NotImplemented" in _name(only.exc):
        return "`raise NotImplementedError`"
    dunder = function.name.startswith("__") and function.name.endswith("__")
    if isinstance(only, ast.Return) and _name(only.value) == "NotImplemented" and not dunder:
        return "`return NotImplemented`"
    return None


def _name(node: ast.expr | None) -> str:
    if isinstance(node, ast.Call):
        return _name(node.func)
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _may_be_empty(function: _Function) -> bool:
    return any(_name(decorator) in _MAY_BE_EMPTY for decorator in function.decorator_list)


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(_name(base) == "Protocol" for base in node.bases)
