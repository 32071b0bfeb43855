"""Bytes of a file as lines of text, or not at all."""

from __future__ import annotations

MAX_INDEXED_BYTES = 1_048_576
_BOM = b"\xef\xbb\xbf"


def is_binary(data: bytes) -> bool:
    """Whether the first 8 KiB hold a zero byte, which is git's own test."""
    return b"\0" in data[:8192]


def lines_of(data: bytes, most: int = MAX_INDEXED_BYTES) -> tuple[str, ...] | None:
    """The lines without line ends; None where the data is binary or larger than `most` bytes.

    Bytes that are not UTF-8 become the replacement character.
    """
    if len(data) > most or is_binary(data):
        return None
    return split_lines(data.removeprefix(_BOM).decode("utf-8", errors="replace"))


def split_lines(text: str) -> tuple[str, ...]:
    """Lines of a text in any convention of line ends; the end of the last line makes no line of its own."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if lines[-1] == "":
        lines.pop()
    return tuple(lines)
