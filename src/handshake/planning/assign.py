"""DONE_MEANS bullets to files: by path or module, by identifiers in backticks, then by BM25.

Contract: `micro-tasks.md`, Generation 2.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from handshake.planning.files import ScopedFiles
from handshake.source.imports import ImportGraph, is_named_for
from handshake.source.languages import language_of
from handshake.source.project import Project

_BACKTICKED = re.compile(r"`([^`]+)`")
_PATH_LIKE = re.compile(r"[A-Za-z0-9_@.][A-Za-z0-9_@./\\+-]*")
_URL = re.compile(r"\b\w+://\S+")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:(?:\.|::|#)[A-Za-z_][A-Za-z0-9_]*)*")
_SUBWORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_LARGEST_DOCUMENT = 8_000
_MOST_FILES_BY_WORDS = 3
_CLOSE_TO_BEST = 0.8


@dataclass(frozen=True)
class Target:
    """A file that a bullet goes to, why, and which of its definitions the bullet names (qualified)."""

    path: str
    reason: str
    definitions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Assignment:
    """For each bullet, in order, its targets; an empty tuple goes to the closing MT."""

    targets: tuple[tuple[Target, ...], ...]

    def bullets_of(self, path: str) -> tuple[int, ...]:
        """The indices of the bullets that a file has to satisfy."""
        return tuple(i for i, targets in enumerate(self.targets) if any(t.path == path for t in targets))

    def definitions_of(self, path: str, bullet: int) -> tuple[str, ...]:
        """The definitions of the file that the bullet names."""
        return next((t.definitions for t in self.targets[bullet] if t.path == path), ())


@cache
def vocabulary() -> dict[str, Any]:
    """The word lists of `words.json`."""
    loaded: dict[str, Any] = json.loads((resources.files("handshake.planning") / "words.json").read_text("utf-8"))
    return loaded


def words_of(text: str) -> list[str]:
    """Lower-case words of a text, identifiers taken apart, without stop words and plural endings."""
    stop = _stop_words()
    found = []
    for match in _SUBWORD.finditer(text):
        word = match.group().lower()
        if word not in stop and len(word) > 1:
            found.append(word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word)
    return found


@cache
def _stop_words() -> frozenset[str]:
    return frozenset(vocabulary()["stop"])


@cache
def _general_words() -> frozenset[str]:
    return frozenset(word for text in vocabulary()["general"] for word in words_of(text))


def paths_mentioned(bullets: tuple[str, ...]) -> tuple[str, ...]:
    """Path-like words of the bullets that have a folder and an ending, sorted."""
    found = {path for bullet in bullets for path in _path_words(bullet)}
    return tuple(sorted(path for path in found if "/" in path and "." in posixpath.basename(path)))


def _path_words(bullet: str) -> Iterator[str]:
    for match in _PATH_LIKE.finditer(_URL.sub(" ", bullet)):
        word = match.group().replace("\\", "/").rstrip(".,:;")
        word = word.removeprefix("./")
        if word and ".." not in word.split("/"):
            yield posixpath.normpath(word)


class Assigner:
    """Finds the files that a bullet is about."""

    def __init__(self, project: Project, graph: ImportGraph, files: ScopedFiles, *, one_file: bool) -> None:
        self._project = project
        self._graph = graph
        self._files = files
        self._one_file = one_file
        self._sources = tuple(path for path in files.all if not project.holds_tests(path)) or files.all
        self._mentions = _mentions(files.all)

    def assign(self, bullets: tuple[str, ...]) -> Assignment:
        """Every bullet's targets. Bullets that fit nothing take a named file that no other bullet took."""
        targets: list[tuple[Target, ...]] = [self._targets(bullet) for bullet in bullets]
        taken = {target.path for found in targets for target in found}
        free = tuple(path for path in self._sources if path not in taken and path in self._files.named)
        fallback = self._sources if len(self._sources) == 1 else free[: 1 if self._one_file else _MOST_FILES_BY_WORDS]
        for index, bullet in enumerate(bullets):
            if not targets[index] and not is_general(bullet):
                targets[index] = tuple(Target(path, "left over") for path in fallback)
        return Assignment(tuple(targets))

    def _targets(self, bullet: str) -> tuple[Target, ...]:
        found = {target.path: target for target in (*self._by_definition(bullet), *self._by_path(bullet))}
        for path, target in list(found.items()):
            names = self._definitions_named(path, bullet)
            found[path] = Target(path, target.reason, names)
        if not found and not is_general(bullet):
            found = {target.path: target for target in self._by_words(bullet)}
        if re.search(vocabulary()["about_tests"], bullet, re.IGNORECASE):
            for test in self._tests_in_scope(tuple(found)):
                found.setdefault(test, Target(test, "tests of the others"))
        return tuple(found[path] for path in sorted(found))

    def _by_path(self, bullet: str) -> Iterator[Target]:
        for word in _path_words(bullet):
            pieces = word.split(".")
            for size in range(len(pieces), 0, -1):
                path = self._mentions.get(".".join(pieces[:size]))
                if path is not None:
                    yield Target(path, "named")
                    break

    def _by_definition(self, bullet: str) -> Iterator[Target]:
        for names in identifiers_of(bullet):
            paths = [path for path in self._sources if self._defines(path, names)]
            paths = paths or [path for path in self._files.all if self._defines(path, names)]
            paths = paths or [path for path in self._sources if self._defines(path, names[-1:])]
            if (
                not paths
                and len(names[-1]) > 3
                and not is_general(names[-1])
                and ".".join(names) not in self._mentions
            ):
                word = re.compile(rf"(?<!\w){re.escape(names[-1])}(?!\w)")
                paths = [path for path in self._sources if word.search(self._project.text(path) or "")]
                paths = paths if len(paths) <= _MOST_FILES_BY_WORDS else []
            if self._one_file and len(paths) > 1:
                paths = paths[:1]
            for path in paths[: _MOST_FILES_BY_WORDS * 2]:
                yield Target(path, "defines " + names[-1])

    def _defines(self, path: str, names: tuple[str, ...]) -> bool:
        if names[-1] not in (self._project.text(path) or ""):
            return False
        found = [d.qualified.split(".") for d in self._project.outline(path).definitions if d.name == names[-1]]
        if len(names) == 1:
            return bool(found)
        module = posixpath.splitext(path)[0].split("/")
        return any(_is_tail([*module, *qualified], list(names)) for qualified in found)

    def _definitions_named(self, path: str, bullet: str) -> tuple[str, ...]:
        named = {names[-1] for names in identifiers_of(bullet)}
        return tuple(sorted({d.qualified for d in self._project.outline(path).definitions if d.name in named}))

    def _by_words(self, bullet: str) -> Iterator[Target]:
        about_tests = bool({"test", "coverage", "fixture"} & set(words_of(bullet)))
        paths = self._files.all if about_tests else self._sources
        scores = rank_by_words(words_of(bullet), [self._document(path) for path in paths])
        ranked = sorted(zip(paths, scores, strict=True), key=lambda pair: (-pair[1], pair[0]))
        most = 1 if self._one_file else _MOST_FILES_BY_WORDS
        for path, score in ranked[:most]:
            if score > 0 and score >= _CLOSE_TO_BEST * ranked[0][1]:
                yield Target(path, "words")

    def _document(self, path: str) -> list[str]:
        # a path's words say more about a file than any line in it
        return words_of(path) * 3 + words_of((self._project.text(path) or "")[:_LARGEST_DOCUMENT])

    def _tests_in_scope(self, sources: tuple[str, ...]) -> Iterator[str]:
        for test in self._files.all:
            if self._project.holds_tests(test) and any(
                is_named_for(test, source) or source in self._graph.reach(test, {source}) for source in sources
            ):
                yield test


def is_general(bullet: str) -> bool:
    """Whether a bullet speaks of the whole (`all tests pass`) and names nothing of its own."""
    return not set(words_of(bullet)) - _general_words()


def identifiers_of(bullet: str) -> list[tuple[str, ...]]:
    """Identifiers of a bullet as name parts: all in backticks, else words that can only be code."""
    found: list[tuple[str, ...]] = []
    for quoted in _BACKTICKED.findall(bullet):
        if "/" in quoted or language_of(quoted) is not None:
            continue  # a path: its folders are no names of the code
        for match in _IDENTIFIER.finditer(re.sub(r"\([^()]*\)", "", quoted)):
            found.append(tuple(re.split(r"\.|::|#", match.group())))
    plain = _BACKTICKED.sub(" ", bullet)
    for match in _IDENTIFIER.finditer(plain):
        parts = tuple(re.split(r"\.|::|#", match.group()))
        follows = plain[match.end() : match.end() + 1]
        if follows == "(" or "_" in parts[-1].strip("_") or re.search(r"[a-z][A-Z]", parts[-1]):
            found.append(parts)
    return list(dict.fromkeys(found))


def rank_by_words(query: list[str], documents: list[list[str]]) -> list[float]:
    """BM25+ scores of documents, less what a document without any query word would get: 0 means no word in common."""
    if not documents or not query or not any(documents):
        return [0.0] * len(documents)
    from rank_bm25 import BM25Plus

    index = BM25Plus(documents)
    empty = sum(float(index.idf.get(word) or 0) * float(index.delta) for word in query)
    return [round(max(0.0, float(score) - empty), 6) for score in index.get_scores(query)]


def _mentions(paths: tuple[str, ...]) -> dict[str, str]:
    """How a file may be spoken of: its path, a tail of it, its module; tails that fit two files fit none."""
    found: dict[str, set[str]] = {}
    for path in paths:
        language = language_of(path)
        stem = posixpath.splitext(path)[0]
        parts = path.split("/")
        for start in range(len(parts)):
            tail = "/".join(parts[start:])
            forms = {tail}
            if language is not None and start < len(parts) - 1:
                forms.add(".".join(stem.split("/")[start:]))
                forms.add(posixpath.splitext(tail)[0])
            for form in forms:
                found.setdefault(form, set()).add(path)
    exact = {path: path for path in paths}
    return exact | {form: next(iter(owners)) for form, owners in found.items() if len(owners) == 1}


def _is_tail(whole: list[str], tail: list[str]) -> bool:
    return whole[-len(tail) :] == tail
