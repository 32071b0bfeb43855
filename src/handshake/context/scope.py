"""The files of an MT as they were read for one prompt. Contract: `context.md`, steps 1 and 6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from handshake.context.imports import imported_paths
from handshake.context.injection import DERIVED, RetrievedText
from handshake.context.plan import MAX_READ_TOKENS
from handshake.context.request import ContextRequest
from handshake.context.sources import SourceFile, read_source


@dataclass(frozen=True)
class Scope:
    """The files of the MT as they were read; `missing` are writable paths that are not there."""

    modify: tuple[SourceFile, ...]
    read: tuple[SourceFile, ...]
    missing: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def sources(self) -> tuple[SourceFile, ...]:
        """All of them, those to modify first."""
        return (*self.modify, *self.read)

    def line(self, path: str, number: int) -> str | None:
        """A line of a file in scope; None if it is not there."""
        for source in self.sources:
            if source.path == path and 1 <= number <= len(source.lines):
                return source.lines[number - 1]
        return None

    def texts(self, request: ContextRequest) -> tuple[RetrievedText, ...]:
        """All text on its way into the prompt that neither the packet nor a template wrote."""
        files = [RetrievedText(source.path, source.lines) for source in self.sources]
        previous = request.previous
        if previous is not None:
            said = [previous.validation_tail, previous.reply_summary, previous.error or "", previous.malformed or ""]
            said += [message for _, _, message in previous.locations]
            said += [line for outcome in previous.edit_outcomes for line in (outcome.error or "", *outcome.nearest)]
            files.append(RetrievedText(DERIVED, tuple("\n".join(said).split("\n"))))
        return tuple(files)


class Held(NamedTuple):
    """The files to read that are shown, and the paths held back for this iteration."""

    shown: tuple[SourceFile, ...]
    held_back: tuple[str, ...]


def read_scope(request: ContextRequest) -> Scope:
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
            (modify if path in files.writable else read).append(outcome.source)
    return Scope(tuple(modify), tuple(read), tuple(missing), tuple(warnings))


def held_back(request: ContextRequest, read: tuple[SourceFile, ...], modify: tuple[SourceFile, ...]) -> Held:
    """What a tiny model is shown of the files to read: on odd iterations not those that use the task's files.

    Measured: with its tests in view such a model repairs some faults better and others worse, and drawing
    again from the same prompt repeats the same mistake; so the two views take turns.
    """
    changing = frozenset(source.path for source in modify)
    known = changing | {source.path for source in read}
    if request.iteration % 2 == 0 or not changing:
        return Held(read, ())
    users = {s.path for s in read if imported_paths(s.path, s.text, known) & changing}
    return Held(tuple(s for s in read if s.path not in users), tuple(sorted(users)))


def failing_lines(request: ContextRequest) -> dict[str, frozenset[int]]:
    """The lines that the last validation named, by path."""
    found: dict[str, set[int]] = {}
    for path, line, _ in request.previous.locations if request.previous else ():
        found.setdefault(path, set()).add(line)
    return {path: frozenset(lines) for path, lines in found.items()}
