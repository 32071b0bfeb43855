"""How good the cut of a packet into micro-tasks is, on releases of real libraries.

    python bench/decomposition.py [--group measured|developed] [--only NAME] [--json] [--cache DIR]

For each pair of releases a packet is made: its scope is the files that changed, its criteria are the changelog's
bullets. It is planned by the same code as `handshake plan`, and beside it stand two cuts that think nothing: one
micro-task for all files, and one for each file. What really happened for a bullet is read from the diff between
the releases, which no planner sees. Needs pip and its registry; nothing is kept but the archives in the cache.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handshake.domain.packet_commands import is_governance_command
from handshake.domain.packet_text import read_packet
from handshake.loop.start import scope_of
from handshake.planning.assign import Assigner, paths_mentioned
from handshake.planning.files import ScopeEntries, expand_scope
from handshake.planning.focus import Focus
from handshake.planning.generate import generate_plan
from handshake.planning.sizes import NEW_FILE_TOKENS, tokens_for_files
from handshake.source.imports import ImportGraph, is_named_for
from handshake.source.languages import language_of
from handshake.source.project import Project
from release_pairs import PACKET, WP_ID, Pair, known_releases, prepare

WINDOW = 32_768
MOST_TRUE_FILES = 3
CUTS = ("Handshake", "one for each file", "one for all")
_BESIDE = re.compile(r"(^|/)(tests?|testing|_vendor|examples|scripts|docs)/|(^|/)(test_[^/]*|noxfile\.py|setup\.py)$")
_QUOTED = re.compile(r"`([^`]+)`")
_LEADING = re.compile(r"(?:\w+\.)+(?=\w)")
_NAME = re.compile(r"[A-Za-z_]\w{2,}")
_CODE = re.compile(r"_|[a-z][A-Z]")


@dataclass(frozen=True)
class Cut:
    """One way to cut: groups of files, tokens of them that are shown, and for each bullet the groups that hold it."""

    groups: tuple[frozenset[str], ...]
    tokens: tuple[int, ...]
    holders: tuple[frozenset[int], ...]


def true_files(pair: Pair) -> tuple[frozenset[str], ...]:
    """For each bullet the files that changed for it: whose changed lines hold most of the code names it uses.

    Only source code counts, of a dotted name the last part, and a name counts more the fewer changed files hold it.
    Empty where the bullet has no such name, or where more than three files share the first place.
    """
    sources = [path for path in pair.changed if language_of(path) is not None and not _BESIDE.search(path)]
    words = {path: set(_NAME.findall(pair.diffs[path])) for path in sources}
    return tuple(_true_files(bullet, words) for bullet in pair.bullets)


def _true_files(bullet: str, words: dict[str, set[str]]) -> frozenset[str]:
    quoted = {name for text in _QUOTED.findall(bullet) for name in _NAME.findall(_LEADING.sub("", text))}
    plain = _LEADING.sub("", _QUOTED.sub(" ", bullet))
    names = quoted | {name for name in _NAME.findall(plain) if _CODE.search(name)}
    scores = dict.fromkeys(words, 0.0)
    for name in sorted(names):
        having = [path for path, known in words.items() if name in known]
        for path in having:
            scores[path] += math.log(1 + len(words) / len(having))
    best = max(scores.values(), default=0.0)
    found = frozenset(path for path, score in scores.items() if score and score >= 0.999 * best)
    return found if len(found) <= MOST_TRUE_FILES else frozenset()


def measure(pair: Pair, rounds: int) -> dict[str, Any]:
    """One row: the pair, and the figures of each cut."""
    tree = pair.repository.tree(pair.commit)
    packet = read_packet((pair.root / PACKET).read_bytes(), PACKET).packet
    assert packet is not None, pair.release
    scope = scope_of(packet)

    def plan() -> Any:
        return generate_plan(
            wp_id=WP_ID,
            packet_path=PACKET,
            scope=scope,
            tree=pair.repository.tree(pair.commit),
            smallest_window=WINDOW,
            is_governance_command=is_governance_command,
        )

    made = plan()
    seconds = statistics.median(_timed(plan) for _ in range(rounds))
    reading = statistics.median(_timed(lambda: _git_reads(pair)) for _ in range(rounds))
    project = Project(tree)
    graph = ImportGraph(project)
    owned = tuple(sorted({path for mt in made.definitions for path in mt.files.writable}))
    edges = _edges(project, graph, owned)
    bullets = tuple(made.criteria)
    truth = dict(zip(pair.bullets, true_files(pair), strict=True))
    true = [truth.get(bullet, frozenset()) & frozenset(owned) for bullet in bullets]
    entries = ScopeEntries(scope.in_scope_paths, ("docs/", PACKET))
    files = expand_scope(entries, project, paths_mentioned(bullets))
    assignment = Assigner(project, graph, files, one_file=False).assign(bullets)
    focus = Focus(project, assignment, bullets, tokens_for_files(WINDOW))
    whole = [_whole(path, project) for path in owned]
    cuts = {
        "Handshake": _planned(made, bullets, focus),
        "one for each file": _apart(owned, assignment.targets, whole),
        "one for all": Cut((frozenset(owned),), (sum(whole),), tuple(frozenset({0}) for _ in bullets)),
    }
    return {
        "package": f"{pair.release.name} {pair.release.old} to {pair.release.new}",
        "files": len(owned),
        "files_in_tree": len(project.paths),
        "bullets": len(bullets),
        "bullets_judged": sum(1 for files in true if files),
        "micro_tasks": len(made.definitions),
        "waves": len(made.waves),
        "plan_ms": round(seconds * 1000, 1),
        "git_grep_ms": round(reading * 1000, 1),
        "findings": sorted({finding.rule for finding in made.findings}),
        "cuts": {name: _figures(cut, edges, true) for name, cut in cuts.items()},
    }


def _timed(act: Any) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _git_reads(pair: Pair) -> None:
    """Something real to compare with: git looks for one word in every file of the commit."""
    subprocess.run(
        ["git", "-C", str(pair.root), "grep", "-c", "import", pair.commit], capture_output=True, check=False
    )


def _edges(project: Project, graph: ImportGraph, owned: Sequence[str]) -> frozenset[tuple[str, str]]:
    """Undirected: one file imports the other or takes a name that it defines, or is the test named for it."""
    files = frozenset(owned)
    found = {(path, target) for path in owned for target in graph.close(path) & files}
    found |= {
        (test, source)
        for test in owned
        if project.holds_tests(test)
        for source in owned
        if is_named_for(test, source)
    }
    return frozenset((min(edge), max(edge)) for edge in found if edge[0] != edge[1])


def _whole(path: str, project: Project) -> int:
    return project.tokens(path) if project.has(path) else NEW_FILE_TOKENS


def _planned(made: Any, bullets: Sequence[str], focus: Focus) -> Cut:
    """Of a file in focus, or too large and named by no bullet, a prompt shows the definitions and the signatures."""
    position = {mt.mt_id: index for index, mt in enumerate(made.definitions)}
    groups = tuple(frozenset(mt.files.writable) for mt in made.definitions)
    tokens = []
    for mt in made.definitions:
        about = made.focus.get(mt.mt_id, {})
        sizes = [
            focus.body_tokens(path, about[path]) + focus.signature_tokens(path)
            if focus.is_large(path) and path in about
            else focus.tokens(path)
            for path in mt.files.writable
        ]
        tokens.append(sum(sizes))
    return Cut(
        groups, tuple(tokens), tuple(frozenset(position[mt_id] for mt_id in made.criteria[b]) for b in bullets)
    )


def _apart(owned: Sequence[str], assigned: Iterable[Sequence[Any]], whole: Sequence[int]) -> Cut:
    position = {path: index for index, path in enumerate(owned)}
    holders = tuple(frozenset(position[t.path] for t in targets if t.path in position) for targets in assigned)
    return Cut(tuple(frozenset({path}) for path in owned), tuple(whole), holders)


def _figures(cut: Cut, edges: frozenset[tuple[str, str]], true: Sequence[frozenset[str]]) -> dict[str, Any]:
    working = [group for group in cut.groups if group]
    homes: dict[str, set[int]] = {}
    for index, group in enumerate(cut.groups):
        for path in group:
            homes.setdefault(path, set()).add(index)
    crossing = sum(1 for one, other in edges if not homes[one] & homes[other])
    judged = [(files, holders) for files, holders in zip(true, cut.holders, strict=True) if files]
    right = sum(1 for files, holders in judged if any(files & cut.groups[index] for index in holders))
    asked = [cut.groups[index] for _, holders in judged for index in holders]
    hits = sum(1 for files, holders in judged for index in holders if files & cut.groups[index])
    most = tokens_for_files(WINDOW)
    sizes = [size for group, size in zip(cut.groups, cut.tokens, strict=True) if group]
    return {
        "micro_tasks": len(working),
        "files_per_mt": _mean([len(group) for group in working]),
        "edges": len(edges),
        "edges_cut": crossing,
        "judged": len(judged),
        "right": right,
        "asked": len(asked),
        "asked_right": hits,
        "fit": sum(1 for size in sizes if size <= most),
        "tokens": sum(sizes),
    }


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 2) if values else 0.0


def total(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Sums over all packages, for each cut."""
    sums: dict[str, dict[str, Any]] = {}
    for name in CUTS:
        parts = [row["cuts"][name] for row in rows]
        keys = ("micro_tasks", "edges", "edges_cut", "judged", "right", "asked", "asked_right", "fit", "tokens")
        sums[name] = {key: sum(part[key] for part in parts) for key in keys}
        files = sum(part["files_per_mt"] * part["micro_tasks"] for part in parts)
        sums[name]["files_per_mt"] = round(files / max(1, sums[name]["micro_tasks"]), 2)
    return sums


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """Two tables in Markdown: each package as Handshake cuts it, then the three cuts side by side."""
    lines = [
        "| releases | files | bullets (judged) | micro-tasks | files each | edges cut | bullets right | fit | ms "
        "| × git grep |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cut = row["cuts"]["Handshake"]
        lines.append(
            f"| {row['package']} | {row['files']} | {row['bullets']} ({row['bullets_judged']}) "
            f"| {cut['micro_tasks']} | {cut['files_per_mt']} | {cut['edges_cut']}/{cut['edges']} "
            f"| {cut['right']}/{cut['judged']} | {cut['fit']}/{cut['micro_tasks']} | {row['plan_ms']:.0f} "
            f"| {row['plan_ms'] / max(row['git_grep_ms'], 0.1):.1f} |"
        )
    lines += [
        "",
        "| cut | micro-tasks | files each | edges cut | bullets right | asked of the right one | fit |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, cut in total(rows).items():
        lines.append(
            f"| {name} | {cut['micro_tasks']} | {cut['files_per_mt']} | {_share(cut['edges_cut'], cut['edges'])} "
            f"| {_share(cut['right'], cut['judged'])} | {_share(cut['asked_right'], cut['asked'])} "
            f"| {_share(cut['fit'], cut['micro_tasks'])} |"
        )
    return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    return f"{part}/{whole} ({100 * part / whole:.0f} %)" if whole else "none"


def main() -> int:
    """Run it. Exit code 0, or 2 for a package that is not in the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--group", choices=("measured", "developed"), default="measured")
    parser.add_argument("--only", help="one package of the group")
    parser.add_argument("--rounds", type=int, default=3, help="plans timed for each package")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "handshake-releases")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    releases = [r for r in known_releases(options.group) if options.only in (None, r.name)]
    if not releases or options.rounds < 1:
        parser.error(f"--only {options.only}: no such package in {options.group}; --rounds is at least 1")
    rows = []
    for release in releases:
        with tempfile.TemporaryDirectory(prefix="handshake-bench-") as work:
            rows.append(measure(prepare(release, options.cache, Path(work)), options.rounds))
    sys.stdout.write(json.dumps({"rows": rows, "total": total(rows)}, indent=2) if options.json else as_table(rows))
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
