"""What a manifest links to and is not there. Contract: `packets-and-gates.md`, gate `all_links_resolvable`."""

from __future__ import annotations

import re

from handshake.domain.packet_lines import PacketLines, code_spans
from handshake.domain.packet_scope import UnreadablePath, is_nothing, looks_like_path, normal_path
from handshake.repo.git import Repository
from handshake.repo.tree import TreeView

_LINK = re.compile(r"\]\(([^()\s]+)\)")
_FIELD = re.compile(
    r"^[ \t]*+(?:[-*+][ \t]++)?\*\*(?:Spec Target Resolved|Spec Target|Artifacts?|Evidence|Links?|Report)"
    r"\**:?\**[ \t]*:?(.*)$",
    re.IGNORECASE,
)


def broken_links(repo: Repository, tree: str, lines: PacketLines) -> tuple[tuple[str, int], ...]:
    """Each path that a packet links to under VALIDATION and that is not in the tree, with its 1-based line."""
    view = TreeView(repo.git, repo.pygit2, tree)
    targets = linked_paths(lines)
    if not targets:
        return ()
    return tuple((path, line) for path, line in targets if not _exists(view, path))


def _exists(view: TreeView, path: str) -> bool:
    return view.read(path) is not None or bool(view.paths_under(path))


def linked_paths(lines: PacketLines) -> list[tuple[str, int]]:
    """The paths that the section links to: Markdown links, and fields that name a spec or an artifact."""
    found: list[tuple[str, int]] = []
    for section in lines.sections("VALIDATION"):
        for number in section:
            text = lines.live[number]
            words = _LINK.findall(text)
            named = _FIELD.match(text)
            if named:
                words += _words(named.group(1))
            found += [(path, number + 1) for path in map(_path_of, words) if path]
    return found


def _words(text: str) -> list[str]:
    spans = code_spans(text)
    if spans:
        return [text[start:end].strip() for _, start, end, _ in spans]
    return [word.strip("`,;()") for word in re.split(r"\s+|->", text) if looks_like_path(word.strip("`,;()"))]


def _path_of(word: str) -> str | None:
    bare = word.partition("#")[0]
    if not bare or is_nothing(bare) or re.match(r"^[a-z][a-z0-9+.-]*:", bare, re.IGNORECASE):
        return None
    try:
        return normal_path(bare)
    except UnreadablePath:
        return None
