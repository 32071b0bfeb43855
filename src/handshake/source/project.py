"""The tree as the generator sees it: cached text, tokens and outlines of the files it needs, and no others."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Protocol

from handshake.source.languages import Outline, is_test_file, language_of, outline_of

LARGEST_TEXT_BYTES = 1_048_576


class SourceTree(Protocol):
    """A commit's tree, by repo-relative POSIX paths."""

    def paths(self) -> tuple[str, ...]:
        """Every file."""
        ...

    def read(self, path: str) -> bytes | None:
        """A file's bytes, None if it is not there."""
        ...

    def size(self, path: str) -> int | None:
        """A file's size in bytes, None if it is not there."""
        ...


def estimate_tokens(text: str) -> int:
    """Tokens of a text without a tokenizer: one for each three bytes of UTF-8, which errs high for code."""
    return -(-len(text.encode("utf-8")) // 3)


class Project:
    """A source tree with memory: each file is read and parsed at most once."""

    def __init__(self, tree: SourceTree, count_tokens: Callable[[str], int] | None = None) -> None:
        self._tree = tree
        self._count = count_tokens or estimate_tokens
        self.paths: tuple[str, ...] = tuple(sorted(tree.paths()))
        self._known = frozenset(self.paths)
        self._texts: dict[str, str | None] = {}
        self._outlines: dict[str, Outline] = {}
        self._lines: dict[str, list[str]] = {}
        self._tokens: dict[str, int] = {}
        self._folders: dict[str, list[str]] = {}
        for path in self.paths:
            self._folders.setdefault(posixpath.dirname(path), []).append(path)

    def has(self, path: str) -> bool:
        """Whether the file is in the tree."""
        return path in self._known

    def in_folder(self, folder: str) -> tuple[str, ...]:
        """The files directly in a folder (`""` is the root), sorted."""
        return tuple(self._folders.get(folder, ()))

    def size(self, path: str) -> int:
        """Bytes of the file, 0 if it is not there."""
        return self._tree.size(path) or 0

    def text(self, path: str) -> str | None:
        """The file's text; None if it is absent, binary, or larger than 1 MiB."""
        if path not in self._texts:
            self._texts[path] = self._read(path)
        return self._texts[path]

    def _read(self, path: str) -> str | None:
        if path not in self._known or self.size(path) > LARGEST_TEXT_BYTES:
            return None
        data = self._tree.read(path)
        if data is None or b"\0" in data[:8192]:
            return None
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return data.decode("latin-1")

    def lines(self, path: str) -> list[str]:
        """The lines of the file's text, none where there is no text."""
        if path not in self._lines:
            self._lines[path] = (self.text(path) or "").splitlines()
        return self._lines[path]

    def tokens(self, path: str) -> int:
        """Estimated tokens of the file's text."""
        if path not in self._tokens:
            text = self.text(path)
            self._tokens[path] = self._count(text) if text else 0
        return self._tokens[path]

    def count(self, text: str) -> int:
        """Tokens of any text."""
        return self._count(text)

    def outline(self, path: str) -> Outline:
        """Definitions and imports of the file."""
        if path not in self._outlines:
            text = self.text(path)
            self._outlines[path] = outline_of(path, text) if text and language_of(path) else Outline()
        return self._outlines[path]

    def holds_tests(self, path: str) -> bool:
        """Whether the path looks like a test file."""
        return is_test_file(path)

    def runs_as_test(self, path: str) -> bool:
        """Whether a test tool would find tests in the file."""
        language = language_of(path)
        return language is not None and language.runs_as_test(path)
