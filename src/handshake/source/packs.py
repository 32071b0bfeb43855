"""A file's ContextPack: what its syntax tree says, put in few words, by no model. Contract: `context.md`.

Facts are signatures with the first sentence of their docstring; constraints are the sentences of docstrings
and comments that say what must or must never be; open loops are its TODO marks; anchors are its definitions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from typing import Any

from handshake.domain.canonical import hash_of, sha256_hex
from handshake.domain.clock import uuid_from
from handshake.domain.context import ContextPack, PackAnchor, PackCoverage, PackItem, SourceRef
from handshake.source.languages import Definition, Import, known_languages, language_of, parse_file

PACK_VERSION = 1
SYNOPSIS_CHARS = 800
EXCERPT_CHARS = 200
STATEMENT_CHARS = 300
MOST_ITEMS = 40
MOST_ANCHORS = 400
MOST_LINES_PER_BYTE_SHARE = 500  # an average line longer than this is no text for people: minified or generated

_COMMENT = re.compile(r"^\s*(?:#|//+|/\*+|\*|--|;)!?\s?(?P<text>.*?)(?:\*/)?\s*$")
_OPEN = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
_LOOP = re.compile(r"(?:#|//|/\*|\*|--|;|<!--).*?\b(?:TODO|FIXME|XXX|HACK)\b")
_MUST = re.compile(r"\b(?:must|never|always|do not|don't|shall|only if|raises|panics)\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n\s*\n")


@dataclass(frozen=True)
class FileDigest:
    """What is known of a file without its text: its pack, and its imports for the graph."""

    pack: ContextPack
    imports: tuple[Import, ...] = ()


@cache
def toolchain_hash() -> str:
    """SHA-256 of all that decides what a pack says: its code's version, the languages' data, the grammars."""
    parts: list[Any] = [PACK_VERSION]
    folder = resources.files("handshake.source") / "languages"
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if entry.name.endswith((".json", ".scm")):
            parts.append([entry.name, sha256_hex(entry.read_bytes())])
    for module in sorted({language.grammar.partition(":")[0] for language in known_languages() if language.grammar}):
        parts.append([module, _version(module.replace("_", "-"))])
    return hash_of([*parts, _version("tree-sitter")])


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "none"


def digest_file(path: str, lines: Sequence[str], digest: str, *, complete: bool = True) -> FileDigest:
    """The pack of a file.

    Args:
        path: repo-relative; its ending names the language.
        lines: the file's lines without line ends.
        digest: SHA-256 of the file's bytes.
        complete: whether `lines` are all of it.
    """
    parsed = parse_file(path, "\n".join(lines)) if _for_people(lines) else None
    rows = list(zip(parsed.outline.definitions, parsed.nodes, strict=True))[:MOST_ANCHORS] if parsed else []
    ref, marked = _Refs(path, digest), _Marked(lines)
    anchors, facts, constraints = [], [], []
    for definition, node in rows:
        start, end = definition.start, min(definition.end, len(lines))
        refs = (ref(start, end),)
        signature, said = _signature(node, lines), _docstring(node)
        anchor = PackAnchor(
            anchor_id=f"{path}:{start}-{end}:{definition.qualified}",
            name=definition.qualified,
            start=start,
            end=end,
            depth=definition.qualified.count("."),
            excerpt_hint=signature,
            source_refs=refs,
        )
        anchors.append(anchor)
        first = _SENTENCE.split(said.strip(), maxsplit=1)[0]
        facts.append(PackItem(text=_flat(f"{signature}  {first}"), source_refs=refs, anchor=anchor.anchor_id))
        constraints += [
            PackItem(text=_flat(sentence), source_refs=refs, anchor=anchor.anchor_id)
            for sentence in _SENTENCE.split(said)
            if _MUST.search(sentence)
        ]
    imports = parsed.outline.imports if parsed else ()
    anchored = {n for anchor in anchors for n in range(anchor.start, anchor.end + 1)}
    language = language_of(path)
    return FileDigest(
        ContextPack(
            pack_id=uuid_from(f"pack:{path}:{digest}:{toolchain_hash()}"),
            path=path,
            synopsis=_synopsis(path, lines, anchors, imports),
            facts=tuple(facts[:MOST_ITEMS]),
            constraints=tuple((*constraints, *_said_in_comments(marked, anchors, ref))[:MOST_ITEMS]),
            open_loops=tuple(_open_loops(marked, ref)[:MOST_ITEMS]),
            anchors=tuple(anchors),
            coverage=PackCoverage(
                lines=len(lines),
                anchored_lines=len(anchored),
                grammar=language.name if language and parsed else None,
                complete=complete and len(rows) == (len(parsed.nodes) if parsed else 0),
            ),
            source_hashes=(digest,),
            toolchain_hash=toolchain_hash(),
        ),
        imports,
    )


def _for_people(lines: Sequence[str]) -> bool:
    """Whether the lines are of a length that somebody wrote; what is minified is not worth a parse."""
    return sum(map(len, lines)) <= MOST_LINES_PER_BYTE_SHARE * max(1, len(lines))


def is_minified(lines: Sequence[str]) -> bool:
    """Whether the average line is too long to have been written by hand."""
    return not _for_people(lines)


@dataclass(frozen=True)
class _Refs:
    path: str
    digest: str

    def __call__(self, start: int, end: int) -> SourceRef:
        return SourceRef(
            kind="span", id=f"{self.path}:{start}-{end}", hash=self.digest, selector=f"lines {start}-{end}"
        )


def _flat(text: str, limit: int = STATEMENT_CHARS) -> str:
    return " ".join(text.split())[:limit].rstrip()


def _inner(node: Any) -> Any:
    """The definition itself, without the decorators or the `export` around it."""
    while (
        inner := node.child_by_field_name("definition") or node.child_by_field_name("declaration")
    ) is not None and inner.child_by_field_name("name") is not None:
        node = inner
    return node


def _signature(node: Any, lines: Sequence[str]) -> str:
    """The text from the definition to its body, on one line; its first line where it has none."""
    inner = _inner(node)
    body = inner.child_by_field_name("body")
    first = inner.start_point[0]
    if body is None or body.start_point[0] == first:
        return _flat(lines[first] if first < len(lines) else "", EXCERPT_CHARS)
    last = body.start_point[0]
    braced = last < len(lines) and lines[last][body.start_point[1] :].startswith("{")
    opening = lines[last][: body.start_point[1]] if braced else ""
    return _flat(" ".join((*lines[first:last], opening)), EXCERPT_CHARS)


def _docstring(node: Any) -> str:
    """What the definition says of itself: the string its body begins with, or the comments right above it."""
    body = _inner(node).child_by_field_name("body")
    first = body.named_children[0] if body is not None and body.named_children else None
    if first is not None and first.type == "expression_statement" and first.named_children:
        first = first.named_children[0]
    if first is not None and first.type == "string":
        return _node_text(first).strip("\"' \n")
    above: list[str] = []
    row, before = node.start_point[0], node.prev_named_sibling
    while before is not None and "comment" in before.type and before.end_point[0] >= row - 1 and len(above) < 40:
        above = [*_comment_lines(_node_text(before)), *above]
        row, before = before.start_point[0], before.prev_named_sibling
    return "\n".join(above)


def _node_text(node: Any) -> str:
    return str(node.text.decode("utf-8", "replace"))


def _comment_lines(text: str) -> list[str]:
    found = [_COMMENT.match(line) for line in text.split("\n")]
    return [match["text"] for match in found if match]


def _said_in_comments(marked: _Marked, anchors: Sequence[PackAnchor], ref: _Refs) -> list[PackItem]:
    """Comment lines inside a definition that say what must be; the innermost definition is their anchor."""
    found = []
    for number, line in marked.lines_with(_MUST):
        match = _COMMENT.match(line)
        if not match or not match["text"]:
            continue
        around = [anchor for anchor in anchors if anchor.start <= number <= anchor.end]
        if around:
            inmost = max(around, key=lambda anchor: (anchor.depth, anchor.start))
            refs = (ref(number, number),)
            found.append(PackItem(text=_flat(match["text"]), source_refs=refs, anchor=inmost.anchor_id))
    return found


def _open_loops(marked: _Marked, ref: _Refs) -> list[PackItem]:
    return [
        PackItem(text=_flat(line), source_refs=(ref(number, number),))
        for number, line in marked.lines_with(_OPEN)
        if _LOOP.search(line)
    ]


class _Marked:
    """The lines of a file that hold a word: one search through the text, not one for each line."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._text = "\n".join(lines)

    def lines_with(self, pattern: re.Pattern[str]) -> Iterator[tuple[int, str]]:
        """(1-based number, line) of each line in which the pattern matches, once, unless it is very long."""
        number, at = 0, 0
        for match in pattern.finditer(self._text):
            later = number + self._text.count("\n", at, match.start())
            if later > number or at == 0:
                line = self._lines[later]
                if len(line) <= STATEMENT_CHARS:
                    yield later + 1, line
            number, at = later, match.start()


def _synopsis(path: str, lines: Sequence[str], anchors: Sequence[PackAnchor], imports: Sequence[Import]) -> str:
    """The file in few words: what its head says, what it defines, what it imports."""
    head = _head(lines)
    names = ", ".join(anchor.name for anchor in anchors if anchor.depth == 0)
    modules = ", ".join(dict.fromkeys(item.module for item in imports))
    parts = (f"{path}: {head}" if head else path, f"Defines {names}." if names else "",
             f"Imports {modules}." if modules else "")  # fmt: skip
    return _flat(" ".join(part for part in parts if part), SYNOPSIS_CHARS)


def _head(lines: Sequence[str]) -> str:
    """The first sentence of the comment or docstring a file begins with."""
    kept: list[str] = []
    for line in lines[:30]:
        text = line.strip()
        if not text and not kept:
            continue
        match = _COMMENT.match(line)
        if text.startswith(('"""', "'''")) or (kept and not match and '"""' in lines[0]):
            kept.append(text.strip("\"'"))
            if text.endswith(('"""', "'''")) and len(text) > 3:
                break
        elif match and not text.startswith("#!"):
            kept.append(match["text"])
        elif kept or text:
            break
    return _flat(_SENTENCE.split("\n".join(kept).strip(), maxsplit=1)[0])


def outline_definitions(digest: FileDigest) -> tuple[Definition, ...]:
    """The anchors as definitions, as the import graph asks for them."""
    return tuple(
        Definition(anchor.start, anchor.end, anchor.name.rsplit(".", 1)[-1], anchor.name)
        for anchor in digest.pack.anchors
    )
