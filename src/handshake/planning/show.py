"""A plan as text for a person: waves, budgets, findings, and where each DONE_MEANS bullet went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from handshake.domain.microtask import MicroTaskDefinition, Plan
from handshake.planning.wording import shortened

MOST_NAMES = 6


def plan_as_text(plan: Plan) -> str:
    """The plan as a tree, without colours. Contract: `micro-tasks.md`, `handshake plan`."""
    total = sum(mt.token_budget for mt in plan.definitions)
    lines = [
        f"{plan.wp_id}: {_count(len(plan.definitions), 'micro-task')} in {_count(len(plan.waves), 'wave')}, "
        f"{total} tokens of budget",
        f"definitions {plan.definitions_hash}",
    ]
    for number, wave in enumerate(plan.waves, start=1):
        tokens = sum(plan.definition(mt_id).token_budget for mt_id in wave)
        lines += ["", f"wave {number}: {_count(len(wave), 'micro-task')}, {tokens} tokens"]
        for position, mt_id in enumerate(wave):
            lines += _branch(plan.definition(mt_id), plan.focus.get(mt_id, {}), is_last=position == len(wave) - 1)
    lines += ["", "DONE_MEANS"]
    lines += [f"  {shortened(bullet, 80)}  -> {', '.join(mts)}" for bullet, mts in plan.criteria.items()]
    lines += ["", "TEST_PLAN (run whole by the closing micro-task)"]
    lines += [f"  {command}" for command in plan.test_plan] or ["  (nothing but governance commands)"]
    lines += ["", "findings"]
    lines += [f"  {f.severity} {f.rule}{f' {f.mt_id}' if f.mt_id else ''}: {f.message}" for f in plan.findings]
    lines += [] if plan.findings else ["  none"]
    return "\n".join(lines) + "\n"


def _branch(mt: MicroTaskDefinition, focus: Mapping[str, tuple[str, ...]], *, is_last: bool) -> Iterator[str]:
    stem, rail = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
    yield f"{stem}{mt.mt_id} {mt.name}"
    facts = [f"budget {mt.token_budget}", f"risk {mt.risk_level.value}", ", ".join(mt.task_tags)]
    yield f"{rail}   {'; '.join(fact for fact in facts if fact)}"
    if mt.depends_on:
        shown = ", ".join(mt.depends_on[:6]) + (
            f" and {len(mt.depends_on) - 6} more" if len(mt.depends_on) > 6 else ""
        )
        yield f"{rail}   after  {shown}"
    for label, paths in (("modify", mt.files.modify), ("create", mt.files.create), ("read  ", mt.files.read)):
        if paths:
            yield f"{rail}   {label} {', '.join(paths)}"
    for path, names in focus.items():
        shown = ", ".join(names[:MOST_NAMES]) + (
            f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        )
        yield f"{rail}   about  {shown} in {path}"
    for number, done in enumerate(mt.done, start=1):
        proof = f"verify {done.verify_ref + 1}" if done.verify_ref is not None else "evidence"
        yield f"{rail}   done {number} ({proof}) {shortened(done.description, 80)}"
    for number, spec in enumerate(mt.verify, start=1):
        yield f"{rail}   verify {number}: {spec.command}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
