"""What a step of Handshake costs, without the model's and the verify command's own time.

    python bench/overhead.py [--steps N] [--json]

A real run over real git: a packet of N micro-tasks, a scripted model on loopback that answers at once, and
`python -c pass` as the only command. Beside each publish the same bytes are written twice more, by a bare
append + fsync and by LangGraph's SqliteSaver, so that all three meet the same disk at the same moment. Only
the ratios mean something on another machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import small_project
from handshake.loop.executor import run_packet
from handshake.loop.run import Run
from handshake.models.openai import OpenAiProvider
from handshake.repo.git import Git
from handshake.repo.store import ObjectStore, TrackingBranch

INSTALL = "pip install 'langgraph-checkpoint-sqlite>=2.0'   (the dependency group `bench`)"
BARE = "bare append + fsync"
SAVER = "LangGraph SqliteSaver.put"
ITERATION = "iteration overhead"
# where an iteration's time goes, summed over it; the parts overlap with the rows above them
PARTS = ("of it: commits written", "of it: refs moved", "of it: git commands")
# rows of the contract: profile baseline, profile maximum, aim, in ms
ALLOWED: dict[str, tuple[float, float, float]] = {
    "state persistence": (50, 200, 10),
    "event emission": (10, 50, 0.2),
    "context compilation": (500, 2000, 30),
    ITERATION: (100, 500, 25),
}


@dataclass
class Times:
    """Durations in ms by what they are of; `away` is time that is not Handshake's, in seconds."""

    spans: dict[str, list[float]] = field(default_factory=dict)
    away: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)

    def add(self, name: str, seconds: float) -> None:
        """Note a duration."""
        self.spans.setdefault(name, []).append(seconds * 1000)

    @contextmanager
    def own(self, name: str) -> Iterator[None]:
        """Time a block, less what was spent away from Handshake in it."""
        began, before = time.perf_counter(), self.away
        yield
        self.add(name, time.perf_counter() - began - (self.away - before))

    @contextmanager
    def iteration(self) -> Iterator[None]:
        """Time a whole iteration, and the parts of it."""
        self.parts = dict.fromkeys(PARTS, 0.0)
        with self.own(ITERATION):
            yield
        for name, seconds in self.parts.items():
            self.add(name, seconds)
        self.parts = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A block that counts as a part of the iteration it stands in, if any."""
        began = time.perf_counter()
        yield
        if name in self.parts:
            self.parts[name] += time.perf_counter() - began

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """A block whose time is the model's, a command's or the bench's."""
        began, before = time.perf_counter(), self.away
        yield
        self.away = before + time.perf_counter() - began


class Peers:
    """The two that write the same bytes beside each publish."""

    def __init__(self, folder: Path, times: Times) -> None:
        self._times = times
        self._file = (folder / "bare.log").open("ab")
        self._put = _sqlite_saver(folder / "peer.sqlite")

    @property
    def has_saver(self) -> bool:
        """Whether LangGraph's saver is installed."""
        return self._put is not None

    def write(self, data: bytes) -> None:
        """Both write `data`, durable, one after the other."""
        began = time.perf_counter()
        self._file.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._times.add(BARE, time.perf_counter() - began)
        if self._put is not None:
            text = data.decode("utf-8", "replace")
            began = time.perf_counter()
            self._put(text)
            self._times.add(SAVER, time.perf_counter() - began)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _sqlite_saver(path: Path) -> Callable[[str], None] | None:
    """A function that stores a state as the next checkpoint of a thread, or None where it is not installed."""
    try:
        from langgraph.checkpoint.base import empty_checkpoint
        from langgraph.checkpoint.sqlite import SqliteSaver
    except ImportError:
        return None
    saver = SqliteSaver(sqlite3.connect(path, check_same_thread=False))
    saver.setup()
    config: list[Any] = [{"configurable": {"thread_id": "bench", "checkpoint_ns": ""}}]

    def put(text: str) -> None:
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = {"state": text}
        config[0] = saver.put(config[0], checkpoint, {"source": "loop", "step": 0, "parents": {}}, {})

    return put


@contextmanager
def measured(times: Times, peers: Peers) -> Iterator[None]:
    """The run's acts, timed where they stand."""

    def own(name: str) -> Callable[[Any], Any]:
        return lambda act: lambda *a, **k: _within(times.own(name), act, a, k)

    def part(name: str) -> Callable[[Any], Any]:
        return lambda act: lambda *a, **k: _within(times.part(name), act, a, k)

    def iteration(act: Any) -> Any:
        return lambda *a, **k: _within(times.iteration(), act, a, k)

    def elsewhere(act: Any) -> Any:
        return lambda *a, **k: _within(times.elsewhere(), act, a, k)

    def beside(act: Any) -> Any:
        def publish(branch: TrackingBranch, changes: Mapping[str, Any], **more: Any) -> str:
            with times.elsewhere():
                known = {path: branch.read(path, more["expected"]) for path in changes if more["expected"]}
                data = b"".join(new for path, new in changes.items() if new is not None and new != known.get(path))
            tip: str = act(branch, changes, **more)
            with times.elsewhere():
                times.sizes.append(len(data))
                peers.write(data)
            return tip

        return publish

    import handshake.loop.build_pack
    import handshake.loop.controller
    import handshake.toolbus.shell

    with ExitStack() as stack:
        for owner, name, wrap in (
            (handshake.loop.controller, "iterate", iteration),
            (handshake.loop.build_pack, "compile_context", own("context compilation")),
            (Run, "publish", own("state persistence")),
            (Run, "emit", own("event emission")),
            (TrackingBranch, "publish", beside),
            (ObjectStore, "write_commit", part(PARTS[0])),
            (ObjectStore, "update_ref", part(PARTS[1])),
            (Git, "run", part(PARTS[2])),
            (OpenAiProvider, "complete", elsewhere),
            (OpenAiProvider, "count_tokens", elsewhere),
            (handshake.toolbus.shell, "run_bounded", elsewhere),
        ):
            act = getattr(owner, name)
            setattr(owner, name, wrap(act))
            stack.callback(setattr, owner, name, act)
        yield


def _within(block: Any, act: Any, positional: Any, named: Any) -> Any:
    with block:
        return act(*positional, **named)


def time_run(steps: int) -> tuple[Times, bool]:
    """Run a packet of that many micro-tasks; the times, and whether LangGraph's saver was among them."""
    folder = Path(tempfile.mkdtemp(prefix="handshake-bench-"))
    try:
        root = small_project.make_project(folder, steps)
        server = small_project.serve_solution(folder)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        times = Times()
        peers = Peers(folder, times)
        around = small_project.surroundings(root, server.address, steps)
        with measured(times, peers):
            run = run_packet(around, small_project.WP_ID)
        peers.close()
        server.stop()
        if run.job.status.value != "completed":
            raise SystemExit(f"the run ended {run.job.status.value}, not completed: its times mean nothing")
        return times, peers.has_saver
    finally:
        small_project.remove(folder)


def rows_of(times: Times) -> list[dict[str, Any]]:
    """One row for each thing timed, the bare write first; `ratio` is of medians."""
    bare = statistics.median(times.spans[BARE])
    rows = []
    for name in (BARE, SAVER, *ALLOWED, *PARTS):
        spans = sorted(times.spans.get(name, ()))
        if not spans:
            continue
        median = statistics.median(spans)
        row: dict[str, Any] = {
            "what": name,
            "n": len(spans),
            "median_ms": round(median, 3),
            "p95_ms": round(spans[min(len(spans) - 1, int(len(spans) * 0.95))], 3),
            "ratio": round(median / bare, 2),
        }
        if name in ALLOWED:
            row |= dict(zip(("baseline_ms", "maximum_ms", "aim_ms"), ALLOWED[name], strict=True))
        rows.append(row)
    return rows


def table_of(rows: list[dict[str, Any]]) -> str:
    """The rows for a person."""
    head = ("", "n", "median ms", "p95 ms", "x bare", "aim ms", "baseline ms", "maximum ms")
    lines = [head]
    for row in rows:
        lines.append(
            (
                row["what"],
                str(row["n"]),
                f"{row['median_ms']:.2f}",
                f"{row['p95_ms']:.2f}",
                f"{row['ratio']:.2f}",
                *(f"{row[key]:g}" if key in row else "" for key in ("aim_ms", "baseline_ms", "maximum_ms")),
            )
        )
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    )


def main() -> None:
    """Time a run and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=20, help="micro-tasks, one iteration each (default 20)")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    wanted = parser.parse_args()
    if not 1 <= wanted.steps <= 400:
        parser.error("--steps is between 1 and 400")
    times, has_saver = time_run(wanted.steps)
    rows = rows_of(times)
    size = int(statistics.median(times.sizes))
    if wanted.json:
        print(json.dumps({"bytes_per_publish": size, "langgraph": has_saver, "rows": rows}, indent=2))
    else:
        print(f"{wanted.steps} micro-tasks; a publish has {size} bytes (median); ratios are of medians\n")
        print(table_of(rows))
    if not has_saver:
        print(f"\n{SAVER} is not in the table. To have it: {INSTALL}", file=sys.stderr)


if __name__ == "__main__":
    main()
