"""What a whole-file reply left out without a word. Contract: `models.md`, The reply: code left out is rejected.

Small models give the new function and forget the old ones. Whether that is wrong, only the checks can tell: they may
have been asked to replace them. Where the checks fail, it is the likeliest reason, and the file had better stay as
it was: the next prompt shows it whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from handshake.domain.reply import Edit
from handshake.source.languages import outline_of
from handshake.source.words import not_spoken_of

_SHOWN = 6


def left_out(
    edits: Iterable[Edit], before: Mapping[str, bytes | None], after: Mapping[str, bytes | None], criteria: str
) -> dict[str, str]:
    """Of each file given whole, a sentence that names the definitions it had and has no more.

    Args:
        before, after: the files' bytes; None where there is none.
        criteria: the text of the task; a name that it speaks of may go.
    """
    found: dict[str, str] = {}
    for path in dict.fromkeys(edit.path for edit in edits if edit.form == "whole"):
        old, new = before.get(path), after.get(path)
        if not old or new is None:
            continue
        there = set(_names(path, new))
        gone = [name for name in not_spoken_of(_names(path, old), criteria) if name not in there]
        # with a class its methods are gone: the class is told
        gone = [name for name in gone if name.rpartition(".")[0] not in gone]
        if gone:
            more = ", ..." if len(gone) > _SHOWN else ""
            names = ", ".join(f"`{name}`" for name in gone[:_SHOWN])
            found[path] = f"the reply left out {names}{more}: the complete file is wanted, with what it has already"
    return found


def _names(path: str, data: bytes) -> list[str]:
    text = data.decode("utf-8", "replace")
    return [definition.qualified for definition in outline_of(path, text).definitions]
