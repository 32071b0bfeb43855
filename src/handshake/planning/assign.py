"""DONE_MEANS bullets to files: by path or module, by identifiers in backticks, then by BM25.

Contract: `micro-tasks.md`, Generation 2.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from handshake.planning.files import ScopedFiles
from handshake.planning.names import Name, names_of
from handshake.planning.words import WordIndex, beginnings_of, is_general, telling_words, vocabulary, words_of
from handshake.source.imports import ImportGraph, is_named_for
from handshake.source.languages import is_beside_tests, language_of
from handshake.source.project import Project

_PATH_LIKE = re.compile(r"[A-Za-z0-9_@.][A-Za-z0-9_@./\\+-]*")
_URL = re.compile(r"\b\w+://\S+")
# characters of a file that are read for words: much of each file in a small scope, the heads in a large one
_SMALLEST_DOCUMENT, _LARGEST_DOCUMENT, _ALL_DOCUMENTS = 4_000, 64_000, 16_000_000
# in a larger scope definitions are looked up by name alone, and not parsed for their words
_MOST_PARSED = 1_000
# a name that so many files define says where; one that more define only helps the words to choose
_FEW = 2
_MOST_FILES_BY_WORDS = 3
_CLOSE_TO_BEST = 0.8
_SHORTEST_NAME = 4
# prose speaks of everything, and is seldom what has to change
_PROSE = 0.5
_BESIDE = re.compile(r"(?:^|/)(?:docs?|examples?|samples?|benchmarks?)/")
# a word that stands in a name of code tells more than one of the sentence around it
_NAMED = 2.0


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
        self._most = 1 if one_file else _MOST_FILES_BY_WORDS
        self._sources = tuple(path for path in files.all if not is_beside_tests(path)) or files.all
        self._mentions = _mentions(files.all)
        self._all = frozenset(files.all)
        self._modules = frozenset(part.split(".")[0] for path in files.all for part in path.split("/"))
        self._indexes: dict[tuple[str, ...], tuple[WordIndex, ...]] = {}

    def assign(self, bullets: tuple[str, ...]) -> Assignment:
        """Every bullet's targets. With a single file to change, what fits nothing is that file's."""
        weighed = telling_words(bullets)
        targets = [self._targets(bullet, words) for bullet, words in zip(bullets, weighed, strict=True)]
        taken = {target.path for found in targets for target in found}
        free = [path for path in self._sources if path not in taken and path in self._files.named]
        fallback = self._sources if len(self._sources) == 1 else free if len(free) == 1 else ()
        for index, bullet in enumerate(bullets):
            if not targets[index] and not is_general(bullet):
                targets[index] = tuple(Target(path, "left over") for path in fallback)
        return Assignment(tuple(targets))

    def _targets(self, bullet: str, words: dict[str, float]) -> tuple[Target, ...]:
        """By path, else by the names of code; by words what names leave open."""
        names = names_of(bullet)
        found = {target.path: target for target in self._by_path(bullet)}
        about_tests = re.search(vocabulary()["about_tests"], bullet, re.IGNORECASE) is not None
        unclear: list[tuple[Name, tuple[str, ...]]] = []
        for name in names:
            paths = self._defining(name.parts, with_tests=about_tests) if name.is_code else ()
            if name.is_sure and 0 < len(paths) <= _FEW:
                for path in paths[: self._most]:
                    found.setdefault(path, Target(path, f"defines {name.last}"))
            else:
                unclear.append((name, paths))
        if not found and not is_general(bullet):
            found = {target.path: target for target in self._by_words(words, unclear, with_tests=about_tests)}
        known = {name.last for name in names if name.is_code}
        for path, target in list(found.items()):
            definitions = {d.qualified for d in self._project.outline(path).definitions if d.name in known}
            found[path] = Target(path, target.reason, tuple(sorted(definitions)))
        if about_tests:
            for test in self._tests_in_scope(tuple(found)):
                found.setdefault(test, Target(test, "tests of the others"))
        return tuple(found[path] for path in sorted(found))

    def _by_path(self, bullet: str) -> Iterator[Target]:
        for word in _path_words(bullet):
            pieces = word.split(".")
            for size in range(len(pieces), 0, -1):
                path = self._mentions.get(".".join(pieces[:size]))
                if path is not None:
                    yield Target(self._where_defined(path, pieces[size:]), "named")
                    break

    def _where_defined(self, path: str, names: Sequence[str]) -> str:
        """The file that a name of a module comes from, where the module only passes it on."""
        origin = self._graph.follow(path, names[0])[0] if names else path
        return origin if origin in self._all else path

    def _defining(self, names: tuple[str, ...], *, with_tests: bool) -> tuple[str, ...]:
        """The files that define a name: as it is qualified, else by its last part; sources before tests."""
        paths = [path for path in self._sources if self._defines(path, names)]
        if with_tests and not paths:
            paths = [path for path in self._files.all if self._defines(path, names)]
        if not paths and self._may_lie_here(names):
            paths = [path for path in self._sources if self._defines(path, names[-1:])]
        return tuple(paths[:1] if self._one_file else paths)

    def _may_lie_here(self, names: tuple[str, ...]) -> bool:
        """Whether what qualifies a name is a class, or a module of the project: `json.dumps` is somebody else's."""
        return len(names) == 1 or names[-2][:1].isupper() or names[0] in self._modules

    def _defines(self, path: str, names: tuple[str, ...]) -> bool:
        if names[-1] not in (self._project.text(path) or ""):
            return False
        found = [d.qualified.split(".") for d in self._project.outline(path).definitions if d.name == names[-1]]
        if len(names) == 1:
            return bool(found)
        module = posixpath.splitext(path)[0].split("/")
        return any(_is_tail([*module, *qualified], list(names)) for qualified in found)

    def _by_words(
        self, words: dict[str, float], names: Sequence[tuple[Name, tuple[str, ...]]], *, with_tests: bool
    ) -> Iterator[Target]:
        """The files whose path, definitions and text come closest to the bullet's words and unclear names.

        Args:
            words: the bullet's words and how much each tells.
            names: its names, each with the files that define it: many, or none.
            with_tests: test files may be meant too.
        """
        paths = self._files.all if with_tests else self._sources
        query = dict(words)
        for name, _ in names:
            for beginning in beginnings_of(name.last):
                query[beginning] = 1.0
            for part in words_of(name.last):
                query[part] = _NAMED * words.get(part, 1.0)
        scores = dict.fromkeys(paths, 0.0)
        for index in self._fields(paths):
            for path, score in zip(paths, index.scores(query), strict=True):
                scores[path] += score
        best = max(scores.values(), default=0.0)
        for name, defining in names:
            places = defining or self._saying(name, paths)
            for path in places:
                scores[path] = scores.get(path, 0.0) + best / (1 + len(places))
        for path in scores:
            if language_of(path) is None or _BESIDE.search(path):
                scores[path] *= _PROSE
        ranked = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
        for path, score in ranked[: self._most]:
            if score > 0 and score >= _CLOSE_TO_BEST * ranked[0][1]:
                yield Target(path, "words")

    def _saying(self, name: Name, paths: tuple[str, ...]) -> list[str]:
        """The code in which a name stands as a whole."""
        if not name.is_sure or len(name.last) < _SHORTEST_NAME:
            return []
        word = re.compile(rf"(?<![\w-]){re.escape(name.last)}(?![\w-])")
        texts = ((path, self._project.text(path) or "") for path in paths if language_of(path) is not None)
        return [path for path, text in texts if name.last in text and word.search(text)]

    def _fields(self, paths: tuple[str, ...]) -> tuple[WordIndex, ...]:
        """Indexes over the same files: the words of the path, of the text, and of the definitions' names."""
        if paths not in self._indexes:
            size = max(_SMALLEST_DOCUMENT, min(_LARGEST_DOCUMENT, _ALL_DOCUMENTS // max(1, len(paths))))
            texts = {path: (self._project.text(path) or "")[:size] for path in paths}
            named = paths if len(paths) <= _MOST_PARSED else ()
            self._indexes[paths] = (
                WordIndex([words_of(path) for path in paths]),
                WordIndex([words_of(texts[path]) for path in paths]),
                *([WordIndex([self._names_in(path) for path in named])] if named else []),
            )
        return self._indexes[paths]

    def _names_in(self, path: str) -> list[str]:
        names = [definition.name for definition in self._project.outline(path).definitions]
        return [word for name in names for word in (*words_of(name), *beginnings_of(name))]

    def _tests_in_scope(self, sources: tuple[str, ...]) -> Iterator[str]:
        for test in self._files.all:
            if self._project.holds_tests(test) and any(
                is_named_for(test, source) or source in self._graph.reach(test, {source}) for source in sources
            ):
                yield test


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
