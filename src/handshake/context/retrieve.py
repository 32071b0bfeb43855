"""Which places may be worth showing, and how much. Contract: `context.md`, Scoring.

`base_score = pack_score + trust_adjust + max(lexical, vector, graph)`; missing parts are 0. Sorted by score
descending, then by canonical id ascending: the same inputs give the same order, always.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from handshake.context.blocks import Block, blocks_of
from handshake.context.lexical import bm25
from handshake.context.sources import SourceFile
from handshake.domain.context import Candidate, SourceRef
from handshake.source.index import WordCounts
from handshake.source.words import terms

NEIGHBOUR_OF_TASK = 0.3
NAMED_BY_TASK_FILE = 0.6
FAILED_HERE = 1.0
FRESH_PACK = 1.0
DOUBTFUL = -0.25

Edges = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Place:
    """A candidate with the block and file it stands for."""

    candidate: Candidate
    source: SourceFile
    block: Block

    @property
    def evidence(self) -> float:
        """The score without what all blocks of a packed file have in common."""
        scores = self.candidate.scores
        return max(scores.get(name, 0.0) for name in ("lexical", "vector", "graph"))


def rank(
    query: str,
    sources: Sequence[SourceFile],
    modify: frozenset[str],
    failures: Mapping[str, frozenset[int]],
    edges: Edges,
    counts: WordCounts | None = None,
) -> tuple[Place, ...]:
    """Every block of the files with its scores, best first.

    Args:
        query: the query text.
        sources: the files, with their packs.
        modify: the paths that will change.
        failures: a path to the lines at which the last validation failed there: they are hits too.
        edges: which file imports which.
        counts: word counts of the repository, where the index has them.
    """
    pairs = [(source, block) for source in sources for block in blocks_of(source)]
    lexical = bm25(terms(query), [terms(_searched(source, block)) for source, block in pairs], counts)
    graph = _graph_scores(pairs, modify, edges)
    places = []
    for (source, block), by_words, by_graph in zip(pairs, lexical, graph, strict=True):
        failed = any(block.start <= line <= block.end for line in failures.get(source.path, ()))
        scores = {
            "pack": FRESH_PACK if source.has_fresh_pack else 0.0,
            "trust_adjust": DOUBTFUL if source.doubtful else 0.0,
            "lexical": FAILED_HERE if failed else by_words,
            "vector": 0.0,
            "graph": by_graph,
        }
        places.append(Place(_candidate(source, block, scores), source, block))
    return in_order(places)


def in_order(places: Sequence[Place]) -> tuple[Place, ...]:
    """Best first; equal ones by their canonical id."""
    return tuple(sorted(places, key=lambda place: (-place.candidate.base_score, place.candidate.tiebreak)))


def recalled(candidates: Sequence[Candidate], sources: Sequence[SourceFile]) -> tuple[Place, ...] | None:
    """The places of stored candidates in the files as they are now; None where one is not there any more."""
    blocks = {f"{s.path}:{b.start:06d}-{b.end:06d}": (s, b) for s in sources for b in blocks_of(s)}
    found = [blocks.get(candidate.candidate_id) for candidate in candidates]
    if any(pair is None for pair in found):
        return None
    return tuple(Place(c, *pair) for c, pair in zip(candidates, found, strict=True) if pair is not None)


def base_score(scores: Mapping[str, float]) -> float:
    """The contract's sum; missing parts are 0."""
    best = max(scores.get(name, 0.0) for name in ("lexical", "vector", "graph"))
    return round(scores.get("pack", 0.0) + scores.get("trust_adjust", 0.0) + best, 6)


def _candidate(source: SourceFile, block: Block, scores: dict[str, float]) -> Candidate:
    name = f"{source.path}:{block.start:06d}-{block.end:06d}"
    selector = f"lines {block.start}-{block.end}" + (f" {block.name}" if block.name else "")
    store = "knowledge_graph" if scores["graph"] > scores["lexical"] else "shadow_ws_lexical"
    if scores["pack"] and not max(scores["graph"], scores["lexical"]):
        store = "context_packs"
    return Candidate(
        candidate_id=name,
        kind="span",
        ref=SourceRef(kind="span", id=name, hash=source.digest, selector=selector, classification="low"),
        store=store,
        scores=scores,
        base_score=base_score(scores),
        tiebreak=name,
    )


def _searched(source: SourceFile, block: Block) -> str:
    return " ".join((source.path, *source.lines[block.start - 1 : block.end]))


def _graph_scores(pairs: Sequence[tuple[SourceFile, Block]], modify: frozenset[str], edges: Edges) -> list[float]:
    """How near each block is to the files that will change, along imports; 0 for those files themselves."""
    near = {path for changed in modify for path in edges.get(changed, frozenset())}
    near |= {path for path, targets in edges.items() if targets & modify}
    texts = {source.path: source.text for source, _ in pairs if source.path in modify}
    used = {word for text in texts.values() for word in re.findall(r"\w+", text)}
    scores = []
    for source, block in pairs:
        if source.path in modify or source.path not in near:
            scores.append(0.0)
        else:
            named = block.name and block.name.rsplit(".", 1)[-1] in used
            scores.append(NAMED_BY_TASK_FILE if named else NEIGHBOUR_OF_TASK)
    return scores
