"""A file as blocks: whole definitions where its pack has anchors, else runs of lines. Spans snap to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from handshake.context.sources import SourceFile
from handshake.domain.context import PackAnchor

PLAIN_BLOCK_LINES = 40
SPLIT_ABOVE_LINES = 60


@dataclass(frozen=True)
class Block:
    """Lines `start` to `end` (1-based, inclusive). `name` and `signature` are empty outside definitions."""

    start: int
    end: int
    name: str = ""
    signature: str = ""


def blocks_of(source: SourceFile) -> tuple[Block, ...]:
    """The blocks of a file, in order; every line is in exactly one of them."""
    anchors = source.pack.anchors if source.pack is not None else ()
    blocks: list[Block] = []
    next_line = 1
    for definition in _definitions(anchors, len(source.lines)):
        if definition.start < next_line:
            continue  # two definitions on one line: the first has it
        blocks += _plain(next_line, definition.start - 1)
        blocks.append(definition)
        next_line = definition.end + 1
    blocks += _plain(next_line, len(source.lines))
    return tuple(blocks)


def _plain(start: int, end: int) -> list[Block]:
    return [
        Block(first, min(first + PLAIN_BLOCK_LINES - 1, end)) for first in range(start, end + 1, PLAIN_BLOCK_LINES)
    ]


def _definitions(anchors: Sequence[PackAnchor], last: int) -> Iterator[Block]:
    """The outermost definitions, each that is long split into those inside it; values of one line are plain."""
    position = 0
    while position < len(anchors):
        anchor = anchors[position]
        after = position + 1
        while after < len(anchors) and anchors[after].start <= anchor.end:
            after += 1
        inside = anchors[position + 1 : after]
        position = after
        end = min(anchor.end, last)
        if anchor.start > last or (end == anchor.start and not inside and "=" in anchor.excerpt_hint):
            continue
        parts = list(_definitions(inside, last)) if end - anchor.start >= SPLIT_ABOVE_LINES else []
        parts = [part for part in parts if part.start > anchor.start]
        yield Block(anchor.start, parts[0].start - 1 if parts else end, anchor.name, anchor.excerpt_hint)
        yield from parts
