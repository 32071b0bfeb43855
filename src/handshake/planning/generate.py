"""Definitions from a packet and a tree: files, criteria, cut, order, verify, budget, rules.

Deterministic: same packet, tree and configuration give byte-identical definitions.
Contract: `micro-tasks.md`, Generation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from handshake.domain.canonical import hash_of
from handshake.domain.errors import JobRefused
from handshake.domain.job import WorkPacketScope
from handshake.domain.microtask import Plan
from handshake.planning.assign import Assigner, Assignment, paths_mentioned
from handshake.planning.cut import cut_into_groups, edges_between
from handshake.planning.define import Definer, OrderedDrafts
from handshake.planning.drafts import Draft, Splitter
from handshake.planning.files import ScopedFiles, ScopeEntries, expand_scope
from handshake.planning.focus import Focus
from handshake.planning.groups import CutLimits, WorkFile
from handshake.planning.judges import Court, Judges, tested_files
from handshake.planning.order import ancestors_of, dependencies_of, ordered
from handshake.planning.remarks import remarks
from handshake.planning.rules import RuleFacts, check_definitions, refuse_errors
from handshake.planning.sizes import NEW_FILE_TOKENS, tokens_for_files
from handshake.planning.verify import VerifyWriter
from handshake.planning.waves import waves_of
from handshake.source.imports import ImportGraph
from handshake.source.project import Project, SourceTree

MOST_MICRO_TASKS = 999
# files of a folder or glob up to this number may join the work beside them; of a larger scope only what is named
SMALL_SCOPE = 30


def generate_plan(
    *,
    wp_id: str,
    packet_path: str,
    scope: WorkPacketScope,
    tree: SourceTree,
    smallest_window: int,
    is_governance_command: Callable[[str], bool],
    governance_prefixes: tuple[str, ...] = ("docs/",),
    files_per_mt: int | None = None,
    count_tokens: Callable[[str], int] | None = None,
) -> Plan:
    """The micro-tasks of a packet.

    Args:
        wp_id: the work packet.
        packet_path: the packet's own file, which no MT may write.
        scope: what the packet asks for.
        tree: the base commit's tree.
        smallest_window: tokens of the smallest context window in the chain.
        is_governance_command: whether a TEST_PLAN command is a WP gate and no MT's to run.
        governance_prefixes: folders (`docs/`) or files that no MT may write.
        files_per_mt: at most so many files for each MT; None for the contract's limits.
        count_tokens: the model's tokenizer; None for an estimate that errs high.

    Raises:
        JobRefused: nothing in scope can be changed, or a rule of severity ERROR is broken.
    """
    project = Project(tree, count_tokens)
    entries = ScopeEntries(scope.in_scope_paths, (*governance_prefixes, packet_path))
    bullets = tuple(dict.fromkeys(bullet for bullet in scope.done_means if bullet.strip()))
    files = expand_scope(entries, project, paths_mentioned(bullets))
    if not files.all:
        raise JobRefused(
            f"{wp_id}: no path of IN_SCOPE_PATHS can be changed ({_why_nothing(files)})",
            next_step="name the files to change in IN_SCOPE_PATHS of the packet",
        )
    graph = ImportGraph(project)
    assignment = Assigner(project, graph, files, one_file=files_per_mt == 1).assign(bullets)
    needed = _needed(files, assignment)
    focus = Focus(project, assignment, bullets, tokens_for_files(smallest_window))
    work = _Work(project, graph, assignment, focus, _candidates(files, needed, files_per_mt), files_per_mt)
    test_plan = tuple(c.strip() for c in scope.test_plan if c.strip() and not is_governance_command(c.strip()))
    in_order = _order(_without_idle_groups(work, needed))
    definer = Definer(project, graph, VerifyWriter(project, test_plan), wp_id, scope, bullets, smallest_window)
    definitions = definer.define(in_order)
    _refuse_too_many(len(definitions))
    estimated = sum(project.tokens(path) for path in files.modify) + NEW_FILE_TOKENS * len(files.create)
    facts = RuleFacts(entries.allows, smallest_window, estimated)
    findings = check_definitions(definitions, facts)
    refuse_errors(findings)
    return Plan(
        wp_id=wp_id,
        definitions=definitions,
        waves=waves_of(definitions),
        findings=(*findings, *remarks(project, scope.done_means, files, in_order.owned, assignment, focus)),
        criteria=definer.criteria(in_order, definitions),
        focus=definer.focus(in_order),
        test_plan=test_plan,
        definitions_hash=hash_of(list(definitions)),
    )


def completes_by_verify_alone(plan: Plan, mt_id: str) -> bool:
    """Whether an MT holds nothing a model must do: it writes nothing, or no bullet of the packet is its own.

    Such an MT is satisfied without a model call if its verify passes on the tree as it stands.
    """
    return not plan.definition(mt_id).files.writable or not any(mt_id in mts for mts in plan.criteria.values())


@dataclass(frozen=True)
class _Work:
    project: Project
    graph: ImportGraph
    assignment: Assignment
    focus: Focus
    owned: tuple[str, ...]
    files_per_mt: int | None
    groups: tuple[tuple[str, ...], ...] = ()
    tested: dict[str, frozenset[str]] | None = None


def _needed(files: ScopedFiles, assignment: Assignment) -> frozenset[str]:
    """The files that need work: named one by one in the scope, or chosen by a criterion.

    Raises:
        JobRefused: a scope of many files, and no criterion that says which.
    """
    wanted = files.named | {target.path for targets in assignment.targets for target in targets}
    if not wanted and len(files.all) > SMALL_SCOPE:
        raise JobRefused(
            f"no DONE_MEANS bullet says which of the {len(files.all)} files in scope to change",
            next_step="name files in IN_SCOPE_PATHS, or files and identifiers in backticks in DONE_MEANS",
        )
    return frozenset(wanted) or frozenset(files.all)


def _candidates(files: ScopedFiles, needed: frozenset[str], files_per_mt: int | None) -> tuple[str, ...]:
    """What is cut: the files that need work, and in a small scope those that may have to change with them."""
    if len(files.all) <= SMALL_SCOPE and files_per_mt != 1:
        return files.all
    return tuple(path for path in files.all if path in needed)


def _without_idle_groups(work: _Work, needed: frozenset[str]) -> _Work:
    """The work with its groups cut; a group in which no file needs work is left to nobody."""
    project, graph, owned = work.project, work.graph, frozenset(work.owned)
    files = [
        WorkFile(
            path,
            is_new=not project.has(path),
            is_test=project.holds_tests(path),
            tokens=work.focus.tokens(path),
            bullets=work.assignment.bullets_of(path),
        )
        for path in work.owned
    ]
    imports = {path: graph.close(path) & owned - {path} for path in work.owned}
    tested = tested_files(project, graph, work.owned)
    edges = edges_between(files, imports, tested)
    groups = cut_into_groups(files, edges, CutLimits(work.focus.limit, work.files_per_mt))
    kept = tuple(group for group in groups if needed.intersection(group))
    left = tuple(sorted(path for group in kept for path in group))
    return replace(work, groups=kept, owned=left, tested=tested if left == work.owned else None)


def _order(work: _Work) -> OrderedDrafts:
    """Drafts of the groups, their parts, who waits for whom, and what judges whom."""
    project, graph, owned = work.project, work.graph, frozenset(work.owned)
    imports = {path: graph.reach(path, owned) - {path} for path in work.owned}
    tested = work.tested if work.tested is not None else tested_files(project, graph, work.owned)
    never: frozenset[str] = frozenset()
    while True:
        finely = work.files_per_mt == 1
        drafts = Splitter(project, work.assignment, work.focus, finely=finely, never=never).drafts_of(work.groups)
        waits = dependencies_of(drafts, imports, tested)
        order = ordered(drafts, waits)
        done = ancestors_of(waits, order)
        court = Court(project, graph, drafts, tested, done)
        judges = tuple(court.judges_of(index) for index in range(len(drafts)))
        unjudged = _unjudged(drafts, judges, never) if finely else frozenset()
        if not unjudged:
            return OrderedDrafts(drafts, waits, order, done, judges, tested)
        never |= unjudged


def _unjudged(drafts: Sequence[Draft], judges: Sequence[Judges], never: frozenset[str]) -> frozenset[str]:
    """Files split finely although no test can judge one of their parts: better left in one piece."""
    return frozenset(
        draft.files[0]
        for draft, found in zip(drafts, judges, strict=True)
        if draft.parts > 1 and not found and draft.files[0] not in never
    )


def _refuse_too_many(count: int) -> None:
    if count > MOST_MICRO_TASKS:
        raise JobRefused(
            f"MT-VAL-002 packet: {count} micro-tasks are more than MT-{MOST_MICRO_TASKS} can number",
            next_step="split the packet into several",
        )


def _why_nothing(files: ScopedFiles) -> str:
    return "; ".join(f"{path}: {reason}" for path, reason in files.skipped[:3]) or "it matches nothing"
