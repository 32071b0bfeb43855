"""How a tracking branch grows over thousands of steps: time for a publish, size on the disk, and the end's repack.

    python bench/growth.py [--steps N] [--json]

A step publishes what a step of a run does: a prompt, a reply, a validation and a patch of its own, and the records
that grow with the run (a ledger line and a progress line a step, journal chunks of 200 lines). A run has at most 500
iterations: 5,000 steps without a repack are ten times what can be.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from handshake.repo.git import find_repository
from handshake.repo.store import TrackingBranch

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
LINES_PER_CHUNK = 200


class Growth:
    """A run's files, step by step."""

    def __init__(self, branch: TrackingBranch) -> None:
        self._branch = branch
        self._tip: str | None = None
        self._ledger: list[str] = []
        self._events: list[str] = []

    def step(self, number: int) -> None:
        """Publish one step."""
        name = f"MT-{number % 40:03d}_iter-{number:05d}"
        self._ledger.append(f' {{"step_id": "{name}", "status": "completed", "idempotency_key": "{number:064x}"}}')
        self._events += [
            f'{{"event_id": "{number:032x}-{part}", "payload": {{"step": "{name}"}}}}' for part in range(6)
        ]
        start = (len(self._events) - 1) // LINES_PER_CHUNK * LINES_PER_CHUNK
        records = "[\n" + ",\n".join(self._ledger) + "\n]\n"
        files = {
            "jobs/j/run_ledger.json": records,
            "jobs/j/progress_artifact.json": records.replace("status", "outcome"),
            f"jobs/j/events/{start // LINES_PER_CHUNK + 1:03d}.jsonl": "\n".join(self._events[start:]) + "\n",
            f"jobs/j/steps/{name}/prompt.md": f"{name}: the prompt\n" + "a line of the prompt\n" * 200,
            f"jobs/j/steps/{name}/reply.md": f"{name}: the reply\n" + "a line of the reply\n" * 60,
            f"jobs/j/steps/{name}/validation.json": f'{{"step": "{name}"}}\n' * 20,
            f"jobs/j/steps/{name}/changes.patch": f"+{name}\n" * 10,
        }
        self._tip = self._branch.publish(
            {path: text.encode() for path, text in files.items()},
            message=f"{name}: retry",
            when=WHEN + timedelta(seconds=number),
            expected=self._tip,
        )


def grow(root: Path, steps: int) -> Iterator[dict[str, float]]:
    """Rows at a tenth of the way each, as they come, and one after the repack."""
    branch = TrackingBranch(find_repository(root), "WP-1")
    growth, times = Growth(branch), []
    for number in range(1, steps + 1):
        began = time.perf_counter()
        growth.step(number)
        times.append((time.perf_counter() - began) * 1000)
        if number % max(1, steps // 10) == 0:
            yield {"steps": number, "publish_ms": round(statistics.median(times), 2), **_measured(root)}
            times = []
    began = time.perf_counter()
    branch.repack()
    yield {"steps": steps, "repack_s": round(time.perf_counter() - began, 2), **_measured(root)}


def _measured(root: Path) -> dict[str, float]:
    packs = list((root / ".git" / "objects" / "pack").glob("*.pack"))
    began = time.perf_counter()
    subprocess.run(
        ["git", "-C", str(root), "log", "-1", "--format=%H", "handshake/track/WP-1"], check=True, capture_output=True
    )
    reading = (time.perf_counter() - began) * 1000
    size = sum(pack.stat().st_size for pack in packs) / 1024**2
    return {"packs": len(packs), "mb": round(size, 1), "git_log_ms": round(reading, 1)}


def main() -> None:
    """Grow and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="growth-"))
    if not options.json:
        print("| steps | ms a publish | packs | MB | `git log -1`, ms |\n| --- | --- | --- | --- | --- |")
    try:
        subprocess.run(["git", "init", "-q", "-b", "main", str(folder)], check=True)
        for row in grow(folder, options.steps):
            print(json.dumps(row) if options.json else _line(row), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _line(row: dict[str, float]) -> str:
    first = f"{row['publish_ms']:g}" if "publish_ms" in row else f"repack: {row['repack_s']:g} s"
    return f"| {row['steps']} | {first} | {row['packs']} | {row['mb']:g} | {row['git_log_ms']:g} |"


if __name__ == "__main__":
    main()
