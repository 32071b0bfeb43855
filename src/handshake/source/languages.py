"""Languages as data: what a file defines and imports, and which files look like tests.

A language is `languages/NAME.json` with two tree-sitter queries beside it; adding one needs no code.
Contract: `micro-tasks.md`, Generation.
"""

from __future__ import annotations

import importlib
import json
import os
import posixpath
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from handshake.domain.errors import ConfigError

VARIABLE = "HANDSHAKE_LANGUAGES"


@dataclass(frozen=True, order=True)
class Definition:
    """A named piece of a file; `start` and `end` are 1-based lines, inclusive."""

    start: int
    end: int
    name: str
    qualified: str


@dataclass(frozen=True)
class Import:
    """One imported thing: the module as written, the name taken from it, and what it is called here."""

    module: str
    name: str | None = None
    local: str | None = None
    child: bool = False


@dataclass(frozen=True)
class Outline:
    """What a file defines and imports, in the order of the file."""

    definitions: tuple[Definition, ...] = ()
    imports: tuple[Import, ...] = ()


@dataclass(frozen=True)
class Language:
    """One language's facts; see `languages/README.md` for the keys. `folder` it is from is empty if shipped."""

    name: str
    extensions: tuple[str, ...]
    grammar: str | None = None
    queries: str = ""
    tags: tuple[str, ...] = ()
    separator: str = "/"
    root_prefix: str | None = None
    self_prefix: str | None = None
    up_prefix: str | None = None
    bare: str = "none"
    roots: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    braces: bool = False
    manifest_file: str | None = None
    manifest_pattern: str = ""
    manifest_replace: tuple[str, ...] = ()
    source_dir: str = ""
    owns_directory: tuple[str, ...] = ()
    strip_extensions: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ("{m}",)
    drop_trailing: int = 0
    unit: str = "file"
    same_directory: bool = False
    tests: tuple[str, ...] = ()
    test_dirs: tuple[str, ...] = ()
    runnable_dirs: tuple[str, ...] = ()
    not_tests: tuple[str, ...] = ()
    inline_tests: str | None = None
    test_stems: tuple[str, ...] = ()
    test_name: str | None = None
    folder: str = ""

    def is_test(self, path: str) -> bool:
        """Whether the file's name or folder says that it holds tests."""
        return self._looks_like_test(path, self.test_dirs)

    def runs_as_test(self, path: str) -> bool:
        """Whether a test tool would find tests in the file: support files of a test folder do not count."""
        return self._looks_like_test(path, self.runnable_dirs)

    def _looks_like_test(self, path: str, folders: tuple[str, ...]) -> bool:
        name = posixpath.basename(path)
        if name in self.not_tests:
            return False
        return any(fnmatchcase(name, form) for form in self.tests) or any(
            folder in folders for folder in path.split("/")[:-1]
        )


def _read_language(file: Traversable, folder: str) -> Language:
    try:
        raw = json.loads(file.read_text("utf-8"))
        manifest = raw.pop("manifest", {})
        facts: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()
        }
        if manifest:
            facts["manifest_file"] = manifest["file"]
            facts["manifest_pattern"] = manifest["pattern"]
            facts["manifest_replace"] = tuple(manifest.get("replace", ()))
        facts.setdefault("queries", facts["name"])
        facts.setdefault("tags", (facts["name"],))
        return Language(**facts, folder=folder)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unusable(f"{folder or 'languages'}/{file.name}", error) from None


def _unusable(what: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"{what} does not describe a language: {error}", next_step="mend it; its keys are in languages/README.md"
    )


@cache
def known_languages() -> tuple[Language, ...]:
    """Every language of the shipped folder and of the one that `HANDSHAKE_LANGUAGES` names, by name.

    A language of that folder takes the place of a shipped one of the same name.

    Raises:
        ConfigError: a file does not describe a language, or there is no such folder.
    """
    found = {language.name: language for language in _languages_in("")}
    if more := os.environ.get(VARIABLE):
        found.update((language.name, language) for language in _languages_in(more))
    return tuple(found[name] for name in sorted(found))


def _languages_in(folder: str) -> list[Language]:
    place = _place(folder)
    if not place.is_dir():
        raise ConfigError(f"{VARIABLE}: {folder} is no folder", next_step=f"unset {VARIABLE}, or make the folder")
    files = sorted((f for f in place.iterdir() if f.name.endswith(".json")), key=lambda f: f.name)
    return [_read_language(file, folder) for file in files]


def _place(folder: str) -> Traversable:
    return Path(folder) if folder else resources.files("handshake.source") / "languages"


@cache
def _by_extension() -> dict[str, Language]:
    return {extension: language for language in known_languages() for extension in language.extensions}


@lru_cache(maxsize=131_072)
def language_of(path: str) -> Language | None:
    """The language of a file by its extension."""
    return _by_extension().get(posixpath.splitext(path)[1].lower())


def is_test_file(path: str) -> bool:
    """Whether the path is a test file of a known language."""
    language = language_of(path)
    return language is not None and language.is_test(path)


def is_beside_tests(path: str) -> bool:
    """Whether the path is a test file, or a support file in a folder of tests."""
    language = language_of(path)
    return language is not None and (
        language.is_test(path) or not set(path.split("/")[:-1]).isdisjoint(language.test_dirs)
    )


@cache
def _machinery(language: Language) -> tuple[Any, Any, Any] | None:
    """Parser and the two compiled queries; None where the grammar is not installed."""
    if not language.grammar:
        return None
    module_name, _, function = language.grammar.partition(":")
    try:
        grammar = getattr(importlib.import_module(module_name), function)()
        binding = importlib.import_module("tree_sitter")
    except ImportError:
        return None
    tongue = binding.Language(grammar)
    queries = []
    for kind in ("definitions", "imports"):
        file = _place(language.folder) / f"{language.queries}.{kind}.scm"
        try:
            queries.append(binding.Query(tongue, file.read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise _unusable(f"{language.folder or 'languages'}/{file.name}", error) from None
    return binding.Parser(tongue), queries[0], queries[1]


@dataclass(frozen=True)
class ParsedFile:
    """A file's outline, and the syntax node of each of its definitions, in the same order."""

    outline: Outline
    nodes: tuple[Any, ...]


def outline_of(path: str, text: str) -> Outline:
    """What the file defines and imports; an empty outline where no grammar is there."""
    parsed = parse_file(path, text)
    return parsed.outline if parsed else Outline()


def parse_file(path: str, text: str) -> ParsedFile | None:
    """The file by its grammar; None where no grammar is there."""
    language = language_of(path)
    machinery = _machinery(language) if language else None
    if language is None or machinery is None:
        return None
    parser, definitions, imports = machinery
    root = parser.parse(text.encode("utf-8")).root_node
    cursor = importlib.import_module("tree_sitter").QueryCursor
    found = _definitions(cursor(definitions).matches(root))
    outline = Outline(tuple(found), _imports(cursor(imports).matches(root), language))
    return ParsedFile(outline, tuple(found.values()))


def _text(node: Any) -> str:
    return str(node.text.decode("utf-8", "replace"))


def _definitions(matches: list[tuple[int, dict[str, list[Any]]]]) -> dict[Definition, Any]:
    """Each definition with its syntax node, in the order of the file."""
    widest: dict[int, tuple[int, int, str, Any]] = {}
    for _, captures in matches:
        if captures.get("definition") and captures.get("name"):
            # a decorated definition matches with and without its decorators: the wider one counts
            node, name_node = captures["definition"][0], captures["name"][0]
            span = (node.start_byte, -node.end_byte, _text(name_node), node)
            known = widest.get(name_node.start_byte)
            widest[name_node.start_byte] = span if known is None else min(known, span, key=lambda one: one[:2])
    spans = sorted(widest.values(), key=lambda span: span[:3])
    found: dict[Definition, Any] = {}
    open_parents: list[tuple[int, str]] = []
    for start, minus_end, name, node in spans:
        while open_parents and open_parents[-1][0] <= start:
            open_parents.pop()
        qualified = f"{open_parents[-1][1]}.{name}" if open_parents else name
        open_parents.append((-minus_end, qualified))
        found.setdefault(Definition(node.start_point[0] + 1, node.end_point[0] + 1, name, qualified), node)
    return found


def _imports(matches: list[tuple[int, dict[str, list[Any]]]], language: Language) -> tuple[Import, ...]:
    found: list[tuple[int, Import]] = []
    for _, captures in matches:
        local = _text(captures["local"][0]) if captures.get("local") else None
        if captures.get("import.child"):
            node = captures["import.child"][0]
            found.append((node.start_byte, Import(_text(node), local=_text(node), child=True)))
        elif captures.get("import"):
            node = captures["import"][0]
            module = _text(node).strip("\"'`")
            name = _text(captures["import.name"][0]) if captures.get("import.name") else None
            texts = expand_braces(module) if language.braces else [module]
            found += [(node.start_byte, _named(text, name, local, language)) for text in texts]
    found.sort(key=lambda item: (item[0], item[1].module, item[1].name or ""))
    return tuple(dict.fromkeys(item for _, item in found))


def _named(text: str, name: str | None, local: str | None, language: Language) -> Import:
    """An import with its local name made plain: an alias, the taken name, or the last segment."""
    text, _, alias = text.partition(" as ")
    text = text.strip()
    last = text.rstrip("*").rstrip(language.separator).split(language.separator)[-1]
    return Import(text, name, local or alias.strip() or name or last or None)


def expand_braces(text: str) -> list[str]:
    """`a::{b, c::{d, e}}` as its single paths, in order."""
    text = re.sub(r"\s+", " ", text)
    start = text.find("{")
    if start < 0:
        return [text.strip()] if text.strip() else []
    prefix, depth, piece, pieces = text[:start], 0, "", []
    for sign in text[start:]:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if (sign == "{" and depth == 1) or (sign == "}" and depth == 0):
            continue
        if sign == "," and depth == 1:
            pieces.append(piece)
            piece = ""
        else:
            piece += sign
    pieces.append(piece)
    return [path for item in pieces if item.strip() for path in expand_braces(prefix.strip() + item.strip())]
