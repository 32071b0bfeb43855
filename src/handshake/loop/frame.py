"""The grammar that frames a tiny model's reply, and where its evidence may lie. Contract: `models.md`, Profiles.

A model of this size makes line numbers up. It is offered the place that the criterion names: the lines of
that definition or assignment as they are now, or one more for a line that was added.
"""

from __future__ import annotations

import re

from handshake.domain.microtask import MicroTaskDefinition
from handshake.models.grammar import completion_grammar
from handshake.planning.names import identifiers_of
from handshake.source.languages import language_of, outline_of


def framing_grammar(mt: MicroTaskDefinition, path: str, data: bytes | None, *, claim_only: bool = False) -> str:
    """The GBNF grammar for a reply that changes the one file `path`, which now holds `data` (None: no file).

    `claim_only`: the file is right already, so the reply is the closing block alone, and its lines are those of now.
    """
    language = language_of(path)
    text = (data or b"").decode("utf-8", errors="replace")
    places = [_place(path, text, criterion.description) for criterion in mt.done] if text else None
    return completion_grammar(mt, language.name if language else "", places=places, claim_only=claim_only)


def _place(path: str, text: str, criterion: str) -> tuple[int, int]:
    """First and last line of what the criterion names in this file; of the whole file where it names nothing."""
    names = {parts[-1] for parts in identifiers_of(criterion)}
    spans = [(d.start, d.end) for d in outline_of(path, text).definitions if d.name in names]
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if any(re.match(rf"\s*(?:\w+\s+)?{re.escape(name)}\s*(?::[^=]+)?=[^=]", line) for name in names):
            spans.append((number, number))
    if not spans:
        return (1, max(1, len(lines)))
    return (min(start for start, _ in spans), max(end for _, end in spans))
