"""The tree as the generator sees it: cached text, tokens and outlines of the files it needs, and no others."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Protocol

from handshake.domain.errors import HandshakeError
from handshake.source.languages import Outline, is_test_file, language_of, outline_of

LARGEST_TEXT_BYTES = 1_048_576
# no model edits such a line, and no prompt can show it
LONGEST_LINE = 10_000
_SYMLINK = 0o120000


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

    def mode(self, path: str) -> int | None:
        """A file's git mode, None if it is not there."""
        ...

    def submodules(self) -> tuple[str, ...]:
        """Where other repositories are mounted: their files are not of this tree."""
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
        self._reasons: dict[str, str] = {}
        self._encodings: dict[str, str] = {}
        self._submodules: tuple[str, ...] | None = None
        self._test_paths: tuple[str, ...] | None = None
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

    @property
    def submodules(self) -> tuple[str, ...]:
        """Where other repositories are mounted, sorted."""
        if self._submodules is None:
            self._submodules = tuple(sorted(self._tree.submodules()))
        return self._submodules

    def text(self, path: str) -> str | None:
        """The file's text; None where it has none that a model could edit, see `why_no_text`."""
        if path not in self._texts:
            self._texts[path] = self._read(path)
        return self._texts[path]

    def why_no_text(self, path: str) -> str | None:
        """Why a file of the tree gives no text, as a person says it; None where it gives one."""
        return None if self.text(path) is not None else self._reasons.get(path, "it is not there")

    def is_link(self, path: str) -> bool:
        """Whether the path is a symbolic link, wherever it leads."""
        return self._tree.mode(path) == _SYMLINK

    def encoding(self, path: str) -> str:
        """The encoding that the file's text was read in: `utf-8`, or what its bytes were taken for."""
        self.text(path)
        return self._encodings.get(path, "utf-8")

    def _read(self, path: str) -> str | None:
        if path not in self._known:
            return None
        if self.is_link(path):
            return self._refused(path, "it is a symbolic link")
        try:
            size = self.size(path)
            data = self._tree.read(path) if size <= LARGEST_TEXT_BYTES else b""
        except HandshakeError as error:
            return self._refused(path, f"it cannot be read: {error}")
        if size > LARGEST_TEXT_BYTES:
            return self._refused(path, f"it has {size / LARGEST_TEXT_BYTES:.1f} MiB, more than 1 MiB")
        if data is None or b"\0" in data[:8192]:
            return self._refused(path, "it is binary" if data is not None else "it is not there")
        return self._decoded(path, data)

    def _decoded(self, path: str, data: bytes) -> str | None:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            self._encodings[path] = "latin-1"
            text = data.decode("latin-1")
        longest = max(map(len, text.splitlines()), default=0)
        if longest > LONGEST_LINE:
            return self._refused(path, f"it has a line of {longest} characters: minified or generated")
        return text

    def _refused(self, path: str, reason: str) -> str | None:
        self._reasons[path] = reason
        return None

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

    @property
    def test_paths(self) -> tuple[str, ...]:
        """Every file in which a test tool would find tests, sorted."""
        if self._test_paths is None:
            self._test_paths = tuple(path for path in self.paths if self.runs_as_test(path))
        return self._test_paths

    def runs_as_test(self, path: str) -> bool:
        """Whether a test tool would find tests in the file."""
        language = language_of(path)
        return language is not None and language.runs_as_test(path)
