"""The ten rules that definitions are held to before anything runs. Contract: `micro-tasks.md`, Rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from handshake.domain.errors import JobRefused
from handshake.domain.microtask import MT_ID_PATTERN, MicroTaskDefinition, RuleFinding
from handshake.planning.sizes import FIXED_SECTIONS, largest_budget, reply_overhead
from handshake.planning.verify import is_stand_in

Definitions = Sequence[MicroTaskDefinition]


@dataclass(frozen=True)
class RuleFacts:
    """What the rules know of the packet.

    `allows` says whether a path may be written; `smallest_window` is in tokens; `estimated_tokens` of the in-scope
    files is None where their size is not known.
    """

    allows: Callable[[str], bool]
    smallest_window: int
    estimated_tokens: int | None


def unique_ids(definitions: Definitions, facts: RuleFacts) -> list[RuleFinding]:
    """MT-VAL-001."""
    seen: set[str] = set()
    found = []
    for mt in definitions:
        if mt.mt_id in seen:
            found.append(_error("MT-VAL-001", mt.mt_id, f"mt_id {mt.mt_id!r} is used more than once"))
        seen.add(mt.mt_id)
    return found


def formed_ids(definitions: Definitions, facts: RuleFacts) -> list[RuleFinding]:
    """MT-VAL-002."""
    return [
        _error("MT-VAL-002", mt.mt_id, f"mt_id {mt.mt_id!r} has not the form MT-000")
        for mt in definitions
        if not re.fullmatch(MT_ID_PATTERN, mt.mt_id)
    ]


def known_dependencies(definitions: Definitions, facts: RuleFacts) -> list[RuleFinding]:
    """MT-VAL-003."""
    known = {mt.mt_id for mt in definitions}
    return [
        _error("MT-VAL-003", mt.mt_id, f"depends_on names {target!r}, which does not exist")
        for mt in definitions
        for target in mt.depends_on
        if target not in known
    ]


def no_cycle(definitions: Definitions, facts: RuleFacts) -> list[RuleFinding]:
    """MT-VAL-004."""
    graph: dict[str, set[str]] = {}
    for mt in definitions:
        graph.setdefault(mt.mt_id, set()).update(mt.depends_on)
    try:
        TopologicalSorter({mt_id: sorted(targets) for mt_id, targets in sorted(graph.items())}).prepare()
    except CycleError as circle:
        path = " -> ".join(circle.args[1])
        return [_error("MT-VAL-004", circle.args[1][0], f"depends_on goes in a circle: {path}")]
    return []


def inside_scope(definitions: Definitions, facts: RuleFacts) -> list[RuleFinding]:
    """MT-VAL-005."""
    return [
        _error("MT-VAL-005", mt.mt_id, f"{path!r} is outside IN_SCOPE_PATHS or a governance path")
        for mt in definitions
        for path in mt.files.writable
        if not facts.allows(path)
    ]


def budget_fits(definitions: Definitions, facts: RuleFacts) -> list[RuleFinding]:
    """MT-VAL-006."""
    most, window = largest_budget(facts.smallest_window), facts.smallest_window
    return [
        _error(
            "MT-VAL-006",
            mt.mt_id,
            f"token_budget {mt.token_budget} is over {most}: the smallest window of the chain is {window} tokens, "
            f"{reply_overhead(window)} of them kept for the reply",
        )
        for mt in definitions
        if mt.token_budget > most
    ]


def blocking_verify(definitions: Definitions, facts: RuleFacts) -> list[RuleFinding]:
    """MT-VAL-007."""
    return [
        _warning("MT-VAL-007", mt.mt_id, "no verify command is blocking")
        for mt in definitions
        if not any(spec.blocking for spec in mt.verify)
    ]


def criteria_mapped(definitions: Definitions, facts: RuleFacts) -> list[RuleFinding]:
    """MT-VAL-008."""
    found = []
    for mt in definitions:
        proves = [i for i, spec in enumerate(mt.verify) if not is_stand_in(spec.command)]
        for number, done in enumerate(mt.done, start=1):
            if done.verify_ref is not None and done.verify_ref >= len(mt.verify):
                found.append(
                    _warning(
                        "MT-VAL-008", mt.mt_id, f"done {number} names verify {done.verify_ref}, which is not there"
                    )
                )
            elif done.verification == "evidence_required" and proves:
                found.append(
                    _warning(
                        "MT-VAL-008", mt.mt_id, f"done {number} has no verify, though {proves[0]} could prove it"
                    )
                )
    return found


_CHECKS = re.compile(r"^(?:re-?)?(?:check|run|test|verify|prove|confirm|make sure)\b", re.IGNORECASE)
_MAKES = re.compile(r"^(?:create|write|add|implement|make|introduce)\b", re.IGNORECASE)
_OBJECTS = re.compile(r"`([^`]+)`|((?:[\w.-]+/)+[\w.-]+|\w+\.\w{1,4}\b)")


def actions_in_order(definitions: Definitions, facts: RuleFacts) -> list[RuleFinding]:
    """MT-VAL-009: a check of something comes after what makes it."""
    found = []
    for mt in definitions:
        for early, check in enumerate(mt.actions):
            if not _CHECKS.match(check):
                continue
            checked = _objects(check)
            for late, make in enumerate(mt.actions[early + 1 :], start=early + 2):
                if _MAKES.match(make) and (not checked or checked & _objects(make)):
                    found.append(
                        _warning(
                            "MT-VAL-009", mt.mt_id, f"action {early + 1} checks what action {late} makes: {make!r}"
                        )
                    )
                    break
    return found


def _objects(action: str) -> set[str]:
    return {quoted or plain for quoted, plain in _OBJECTS.findall(action)}


def budgets_estimated(definitions: Definitions, facts: RuleFacts) -> list[RuleFinding]:
    """MT-VAL-010: the sum of budgets against the in-scope files and each MT's fixed sections."""
    total = sum(mt.token_budget for mt in definitions)
    if facts.estimated_tokens is None:
        message = f"budgets sum to {total} tokens; the scope gives no estimate to compare with"
        return [RuleFinding(rule="MT-VAL-010", severity="INFO", message=message)]
    estimate = facts.estimated_tokens + FIXED_SECTIONS * len(definitions)
    if estimate / 2 <= total <= estimate * 2:
        return []
    side = "less than half" if total < estimate else "more than twice"
    message = f"budgets sum to {total} tokens, {side} the {estimate} estimated from the in-scope files"
    return [RuleFinding(rule="MT-VAL-010", severity="INFO", message=message)]


RULES: tuple[Callable[[Definitions, RuleFacts], list[RuleFinding]], ...] = (
    unique_ids,
    formed_ids,
    known_dependencies,
    no_cycle,
    inside_scope,
    budget_fits,
    blocking_verify,
    criteria_mapped,
    actions_in_order,
    budgets_estimated,
)


def check_definitions(definitions: Definitions, facts: RuleFacts) -> tuple[RuleFinding, ...]:
    """What the ten rules find, in their order."""
    return tuple(finding for rule in RULES for finding in rule(definitions, facts))


def refuse_errors(findings: Sequence[RuleFinding]) -> None:
    """Stop if any finding is an ERROR.

    Raises:
        JobRefused: names rule, MT and value of every ERROR, on one line.
    """
    errors = [finding for finding in findings if finding.severity == "ERROR"]
    if errors:
        said = "; ".join(f"{e.rule} {e.mt_id or 'packet'}: {e.message}" for e in errors[:5])
        more = f"; and {len(errors) - 5} more" if len(errors) > 5 else ""
        raise JobRefused(f"the generated micro-tasks break a rule: {said}{more}", next_step=_MENDS[errors[0].rule])


_MENDS = {
    "MT-VAL-001": "report this: ids are generated",
    "MT-VAL-002": "report this: ids are generated",
    "MT-VAL-003": "report this: dependencies are generated",
    "MT-VAL-004": "report this: dependencies are generated",
    "MT-VAL-005": "add the path to IN_SCOPE_PATHS of the packet, or take it out of DONE_MEANS",
    "MT-VAL-006": "serve the chain with a larger context window, or set context_window in .handshake/config.yaml",
}


def _error(rule: str, mt_id: str, message: str) -> RuleFinding:
    return RuleFinding(rule=rule, severity="ERROR", mt_id=mt_id, message=message)


def _warning(rule: str, mt_id: str, message: str) -> RuleFinding:
    return RuleFinding(rule=rule, severity="WARNING", mt_id=mt_id, message=message)
