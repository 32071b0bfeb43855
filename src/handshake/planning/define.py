"""Drafts in order to definitions, and the closing MT that runs the whole TEST_PLAN. Contract: `micro-tasks.md`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from handshake.domain.job import WorkPacketScope
from handshake.domain.microtask import DoneCriterion, FileAccess, MicroTaskDefinition
from handshake.planning.drafts import Draft
from handshake.planning.groups import MOST_CRITERIA
from handshake.planning.judges import Judges
from handshake.planning.sizes import budget_of, risk_of, tags_of
from handshake.planning.verify import Verification, VerifyWriter
from handshake.planning.wording import (
    actions_of,
    criterion_text,
    name_of,
    notes_for,
    scope_of,
    shortened,
)
from handshake.source.imports import ImportGraph
from handshake.source.project import Project

MOST_READ = 10


@dataclass(frozen=True)
class OrderedDrafts:
    """Drafts, whom each waits for, their order, all that is done before each, and the tests that judge each."""

    drafts: tuple[Draft, ...]
    waits: tuple[frozenset[int], ...]
    order: tuple[int, ...]
    done: tuple[frozenset[int], ...]
    judges: tuple[Judges, ...]
    tested: dict[str, frozenset[str]]

    @property
    def owned(self) -> tuple[str, ...]:
        """Every file that some draft writes, sorted."""
        return tuple(sorted({path for draft in self.drafts for path in draft.files}))


_MADE_UP = (" passes its tests.", " is well-formed.")


class Definer:
    """Writes the definitions of one packet."""

    def __init__(
        self,
        project: Project,
        graph: ImportGraph,
        verify: VerifyWriter,
        wp_id: str,
        scope: WorkPacketScope,
        bullets: tuple[str, ...],
        window: int,
    ) -> None:
        self._project = project
        self._graph = graph
        self._verify = verify
        self._wp_id = wp_id
        self._scope = scope
        self._bullets = bullets
        self._window = window
        self._importers: dict[str, list[str]] | None = None

    def define(self, drafts: OrderedDrafts) -> tuple[MicroTaskDefinition, ...]:
        """All definitions: the drafts' in their order, then the closing ones."""
        ids = _ids(drafts.order)
        found = [self._definition(index, drafts, ids) for index in drafts.order]
        return (*found, *self._closing(drafts, found))

    def criteria(
        self, drafts: OrderedDrafts, definitions: Sequence[MicroTaskDefinition]
    ) -> dict[str, tuple[str, ...]]:
        """Each DONE_MEANS bullet to the MTs whose `done` holds it."""
        ids = _ids(drafts.order)
        closing = definitions[len(drafts.drafts) :]
        unowned = self._unowned(drafts)
        found: dict[str, tuple[str, ...]] = {}
        for number, bullet in enumerate(self._bullets):
            holders = [ids[i] for i in drafts.order if number in drafts.drafts[i].bullets]
            if number in unowned:
                holders.append(closing[unowned.index(number) // (MOST_CRITERIA - 1)].mt_id)
            found[bullet] = tuple(holders)
        return found

    def focus(self, drafts: OrderedDrafts) -> dict[str, dict[str, tuple[str, ...]]]:
        """For each MT with a focus, the definitions it is about, by path."""
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for index, mt_id in _ids(drafts.order).items():
            names = set(drafts.drafts[index].focus)
            for path in drafts.drafts[index].modify if names else ():
                here = {d.qualified for d in self._project.outline(path).definitions} & names
                if here:
                    found.setdefault(mt_id, {})[path] = tuple(sorted(here))
        return dict(sorted(found.items()))

    def _definition(self, index: int, drafts: OrderedDrafts, ids: dict[int, str]) -> MicroTaskDefinition:
        draft = drafts.drafts[index]
        bullets = [self._bullets[number] for number in draft.bullets]
        read = self._read(index, drafts)
        is_last = len(drafts.done[index]) == len(drafts.drafts)
        verification = self._verify.for_files(draft.files, drafts.judges[index], is_last=is_last)
        commands = [spec.command for spec in verification.specs] if verification.proof is not None else []
        tokens = sum(self._project.tokens(path) for path in draft.modify)
        return MicroTaskDefinition(
            mt_id=ids[index],
            name=name_of(draft, bullets),
            scope=scope_of(draft, bullets, self._scope.description),
            files=FileAccess(read=read, modify=draft.modify, create=draft.create),
            actions=actions_of(draft, bullets, read, commands),
            verify=verification.specs,
            done=_done(bullets, draft, verification),
            depends_on=tuple(sorted(ids[target] for target in drafts.waits[index])),
            token_budget=budget_of(self._project, draft.modify, draft.create, read, self._window),
            task_tags=tags_of(self._project, draft.files, bullets),
            risk_level=risk_of(self._scope.risk_tier, len(draft.files), tokens),
            notes="\n".join(notes_for(bullets)) or None,
        )

    def _read(self, index: int, drafts: OrderedDrafts) -> tuple[str, ...]:
        """The tests of the group, then what it imports, then who imports it; at most ten."""
        draft, judges = drafts.drafts[index], drafts.judges[index]
        ready = {path for i in drafts.done[index] for path in drafts.drafts[i].files}
        tests = [*judges.whole, *sorted(judges.single)]
        tests += [t for t, sources in drafts.tested.items() if sources & set(draft.files)]
        tested = [source for path in draft.files for source in sorted(drafts.tested.get(path, ()))]
        imported = [*tested, *(target for path in draft.files for target in self._graph.direct(path))]
        users = sorted({user for path in draft.files for user in self._users(drafts).get(path, ())})
        found = [
            path
            for path in dict.fromkeys([*tests, *imported, *users])
            if path not in draft.files and (self._project.text(path) is not None or path in ready)
        ]
        return tuple(found[:MOST_READ])

    def _users(self, drafts: OrderedDrafts) -> dict[str, list[str]]:
        """For each file, the owned files that import it, tests left out."""
        if self._importers is None:
            self._importers = {}
            for path in drafts.owned:
                if not self._project.holds_tests(path):
                    for target in self._graph.direct(path):
                        self._importers.setdefault(target, []).append(path)
        return self._importers

    def _unowned(self, drafts: OrderedDrafts) -> list[int]:
        owned = {number for draft in drafts.drafts for number in draft.bullets}
        return [number for number in range(len(self._bullets)) if number not in owned]

    def _closing(
        self, drafts: OrderedDrafts, before: Sequence[MicroTaskDefinition]
    ) -> tuple[MicroTaskDefinition, ...]:
        """The closing MT; where more bullets fit no file than one MT may hold, closing MTs in a row.

        It owns no file: everything that needs work is owned by an MT before it.
        """
        unowned = self._unowned(drafts)
        size = MOST_CRITERIA - 1
        chunks = [unowned[start : start + size] for start in range(0, len(unowned), size)] or [[]]
        owned = sorted(drafts.owned, key=lambda path: (self._project.holds_tests(path), path))
        verification = self._verify.whole_plan(owned)
        all_ids = [mt.mt_id for mt in before]
        closing: list[MicroTaskDefinition] = []
        for chunk in chunks:
            bullets = [self._bullets[number] for number in chunk]
            closing.append(self._closing_definition(bullets, owned, verification, [*all_ids]))
            closing[-1] = closing[-1].model_copy(update={"mt_id": f"MT-{len(all_ids) + 1:03d}"})
            all_ids.append(closing[-1].mt_id)
        return tuple(closing)

    def _closing_definition(
        self, bullets: Sequence[str], owned: Sequence[str], verification: Verification, after: Sequence[str]
    ) -> MicroTaskDefinition:
        passes = (
            "The whole TEST_PLAN passes." if verification.proof is not None else "Every changed file is well-formed."
        )
        actions = [
            "Change nothing: this task only proves that the packet is done.",
            *(f"Confirm: {bullet}" for bullet in bullets),
            *(f"Confirm that this passes: {spec.command}" for spec in verification.specs),
        ]
        read = tuple(owned[:MOST_READ])
        return MicroTaskDefinition(
            mt_id="MT-000",
            name=shortened(f"Close {self._wp_id}: {passes}", 100),
            scope=shortened(
                f"{passes} {' '.join(bullets)} All other micro-tasks are done; no file is written here.", 500
            ),
            files=FileAccess(read=read),
            actions=tuple(shortened(action, 200) for action in actions[:10]),
            verify=verification.specs,
            done=(
                DoneCriterion(description=passes, verification="automated", verify_ref=0),
                *(_criterion(bullet, verification) for bullet in bullets),
            ),
            depends_on=tuple(after),
            token_budget=budget_of(self._project, (), (), read, self._window),
            task_tags=tags_of(self._project, (), ("tests", *bullets)),
            risk_level=risk_of(self._scope.risk_tier, 0, 0),
            notes="\n".join(notes_for(bullets)) or None,
        )


def _ids(order: Sequence[int]) -> dict[int, str]:
    return {index: f"MT-{position:03d}" for position, index in enumerate(order, start=1)}


def _criterion(bullet: str, verification: Verification) -> DoneCriterion:
    if verification.proof is None:
        return DoneCriterion(description=criterion_text(bullet), verification="evidence_required")
    return DoneCriterion(description=criterion_text(bullet), verification="automated", verify_ref=verification.proof)


def _done(bullets: Sequence[str], draft: Draft, verification: Verification) -> tuple[DoneCriterion, ...]:
    if bullets:
        return tuple(_criterion(bullet, verification) for bullet in bullets)
    kept = _MADE_UP[0] if verification.proof is not None else _MADE_UP[1]
    names = shortened(", ".join(draft.files), 200)
    return (DoneCriterion(description=names + kept, verification="automated", verify_ref=0),)


def is_made_up(criterion: DoneCriterion) -> bool:
    """Whether the plan made it for files that no line of the packet speaks of: it asks for nothing by itself."""
    return criterion.description.endswith(_MADE_UP)
