"""Words: texts taken apart, what is said of the whole, and BM25 over documents. The word lists are `words.json`.

Contract: `micro-tasks.md`, Generation 2.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_SUBWORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


@cache
def vocabulary() -> dict[str, Any]:
    """The word lists of `words.json`."""
    loaded: dict[str, Any] = json.loads((resources.files("handshake.planning") / "words.json").read_text("utf-8"))
    return loaded


def words_of(text: str) -> list[str]:
    """Lower-case words of a text, identifiers taken apart, without stop words and plural endings."""
    stop = _stop_words()
    found = []
    for match in _SUBWORD.finditer(text):
        word = match.group().lower()
        if word not in stop and len(word) > 1:
            found.append(word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word)
    return found


@cache
def _stop_words() -> frozenset[str]:
    return frozenset(vocabulary()["stop"])


@cache
def _general_words() -> frozenset[str]:
    return frozenset(word for text in vocabulary()["general"] for word in words_of(text))


def is_general(bullet: str) -> bool:
    """Whether a bullet speaks of the whole (`all tests pass`) and names nothing of its own."""
    return not set(words_of(bullet)) - _general_words()


def beginnings_of(name: str) -> list[str]:
    """How a name of several words begins: `max_open_files` is kin to `max_open_sockets` and less so to `max_age`."""
    words = words_of(name)
    return ["_".join(words[:size]) + "_" for size in range(1, len(words))] if len(words) > 1 else []


def telling_words(texts: Sequence[str]) -> tuple[dict[str, float], ...]:
    """For each text its words, each weighed by how few of the texts say it: what all of them say tells nothing.

    Words of the whole (`tests`, `pass`) are left out.
    """
    spoken = [dict.fromkeys(word for word in words_of(text) if word not in _general_words()) for text in texts]
    counts: dict[str, int] = {}
    for words in spoken:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    total = len(texts)
    return tuple({word: math.log2(1 + total / counts[word]) for word in words} for words in spoken)


class WordIndex:
    """BM25+ over documents given as lists of words."""

    def __init__(self, documents: Sequence[Sequence[str]]) -> None:
        self._size = len(documents)
        self._index: Any = None
        self._columns: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
        if any(documents):
            from rank_bm25 import BM25Plus

            self._index = BM25Plus(documents)

    def scores(self, query: Mapping[str, float]) -> list[float]:
        """One score for each document, 0 for one that shares no word with the query.

        Args:
            query: words and their weights.
        """
        total = [0.0] * self._size
        for word, weight in query.items() if self._index is not None else ():
            column = self._column(word)
            if column is not None:
                total = [score + weight * float(more) for score, more in zip(total, column, strict=True)]
        return [round(max(0.0, score), 6) for score in total]

    def _column(self, word: str) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """What one word adds to each document, less what BM25+ gives to a document that lacks it."""
        if word not in self._index.idf:
            return None
        if word not in self._columns:
            floor = float(self._index.idf[word]) * float(self._index.delta)
            self._columns[word] = self._index.get_scores([word]) - floor
        return self._columns[word]
