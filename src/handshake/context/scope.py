"""The files of an MT as they were read for one prompt. Contract: `context.md`, steps 1 and 6."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from handshake.context.injection import DERIVED, HUMAN, RetrievedText
from handshake.context.plan import MAX_READ_TOKENS
from handshake.context.request import ContextRequest
from handshake.context.sources import SourceFile, read_source
from handshake.context.worktree import import_edges, with_pack
from handshake.source.index import SourceIndex

QUOTED_READ_TOKENS = 10_000


@dataclass(frozen=True)
class Scope:
    """The files of the MT as they were read; `missing` are writable paths that are not there.

    `quoted` are files outside the MT that the last validation names: only their failing lines are shown.
    `edges` says which of the MT's files import which.
    """

    modify: tuple[SourceFile, ...]
    read: tuple[SourceFile, ...]
    missing: tuple[str, ...]
    warnings: tuple[str, ...]
    quoted: tuple[SourceFile, ...] = ()
    edges: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[SourceFile, ...]:
        """All of the MT's files, those to modify first."""
        return (*self.modify, *self.read)

    def around(self, path: str, number: int, near: int) -> tuple[tuple[int, str], ...]:
        """The lines within `near` of a line, with their numbers; none where the line is not there."""
        for source in (*self.sources, *self.quoted):
            if source.path == path and 1 <= number <= len(source.lines):
                first, last = max(1, number - near), min(len(source.lines), number + near)
                return tuple((n, source.lines[n - 1]) for n in range(first, last + 1))
        return ()

    def texts(self, request: ContextRequest) -> tuple[RetrievedText, ...]:
        """All text on its way into the prompt that neither the packet nor a template wrote."""
        files = [RetrievedText(source.path, source.lines) for source in self.sources]
        mt_files = request.mt.files
        files += [RetrievedText(path, (path,)) for path in (*mt_files.writable, *mt_files.read)]
        for path, lines in failing_lines(request).items():
            for line in sorted(lines) if any(path == source.path for source in self.quoted) else ():
                near = self.around(path, line, 2)
                files.append(RetrievedText(path, tuple(text for _, text in near), near[0][0] if near else 1))
        previous = request.previous
        if previous is not None:
            said = [previous.validation_tail, previous.reply_summary, previous.error or "", previous.malformed or ""]
            said += [message for _, _, message in previous.locations]
            said += [line for outcome in previous.edit_outcomes for line in (outcome.error or "", *outcome.nearest)]
            files.append(RetrievedText(DERIVED, tuple("\n".join(said).split("\n"))))
        if request.human_notes:
            files.append(RetrievedText(HUMAN, tuple("\n".join(request.human_notes).split("\n"))))
        return tuple(files)


class Held(NamedTuple):
    """The files to read that are shown, and the paths held back for this iteration."""

    shown: tuple[SourceFile, ...]
    held_back: tuple[str, ...]


def read_scope(request: ContextRequest, index: SourceIndex) -> Scope:
    """Read what the MT may read and write; what cannot be shown becomes a warning."""
    files = request.mt.files
    modify: list[SourceFile] = []
    read: list[SourceFile] = []
    missing: list[str] = []
    warnings: list[str] = []
    for path in dict.fromkeys((*files.writable, *files.read)):
        outcome = read_source(request.worktree, path, MAX_READ_TOKENS)
        to_create = outcome.missing and path in files.create
        if outcome.warning and not to_create:
            warnings.append(outcome.warning)
        if outcome.missing and path in files.writable:
            missing.append(path)
        if outcome.source is not None:
            (modify if path in files.writable else read).append(with_pack(outcome.source, index))
    known = (*modify, *read)
    return Scope(
        tuple(modify),
        tuple(read),
        tuple(missing),
        tuple(warnings),
        _quoted(request, {source.path for source in known}),
        _edges(request, index, known),
    )


def _edges(request: ContextRequest, index: SourceIndex, known: tuple[SourceFile, ...]) -> dict[str, frozenset[str]]:
    if request.edges is not None:
        return {path: frozenset(targets) for path, targets in request.edges.items()}
    return import_edges(request.worktree, index, known)


def _quoted(request: ContextRequest, known: set[str]) -> tuple[SourceFile, ...]:
    """The files that the last validation names and the MT does not have; what cannot be read is left out."""
    outside = [path for path in failing_lines(request) if path not in known]
    outcomes = [read_source(request.worktree, path, QUOTED_READ_TOKENS) for path in outside]
    return tuple(outcome.source for outcome in outcomes if outcome.source is not None)


def held_back(request: ContextRequest, scope: Scope) -> Held:
    """What a tiny model is shown of the files to read: on odd iterations not those that use the task's files.

    Measured: with its tests in view such a model repairs some faults better and others worse, and drawing
    again from the same prompt repeats the same mistake; so the two views take turns.
    """
    changing = frozenset(source.path for source in scope.modify)
    if request.iteration % 2 == 0 or not changing:
        return Held(scope.read, ())
    users = {s.path for s in scope.read if scope.edges.get(s.path, frozenset()) & changing}
    return Held(tuple(s for s in scope.read if s.path not in users), tuple(sorted(users)))


def failing_lines(request: ContextRequest) -> dict[str, frozenset[int]]:
    """The lines that the last validation named, by path."""
    found: dict[str, set[int]] = {}
    for path, line, _ in request.previous.locations if request.previous else ():
        found.setdefault(path, set()).add(line)
    return {path: frozenset(lines) for path, lines in found.items()}
