"""Which files import which: the edges that the cut and the order follow.

Contract: `micro-tasks.md`, Generation 3 and 4.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Protocol

from handshake.source.languages import Import, Language, Outline, language_of
from handshake.source.project import Project

MOST_TEST_FILES = 400
_DEPTH = 6
_WORDS = re.compile(r"\w+")


class FileView(Protocol):
    """The files that imports are looked up in: a commit's tree, or a worktree."""

    def has(self, path: str) -> bool:
        """Whether the file is there."""
        ...

    def in_folder(self, folder: str) -> tuple[str, ...]:
        """The files directly in a folder (`""` is the root), sorted."""
        ...

    def text(self, path: str) -> str | None:
        """The file's text; None if it is absent or no text."""
        ...

    def outline(self, path: str) -> Outline:
        """Definitions and imports of the file."""
        ...


class ImportGraph:
    """Import edges of a project, found as they are asked for."""

    def __init__(self, project: FileView) -> None:
        self._project = project
        self._direct: dict[str, tuple[str, ...]] = {}
        self._close: dict[str, frozenset[str]] = {}
        self._resolved: dict[tuple[str, str, str | None, bool], tuple[str, ...]] = {}
        self._origins: dict[tuple[str, Import], tuple[str, str | None] | None] = {}
        self._manifests: dict[tuple[str, str], tuple[str, str] | None] = {}

    def direct(self, path: str) -> tuple[str, ...]:
        """The files of the tree that a file imports, sorted, itself left out."""
        if path not in self._direct:
            found = {target for item in self._project.outline(path).imports for target in self.resolve(path, item)}
            found.update(self._siblings_used(path))
            self._direct[path] = tuple(sorted(found - {path}))
        return self._direct[path]

    def reach(self, path: str, owned: Collection[str]) -> frozenset[str]:
        """The owned files that a file imports, looking through files that nobody owns."""
        seen, front, found = {path}, [path], set()
        for _ in range(_DEPTH):
            following = []
            for target in (t for item in front for t in self.direct(item)):
                if target in seen:
                    continue
                seen.add(target)
                if target in owned:
                    found.add(target)
                else:
                    following.append(target)
            front = following
        return frozenset(found)

    def origin(self, path: str, item: Import, depth: int = _DEPTH) -> tuple[str, str | None] | None:
        """Where an imported name really comes from: (file, name), through files that only pass it on."""
        if depth < _DEPTH:
            return self._origin(path, item, depth)
        if (path, item) not in self._origins:
            self._origins[path, item] = self._origin(path, item, depth)
        return self._origins[path, item]

    def _origin(self, path: str, item: Import, depth: int) -> tuple[str, str | None] | None:
        targets = self.resolve(path, item)
        if not targets:
            return None
        target = targets[0]
        name = item.name or self._last_as_name(path, item, target)
        if name is None:
            return target, None
        return self.follow(target, name, depth)

    def follow(self, path: str, name: str, depth: int = _DEPTH) -> tuple[str, str]:
        """The file that defines what `path` calls `name`."""
        outline = self._project.outline(path)
        if depth and not any(definition.name == name for definition in outline.definitions):
            for item in outline.imports:
                if item.local == name:
                    found = self.origin(path, item, depth - 1)
                    if found is not None:
                        return found[0], found[1] or name
        return path, name

    def uses(self, path: str, text: str) -> frozenset[tuple[str, str | None]]:
        """The (file, name) pairs that a piece of a file's text refers to through its imports.

        The name is None where the whole module is meant.
        """
        words = set(_WORDS.findall(text))
        found: set[tuple[str, str | None]] = set()
        for item in self._project.outline(path).imports:
            origin = self.origin(path, item) if item.local in words else None
            if origin is None:
                continue
            module, name = origin
            attributes = set(re.findall(rf"\b{re.escape(item.local or '')}\.(\w+)", text)) if name is None else ()
            found.update(self.follow(module, attribute) for attribute in attributes)
            if not attributes:
                found.add((module, name))
        language = language_of(path)
        if language is not None and language.same_directory:
            for other in self.direct(path):
                names = {known.name for known in self._project.outline(other).definitions} & words
                found.update((other, name) for name in names)
        return frozenset(found)

    def close(self, path: str) -> frozenset[str]:
        """The files that a file imports itself, and those that define the names it takes from them."""
        if path not in self._close:
            used = self.uses(path, self._project.text(path) or "")
            self._close[path] = frozenset(self.direct(path)) | {target for target, _ in used}
        return self._close[path]

    def _last_as_name(self, path: str, item: Import, target: str) -> str | None:
        """For imports written as one path (`crate::a::b`): the last segment, if the file is not called so."""
        language = language_of(path)
        if language is None or not language.braces or item.child:
            return None
        last = item.module.split(language.separator)[-1]
        return None if last in ("*", stem_of(target)) else last

    def resolve(self, path: str, item: Import) -> tuple[str, ...]:
        """The files that one import names; none for what lies outside the tree."""
        language = language_of(path)
        if language is None:
            return ()
        # what an import means depends on the importer's folder, or on its own name where submodules lie below it
        place = path if language.owns_directory else f"{posixpath.dirname(path)}/{language.name}"
        key = (place, item.module, item.name, item.child)
        if key not in self._resolved:
            self._resolved[key] = self._found(path, item, language)
        return self._resolved[key]

    def _found(self, path: str, item: Import, language: Language) -> tuple[str, ...]:
        if item.name is not None:
            deeper = item.module + ("" if _ends_open(item.module, language) else language.separator) + item.name
            found = self._resolve(path, deeper, language, drop=0, child=False)
            if found:
                return found
        return self._resolve(path, item.module, language, drop=language.drop_trailing, child=item.child)

    def _resolve(self, path: str, module: str, language: Language, *, drop: int, child: bool) -> tuple[str, ...]:
        base, rest = self._base(path, module, language, child=child)
        segments = [segment for segment in rest.split(language.separator) if segment and segment != "*"]
        if base is None and (not segments or segments[0] in language.external or language.bare == "none"):
            return ()
        for cut in range(min(drop, len(segments)) + 1):
            kept = segments[: len(segments) - cut]
            if not kept and base is None:
                break
            for form in self._forms("/".join(kept), language):
                if base is None:
                    found = self._search(path, form, language)
                else:
                    found = self._at(posixpath.normpath(posixpath.join(base, form)), language)
                if found:
                    return found
        return ()

    def _base(self, path: str, module: str, language: Language, *, child: bool) -> tuple[str | None, str]:
        """The folder an import starts from, and the import without the prefix that says so."""
        if child:
            return _module_folder(path, language), module
        if language.root_prefix and (match := re.match(language.root_prefix, module)):
            root = self._manifest(path, language)
            return (root[1] if root else ""), module[match.end() :]
        base: str | None = None
        if language.self_prefix and (match := re.match(language.self_prefix, module)):
            base, module = _module_folder(path, language), module[match.end() :]
        while language.up_prefix and (match := re.match(language.up_prefix, module)):
            start = _module_folder(path, language) if base is None else base
            base, module = posixpath.normpath(posixpath.join(start or ".", "..")), module[match.end() :]
        if base is None and language.manifest_file:
            root = self._manifest(path, language)
            if root and (module == root[0] or module.startswith(root[0] + language.separator)):
                return root[1], module[len(root[0]) :]
        if base is None and language.bare == "self" and module.split(language.separator)[0] not in language.external:
            base = _module_folder(path, language)
        return base, module

    def _manifest(self, path: str, language: Language) -> tuple[str, str] | None:
        """(the project's own name, its source folder), from the nearest manifest above the file."""
        folder = posixpath.dirname(path)
        key = (language.name, folder)
        if key not in self._manifests:
            self._manifests[key] = self._find_manifest(folder, language)
        return self._manifests[key]

    def _find_manifest(self, folder: str, language: Language) -> tuple[str, str] | None:
        while True:
            place = posixpath.join(folder, language.manifest_file or "")
            text = self._project.text(place) if language.manifest_file else None
            if text is not None:
                match = re.search(language.manifest_pattern, text, re.MULTILINE)
                name = match.group(1) if match else ""
                if language.manifest_replace:
                    name = name.replace(language.manifest_replace[0], language.manifest_replace[1])
                return name, posixpath.join(folder, language.source_dir)
            if not folder:
                return None
            folder = posixpath.dirname(folder)

    def _forms(self, module: str, language: Language) -> Iterator[str]:
        names = [module]
        names += [module.removesuffix(ending) for ending in language.strip_extensions if module.endswith(ending)]
        for name in names:
            for form in language.candidates:
                yield form.format(m=name).lstrip("/")

    def _at(self, place: str, language: Language) -> tuple[str, ...]:
        place = "" if place == "." else place
        if language.unit == "directory":
            return tuple(
                path
                for path in self._project.in_folder(place)
                if language_of(path) is language and not language.is_test(path)
            )
        return (place,) if self._project.has(place) else ()

    def _search(self, path: str, form: str, language: Language) -> tuple[str, ...]:
        """An import with no base: beside the importer, in a folder above it, or under a known root."""
        folders, folder = [], posixpath.dirname(path)
        while folder:
            folders.append(folder)
            folder = posixpath.dirname(folder)
        folders.append("")
        for above in folders:
            for place in (above, *(posixpath.join(above, root) for root in language.roots)):
                found = self._at(posixpath.normpath(posixpath.join(place, form)), language)
                if found:
                    return found
        return ()

    def _siblings_used(self, path: str) -> Iterator[str]:
        """For languages whose folder is one unit: the files beside it that define names it uses."""
        language = language_of(path)
        if language is None or not language.same_directory:
            return
        words = set(_WORDS.findall(self._project.text(path) or ""))
        own = {definition.name for definition in self._project.outline(path).definitions}
        for other in self._project.in_folder(posixpath.dirname(path)):
            if other == path or language_of(other) is not language or language.is_test(other):
                continue
            if any(d.name in words and d.name not in own for d in self._project.outline(other).definitions):
                yield other


def _ends_open(module: str, language: Language) -> bool:
    return module.endswith(language.separator)


def stem_of(path: str) -> str:
    """A file's name up to its first dot."""
    return posixpath.basename(path).split(".")[0]


def _module_folder(path: str, language: Language) -> str:
    """The folder that a file's relative imports start from."""
    folder, name = posixpath.split(path)
    if not language.owns_directory or name in language.owns_directory:
        return folder
    return posixpath.join(folder, posixpath.splitext(name)[0])


def is_named_for(test: str, source: str) -> bool:
    """Whether a test file is called after a source file, as the language's habit is."""
    return stem_of(source) in stems_named_by(test)


@lru_cache(maxsize=65_536)
def stems_named_by(test: str) -> frozenset[str]:
    """The names that the source of a test file may have, going by the test's own name."""
    language = language_of(test)
    stem = posixpath.splitext(posixpath.basename(test))[0]
    found = set()
    for form in language.test_stems if language is not None else ():
        before, _, after = form.partition("{stem}")
        if stem.startswith(before) and stem.endswith(after) and len(stem) > len(before) + len(after):
            found.add(stem[len(before) : len(stem) - len(after)])
    return frozenset(found)


def test_files_for(project: Project, owned: Collection[str]) -> tuple[str, ...]:
    """The test files that may concern the owned files: their text or their name holds a word of an owned path."""
    words = {part for path in owned for part in (stem_of(path), *posixpath.dirname(path).split("/")) if part}
    stems = {stem_of(path) for path in owned}
    candidates = set(project.test_paths)
    candidates |= {path for path in owned if has_inline_tests(project, path)}
    near = {path: not stems.isdisjoint(stems_named_by(path)) for path in candidates}
    first = sorted(candidates, key=lambda path: (path not in owned, not near[path], path))[:MOST_TEST_FILES]
    spoken = re.compile("|".join(sorted(map(re.escape, words), key=len, reverse=True)) or r"(?!)")
    owned = frozenset(owned)
    return tuple(
        sorted(path for path in first if path in owned or near[path] or spoken.search(project.text(path) or ""))
    )


def has_inline_tests(project: Project, path: str) -> bool:
    """Whether a source file keeps tests of its own, as some languages do."""
    language = language_of(path)
    if language is None or language.inline_tests is None:
        return False
    return re.search(language.inline_tests, project.text(path) or "") is not None
