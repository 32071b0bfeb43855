"""Which places may be worth showing, and how much. Contract: `context.md`, Scoring.

`base_score = pack + trust_adjust + max(lexical, vector, graph)`; missing parts are 0. Sorted by score
descending, then by canonical id ascending: the same inputs give the same order, always.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from handshake.context.blocks import Block, blocks_of
from handshake.context.imports import imported_paths
from handshake.context.sources import SourceFile
from handshake.domain.context import Candidate, SourceRef

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*|[0-9]+")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_K1, _B = 1.5, 0.75

NEIGHBOUR_OF_TASK = 0.3
NAMED_BY_TASK_FILE = 0.6
FAILED_HERE = 1.0


@dataclass(frozen=True)
class Place:
    """A candidate with the block and file it stands for."""

    candidate: Candidate
    source: SourceFile
    block: Block


def terms(text: str) -> list[str]:
    """The words of a text or of code, lower case; `readFile_now` gives read, file, now."""
    return [part.lower() for word in _WORD.findall(text) for part in _CAMEL.findall(word)]


def rank(
    query: str,
    sources: Sequence[SourceFile],
    modify: frozenset[str],
    failures: Mapping[str, frozenset[int]],
) -> tuple[Place, ...]:
    """Every block of the files with its scores, best first.

    `failures` maps a path to the lines at which the last validation failed there: they are hits too.
    """
    pairs = [(source, block) for source in sources for block in blocks_of(source.path, source.lines)]
    lexical = _bm25(terms(query), [terms(_searched(source, block)) for source, block in pairs])
    graph = _graph_scores(pairs, modify)
    places = []
    for (source, block), by_words, by_graph in zip(pairs, lexical, graph, strict=True):
        failed = any(block.start <= line <= block.end for line in failures.get(source.path, ()))
        scores = {
            "pack": 0.0,
            "trust_adjust": 0.0,
            "lexical": FAILED_HERE if failed else by_words,
            "vector": 0.0,
            "graph": by_graph,
        }
        places.append(Place(_candidate(source, block, scores), source, block))
    return tuple(sorted(places, key=lambda place: (-place.candidate.base_score, place.candidate.tiebreak)))


def base_score(scores: Mapping[str, float]) -> float:
    """The contract's sum; missing parts are 0."""
    best = max(scores.get(name, 0.0) for name in ("lexical", "vector", "graph"))
    return round(scores.get("pack", 0.0) + scores.get("trust_adjust", 0.0) + best, 6)


def _candidate(source: SourceFile, block: Block, scores: dict[str, float]) -> Candidate:
    name = f"{source.path}:{block.start:06d}-{block.end:06d}"
    selector = f"lines {block.start}-{block.end}" + (f" {block.name}" if block.name else "")
    return Candidate(
        candidate_id=name,
        kind="span",
        ref=SourceRef(kind="span", id=name, hash=source.digest, selector=selector, classification="low"),
        store="knowledge_graph" if scores["graph"] > scores["lexical"] else "shadow_ws_lexical",
        scores=scores,
        base_score=base_score(scores),
        tiebreak=name,
    )


def _searched(source: SourceFile, block: Block) -> str:
    return " ".join((source.path, *source.lines[block.start - 1 : block.end]))


def _bm25(query: list[str], documents: list[list[str]]) -> list[float]:
    """Okapi BM25 of each document, divided by the best, to 6 decimals; all 0 where nothing matches."""
    if not documents:
        return []
    average = sum(map(len, documents)) / len(documents) or 1.0
    counts = [Counter(document) for document in documents]
    seen_in = {word: sum(word in count for count in counts) for word in set(query)}
    raw = []
    for document, count in zip(documents, counts, strict=True):
        total = 0.0
        for word in sorted(seen_in):
            if word not in count:
                continue
            weight = math.log(1 + (len(documents) - seen_in[word] + 0.5) / (seen_in[word] + 0.5))
            share = count[word] * (_K1 + 1) / (count[word] + _K1 * (1 - _B + _B * len(document) / average))
            total += weight * share
        raw.append(total)
    best = max(raw)
    return [round(value / best, 6) if best > 0 else 0.0 for value in raw]


def _graph_scores(pairs: Sequence[tuple[SourceFile, Block]], modify: frozenset[str]) -> list[float]:
    """How near each block is to the files that will change, along imports; 0 for those files themselves."""
    texts = {path: source.text for path, source in {source.path: source for source, _ in pairs}.items()}
    known = frozenset(texts)
    out_of = {path: imported_paths(path, text, known) for path, text in texts.items()}
    near = {path for changed in modify for path in out_of.get(changed, ())}
    near |= {path for path, targets in out_of.items() if targets & modify}
    used = {word for path in modify if path in texts for word in re.findall(r"\w+", texts[path])}
    scores = []
    for source, block in pairs:
        if source.path in modify or source.path not in near:
            scores.append(0.0)
        else:
            scores.append(NAMED_BY_TASK_FILE if block.name and block.name in used else NEIGHBOUR_OF_TASK)
    return scores
