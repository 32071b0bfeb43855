"""The disk or memory runs out: wait and retry, else a hard gate. Contract: `loop.md`, `resource_exhausted`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from handshake.domain.decision import GateReason
from handshake.domain.errors import ResourceExhausted
from handshake.domain.events import Event
from handshake.domain.states import PHASE_TRANSITIONS, JobStatus, Phase
from handshake.loop.call import ReplyNotKept
from handshake.loop.controller import carry_on
from handshake.loop.equipment import Equipment
from handshake.loop.escalate import stop_for_human
from handshake.loop.human import answer_or_wait
from handshake.loop.recover import load_run
from handshake.loop.run import Run
from handshake.loop.surroundings import NobodyWatches

WAITS_S = (0.5, 2.0)


def carry_through(run: Run, equip: Callable[[Run], Equipment]) -> Run:
    """Carry on to the end. After a shortage, what was in memory is forgotten and the published state gone on from.

    Raises:
        WaitsForHuman: the job stands at a gate, for what ran out or for another reason.
        ResourceExhausted: not even the gate could be published; nothing but time is lost.
        EnvironmentProblem, StaleOwner: as `carry_on`.
    """
    waits = list(WAITS_S)
    while True:
        try:
            carry_on(run, equip(run))
        except (ResourceExhausted, MemoryError) as shortage:
            if not waits or isinstance(shortage, ReplyNotKept):
                _stop_at_gate(_as_published(run), _said(shortage))
                raise
            wait_s = waits.pop(0)
            run.around.watcher.note(f"{_said(shortage)}; trying again in {wait_s:g} s")
            run.around.clock.sleep(wait_s)
            run = _as_published(run)
        else:
            return run


def _said(shortage: ResourceExhausted | MemoryError) -> str:
    return shortage.what if isinstance(shortage, ResourceExhausted) else "memory is exhausted"


def _as_published(run: Run) -> Run:
    return load_run(run.around, run.branch) or run


def _stop_at_gate(run: Run, why: str) -> None:
    """Publish the gate, where the loop's state allows one, and say that the job waits at it.

    Raises:
        WaitsForHuman: the gate stands.
        ResourceExhausted: what is left does not suffice even for that.
    """
    if run.job.status is not JobStatus.RUNNING:
        return
    if Phase.PAUSED_HARD_GATE not in PHASE_TRANSITIONS[run.job.execution_state.phase]:
        return
    index = run.job.execution_state.current_mt_index
    mt_id = run.plan.order[index] if index < len(run.plan.order) else None
    watcher = _SaysLater()
    told, run.around = run.around.watcher, replace(run.around, watcher=watcher)
    try:
        stop_for_human(run, GateReason.RESOURCE_EXHAUSTED, {"why": why}, mt_id=mt_id)
        run.publish(f"{run.job.wp_id} stops at a hard gate: resource_exhausted", Decision="hard_gate")
    except (ResourceExhausted, MemoryError):
        told.note("no hard gate could be recorded either: the run stands where it last published")
        raise
    run.around = replace(run.around, watcher=told)
    for event in watcher.events:
        told.event(event)
    answer_or_wait(run)


class _SaysLater(NobodyWatches):
    """Holds back what it is shown: a gate that could not be published is none."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def event(self, event: Event) -> None:
        """An event, for later."""
        self.events.append(event)
