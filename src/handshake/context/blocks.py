"""A file as blocks: whole definitions where a grammar is there, else runs of lines. Spans snap to them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

PLAIN_BLOCK_LINES = 40
SPLIT_ABOVE_LINES = 60


@dataclass(frozen=True)
class Block:
    """Lines `start` to `end` (1-based, inclusive). `name` and `signature` are empty outside definitions."""

    start: int
    end: int
    name: str = ""
    signature: str = ""


class Grammar(NamedTuple):
    """Where a language's grammar is, and which of its nodes are definitions or hold them."""

    module: str
    function: str
    definitions: frozenset[str]
    wrappers: frozenset[str] = frozenset()


_SCRIPT = frozenset(
    {
        "function_declaration", "generator_function_declaration", "class_declaration", "method_definition",
        "lexical_declaration", "interface_declaration", "enum_declaration", "type_alias_declaration",
        "abstract_class_declaration",
    }
)  # fmt: skip
_EXPORT = frozenset({"export_statement"})
_TYPESCRIPT = Grammar("tree_sitter_typescript", "language_typescript", _SCRIPT, _EXPORT)
_JAVASCRIPT = Grammar("tree_sitter_javascript", "language", _SCRIPT, _EXPORT)

GRAMMARS = {
    ".py": Grammar(
        "tree_sitter_python", "language", frozenset({"function_definition", "class_definition"}),
        frozenset({"decorated_definition"}),
    ),
    ".js": _JAVASCRIPT, ".jsx": _JAVASCRIPT, ".mjs": _JAVASCRIPT, ".cjs": _JAVASCRIPT,
    ".ts": _TYPESCRIPT,
    ".tsx": Grammar("tree_sitter_typescript", "language_tsx", _SCRIPT, _EXPORT),
    ".rs": Grammar(
        "tree_sitter_rust", "language",
        frozenset({"function_item", "struct_item", "enum_item", "trait_item", "impl_item", "mod_item"}),
    ),
    ".go": Grammar(
        "tree_sitter_go", "language",
        frozenset({"function_declaration", "method_declaration", "type_declaration"}),
    ),
}  # fmt: skip


@lru_cache(maxsize=64)
def blocks_of(path: str, lines: tuple[str, ...]) -> tuple[Block, ...]:
    """The blocks of a file, in order; every line is in exactly one of them."""
    grammar = GRAMMARS.get(PurePosixPath(path).suffix.lower())
    found = list(_definitions(grammar, lines)) if grammar else []
    blocks: list[Block] = []
    next_line = 1
    for definition in found:
        if definition.start < next_line:
            continue  # two definitions on one line: the first has it
        blocks += _plain(next_line, definition.start - 1)
        blocks.append(definition)
        next_line = definition.end + 1
    blocks += _plain(next_line, len(lines))
    return tuple(blocks)


def _plain(start: int, end: int) -> list[Block]:
    return [
        Block(first, min(first + PLAIN_BLOCK_LINES - 1, end)) for first in range(start, end + 1, PLAIN_BLOCK_LINES)
    ]


def _definitions(grammar: Grammar, lines: tuple[str, ...]) -> Iterator[Block]:
    tree = _parser(grammar.module, grammar.function).parse("\n".join(lines).encode("utf-8"))
    yield from _blocks_under(tree.root_node, grammar, lines)


def _blocks_under(parent: Node, grammar: Grammar, lines: tuple[str, ...]) -> Iterator[Block]:
    for node in parent.named_children:
        inner = _unwrapped(node, grammar)
        if inner is None:
            continue
        start, end = node.start_point[0] + 1, max(node.end_point[0] + 1, node.start_point[0] + 1)
        end = min(end, len(lines))
        body = inner.child_by_field_name("body")
        parts = list(_blocks_under(body, grammar, lines)) if body and end - start >= SPLIT_ABOVE_LINES else []
        yield Block(start, parts[0].start - 1 if parts else end, _name(inner), _signature(inner, body, lines))
        yield from parts


def _unwrapped(node: Node, grammar: Grammar) -> Node | None:
    """The definition that a node is, or that it wraps (a decorator, an export)."""
    if node.type in grammar.definitions:
        return node
    if node.type in grammar.wrappers:
        return next((child for child in node.named_children if child.type in grammar.definitions), None)
    return None


def _name(node: Node) -> str:
    named = node.child_by_field_name("name") or node.child_by_field_name("type")
    if named is None and node.named_children:
        named = node.named_children[0].child_by_field_name("name")
    return named.text.decode("utf-8", "replace") if named is not None and named.text else ""


def _signature(node: Node, body: Node | None, lines: tuple[str, ...]) -> str:
    """The lines from the definition to its body, as one."""
    first = node.start_point[0]
    last = body.start_point[0] if body is not None and body.start_point[0] > first else first + 1
    return " ".join(" ".join(lines[first:last]).split())[:200]


@cache
def _parser(module: str, function: str) -> Parser:
    from tree_sitter import Language, Parser

    return Parser(Language(getattr(importlib.import_module(module), function)()))
