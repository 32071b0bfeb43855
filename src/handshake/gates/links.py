"""What a manifest links to and is not there. Contract: `packets-and-gates.md`, gate `all_links_resolvable`."""

from __future__ import annotations

import re
from posixpath import join, normpath
from urllib.parse import unquote

from handshake.domain.markdown import read_links
from handshake.domain.packet_lines import PacketLines, code_spans
from handshake.domain.packet_scope import UnreadablePath, is_nothing, is_placeholder, looks_like_path, normal_path
from handshake.repo.git import Repository
from handshake.repo.tree import TreeView

_INLINE_LINK = re.compile(r"\[[^\]]*\]\([^()]*\)")
_ELSEWHERE = re.compile(r"//|[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_FIELD = re.compile(
    r"^[ \t]*+(?:[-*+][ \t]++)?\*\*(?:Spec Target Resolved|Spec Target|Artifacts?|Evidence|Links?|Report)"
    r"\**:?\**[ \t]*:?(.*)$",
    re.IGNORECASE,
)


def broken_links(repo: Repository, tree: str, lines: PacketLines, folder: str) -> tuple[tuple[str, int], ...]:
    """Each path that a packet links to under VALIDATION and that is not in the tree, with its 1-based line.

    Args:
        folder: where the packet lies: a link may start there or at the root of the repository.
    """
    view = TreeView(repo.git, repo.pygit2, tree)
    return tuple(
        (shown, line)
        for shown, paths, line in linked_paths(lines, folder)
        if not any(_exists(view, path) for path in paths)
    )


def _exists(view: TreeView, path: str) -> bool:
    return path == "." or view.read(path) is not None or bool(view.paths_under(path))


def linked_paths(lines: PacketLines, folder: str) -> list[tuple[str, tuple[str, ...], int]]:
    """What the section links to: as written, the paths that may be meant, and the 1-based line.

    Markdown links count, and fields that name a spec or an artifact from the root of the repository.
    """
    sections = lines.sections("VALIDATION")
    found: list[tuple[str, tuple[str, ...], int]] = []
    inside = {number for section in sections for number in section}
    if any("[" in lines.live[number] for number in inside):
        for word, number in read_links(list(lines.live)):
            if number in inside and not _is_elsewhere(word):
                found.append((word, _meant(word, folder), number + 1))
    for section in sections:
        for number in section:
            named = _FIELD.match(lines.live[number])
            for word in _words(_INLINE_LINK.sub(" ", named.group(1))) if named else []:
                path = _path_of(word)
                if path:
                    found.append((path, (path,), number + 1))
    return sorted(found, key=lambda row: row[2])


def _is_elsewhere(word: str) -> bool:
    """Whether a link leads to no file of the repository: to a site, a heading, a place to be filled."""
    bare = word.partition("#")[0]
    return not bare or is_placeholder(bare) or bool(_ELSEWHERE.match(bare))


def _meant(word: str, folder: str) -> tuple[str, ...]:
    """The paths in the repository that a link may mean; none, where it leads out of it."""
    bare = word.partition("#")[0]
    paths = []
    for name in (unquote(bare, errors="surrogateescape"), bare, unquote(bare.partition("?")[0])):
        flat = name.replace("\\", "/")
        for start in ("",) if flat.startswith("/") else (folder, ""):
            path = normpath(join(start, flat.lstrip("/")))
            if path.split("/")[0] != ".." and "\0" not in path:
                paths.append(path)
    return tuple(dict.fromkeys(paths))


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
