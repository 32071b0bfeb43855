"""BM25 over the blocks of an MT's files, with the rarity of a word taken from the whole repository."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from handshake.source.index import WordCounts

_K1, _B = 1.5, 0.75


def bm25(query: Sequence[str], documents: Sequence[Sequence[str]], counts: WordCounts | None = None) -> list[float]:
    """Okapi BM25 of each document, divided by the best, to 6 decimals; all 0 where nothing matches.

    Args:
        query: words.
        documents: words of each document.
        counts: in how many files of the repository the query's words stand; without it the documents
            themselves say how rare a word is.
    """
    if not documents:
        return []
    average = sum(map(len, documents)) / len(documents) or 1.0
    bags = [Counter(document) for document in documents]
    weights = _weights(sorted(set(query)), bags, counts)
    raw = []
    for document, bag in zip(documents, bags, strict=True):
        total = 0.0
        for word, weight in weights.items():
            if word in bag:
                share = bag[word] * (_K1 + 1) / (bag[word] + _K1 * (1 - _B + _B * len(document) / average))
                total += weight * share
        raw.append(total)
    best = max(raw)
    return [round(value / best, 6) if best > 0 else 0.0 for value in raw]


def _weights(words: Sequence[str], bags: Sequence[Counter[str]], counts: WordCounts | None) -> dict[str, float]:
    """The inverse document frequency of each word, never negative."""
    if counts is not None and counts.files:
        held, of = counts.holding, counts.files
        # a word that only the changed files have was not counted yet: it is as rare as can be
        seen = {word: min(held.get(word, 0), of) for word in words}
    else:
        of = len(bags)
        seen = {word: sum(word in bag for bag in bags) for word in words}
    return {word: math.log(1 + (of - seen[word] + 0.5) / (seen[word] + 0.5)) for word in words}
