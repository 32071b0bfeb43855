"""How long `handshake plan` thinks about a large tree.

    python bench/large_tree.py [--files N] [--json]

A repository of N Python modules in packages that import each other, with a test for each; three packets: five named
files, one package, everything. Each plan is timed beside `git ls-tree -r` and `git grep` over the same commit; only
the ratios mean something on another machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handshake.domain.job import WorkPacketScope
from handshake.planning import generate_plan
from handshake.repo.git import find_repository

IN_PACKAGE = 50
PACKETS = {
    "five named files": (
        "pkg001/mod00050.py",
        "pkg001/mod00051.py",
        "pkg001/mod00052.py",
        "pkg002/mod00100.py",
        "new.py",
    ),
    "one package": ("pkg001/",),
    "everything": ("**",),
}
DONE = (
    "`work_50` takes a second number",
    "`work_51` returns what `work_52` returns",
    "mod00100 adds the temperature",
    "All tests pass",
)


def make_tree(root: Path, files: int) -> str:
    """A repository with `files` modules and as many tests, in one commit made by fast-import."""
    subprocess.run(["git", "init", "-q", "-b", "main", str(root)], check=True)
    who = b"committer Bench <bench@localhost> 1700000000 +0000\n"
    stream = [b"commit refs/heads/main\n" + who + b"data 4\nbase\n"]
    for number in range(files // 2):
        following = (number + 1) % (files // 2)
        package, target = number // IN_PACKAGE, following // IN_PACKAGE
        module = (
            f"from pkg{target:03d}.mod{following:05d} import work_{following}\n\n\n"
            f"def work_{number}(x):\n    return work_{following}(x) + {number}\n\n\n"
            f"class Thing{number}:\n    def go(self):\n        return work_{number}(1)\n"
        )
        test = (
            f"from pkg{package:03d}.mod{number:05d} import work_{number}\n\n\n"
            f"def test_{number}():\n    assert work_{number}(1)\n"
        )
        for path, text in (
            (f"pkg{package:03d}/mod{number:05d}.py", module),
            (f"tests/test_mod{number:05d}.py", test),
        ):
            data = text.encode()
            stream.append(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(data), data))
    subprocess.run(["git", "-C", str(root), "fast-import", "--quiet"], input=b"".join(stream), check=True)
    done = subprocess.run(["git", "-C", str(root), "rev-parse", "main"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def measure(root: Path, commit: str, scope: tuple[str, ...], rounds: int) -> dict[str, Any]:
    """One row: milliseconds of a plan, and how many times git's own listing and searching that is."""
    repository = find_repository(root)

    def plan() -> Any:
        return generate_plan(
            wp_id="WP-1-Large",
            packet_path="docs/task_packets/WP-1-Large.md",
            scope=WorkPacketScope(in_scope_paths=scope, done_means=DONE, test_plan=("python -m pytest",)),
            tree=repository.tree(commit),
            smallest_window=32_768,
            is_governance_command=lambda command: False,
        )

    made = plan()
    ms = _median_ms(plan, rounds)
    listing = _median_ms(lambda: _git(root, "ls-tree", "-r", "-z", commit), rounds)
    searching = _median_ms(lambda: _git(root, "grep", "-c", "temperature", commit), rounds)
    return {
        "micro_tasks": len(made.definitions),
        "plan_ms": round(ms, 1),
        "times_ls_tree": round(ms / listing, 1),
        "times_grep": round(ms / searching, 2),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _median_ms(act: Callable[[], Any], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        act()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def _git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=False)


def main() -> int:
    """Run it. Exit code 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.files < 400 or options.rounds < 1:
        parser.error("--files is at least 400, --rounds at least 1")
    with tempfile.TemporaryDirectory(prefix="handshake-bench-") as folder:
        root = Path(folder) / "large"
        commit = make_tree(root, options.files)
        rows = {name: measure(root, commit, scope, options.rounds) for name, scope in PACKETS.items()}
    if options.json:
        sys.stdout.write(json.dumps({"files": options.files, "rows": rows}, indent=2) + "\n")
        return 0
    lines = [
        "| scope | micro-tasks | ms | × git ls-tree | × git grep | peak MB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {row['micro_tasks']} | {row['plan_ms']:.0f} | {row['times_ls_tree']} | {row['times_grep']} "
        f"| {row['peak_mb']} |"
        for name, row in rows.items()
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
