"""The closing signal of a reply: one `<mt_complete>` or one `<blocked>`. Contract: `models.md`, The reply.

A signal counts only where nothing else can have put it: in plain text outside quotations, reasoning
and foreign fences. Everything else makes no claim and says why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from handshake.domain.reply import CompletionSignal, EvidenceLine
from handshake.models.reply_text import Piece

_OPEN = re.compile(r"^[ \t]*<(mt_complete|blocked)>", re.IGNORECASE)
_CLOSE = re.compile(r"^[ \t]*</(mt_complete|blocked)>", re.IGNORECASE)
_ANY = re.compile(r"<mt_complete>|<blocked>")
_CODE_INDENT = re.compile(r"^(?: {4}| {0,3}\t)")
_EVIDENCE = re.compile(
    r"^\s*[-*]\s*[\"“](?P<criterion>.+)[\"”]\s*(?:→|->|=>)\s*`?(?P<path>[^`]+?):(?P<start>\d{1,7})"
    r"(?:\s*[-–]\s*(?P<end>\d{1,7}))?`?\s*$"
)
_LONGEST_EVIDENCE = 2000
_FIELD = re.compile(r"^\s*(MT_ID|EVIDENCE|REASON|NEED)\s*:[ \t]*(.*)$")


@dataclass(frozen=True)
class _Block:
    name: str
    lines: tuple[str, ...]
    problem: str | None = None

    @property
    def raw(self) -> str:
        return "\n".join(self.lines)


class _Malformed(Exception):
    """Why a block makes no claim."""


def is_signal_block(fence: Piece) -> bool:
    """Whether a fence is around nothing but one signal."""
    lines = [line.strip() for line in fence.lines if line.strip()]
    if len(lines) < 2 or not fence.closed:
        return False
    opened, closed = _OPEN.match(lines[0]), _CLOSE.match(lines[-1])
    tags = sum(1 for line in lines if _OPEN.match(line) or _CLOSE.match(line))
    return opened is not None and closed is not None and opened[1] == closed[1] and tags == 2


def read_signal(pieces: tuple[Piece, ...], reasoning: str, mt_id: str) -> CompletionSignal:
    """The signal of a reply whose edits were taken out; none at all means still working."""
    lines: list[tuple[str, bool]] = []
    foreign: list[str] = []
    for piece in pieces:
        if piece.kind == "prose":
            lines.append((piece.lines[0], True))
        elif piece.kind == "fence" and is_signal_block(piece):
            lines.extend((line, True) for line in piece.lines)
        else:
            lines.append(("", False))
            if any(_ANY.search(line) for line in piece.lines):
                place = "a quotation" if piece.kind == "quote" else "a fence that holds something else"
                foreign.append(f"the block stands inside {place}")
    if _ANY.search(reasoning):
        foreign.append("the block stands inside <think>")
    blocks = _blocks(lines)
    try:
        return _signal(blocks, foreign, mt_id)
    except _Malformed as problem:
        return CompletionSignal(malformed=str(problem), raw_block=blocks[0].raw if blocks else None)


def _signal(blocks: list[_Block], foreign: list[str], mt_id: str) -> CompletionSignal:
    if not blocks:
        if foreign:
            raise _Malformed(foreign[0])
        return CompletionSignal()
    if len(blocks) > 1:
        same = len({block.name for block in blocks}) == 1
        raise _Malformed(
            f"there are {len(blocks)} <{blocks[0].name}> blocks: give exactly one"
            if same
            else "there are both <mt_complete> and <blocked>: give one of them"
        )
    block = blocks[0]
    if block.problem:
        raise _Malformed(block.problem)
    return _complete(block, mt_id) if block.name == "mt_complete" else _blocked(block, mt_id)


def _blocks(lines: list[tuple[str, bool]]) -> list[_Block]:
    """Every block that begins, or ends without a beginning, in plain text."""
    blocks: list[_Block] = []
    start: int | None = None
    name = ""

    def take(end: int, problem: str | None = None) -> None:
        nonlocal start
        first = end - 1 if start is None else start
        blocks.append(_Block(name, tuple(line for line, _ in lines[first:end]), problem))
        start = None

    for index, (line, plain) in enumerate(lines):
        opened, closed = _OPEN.match(line), _CLOSE.match(line)
        if start is not None and (not plain or opened):
            take(index, f"the <{name}> block is not closed")
        if not plain:
            continue
        if opened:
            name, start = opened[1].lower(), index
            problem = _tag_problem(line, f"<{name}>")
            if problem:
                take(index + 1, problem)
        elif closed and start is not None and closed[1].lower() == name:
            take(index + 1, _tag_problem(line, f"</{name}>"))
        elif closed and not blocks:
            name = closed[1].lower()
            take(index + 1, f"</{name}> has no <{name}> on a line of its own before it")
    if start is not None:
        take(len(lines), f"the <{name}> block is not closed")
    return blocks


def _tag_problem(line: str, tag: str) -> str | None:
    if _CODE_INDENT.match(line):
        return f"{tag} is indented like code: put it at the start of its line"
    if line.strip() != tag:
        return f"{tag} must stand alone on its line, in lower case"
    return None


def _complete(block: _Block, mt_id: str) -> CompletionSignal:
    body = [line for line in block.lines[1:-1] if line.strip()]
    named = _FIELD.match(body[0]) if body else None
    if named is None or named[1] != "MT_ID":
        raise _Malformed("the <mt_complete> block must begin with MT_ID:")
    _same_mt(named[2], mt_id)
    heading = _FIELD.match(body[1]) if len(body) > 1 else None
    if heading is None or heading[1] != "EVIDENCE" or heading[2].strip():
        raise _Malformed("the <mt_complete> block must have a line EVIDENCE: after MT_ID:")
    evidence = tuple(_evidence(line) for line in body[2:])
    if not evidence:
        raise _Malformed("the <mt_complete> block has no evidence lines")
    return CompletionSignal(claimed_complete=True, evidence=evidence, raw_block=block.raw)


def _evidence(line: str) -> EvidenceLine:
    match = _EVIDENCE.match(line) if len(line) <= _LONGEST_EVIDENCE else None
    if match is None:
        shown = line.strip()[:80]
        raise _Malformed(f'an evidence line is not of the form - "criterion" -> path:start-end: {shown!r}')
    start = int(match["start"])
    end = int(match["end"]) if match["end"] else start
    if start < 1 or end < start:
        raise _Malformed(f"an evidence line names lines that cannot be: {start}-{end}")
    path = match["path"].strip().replace("\\", "/")
    location = f"{path}:{start}-{end}" if match["end"] else f"{path}:{start}"
    return EvidenceLine(
        criterion=match["criterion"].strip(), evidence_location=location, path=path, start=start, end=end
    )


def _same_mt(named: str, mt_id: str) -> None:
    if named.strip() != mt_id:
        raise _Malformed(f"the block names {named.strip()[:20] or 'no MT'}, the running MT is {mt_id}")


def _blocked(block: _Block, mt_id: str) -> CompletionSignal:
    values: dict[str, str] = {}
    key = ""
    for line in block.lines[1:-1]:
        field = _FIELD.match(line)
        if field is not None:
            key = field[1]
            if key in values or key == "EVIDENCE":
                raise _Malformed(f"the <blocked> block has {key}: where it must not")
            values[key] = field[2].strip()
        elif line.strip():
            if key not in ("REASON", "NEED"):
                raise _Malformed("the <blocked> block must hold REASON: and NEED:")
            values[key] = f"{values[key]} {line.strip()}".strip()
    if "MT_ID" in values:
        _same_mt(values["MT_ID"], mt_id)
    missing = [name for name in ("REASON", "NEED") if not values.get(name)]
    if missing:
        raise _Malformed(f"the <blocked> block lacks {missing[0]}:")
    return CompletionSignal(
        blocked=True, blocked_reason=values["REASON"], blocked_need=values["NEED"], raw_block=block.raw
    )
