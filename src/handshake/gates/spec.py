"""Which spec is current, and how it is found. Contract: `packets-and-gates.md`, `docs/SPEC_CURRENT.md`."""

from __future__ import annotations

import re
from collections.abc import Callable

from handshake.domain.packet_lines import code_spans, read_lines
from handshake.domain.packet_scope import UnreadablePath, normal_path

ReadFile = Callable[[str], bytes | None]
"""Gives a file's bytes by its repo-relative path, or None: from the working tree, a commit, or the index."""

SPEC_CURRENT = "docs/SPEC_CURRENT.md"
_BOLD = re.compile(r"\*\*([^*\n]+\.md)\*\*")
_LINK = re.compile(r"\]\(([^()\s]+\.md)\)")
_WORD = re.compile(r"[^\s`*()\[\]<>|]+\.md\b")


def specs_named(data: bytes) -> tuple[str, ...]:
    """The spec files that a pointer file names, each once, in order.

    Where it names other files too (a codex, a protocol), those with `spec` in their name are meant.
    """
    found: list[str] = []
    for text in read_lines(data).live:
        spans = [text[start:end].strip() for _, start, end, _ in code_spans(text)]
        marked = [name.strip() for name in (*_BOLD.findall(text), *_LINK.findall(text))]
        marked += [span for span in spans if span.endswith(".md")]
        found += marked or _WORD.findall(text)
    unique = [name for name in dict.fromkeys(found) if name.rpartition("/")[2] != "SPEC_CURRENT.md"]
    specs = [name for name in unique if "spec" in name.rpartition("/")[2].casefold()]
    return tuple(specs or unique)


def find_spec(name: str, read: ReadFile) -> tuple[str, bytes] | None:
    """The path and bytes of a spec that is named relative to the repository, or to `docs/`."""
    for candidate in (name, f"docs/{name}"):
        try:
            path = normal_path(candidate)
        except UnreadablePath:
            return None
        data = read(path)
        if data is not None:
            return path, data
    return None
