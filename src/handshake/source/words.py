"""The words of code and prose, as the lexical index counts them. Contract: `context.md`, lexical index."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*|[0-9]+")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def terms(text: str) -> list[str]:
    """The words of a text or of code, lower case, in order; `readFile_now` gives read, file, now."""
    return [part for word in _WORD.findall(text) for part in _parts(word)]


def distinct_terms(text: str) -> set[str]:
    """The words of a text, each once."""
    return {part for word in set(_WORD.findall(text)) for part in _parts(word)}


@lru_cache(maxsize=65_536)
def _parts(word: str) -> tuple[str, ...]:
    return tuple(part.lower() for part in _CAMEL.findall(word))


def not_spoken_of(names: Iterable[str], text: str) -> list[str]:
    """Of these qualified names those of which no part is a word of the text, each once and in order."""
    spoken_of = set(re.findall(r"\w+", text))
    return [name for name in dict.fromkeys(names) if not spoken_of & set(name.split("."))]
