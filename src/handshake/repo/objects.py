"""Git objects as bytes, made the same way whoever stores them: same inputs, same ids. Contract: `state.md`.

Blobs, trees and commits are encoded here, without git, so that every backend stores the same bytes, the
ids are known before anything is written, and what was lost can be written again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from handshake.domain.errors import UsageError
from handshake.domain.settings import Identity

Kind = Literal["blob", "tree", "commit"]

REGULAR = 0o100644
EXECUTABLE = 0o100755
SYMLINK = 0o120000
_DIRECTORY = 0o040000
_FORBIDDEN = {b"", b".", b"..", b".git"}


@dataclass(frozen=True)
class BlobEntry:
    """A file to commit with its mode: 0o100644, 0o100755 or 0o120000 (a symbolic link's target)."""

    data: bytes
    mode: int = REGULAR


Change = bytes | BlobEntry | None


@dataclass(frozen=True)
class GitObject:
    """One object, not yet stored."""

    kind: Kind
    data: bytes
    sha: str


@dataclass(frozen=True)
class TreeEntry:
    """One line of a tree."""

    mode: int
    sha: str

    @property
    def is_directory(self) -> bool:
        """Whether it names another tree."""
        return self.mode == _DIRECTORY


def git_object(kind: Kind, data: bytes, object_format: str) -> GitObject:
    """The object with its id in that format (`sha1` or `sha256`)."""
    digest = hashlib.new(object_format, usedforsecurity=False)
    digest.update(f"{kind} {len(data)}\0".encode() + data)
    return GitObject(kind, data, digest.hexdigest())


def parse_tree(data: bytes, object_format: str) -> dict[bytes, TreeEntry]:
    """The entries of a tree by name."""
    width = hashlib.new(object_format, usedforsecurity=False).digest_size
    entries: dict[bytes, TreeEntry] = {}
    at = 0
    while at < len(data):
        end = data.index(b"\0", at)
        mode, _, name = data[at:end].partition(b" ")
        entries[name] = TreeEntry(int(mode, 8), data[end + 1 : end + 1 + width].hex())
        at = end + 1 + width
    return entries


def encode_tree(entries: Mapping[bytes, TreeEntry]) -> bytes:
    """A tree's bytes, in git's order (a folder sorts as if its name ended in `/`)."""
    ordered = sorted(entries.items(), key=lambda item: item[0] + b"/" if item[1].is_directory else item[0])
    return b"".join(b"%o %s\0" % (e.mode, name) + bytes.fromhex(e.sha) for name, e in ordered)


def commit_bytes(
    *, tree: str, parents: tuple[str, ...], author: Identity, committer: Identity, when: datetime, message: str
) -> bytes:
    """A commit's bytes. Times are whole seconds of UTC.

    Raises:
        ValueError: the moment has no time zone.
    """
    if when.tzinfo is None:
        raise ValueError("a commit needs a time with a zone")
    seconds = int(when.timestamp())
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    lines += [
        f"{role} {_signature(who)} {seconds} +0000" for role, who in (("author", author), ("committer", committer))
    ]
    text = message.replace("\0", "").rstrip("\n") + "\n"
    return ("\n".join(lines) + "\n\n" + text).encode("utf-8", "replace")


def _signature(who: Identity) -> str:
    def without_marks(text: str) -> str:
        return "".join(sign for sign in text if sign not in "<>\n\r\0").strip()

    return f"{without_marks(who.name)} <{without_marks(who.email)}>"


class TreeEdit:
    """Changes laid over a base tree: unchanged folders keep their ids and are not read deeper than needed.

    Args:
        object_format: `sha1` or `sha256`.
        read_tree: gives a stored tree's bytes.
    """

    def __init__(self, object_format: str, read_tree: Callable[[str], bytes]) -> None:
        self._format = object_format
        self._read = read_tree
        self.objects: list[GitObject] = []

    def apply(self, base: str | None, changes: Mapping[str, Change]) -> str:
        """The id of the tree with the changes; `objects` then holds what must be stored, blobs before trees.

        Raises:
            UsageError: a path that git cannot hold, or a file and a folder of the same name.
        """
        nested: dict[bytes, _Node] = {}
        for path in sorted(changes):
            _place(nested, _parts(path), changes[path], path)
        tree = self._folder(base, nested)
        if tree is None:
            tree = self._new("tree", b"")
        return tree

    def _folder(self, base: str | None, nested: dict[bytes, _Node]) -> str | None:
        """The id of one changed folder, or None where nothing is left in it."""
        entries = parse_tree(self._read(base), self._format) if base else {}
        before = dict(entries)
        for name, node in nested.items():
            known = entries.get(name)
            if isinstance(node, dict):
                deeper = known.sha if known is not None and known.is_directory else None
                sha = self._folder(deeper, node)
                if sha is not None:
                    entries[name] = TreeEntry(_DIRECTORY, sha)
                elif known is not None and known.is_directory:
                    del entries[name]
            elif node.change is None:
                if known is not None and not known.is_directory:
                    del entries[name]
            else:
                entries[name] = self._file(node.change, known)
        if base is not None and entries == before:
            return base
        return self._new("tree", encode_tree(entries)) if entries else None

    def _file(self, change: bytes | BlobEntry, known: TreeEntry | None) -> TreeEntry:
        data = change if isinstance(change, bytes) else change.data
        if isinstance(change, BlobEntry):
            mode = change.mode
        else:
            mode = EXECUTABLE if known is not None and known.mode == EXECUTABLE else REGULAR
        blob = git_object("blob", data, self._format)
        if known is None or known.sha != blob.sha:
            self.objects.append(blob)
        return TreeEntry(mode, blob.sha)

    def _new(self, kind: Kind, data: bytes) -> str:
        made = git_object(kind, data, self._format)
        self.objects.append(made)
        return made.sha


@dataclass(frozen=True)
class _Leaf:
    change: Change


_Node = _Leaf | dict[bytes, "_Node"]


def _parts(path: str) -> list[bytes]:
    parts = os.fsencode(path).split(b"/")
    if any(part.lower() in _FORBIDDEN or b"\0" in part for part in parts):
        raise UsageError(f"the path {path!r} cannot be committed", next_step="use a relative path of plain names")
    return parts


def _place(nested: dict[bytes, _Node], parts: list[bytes], change: Change, path: str) -> None:
    for part in parts[:-1]:
        deeper = nested.setdefault(part, {})
        if isinstance(deeper, _Leaf):
            if deeper.change is not None:
                raise UsageError(f"{path!r} needs a folder where another change writes a file")
            deeper = nested[part] = {}
        nested = deeper
    if isinstance(nested.get(parts[-1]), dict):
        if change is None:
            return
        raise UsageError(f"{path!r} is a file and a folder at once")
    nested[parts[-1]] = _Leaf(change)
