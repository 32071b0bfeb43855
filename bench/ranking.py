"""Which ranking of definitions finds the one that a sentence describes? Used by `context.py`.

The question is the first sentence of a real docstring; the documents are the definitions of its file and of four
others, docstrings taken out. A ranking is good if the right definition comes first (MRR: the mean of 1/rank).
"""

from __future__ import annotations

import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from handshake.context.lexical import bm25
from handshake.source.index import WordCounts
from handshake.source.packs import digest_file
from handshake.source.text import lines_of
from handshake.source.words import distinct_terms, terms

Scores = Callable[[list[str], list[list[str]]], Sequence[float]]
_DOCSTRING = re.compile(r'[rRuU]?("""|\'\'\').*?\1', re.DOTALL)


def compare_rankings(modules: list[bytes], questions: int, draw: random.Random) -> list[dict[str, Any]]:
    """MRR, share of right answers in first place, and ms for a question, of each ranking."""
    counts: Counter[str] = Counter()
    for data in modules:
        counts.update(distinct_terms(data.decode("utf-8", "replace")))
    asked = [_question(modules, draw) for _ in range(questions)]
    cases = [case for case in asked if case is not None]
    rows = []
    for name, score in _rankings(counts, len(modules)).items():
        ranks, spans = [], []
        for query, documents, right in cases:
            begin = time.perf_counter()
            scores = list(score(query, documents))
            spans.append((time.perf_counter() - begin) * 1000)
            better = sum(value > scores[right] for value in scores)
            equal = sum(value == scores[right] for value in scores)
            ranks.append(better + (equal + 1) / 2)  # a tie is no answer: the mean of its places
        rows.append(
            {
                "name": name,
                "questions": len(cases),
                "mrr": round(statistics.fmean(1 / rank for rank in ranks), 3),
                "first": round(statistics.fmean(rank < 1.5 for rank in ranks), 3),
                "ms": round(statistics.median(spans), 3),
            }
        )
    return rows


def _question(modules: list[bytes], draw: random.Random) -> tuple[list[str], list[list[str]], int] | None:
    files = [lines_of(data) or () for data in draw.sample(modules, 5)]
    packs = [digest_file(f"m{n}.py", lines, "0" * 64).pack for n, lines in enumerate(files)]
    spots = [
        (n, anchor, fact.text)
        for n, pack in enumerate(packs)
        for anchor, fact in zip(pack.anchors, pack.facts, strict=False)
    ]
    described = [(n, anchor, text.removeprefix(anchor.excerpt_hint)) for n, anchor, text in spots]
    described = [(n, anchor, text) for n, anchor, text in described if len(text.split()) >= 5 and anchor.depth <= 1]
    if not described:
        return None
    of, wanted, sentence = draw.choice(described)
    documents, right = [], -1
    for n, pack in enumerate(packs):
        for anchor in pack.anchors:
            if n == of and anchor.anchor_id == wanted.anchor_id:
                right = len(documents)
            text = "\n".join(files[n][anchor.start - 1 : anchor.end])
            documents.append(terms(_DOCSTRING.sub("", text)) or ["empty"])
    return terms(sentence), documents, right


def _rankings(counts: Counter[str], files: int) -> dict[str, Scores]:
    found: dict[str, Scores] = {
        "ours, rarity from the repository": lambda query, documents: bm25(
            query, documents, WordCounts("bench", files, {word: counts[word] for word in query})
        ),
        "ours, rarity from the documents": bm25,
    }
    try:
        from rank_bm25 import BM25Okapi, BM25Plus
    except ImportError:
        pass
    else:
        found["rank-bm25 BM25Okapi"] = lambda query, documents: BM25Okapi(documents).get_scores(query)
        found["rank-bm25 BM25Plus"] = lambda query, documents: BM25Plus(documents).get_scores(query)
    try:
        import bm25s
    except ImportError:
        pass
    else:
        found["bm25s"] = lambda query, documents: _bm25s(bm25s, query, documents)
    return found


def _bm25s(library: Any, query: list[str], documents: list[list[str]]) -> Sequence[float]:
    model = library.BM25()
    model.index(documents, show_progress=False)
    known = [word for word in query if word in model.vocab_dict]
    return [float(score) for score in model.get_scores(known)] if known else [0.0] * len(documents)
