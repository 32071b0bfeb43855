"""The frame of a reply as a GBNF grammar: code first, then the claim; the lines stay free. Contract: `models.md`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from handshake.domain.microtask import MicroTaskDefinition

_FENCE_NAMES = {
    "python",
    "javascript",
    "typescript",
    "go",
    "rust",
    "java",
    "c",
    "cpp",
    "json",
    "yaml",
    "toml",
    "markdown",
}


def completion_grammar(
    mt: MicroTaskDefinition,
    language: str,
    most_lines: int = 9999,
    places: Sequence[tuple[int, int]] | None = None,
    *,
    claim_only: bool = False,
) -> str:
    """A grammar that admits: fenced new content and `<mt_complete>` with the MT's criteria, or `<blocked>` alone.

    After code only the claim may follow: measured, a small model that may block there does so in most
    replies whose code is right.

    A micro-task with one writable file has one bare fence; with several each fence follows a `FILE: path`
    line. Criteria and paths are given, line numbers and code are free. `language` names the fence, e.g.
    `python`; an unknown one leaves it bare. `most_lines` bounds the line numbers: left free to 9999, a
    small model names lines that are not there. `places` holds, for each criterion, the first and last
    line that its evidence may name: those two, or one line more. `claim_only` leaves the code out: the files
    are right already, and the places are exact.
    """
    writable = mt.files.writable
    fence_name = language if language in _FENCE_NAMES else ""
    several = len(writable) > 1
    paths = " | ".join(_literal(path) for path in writable) or _literal("none")
    file_rule = 'file ::= "FILE: " path "\\n" block "\\n"' if several else 'file ::= block "\\n"'
    evidence = [
        f"{_literal(f'- {_quoted(criterion.description)} -> ')} path {_literal(':')} "
        f"{_lines(places[number], exact=claim_only) if places else 'lines'} {_literal(chr(10))}"
        for number, criterion in enumerate(mt.done)
    ]
    rules = [
        "root ::= complete"
        if claim_only
        else f"root ::= {'file' if not several else f'file{{1,{len(writable)}}}'} complete | blocked",
        file_rule,
        f"path ::= {paths}",
        f'block ::= {_literal(f"```{fence_name}{chr(10)}")} line+ "```\\n"',
        # a line of code is anything that does not begin with three backticks
        'line ::= ( start rest | "`" ( after rest )? | "``" ( after rest )? )? "\\n"',
        "start ::= [^`\\n]",
        "after ::= [^`\\n]",
        "rest ::= [^\\n]*",
        f"complete ::= {_literal(f'<mt_complete>{chr(10)}MT_ID: {mt.mt_id}{chr(10)}EVIDENCE:{chr(10)}')} "
        f'{" ".join(evidence)} "</mt_complete>"',
        'blocked ::= "<blocked>\\nREASON: " said "\\nNEED: " said "\\n</blocked>"',
        "said ::= [^<>\\n]{1,200}",
        'lines ::= number "-" number',
        f"number ::= {' | '.join(_numbers_up_to(most_lines))}",
    ]
    return "\n".join(rules) + "\n"


def _lines(place: tuple[int, int], *, exact: bool) -> str:
    first, last = place
    if exact:
        return _literal(f"{first}-{last}")
    return f"( {_literal(f'{first}-{last}')} | {_literal(f'{first}-{last + 1}')} )"


def _numbers_up_to(most: int) -> list[str]:
    """Alternatives that admit 1 to `most` and nothing else, e.g. 27: `[1-9]`, `[1-1] [0-9]`, `"2" [0-7]`."""
    digits = str(max(1, most))
    found = [" ".join(["[1-9]"] + ["[0-9]"] * (length - 1)) for length in range(1, len(digits))]
    for at, digit in enumerate(digits):
        least = 1 if at == 0 else 0
        last = at == len(digits) - 1
        top = int(digit) if last else int(digit) - 1
        if top >= least:
            head = [_literal(digits[:at])] if at else []
            found.append(" ".join([*head, f"[{least}-{top}]", *["[0-9]"] * (len(digits) - at - 1)]))
    return found


def _quoted(criterion: str) -> str:
    return f'"{" ".join(criterion.split())}"'


def _literal(text: str) -> str:
    """The text as a GBNF string. JSON's escapes are GBNF's for what can stand here."""
    return json.dumps(text, ensure_ascii=False)
