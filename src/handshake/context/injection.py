"""PromptInjectionGuard: retrieved text must not talk to the model. Contract: `context.md`, Guards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from handshake.context.errors import PromptInjectionFound
from handshake.context.normalize import searchable

PATTERNS = ("ignore previous", "new instructions", "system command", "developer mode")

DERIVED = "(previous iteration)"
HUMAN = "(note of a human)"


@dataclass(frozen=True)
class RetrievedText:
    """A text on its way into a prompt: a file by its path, `DERIVED` for what the last iteration gave, or `HUMAN`.

    `first` is the number of its first line, where only a part of a file is on its way.
    """

    path: str
    lines: tuple[str, ...]
    first: int = 1


@dataclass(frozen=True)
class Finding:
    """Where a pattern stands. `line` is 1-based."""

    path: str
    line: int
    pattern: str
    excerpt: str


def contains(text: str, pattern: str) -> bool:
    """Whether a text holds a pattern, as the guard looks for it."""
    return searchable((pattern,))[0] in searchable(text.split("\n"))[0]


def find_injections(text: RetrievedText, extra_patterns: Sequence[str] = ()) -> tuple[Finding, ...]:
    """Every place where a pattern begins, by line, then by pattern."""
    body, places = searchable(text.lines)
    found = []
    for pattern in (*PATTERNS, *extra_patterns):
        needle, _ = searchable((pattern,))
        start = body.find(needle) if needle else -1
        while start >= 0:
            line = places[start]
            excerpt = " ".join(text.lines[line - 1].split())[:120]
            found.append(Finding(text.path, line + text.first - 1, pattern, excerpt))
            start = body.find(needle, start + len(needle))
    return tuple(sorted(set(found), key=lambda f: (f.line, f.pattern)))


def reject_injections(
    texts: Sequence[RetrievedText],
    waivers: Sequence[tuple[str, str]] = (),
    extra_patterns: Sequence[str] = (),
) -> tuple[str, ...]:
    """One line for each use of a waiver.

    A waiver names a path (or a glob of paths) and a pattern. What the last iteration gave (a test's output,
    a reply) quotes the files, so there any waiver of that pattern holds. A human's note has no path: none holds.

    Raises:
        PromptInjectionFound: a pattern that no waiver names.
    """
    uses = []
    for text in texts:
        for finding in find_injections(text, extra_patterns):
            if not _waived(finding, waivers):
                raise PromptInjectionFound(
                    file=finding.path, line=finding.line, pattern=finding.pattern, excerpt=finding.excerpt
                )
            uses.append(f"injection waiver used: {finding.path}:{finding.line} {finding.pattern!r}")
    return tuple(uses)


def _waived(finding: Finding, waivers: Sequence[tuple[str, str]]) -> bool:
    wanted = searchable((finding.pattern,))[0]
    if finding.path == HUMAN:
        return False
    return any(
        searchable((pattern,))[0] == wanted and (finding.path in (path, DERIVED) or fnmatchcase(finding.path, path))
        for path, pattern in waivers
    )
