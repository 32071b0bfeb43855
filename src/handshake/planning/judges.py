"""Which tests can judge a draft on its own, before later drafts are done. Contract: `micro-tasks.md`, Generation 5.

A test file judges a draft if everything it imports of the packet is done by then. Where it also
touches later work, single tests of it may still judge, by the names they use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from handshake.planning.drafts import Draft
from handshake.source.imports import (
    ImportGraph,
    has_inline_tests,
    is_named_for,
    stem_of,
    stems_named_by,
    test_files_for,
)
from handshake.source.languages import Definition, language_of
from handshake.source.project import Project

_WORD = re.compile(r"\w+")
_SET_UP = frozenset({"setUp", "setUpClass", "setup_method", "setup_class", "setup"})


@dataclass(frozen=True)
class Judges:
    """Test files that judge as a whole, and single tests (qualified names) of others."""

    whole: tuple[str, ...] = ()
    single: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.whole or self.single)


@dataclass(frozen=True)
class _Helper:
    """A function or class of a test file that is no test, and the words it uses."""

    definition: Definition
    text: str
    words: frozenset[str]

    def serves(self, words: set[str], parent: str) -> bool:
        """Whether a test with these words, in that class, calls it or is set up by it."""
        name = self.definition.name
        return name in words or (name in _SET_UP and self.definition.qualified.rpartition(".")[0] == parent)


def tested_files(project: Project, graph: ImportGraph, owned: Sequence[str]) -> dict[str, frozenset[str]]:
    """For each test file that concerns the packet, the owned files it tests, itself left out."""
    known = test_files_for(project, frozenset(owned))
    absent = [path for path in owned if not project.has(path) and project.runs_as_test(path)]
    sources = frozenset(path for path in owned if not project.holds_tests(path))
    called: dict[str, list[str]] = {}
    for source in sources:
        called.setdefault(stem_of(source), []).append(source)
    found: dict[str, frozenset[str]] = {}
    for test in (*known, *absent):
        reached = graph.reach(test, sources) - {test}
        named = frozenset(source for stem in stems_named_by(test) for source in called.get(stem, ()))
        if has_inline_tests(project, test):
            named |= {test}
        if reached or named or test in owned:
            found[test] = frozenset(reached | named)
    return dict(sorted(found.items()))


class Court:
    """Chooses judges for drafts."""

    def __init__(
        self,
        project: Project,
        graph: ImportGraph,
        drafts: Sequence[Draft],
        tested: dict[str, frozenset[str]],
        done: Sequence[frozenset[int]],
    ) -> None:
        self._project = project
        self._graph = graph
        self._drafts = drafts
        self._tested = tested
        self._done = done
        self._needs: dict[str, tuple[tuple[str, frozenset[int]], ...]] = {}
        self._owners: dict[str, frozenset[int]] = {}
        for index, draft in enumerate(drafts):
            for path in draft.files:
                self._owners[path] = self._owners.get(path, frozenset()) | {index}

    def judges_of(self, index: int) -> Judges:
        """The tests that can judge the draft once it and what it waits for are done."""
        own = [test for test in self._tested if self._is_own_test(test, index)]
        return self._chosen(own, index) or self._chosen([t for t in self._tested if t not in own], index)

    def _is_own_test(self, test: str, index: int) -> bool:
        """Whether a test file is written by the draft, or names its files, or takes names from them."""
        files = self._drafts[index].files
        return (
            test in files
            or any(is_named_for(test, path) for path in files)
            or bool(self._graph.close(test).intersection(files))
        )

    def _chosen(self, tests: Sequence[str], index: int) -> Judges:
        done, whole, single = self._done[index], [], {}
        for test in tests:
            sources, owners = self._tested[test], self._owners.get(test, frozenset())
            if not self._project.has(test) and not owners & done:
                continue
            needed = self._owners_of(sources)
            if index not in needed | owners:
                continue
            if needed | self._behind(sources) <= done:
                whole.append(test)
            elif names := self._single_tests(test, index, done):
                single[test] = names
        return Judges(tuple(whole), single)

    def _owners_of(self, paths: frozenset[str]) -> frozenset[int]:
        return frozenset[int]().union(*(self._owners.get(path, frozenset()) for path in paths))

    def _behind(self, sources: frozenset[str]) -> frozenset[int]:
        """Owners of what the tested files import in turn."""
        seen, front = set(sources), sorted(sources)
        while front:
            fresh = set(self._graph.reach(front.pop(), self._owners.keys())) - seen
            seen |= fresh
            front.extend(sorted(fresh))
        return self._owners_of(frozenset(seen))

    def _single_tests(self, test: str, index: int, done: frozenset[int]) -> tuple[str, ...]:
        if test not in self._needs:
            self._needs[test] = tuple(self._needs_of(test))
        return tuple(name for name, needed in self._needs[test] if index in needed and needed <= done)

    def _needs_of(self, test: str) -> Iterator[tuple[str, frozenset[int]]]:
        """Each single test of a file, and the drafts it waits for."""
        language = language_of(test)
        if language is None or language.test_name is None or not self._project.has(test):
            return
        always, helpers = self._always_needed(test), self._helpers(test, language.test_name)
        for definition in self._project.outline(test).definitions:
            if re.match(language.test_name, definition.qualified):
                yield definition.qualified, always | self._needed_by(test, definition, helpers)

    def _always_needed(self, test: str) -> frozenset[int]:
        """Owners of imports whose names never appear: nobody can tell which test needs them."""
        words = _WORD.findall(self._project.text(test) or "")
        needed: frozenset[int] = frozenset()
        for item in self._project.outline(test).imports:
            if item.local is None or words.count(item.local) < 2 or item.module.endswith("*"):
                for target in self._graph.resolve(test, item):
                    needed |= self._owners_of_name(target, None)
        return needed

    def _needed_by(self, test: str, definition: Definition, helpers: Sequence[_Helper]) -> frozenset[int]:
        used = self._graph.uses(test, self._with_callees(test, definition, helpers))
        return frozenset[int]().union(*(self._owners_of_name(path, name) for path, name in used))

    def _helpers(self, test: str, pattern: str) -> tuple[_Helper, ...]:
        """What a test file defines beside its tests."""
        lines = self._project.lines(test)
        found = []
        for definition in self._project.outline(test).definitions:
            if not re.match(pattern, definition.qualified):
                text = "\n".join(lines[definition.start - 1 : definition.end])
                found.append(_Helper(definition, text, frozenset(_WORD.findall(text))))
        return tuple(found)

    def _with_callees(self, test: str, definition: Definition, helpers: Sequence[_Helper]) -> str:
        """A test's text and that of the helpers of its own file which it uses."""
        own = "\n".join(self._project.lines(test)[definition.start - 1 : definition.end])
        texts, words = [own], set(_WORD.findall(own))
        parent = definition.qualified.rpartition(".")[0]
        waiting = [
            helper
            for helper in helpers
            if not (helper.definition.start <= definition.start and helper.definition.end >= definition.end)
        ]
        while True:
            used = [helper for helper in waiting if helper.serves(words, parent)]
            if not used:
                return "\n".join(texts)
            taken = {id(helper) for helper in used}
            waiting = [helper for helper in waiting if id(helper) not in taken]
            texts += [helper.text for helper in used]
            words = words.union(*(helper.words for helper in used))

    def _owners_of_name(self, path: str, name: str | None) -> frozenset[int]:
        """The drafts that a use of one name waits for; for a file in parts, the part that holds the name."""
        owners = self._owners.get(path)
        if owners is None:
            return self._owners_of(self._graph.reach(path, self._owners.keys()))
        if name is None or len(owners) == 1:
            return owners
        parts = {
            index for index in owners if any(name in qualified.split(".") for qualified in self._drafts[index].focus)
        }
        return frozenset(parts)
