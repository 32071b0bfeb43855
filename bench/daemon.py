"""How soon the daemon picks a packet up, what it costs while nothing happens, and what many at once come to.

    python bench/daemon.py [--drops N] [--idle SECONDS] [--many N] [--json]

A real daemon over a real repository; a scripted model on loopback answers at once. Beside it a bare loop of
watchfiles looks at the same folder, so that both meet the same file events on the same machine: the ratios mean
something elsewhere, the milliseconds do not. Linux and macOS.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

import small_project

BARE = """
import sys
from watchfiles import watch
print("watching", file=sys.stderr, flush=True)
for changes in watch(sys.argv[1], step=40, debounce=200):
    print("saw", *sorted(path for _, path in changes), file=sys.stderr, flush=True)
"""
PATIENCE_S = 1200.0


class Listener:
    """A process, and when it said what on its standard error."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.said: list[tuple[float, str]] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append((time.perf_counter(), line.rstrip("\n")))

    def heard(self, words: str, since: int = 0, timeout: float = PATIENCE_S, look_every: float = 0.002) -> float:
        """When it first said these words after its first `since` lines."""
        give_up = time.monotonic() + timeout
        while time.monotonic() < give_up:
            while since < len(self.said):
                when, line = self.said[since]
                if words in line:
                    return when
                since += 1
            if self.process.poll() is not None:
                break
            time.sleep(look_every)
        raise SystemExit(f"{words!r} was not said: {[line for _, line in self.said[-5:]]}")

    def processor_s(self) -> float:
        """Its processor time so far. Linux counts nanoseconds for each thread, others hundredths of a second."""
        threads = list(Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"))
        if threads:
            return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def wakes(self) -> int:
        """How often its threads went to sleep so far; of the first thread alone where there is no `/proc`."""
        threads = list(Path(f"/proc/{self.process.pid}/task").glob("*/status"))
        if not threads:
            return int(psutil.Process(self.process.pid).num_ctx_switches().voluntary)
        rows = (row.split() for thread in threads for row in thread.read_text().splitlines())
        return sum(int(row[1]) for row in rows if row and row[0] == "voluntary_ctxt_switches:")

    def end(self) -> None:
        """Ask it to leave."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def idle_costs(listeners: dict[str, Listener], seconds: float) -> dict[str, dict[str, float]]:
    """Of each, over the same time: processor in per cent, how often it woke, memory in MB with shared libraries."""
    before = {name: (time.perf_counter(), one.processor_s(), one.wakes()) for name, one in listeners.items()}
    time.sleep(seconds)
    found = {}
    for name, one in listeners.items():
        began, spent, woken = before[name]
        took = time.perf_counter() - began
        found[name] = {
            "cpu_percent": round(100 * (one.processor_s() - spent) / took, 3),
            "wakes_a_minute": round(60 * (one.wakes() - woken) / took),
            "rss_mb": round(psutil.Process(one.process.pid).memory_info().rss / 2**20, 1),
        }
    return found


class Place:
    """The repository with a module for each packet, and how packets are dropped."""

    def __init__(self, folder: Path, packets: int) -> None:
        self.root = small_project.make_project(folder, packets)
        self.folder = self.root / "docs" / "task_packets"
        (self.folder / f"{small_project.WP_ID}.md").unlink()
        self.git("rm", "--quiet", "--cached", "-r", "docs")
        self.git("commit", "--quiet", "--message=no packet yet")

    def git(self, *arguments: str) -> str:
        """Plain git."""
        command = ["git", "-C", str(self.root), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def name(self, number: int) -> str:
        """The id of a packet."""
        return f"WP-{number:04d}-Part"

    def drop(self, *numbers: int) -> float:
        """Put packets there under one rename each; when the last one was there."""
        texts = {n: small_project.packet_of(self.name(n), [f"work/part_{n:03d}.py"]) for n in numbers}
        for number, text in texts.items():
            (self.folder / f"{self.name(number)}.new").write_text(text, encoding="utf-8")
        for number in numbers:
            (self.folder / f"{self.name(number)}.new").rename(self.folder / f"{self.name(number)}.md")
        return time.perf_counter()

    def began(self, wp_id: str) -> float:
        """When the run's first commit stood on its tracking branch, looked at every few milliseconds."""
        ref = self.root / ".git" / "refs" / "heads" / "handshake" / "track" / wp_id
        give_up = time.monotonic() + PATIENCE_S
        while not ref.exists():
            if time.monotonic() > give_up:
                raise SystemExit(f"{wp_id} has no tracking branch")
            time.sleep(0.002)
        return time.perf_counter()


def environment(folder: Path, address: str) -> dict[str, str]:
    """A home of the bench's own, and the served model by variables."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HANDSHAKE_", "GIT_"))}
    model = {"provider": "openai", "base_url": f"{address}/v1", "model": "m", "profile": "tiny", "samples": 1}
    config = {
        "version": 1,
        "models": {"m": {**model, "grammar": False, "context_window": 16384}},
        "commands": {"allow": ["python"]},
        "daemon": {"max_parallel": 2},
        "policy": {
            "escalation_chain": [
                {"level": 0, "model_id": "m"},
                {"level": 1, "model_id": "HARD_GATE", "is_hard_gate": True},
            ]
        },
    }
    place = folder / "project" / ".handshake" / "config.yaml"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(config), encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, "HOME": str(folder), "HANDSHAKE_SANDBOX": small_project.sandbox()}


def measure(drops: int, idle: float, many: int) -> dict[str, Any]:
    """All figures of one run."""
    folder = Path(tempfile.mkdtemp(prefix="handshake-bench-"))
    listeners: list[Listener] = []
    try:
        place = Place(folder, drops + many + 1)
        server = small_project.serve_solution(folder)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env = environment(folder, server.address)
        bare = Listener([sys.executable, "-c", BARE, str(place.folder)], env)
        daemon = Listener([sys.executable, "-m", "handshake", "-C", str(place.root), "daemon"], env)
        listeners += [bare, daemon]
        bare.heard("watching")
        daemon.heard("watching")
        time.sleep(1)
        both = {"daemon": daemon, "bare watchfiles loop": bare}
        fresh = idle_costs(both, idle)
        found: dict[str, Any] = {"pickup": pickups(place, daemon, bare, drops)}
        if many:
            found["many"] = many_at_once(place, daemon, drops, many)
        refused = place.folder / f"{place.name(drops + many)}.md"
        refused.write_text(small_project.packet_of(refused.stem, []), encoding="utf-8")
        daemon.heard(f"{refused.stem} is refused")
        time.sleep(3)
        found["idle"] = {"fresh": fresh, "after the runs": idle_costs(both, idle)}
        return found
    finally:
        for one in listeners:
            one.end()
        small_project.remove(folder)


def pickups(place: Place, daemon: Listener, bare: Listener, drops: int) -> dict[str, Any]:
    """Milliseconds from the rename to: the bare loop's word, the daemon's start of a run, the run's first commit."""
    rows: dict[str, list[float]] = {"bare watchfiles loop": [], "daemon starts the run": [], "run's first commit": []}
    for number in range(drops):
        name, heard = place.name(number), (len(daemon.said), len(bare.said))
        dropped = place.drop(number)
        rows["run's first commit"].append(place.began(name) - dropped)
        rows["daemon starts the run"].append(daemon.heard(f"{name}: starting", heard[0]) - dropped)
        rows["bare watchfiles loop"].append(bare.heard(f"{name}.md", heard[1]) - dropped)
        daemon.heard(f"{name}: completed", heard[0])
        time.sleep(0.5)
    base = statistics.median(rows["bare watchfiles loop"])
    return {
        what: {
            "n": len(times),
            "median_ms": round(1000 * statistics.median(times), 1),
            "max_ms": round(1000 * max(times), 1),
            "ratio": round(statistics.median(times) / base, 2),
        }
        for what, times in rows.items()
    }


def many_at_once(place: Place, daemon: Listener, first: int, many: int) -> dict[str, Any]:
    """Drop that many at once; in which order they began, and whether each was run once and ended completed."""
    heard, names = len(daemon.said), [place.name(number) for number in range(first, first + many)]
    spent, dropped = daemon.processor_s(), place.drop(*range(first, first + many))
    ended = max(daemon.heard(f"{name}: completed", heard, look_every=0.1) for name in names)
    refs = place.git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads/feat").split()
    lines = [line for _, line in daemon.said[heard:]]
    started = [
        line.split(": ")[1] for line in lines if line.startswith("handshake: ") and line.endswith(": starting")
    ]
    return {
        "packets": many,
        "in_order_of_name": started == names,
        "none_twice": len(started) == len(set(started)),
        "none_forgotten": set(started) == set(names) <= {ref.removeprefix("feat/") for ref in refs},
        "daemon_cpu_ms_each": round(1000 * (daemon.processor_s() - spent) / many, 1),
        "seconds": round(ended - dropped, 1),
        "seconds_each": round((ended - dropped) / many, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--drops", type=int, default=8, help="packets dropped one after the other (default 8)")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds to do nothing (default 60)")
    parser.add_argument("--many", type=int, default=20, help="packets dropped at once, 0 for none (default 20)")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    wanted = parser.parse_args()
    found = measure(wanted.drops, wanted.idle, wanted.many)
    if wanted.json:
        print(json.dumps(found, indent=2))
        return
    for what, row in found["pickup"].items():
        print(
            f"{what:<24} n {row['n']:>3}  median {row['median_ms']:>7} ms"
            f"  max {row['max_ms']:>7} ms  x {row['ratio']}"
        )
    for when, rows in found["idle"].items():
        for who, row in rows.items():
            print(f"idle, {when}: {who:<22} " + "  ".join(f"{key} {value}" for key, value in row.items()))
    if "many" in found:
        print("many at once:", ", ".join(f"{key} {value}" for key, value in found["many"].items()))


if __name__ == "__main__":
    main()
