"""Does this text still parse? Asked before an edit is written. Contract: `models.md`, The reply."""

from __future__ import annotations

import functools
import json
import tomllib
import warnings
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

_COMMENTED_JSON = ("tsconfig", "jsconfig", "devcontainer", ".eslintrc", "settings", "launch", "tasks")
_NEWER_PYTHON = frozenset({"type_parameter", "type_alias_statement"})


def syntax_error(path: str, data: bytes) -> str | None:
    """The first syntax error as `line N: what`, None if it parses or the language is not known.

    Known by suffix: Python, JavaScript, TypeScript, Rust, Go, JSON, YAML, TOML.
    """
    check = _CHECKS.get(PurePosixPath(path).suffix.lower())
    return check(path, data) if check else None


def syntax_regression(path: str, before: bytes | None, after: bytes) -> str | None:
    """Why the new text must not be written: it does not parse, though the old one did (or there was none)."""
    error = syntax_error(path, after)
    if error is None or (before is not None and syntax_error(path, before) is not None):
        return None
    return f"no longer parses: {error}" if before is not None else f"does not parse: {error}"


def _python(path: str, data: bytes) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(data, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        # the project may run on a newer Python than this process
        if _has_node(_grammar("python"), data, _NEWER_PYTHON):
            return None
        return f"line {error.lineno or 1}: {error.msg}"
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        return f"line 1: {str(error) or type(error).__name__}"
    return None


def _json(path: str, data: bytes) -> str | None:
    if PurePosixPath(path).name.lower().startswith(_COMMENTED_JSON):
        return None
    try:
        json.loads(data)
    except json.JSONDecodeError as error:
        return f"line {error.lineno}: {error.msg}"
    except UnicodeDecodeError as error:
        return f"line 1: {error.reason}"
    except RecursionError:
        return "line 1: nested too deep"
    return None


def _toml(path: str, data: bytes) -> str | None:
    del path
    try:
        tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return f"line 1: {error.reason}"
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return str(error)
    return None


def _yaml(path: str, data: bytes) -> str | None:
    import yaml

    del path
    if b"{{" in data or b"{%" in data:  # a template of YAML, not YAML
        return None
    try:
        for _ in yaml.compose_all(data, Loader=yaml.SafeLoader):
            pass
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return f"line {mark.line + 1 if mark else 1}: {error.problem or error.context}"
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        return f"line 1: {' '.join(str(error).split())[:120]}"
    return None


def _tree(language: str) -> Callable[[str, bytes], str | None]:
    def check(path: str, data: bytes) -> str | None:
        del path
        root = _grammar(language).parse(data).root_node
        return _first_error(root, data) if root.has_error else None

    return check


@functools.cache
def _grammar(language: str) -> Parser:
    from tree_sitter import Language, Parser

    if language == "python":
        import tree_sitter_python

        pointer = tree_sitter_python.language()
    elif language == "javascript":
        import tree_sitter_javascript

        pointer = tree_sitter_javascript.language()
    elif language in ("typescript", "tsx"):
        import tree_sitter_typescript

        pointer = (
            tree_sitter_typescript.language_tsx()
            if language == "tsx"
            else tree_sitter_typescript.language_typescript()
        )
    elif language == "rust":
        import tree_sitter_rust

        pointer = tree_sitter_rust.language()
    else:
        import tree_sitter_go

        pointer = tree_sitter_go.language()
    return Parser(Language(pointer))


def _first_error(root: Node, data: bytes) -> str:
    """The error that stands first in the text, by line and what was met or missed."""
    node = root
    while not (node.is_error or node.is_missing):
        inner = next((child for child in node.children if child.has_error or child.is_missing), None)
        if inner is None:
            break
        node = inner
    line = node.start_point[0] + 1
    if node.is_missing:
        return f"line {line}: missing {node.type}"
    shown = data[node.start_byte : node.end_byte].decode("utf-8", "replace").strip().split("\n")[0][:40]
    return f"line {line}: syntax error at {shown!r}"


def _has_node(parser: Parser, data: bytes, kinds: frozenset[str]) -> bool:
    root = parser.parse(data).root_node
    if root.has_error:
        return False
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.type in kinds:
            return True
        waiting.extend(node.children)
    return False


_CHECKS: dict[str, Callable[[str, bytes], str | None]] = {
    ".py": _python,
    ".pyi": _python,
    ".json": _json,
    ".toml": _toml,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".js": _tree("javascript"),
    ".jsx": _tree("javascript"),
    ".mjs": _tree("javascript"),
    ".cjs": _tree("javascript"),
    ".ts": _tree("typescript"),
    ".mts": _tree("typescript"),
    ".cts": _tree("typescript"),
    ".tsx": _tree("tsx"),
    ".rs": _tree("rust"),
    ".go": _tree("go"),
}
