"""A reply that repeats itself or grows past all bounds is cut early. Contract: `models.md`, Providers."""

from __future__ import annotations

from typing import Literal

_SHORT, _SHORT_TIMES = 2048, 8
_LONG, _LONG_TIMES = 8192, 4
_EVERY = 512


def smallest_period(text: str) -> int:
    """The smallest p so that `text` goes on as it did p characters before; its length if nothing repeats."""
    table = [0] * len(text)
    matched = 0
    for index in range(1, len(text)):
        while matched and text[index] != text[matched]:
            matched = table[matched - 1]
        if text[index] == text[matched]:
            matched += 1
        table[index] = matched
    return len(text) - (table[-1] if table else 0)


def repeats_itself(text: str) -> bool:
    """Whether the end of `text` is one piece said over and over: 8 times in 2,048 or 4 times in 8,192 characters."""
    for window, times in ((_SHORT, _SHORT_TIMES), (_LONG, _LONG_TIMES)):
        if len(text) >= window and smallest_period(text[-window:]) <= window // times:
            return True
    return False


class RunawayWatch:
    """Watches one sample as it grows.

    Args:
        max_output_tokens: what the server was told; a server that ignores it is cut a little later.
    """

    def __init__(self, max_output_tokens: int) -> None:
        self._max_chars = max_output_tokens * 24 + 4096
        self._max_pieces = max_output_tokens + max_output_tokens // 10 + 16
        self._tail = ""
        self._chars = 0
        self._pieces = 0
        self._unchecked = 0

    def feed(self, piece: str) -> Literal["size", "repeats"] | None:
        """Take the next piece; the reason to cut (`size`, `repeats`), or None to go on."""
        self._chars += len(piece)
        self._pieces += 1
        if self._chars > self._max_chars or self._pieces > self._max_pieces:
            return "size"
        self._tail = (self._tail + piece)[-_LONG:]
        self._unchecked += len(piece)
        if self._unchecked >= _EVERY:
            self._unchecked = 0
            if repeats_itself(self._tail):
                return "repeats"
        return None
