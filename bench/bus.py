"""What the tool bus and its sandboxes cost, each beside the same thing without them, in one run.

    python bench/bus.py [--rounds N] [--json]

Three questions: what an operation costs on the bus (six gates, records in a real journal, artifacts) when its engine
does nothing; what a sandbox adds to a bare `true`; what it adds to a bare pytest run. The kinds take turns, so that
all meet the same machine at the same moment.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handshake.domain.artifact import handle_for
from handshake.domain.canonical import committed_json
from handshake.domain.clock import SystemClock, SystemIds
from handshake.domain.operation import Output, PlannedOperation, sidecar_of
from handshake.recorder.journal import Journal
from handshake.toolbus import bus as bus_module
from handshake.toolbus.bus import ToolBus
from handshake.toolbus.capabilities import default_profiles
from handshake.toolbus.engine import Answer, EngineContext
from handshake.toolbus.operations import shell_operation
from handshake.toolbus.sandbox import OffSandbox, Sandbox, probed_backends

SAID = b"passed\n" * 600
AIMS = {"bus": 3.0, "true": 25.0, "pytest": 10.0}
TESTS = "import hashlib, pytest\n\n@pytest.mark.parametrize('n', range(40))\ndef test_it(n, tmp_path):\n" + (
    "    (tmp_path / 'f').write_text('x' * 5000)\n"
    "    assert len({hashlib.sha256(f'{n}{i}'.encode()).hexdigest() for i in range(3000)}) == 3000\n"
)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=30, help="how often each kind is taken")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds must be 2 or more")
    with tempfile.TemporaryDirectory(prefix="handshake-bench-") as folder:
        figures = measured(Path(folder).resolve(), options.rounds)
    print(json.dumps(figures, indent=2) if options.json else as_table(figures))
    return 0


def measured(folder: Path, rounds: int) -> dict[str, Any]:
    """All figures, in milliseconds and ratios."""
    sandboxes: list[Sandbox] = [backend for _, backend, _ in probed_backends() if backend is not None]
    worktree = folder / "worktree"
    worktree.mkdir()
    (worktree / "test_it.py").write_text(TESTS, encoding="utf-8")
    python = sys.executable
    kinds: dict[str, Callable[[], None]] = {
        "bus": on_the_bus(folder),
        "true": bare(["/bin/sh", "-c", "true"], worktree),
    }
    kinds |= {f"true in {s.name}": on_bus_with(s, worktree, "true") for s in (*sandboxes, OffSandbox())}
    times = in_turns(kinds, rounds)
    command = f"{python} -m pytest -q -p no:cacheprovider test_it.py"
    slow: dict[str, Callable[[], None]] = {"pytest": bare(command.split(), worktree)}
    slow |= {f"pytest in {s.name}": on_bus_with(s, worktree, command) for s in sandboxes}
    times |= in_turns(slow, max(3, rounds // 8))
    return {"aims": AIMS, "rounds": rounds, "times_ms": times, "sandboxes": [s.name for s in sandboxes]}


def in_turns(kinds: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each kind and round; a first round is thrown away."""
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds + 1):
        for name, act in kinds.items():
            began = time.perf_counter()
            act()
            if number:
                times[name].append((time.perf_counter() - began) * 1000)
    return times


def bare(argv: list[str], worktree: Path) -> Callable[[], None]:
    """A program started as anybody would."""

    def act() -> None:
        subprocess.run(argv, cwd=worktree, check=True, capture_output=True, stdin=subprocess.DEVNULL)

    return act


def a_bus(folder: Path, worktree: Path, sandbox: Sandbox, name: str) -> tuple[ToolBus, Journal]:
    """A bus whose records go into a real journal."""
    journal = Journal.open(
        folder / f"journal-{name}", trace_id="t", job_id="j", workflow_run_id="w", wp_id="WP-1", clock=SystemClock()
    )

    def record(event_type: str, payload: dict[str, Any], key: str) -> None:
        journal.emit(event_type, payload, key=key)

    profiles = default_profiles(("pytest", "python", "true", sys.executable))
    made = ToolBus(
        worktree=worktree,
        clock=SystemClock(),
        sandbox=sandbox,
        profiles=profiles,
        record=record,
        artifact_prefix="jobs/j",
    )
    return made, journal


def on_the_bus(folder: Path) -> Callable[[], None]:
    """An operation whose engine does nothing: gates, records, provenance, artifacts and their sidecars remain."""

    def idle(op: PlannedOperation, context: EngineContext) -> Answer:
        outputs = tuple(
            Output(handle=handle_for("tool_output", f"{context.artifact_prefix}/{name}", SAID), data=SAID)
            for name in ("stdout-0.txt", "stderr-0.txt")
        )
        facts = {"exit_code": 0, "duration_ms": 1, "timed_out": False, "sandbox": {}, "signal": None}
        return Answer("succeeded", outputs, tuple(output.handle for output in outputs), facts=facts)

    worktree = folder / "idle"
    worktree.mkdir()
    made, _ = a_bus(folder, worktree, OffSandbox(), "idle")
    ids = SystemIds()

    def act() -> None:
        known = bus_module._ENGINES
        bus_module._ENGINES = {**known, "engine.shell": idle}
        try:
            result = made.run(shell_operation(ids.uuid7(), "pytest -q tests && ruff check .", timeout_ms=1000))
        finally:
            bus_module._ENGINES = known
        for output in result.outputs:
            committed_json(sidecar_of(result, output.handle))

    return act


def on_bus_with(sandbox: Sandbox, worktree: Path, command: str) -> Callable[[], None]:
    """A whole operation through the bus, its records thrown away."""
    profiles = default_profiles(("pytest", "python", "true", sys.executable))
    made = ToolBus(
        worktree=worktree,
        clock=SystemClock(),
        sandbox=sandbox,
        profiles=profiles,
        record=lambda *_: None,
        artifact_prefix="jobs/j",
    )
    ids = SystemIds()

    def act() -> None:
        result = made.run(shell_operation(ids.uuid7(), command, timeout_ms=120_000))
        assert result.facts.get("exit_code") == 0, (result.errors, result.outputs)

    return act


def as_table(figures: dict[str, Any]) -> str:
    """The figures for a person. The quietest round of each kind is compared: other work can only make one longer."""
    times = {name: min(values) for name, values in figures["times_ms"].items()}
    middle = {name: statistics.median(values) for name, values in figures["times_ms"].items()}
    aims = figures["aims"]
    rows = [
        f"| {'what':<34} | quietest ms | median ms | beside the bare one | aim |",
        "| --- | --- | --- | --- | --- |",
    ]
    name = "an operation on the bus"
    rows.append(f"| {name:<34} | {times['bus']:9.2f} | {middle['bus']:9.2f} | | under {aims['bus']:.0f} ms |")
    for name, value in times.items():
        kind = name.partition(" ")[0]
        if kind == "bus":
            continue
        beside, aim = "", ""
        if name != kind and kind == "true":
            beside, aim = (
                f"+ {value - times[kind]:.1f} ms",
                f"under {aims[kind]:.0f} ms" * name.endswith("bubblewrap"),
            )
        elif name != kind:
            beside = f"+ {100 * (value / times[kind] - 1):.1f} %"
            aim = f"under {aims[kind]:.0f} %" * name.endswith("bubblewrap")
        rows.append(f"| {name:<34} | {value:9.2f} | {middle[name]:9.2f} | {beside} | {aim} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
