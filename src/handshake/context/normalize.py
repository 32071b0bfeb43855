"""Normal forms of text: the query's, whose hash is in the trace, and the one that is searched for injections."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from handshake.domain.canonical import sha256_hex


def normalized_query(query: str) -> str:
    """The query trimmed, white space runs collapsed, NFC, casefolded, control characters removed."""
    spaced = " ".join(query.split())
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", spaced).casefold())
    kept = "".join(sign for sign in folded if unicodedata.category(sign) != "Cc")
    return " ".join(kept.split())


def normalized_query_hash(query: str) -> str:
    """SHA-256 in hex of the normalized query."""
    return sha256_hex(normalized_query(query))


def searchable(lines: Sequence[str]) -> tuple[str, list[int]]:
    """The lines as one text to search phrases in, and for each of its characters the 1-based line it stands in.

    NFC and casefolded as the contract says; white space runs are collapsed over line ends and invisible
    characters dropped too, so that a phrase cannot hide by being broken up.
    """
    body, places = _searchable(tuple(lines))
    return body, list(places)


@lru_cache(maxsize=256)
def _searchable(lines: tuple[str, ...]) -> tuple[str, tuple[int, ...]]:
    signs: list[str] = []
    places: list[int] = []
    for number, line in enumerate(lines, start=1):
        words = _searched_form(line)
        if not words:
            continue
        if signs:
            signs.append(" ")
            places.append(number)
        signs.extend(words)
        places.extend([number] * len(words))
    return "".join(signs), tuple(places)


_ASCII_CONTROLS = {code: None for code in (*range(32), 127) if not chr(code).isspace()}


@lru_cache(maxsize=65_536)
def _searched_form(line: str) -> str:
    if line.isascii():
        return " ".join(line.translate(_ASCII_CONTROLS).lower().split())
    visible = "".join(sign for sign in line if unicodedata.category(sign) not in ("Cc", "Cf") or sign.isspace())
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", visible).casefold())
    return " ".join(folded.split())
