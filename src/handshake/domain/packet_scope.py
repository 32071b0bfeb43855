"""Scope: one item of a scope list as paths, and whether a path lies in a scope.

Contract: `packets-and-gates.md`, The packet ("Real packets vary").
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from handshake.domain.packet_lines import code_spans
from handshake.domain.packet_names import unquoted_name
from handshake.domain.scope_glob import glob_matches

_EXTENSION = re.compile(r"(?:^|/)[^/]*\.[A-Za-z0-9_]{1,12}$")
_NOTHING = re.compile(r"^[\W_]*(?:none|n/?a|nil|tbd|todo|tba|-)?[\W_]*$", re.IGNORECASE)
_LEADING_TAG = re.compile(r"^(?:\[[A-Za-z ]+\]|\((?:new|modify|create|edit|delete|update)[a-z]*\))\s+", re.IGNORECASE)
_COMMENT = re.compile(r"\s+(?:#|//|--|-|:|->|<-|\u2013|\u2014)(?:\s|$)")
_BETWEEN = re.compile(r"[ \t]*[,;][ \t]+(?:and[ \t]+)?|[ \t]+(?:and|or|&|\+)[ \t]+")
_PLACEHOLDER = re.compile(r"^(?:<[^<>]*>|\{[a-z][a-z0-9_]*\}|path/to/\S+)$")


# what stands before a path that is meant as taken out
_TAKES_OUT = re.compile(r"\b(?:not|no|never|except\w*|exclud\w*|without|but|forbidden)\b", re.IGNORECASE)
_NEGATED = re.compile(r"!|(?:not|no|never|except\w*|exclud\w*|without|but)[ \t:]", re.IGNORECASE)
_LINK = re.compile(r"\[[^\]]+\]\([^()]*\)(?:\s|$)")
_BRACES = re.compile(r"\{[^{}]*,[^{}]*\}")


class UnreadablePath(ValueError):
    """A scope item that is no path; the text says why."""


def is_nothing(text: str) -> bool:
    """Whether an item says that there is none: empty, `NONE`, `(none)`, `N/A`, `TBD`."""
    return bool(_NOTHING.match(text))


def is_placeholder(text: str) -> bool:
    """Whether the text is what a template left to be filled."""
    return bool(_PLACEHOLDER.match(text.strip().strip("`").strip()))


def paths_of_item(item: str) -> tuple[str, ...]:
    """The paths that one scope item names, normalized to repo-relative POSIX form; a folder keeps its `/`.

    Raises:
        UnreadablePath: the item holds no path, or one that leaves the repository.
    """
    text = _LEADING_TAG.sub("", item.strip()).strip()
    text = text.replace("**`", "`").replace("`**", "`")
    spans = code_spans(text)
    if _NEGATED.match(text) or (spans and _TAKES_OUT.search(text[: spans[0][0]])):
        raise UnreadablePath(f"`{text}` takes a path out; that is said under OUT_OF_SCOPE")
    if spans:
        return tuple(map(_one_path, _quoted_paths(text, spans)))
    if _LINK.match(text):
        raise UnreadablePath(f"`{text}` is a link")
    if text.startswith("**") and text.endswith("**") and "/" not in text[2:3]:
        text = text[2:-2].strip() or text
    return tuple(map(_one_path, _listed(text) or _listed(bare := _unquoted_path(text)) or (bare,)))


def _one_path(text: str) -> str:
    """The path in normal form. Raises as `normal_path`, and for a form that shells read as several or as none."""
    if not text.startswith('"'):
        names = re.split("[,;]", text)
        if text.startswith("!"):
            raise UnreadablePath(f"`{text}` takes a path out; that is said under OUT_OF_SCOPE")
        if _BRACES.search(text) or (len(names) > 1 and all(map(is_surely_path, names))):
            raise UnreadablePath(f"`{text}` stands for several paths")
    return normal_path(text)


def _quoted_paths(text: str, spans: list[tuple[int, int, int, int]]) -> list[str]:
    quoted = [text[start:end].strip() for _, start, end, _ in spans]
    if spans[0][0] == 0:
        count = 1
        while count < len(spans) and re.fullmatch(
            r"\s*(?:,|;|and|&|\+|,\s*and)\s*", text[spans[count - 1][3] : spans[count][0]]
        ):
            count += 1
        left_out = _BETWEEN.match(text, spans[count - 1][3])
        word = re.split(r"[\s,;]", text[left_out.end() :].strip(), maxsplit=1)[0] if left_out else ""
        if is_surely_path(word.strip("`.")):
            raise UnreadablePath(
                f"`{text}` names {word.strip('`.')} as well; put each in backticks, with commas between"
            )
        return quoted[:count]
    looking = [path for path in quoted if looks_like_path(path)]
    if len(looking) != 1:
        raise UnreadablePath(f"`{text}` names no single path at its start")
    return looking


def _listed(text: str) -> list[str]:
    """The paths of a text that is nothing but several of them."""
    words = _BETWEEN.split(text)
    return words if len(words) > 1 and all(map(is_surely_path, words)) else []


def is_surely_path(word: str) -> bool:
    """Whether a word can hardly be anything but a path: `a.py`, `src/`; not `v1.2`, `e.g.`, `read/write`."""
    flat = word.replace("\\", "/")
    ends_as_one = flat.endswith(("/", "*")) or re.search(r"[^./]\.[A-Za-z_]\w{0,11}$", flat)
    return bool(ends_as_one) and looks_like_path(word) and flat.lower() not in ("e.g", "i.e")


def _unquoted_path(text: str) -> str:
    comment = _COMMENT.search(text)
    if comment:
        text = text[: comment.start()]
    text = text.rstrip(" \t,;")
    if " " not in text and "\t" not in text:
        return text
    note = re.search(r"\s+[(\[]", text)
    if note and text[-1] in ")]":
        return _unquoted_path(text[: note.start()])
    first, _, rest = text.replace("\t", " ").partition(" ")
    if looks_like_path(first) and (_EXTENSION.search(first.replace("\\", "/")) or first[-1] in "/\\*"):
        return first
    if _EXTENSION.search(rest) and ("/" in first or len(text.split()) <= 4):
        return text
    raise UnreadablePath(f"`{text}` cannot be read as a path")


def looks_like_path(text: str) -> bool:
    """Whether a word has the form of a path: a separator, a file extension, or a glob."""
    flat = text.replace("\\", "/").strip()
    if not flat or " " in flat or "://" in flat or flat.lower() in ("n/a", "i/o", "and/or"):
        return False
    return bool(_EXTENSION.search(flat)) or "/" in flat.strip("/") or flat.endswith("/") or "*" in flat


def normal_path(path: str) -> str:
    """The path relative to the repository, with `/`.

    Raises:
        UnreadablePath: it is empty, absolute, a placeholder, or climbs out of the repository.
    """
    text = path.strip().strip("`").strip()
    if is_placeholder(text):
        raise UnreadablePath(f"`{text}` is a placeholder")
    return canonical_path(unquoted_name(text) if text.startswith('"') else text.replace("\\", "/"))


def canonical_path(flat: str) -> str:
    """A real file name, nothing in it decoration, without empty and `.` parts. Raises as `normal_path`."""
    text = flat
    if flat.startswith("/") or re.match(r"^[A-Za-z]:", flat) or flat.startswith("~"):
        raise UnreadablePath(f"`{text}` is not relative to the repository")
    folder = flat.endswith("/")
    parts = [part for part in flat.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UnreadablePath(f"`{text}` leaves the repository")
    if not parts or "\0" in flat:
        raise UnreadablePath(f"`{text}` names no file or folder")
    if parts[0].casefold() == ".git":
        raise UnreadablePath(f"`{text}` lies in git's own folder")
    return "/".join(parts) + ("/" if folder else "")


def in_scope(path: str, entries: Iterable[str]) -> bool:
    """Whether a repo-relative POSIX path lies in a scope: the file itself, below a folder, or matched by a glob."""
    return any(_entry_covers(entry, path) for entry in entries)


def _entry_covers(entry: str, path: str) -> bool:
    bare = entry.rstrip("/")
    if path in (entry, bare) or path.startswith(bare + "/"):
        return True
    return has_glob(entry) and glob_matches(entry, path)


def has_glob(entry: str) -> bool:
    """Whether the entry is a pattern. Brackets are not: `[id].tsx` is a real file name."""
    return "*" in entry or "?" in entry
