"""File names as ASCII text, the way git quotes them, so that a packet in ASCII can name every file."""

from __future__ import annotations

import re

_ESCAPES = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}
_NAMES = {code: sign for sign, code in _ESCAPES.items()}
_PLAIN = re.compile(r"^[A-Za-z0-9_.+@=,()\[\]/ -]+$")
# controls, ends of lines of any script, marks that turn the direction of writing
_MOVING = re.compile(r"[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_PART = re.compile(r"\\([0-7]{3}|[abtnvfr\"\\])")


def quoted_name(path: str) -> str:
    """The name as it is where it is plain, else in double quotes with C escapes and octal bytes."""
    if _PLAIN.match(path) and path == path.strip():
        return path
    return always_quoted(path)


def always_quoted(path: str) -> str:
    """The name in double quotes, every byte that is not printable ASCII escaped."""
    out = ""
    for byte in path.encode("utf-8", "surrogateescape"):
        if byte in _NAMES:
            out += "\\" + _NAMES[byte]
        else:
            out += chr(byte) if 32 <= byte < 127 and byte != ord("`") else f"\\{byte:03o}"
    return f'"{out}"'


def on_one_line(text: str) -> str:
    """A text for people with the signs that move a line or a terminal escaped as they are in a quoted name."""
    return _MOVING.sub(lambda found: always_quoted(found.group())[1:-1], text)


def unquoted_name(text: str) -> str:
    """The name that `quoted_name` wrote; any other text is returned as it is."""
    if len(text) < 2 or not (text.startswith('"') and text.endswith('"')):
        return text
    out, position, inner = b"", 0, text[1:-1]
    for escape in _PART.finditer(inner):
        out += inner[position : escape.start()].encode("utf-8", "surrogateescape")
        out += bytes([_code(escape.group(1))])
        position = escape.end()
    return (out + inner[position:].encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def _code(escape: str) -> int:
    return _ESCAPES[escape] if escape in _ESCAPES else int(escape, 8) & 0xFF


def is_packet_file(path: str, folder: str) -> bool:
    """Whether a repo-relative path is that of a packet: `WP-….md` in the packet folder itself."""
    name = path.removeprefix(f"{folder}/")
    return path != name and name.startswith("WP-") and name.endswith(".md") and "/" not in name
