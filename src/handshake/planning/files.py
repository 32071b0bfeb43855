"""IN_SCOPE_PATHS against the tree: what may be changed, what is to be made, what is left out and why.

Contract: `micro-tasks.md`, Generation 1.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from handshake.domain.errors import JobRefused
from handshake.domain.packet_scope import has_glob, in_scope
from handshake.source.project import Project

_SUBMODULE = "it lies in a submodule, which is a repository of its own"


@dataclass(frozen=True)
class ScopedFiles:
    """The files a packet allows to be written.

    `named` are those that IN_SCOPE_PATHS lists one by one; the rest came from a folder or a glob.
    `skipped` are (path, reason).
    """

    modify: tuple[str, ...]
    create: tuple[str, ...]
    named: frozenset[str]
    skipped: tuple[tuple[str, str], ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Every writable path, sorted."""
        return tuple(sorted((*self.modify, *self.create)))


class ScopeEntries:
    """IN_SCOPE_PATHS as one question: is this path inside? Governance paths never are."""

    def __init__(self, entries: tuple[str, ...], governance: tuple[str, ...]) -> None:
        self.entries = tuple(dict.fromkeys(normal_path(entry) for entry in entries))
        self.folders = frozenset(normal_path(entry) for entry in entries if entry.strip().endswith("/"))
        self._governance = governance

    def is_governance(self, path: str) -> bool:
        """Whether the path is a packet, a board or lies under a governance prefix."""
        return any(
            path == prefix.rstrip("/") or path.startswith(prefix.rstrip("/") + "/") for prefix in self._governance
        )

    def covers(self, path: str) -> bool:
        """Whether some entry names the path, a folder it lies in, or a glob it matches; the post-work gate agrees."""
        return "." in self.entries or in_scope(path, self.entries)

    def allows(self, path: str) -> bool:
        """Whether an MT may write the path."""
        return self.covers(path) and not self.is_governance(path)


def normal_path(entry: str) -> str:
    """An entry without `./`, doubled and final slashes.

    Raises:
        JobRefused: it is absolute or leaves the repository.
    """
    text = entry.strip()
    if not text or text.startswith(("/", "~")) or re.match(r"^[A-Za-z]:", text) or ".." in text.split("/"):
        raise JobRefused(
            f"MT-VAL-005: IN_SCOPE_PATHS entry {entry!r} is not a path inside the repository",
            next_step="write it relative to the repository's root",
        )
    return posixpath.normpath(text)


def expand_scope(entries: ScopeEntries, project: Project, mentioned: tuple[str, ...]) -> ScopedFiles:
    """The writable files of the packet.

    Args:
        entries: the packet's scope.
        project: the tree.
        mentioned: paths that DONE_MEANS bullets name; one that is inside the scope and absent is to be made.
    """
    modify: set[str] = set()
    create: set[str] = set()
    named: set[str] = set()
    skipped: dict[str, str] = {}
    for entry in entries.entries:
        if project.has(entry):
            matched = [entry]
            named.add(entry)
        elif has_glob(entry):
            matched = [path for path in project.paths if in_scope(path, (entry,))]
        else:
            matched = [path for path in project.paths if entry == "." or path.startswith(entry + "/")]
        if mounted := [place for place in project.submodules if in_scope(place, (entry,)) or entry == "."]:
            skipped.update(dict.fromkeys(mounted, _SUBMODULE))
        elif not matched and not _is_folder_to_be(entry, entries, mentioned):
            if reason := _why_no_file(entry, entries):
                skipped[entry] = reason
                continue
            create.add(entry)
            named.add(entry)
        modify.update(matched)
    for path in mentioned:
        if entries.allows(path) and not project.has(path) and not _is_folder(path, project):
            create.add(path)
            named.add(path)
    for path in sorted(modify | create):
        reason = _why_not(path, entries, project)
        if reason:
            skipped[path] = reason
    return ScopedFiles(
        tuple(sorted(modify - skipped.keys())),
        tuple(sorted(create - modify - skipped.keys())),
        frozenset(named - skipped.keys()),
        tuple(sorted(skipped.items())),
    )


def _is_folder(path: str, project: Project) -> bool:
    return any(other.startswith(path + "/") for other in project.paths)


def _why_no_file(entry: str, entries: ScopeEntries) -> str | None:
    """Why an entry that matches nothing is not the name of a file to make."""
    if entry == "." or has_glob(entry):
        return "nothing in the tree matches it"
    return "it is a folder and not in the tree" if entry in entries.folders else None


def _is_folder_to_be(entry: str, entries: ScopeEntries, mentioned: tuple[str, ...]) -> bool:
    """Whether an absent entry stands for a folder: something else of the packet lies inside it."""
    return any(other.startswith(entry + "/") for other in (*entries.entries, *mentioned))


def _why_not(path: str, entries: ScopeEntries, project: Project) -> str | None:
    if entries.is_governance(path):
        return "a governance path is never an MT's to write"
    if not project.has(path):
        if any(path == place or path.startswith(place + "/") for place in project.submodules):
            return _SUBMODULE
        parent = posixpath.dirname(path)
        while parent:
            if project.has(parent):
                return f"{parent} is a {'symbolic link' if project.is_link(parent) else 'file'}, not a folder"
            parent = posixpath.dirname(parent)
        return None
    return project.why_no_text(path)
