"""Where each iteration stands on the time axis: long waits are folded, so that the work fills the width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from handshake.report.gather import MtView, StepView

WIDTH = 1000.0
NARROWEST = 1.5
LONGEST_WAIT = 0.02


@dataclass(frozen=True)
class Bar:
    """An iteration on its lane, in thousandths of the width."""

    step: StepView
    x: float
    width: float


@dataclass(frozen=True)
class Lane:
    """A micro-task's lane."""

    mt: MtView
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Timeline:
    """The lanes, and how long they are: `shown_ms` of work and short waits, `folded_ms` of waits left out."""

    lanes: tuple[Lane, ...]
    shown_ms: int
    folded_ms: int


def lay_out(mts: Sequence[MtView]) -> Timeline:
    """Place all iterations of a run."""
    steps = sorted((s for mt in mts for s in mt.steps), key=lambda s: (s.row.started_at, s.row.step_id))
    work = sum(max(0, s.row.duration_ms) for s in steps)
    longest = max(1.0, LONGEST_WAIT * work)
    places: dict[str, tuple[float, float]] = {}
    at, folded, last_end = 0.0, 0.0, None
    for step in steps:
        wait = (step.row.started_at - last_end).total_seconds() * 1000 if last_end else 0.0
        shown = min(max(0.0, wait), longest)
        folded += max(0.0, wait) - shown
        at += shown
        places[step.row.step_id] = (at, float(step.row.duration_ms))
        at += step.row.duration_ms
        last_end = max(last_end, step.row.completed_at) if last_end else step.row.completed_at
    scale = WIDTH / at if at else 0.0
    lanes = []
    for mt in mts:
        bars = []
        for step in mt.steps:
            start, length = places[step.row.step_id]
            width = max(NARROWEST, length * scale)
            bars.append(Bar(step, round(min(start * scale, WIDTH - width), 2), round(width, 2)))
        lanes.append(Lane(mt, tuple(bars)))
    return Timeline(tuple(lanes), int(at), int(folded))
