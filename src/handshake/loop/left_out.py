"""What a whole-file reply left out without a word, and the reply with it put back.

Contract: `models.md`, The reply: code left out is rejected. Small models give the new function and forget the old
ones. Whether that is wrong, only the checks can tell: they may have been asked to replace them. Where the checks
fail, or the file would lose most of its lines, the reply is read once more as what it likely is: the definitions
that change, to be merged into the file by their names. The merged file is held to everything that a reply is held to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from handshake.domain.file_text import NotText, decode_text
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.reply import Edit, EvidenceLine, ParsedReply
from handshake.loop.merge_definitions import Merged, merge_definitions
from handshake.source.languages import outline_of
from handshake.source.words import not_spoken_of

_SHOWN = 6

Files = Mapping[str, bytes | None]


@dataclass(frozen=True)
class PutBack:
    """A reply with the forgotten definitions in it; their names by path."""

    parsed: ParsedReply
    names: dict[str, tuple[str, ...]]


def criteria_of(mt: MicroTaskDefinition) -> str:
    """The text of the task: what its criteria say."""
    return " ".join(criterion.description for criterion in mt.done)


def left_out(edits: Iterable[Edit], before: Files, base: Files, criteria: str) -> dict[str, tuple[str, ...]]:
    """Of each file given whole, the names of the definitions that it had and has no more.

    Args:
        before: the files' bytes; None where there is none.
        base: the same when the task began; what an earlier reply added may go again.
        criteria: the text of the task; a name that it speaks of may go.
    """
    found: dict[str, tuple[str, ...]] = {}
    for edit in edits:
        if edit.form != "whole":
            continue
        there = set(_names(edit.path, edit.content))
        names = [name for name in _names(edit.path, before.get(edit.path)) if name not in there]
        lasting = _lasting(edit.path, base, criteria) if names else set()
        gone = [name for name in dict.fromkeys(names) if name in lasting]
        # with a class its methods are gone: the class is told
        gone = [name for name in gone if name.rpartition(".")[0] not in gone]
        if gone:
            found[edit.path] = tuple(gone)
    return found


def told(names: tuple[str, ...]) -> str:
    """A sentence for the next prompt that names what is missing."""
    more = ", ..." if len(names) > _SHOWN else ""
    shown = ", ".join(f"`{name}`" for name in names[:_SHOWN])
    return f"the reply left out {shown}{more}: the complete file is wanted, with what it has already"


def put_back(parsed: ParsedReply, before: Files, base: Files, criteria: str) -> PutBack | None:
    """The reply with what it left out, its evidence moved along; None where nothing is missing or nothing fits.

    The same reply and files give the same bytes: what a killed run wrote is found again by this.
    """
    gone = left_out(parsed.edits, before, base, criteria)
    paths = [edit.path for edit in parsed.edits]
    if not gone or len(set(paths)) < len(paths):
        return None
    merged: dict[str, Merged] = {}
    for edit in parsed.edits:
        if edit.path in gone:
            made = merge_definitions(
                edit.path,
                _text(before[edit.path]),
                _text(edit.content),
                _lasting(edit.path, base, criteria),
            )
            if made is None:
                return None
            merged[edit.path] = made
    edits = tuple(
        edit.model_copy(update={"content": "\n".join(merged[edit.path].lines) + "\n"})
        if edit.path in merged
        else edit
        for edit in parsed.edits
    )
    if left_out(edits, before, base, criteria):
        return None
    evidence = tuple(_moved(line, merged.get(line.path)) for line in parsed.signal.evidence)
    signal = parsed.signal.model_copy(update={"evidence": evidence})
    return PutBack(parsed.model_copy(update={"edits": edits, "signal": signal}), gone)


def _moved(line: EvidenceLine, merged: Merged | None) -> EvidenceLine:
    if merged is None:
        return line
    start, end = merged.place_of(line.start, line.end)
    where = f"{line.path}:{start}-{end}"
    return line.model_copy(update={"start": start, "end": end, "evidence_location": where})


def _lasting(path: str, base: Files, criteria: str) -> set[str]:
    """The definitions that no reply may lose: there when the task began, and not spoken of by it."""
    return set(not_spoken_of(_names(path, base.get(path)), criteria))


def _names(path: str, content: bytes | str | None) -> list[str]:
    return [definition.qualified for definition in outline_of(path, _text(content)).definitions]


def _text(content: bytes | str | None) -> str:
    """The text as edits read it, in the file's own encoding; empty where it is none."""
    if not isinstance(content, bytes):
        return (content or "").removeprefix("\ufeff")
    try:
        return "\n".join(decode_text(content).lines)
    except NotText:
        return ""
