"""What it takes to make a commit survive a power cut, by each way there is to write one.

    python bench/durability.py [--commits N] [--trials N] [--part NAME] [--json]

One row for each way: milliseconds for a commit of 12 objects (other writers quiet, and while another process writes
and syncs beside it), how many times it syncs (counted by strace), whether the newest commit that it said was written
is there after the power is cut (an ext4 image on a loop device, copied while it is mounted and the writer stands
still: what had not reached the device is lost with it), and whether eight writers lose each other's updates.

Root, loop devices and mkfs.ext4 are needed for the power cuts, strace for the counts; what is missing is left out of
the table and said. Put `TMPDIR` on the disk that is meant.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from durability_ways import FLOOR, REF, WAYS, make_repository

BUSY = """
import os, sys
block = os.urandom(1 << 18)
with open(sys.argv[1], "wb") as file:
    while True:
        file.seek(0)
        file.write(block)
        file.flush()
        os.fsync(file.fileno())
"""
_SYNCS = ("fsync", "fdatasync", "sync_file_range", "syncfs", "sync")


@dataclass
class Row:
    """What is known of one way; None where it was not measured."""

    way: str
    quiet_ms: float | None = None
    busy_ms: float | None = None
    syncs: float | None = None
    survived: int | None = None
    sound: int | None = None
    trials: int = 0
    lost_updates: int | None = None
    updates: int = 0


# -- the writer: this file, started once more --------------------------------------------------------


def write(way: str, root: Path, commits: int) -> None:
    """Write commits one after the other; each line is one that is said to be durable, and when it was."""
    publish = WAYS[way](root)
    for number in range(commits):
        began = time.perf_counter()
        sha = publish(number)
        print(sha, time.perf_counter() - began, flush=True)


def _child(way: str, root: Path, commits: int, *before: str) -> subprocess.Popen[str]:
    command = [*before, sys.executable, __file__, "--write", way, str(root), "--commits", str(commits)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _times(way: str, folder: Path, commits: int) -> list[float]:
    root = make_repository(folder / f"time-{way}-{time.monotonic_ns()}")
    out, _ = _child(way, root, commits).communicate()
    return [float(line.split()[1]) for line in out.splitlines()][3:]  # the first ones load and open things


def time_all(folder: Path, commits: int) -> dict[str, list[float]]:
    """Milliseconds by way: in turns, so that all meet the same moments of the disk."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(2):
        for way in WAYS:
            found[way] += [seconds * 1000 for seconds in _times(way, folder, commits)]
    return found


@contextmanager
def busy_disk(folder: Path) -> Iterator[None]:
    """Another process writes and syncs beside."""
    child = subprocess.Popen([sys.executable, "-c", BUSY, str(folder / "busy")])
    try:
        yield
    finally:
        child.kill()
        child.wait()


# -- syncs ---------------------------------------------------------------------------------------------


def count_syncs(way: str, folder: Path) -> float | None:
    """Syncs for each commit, by strace: the difference between two runs of different length."""
    if shutil.which("strace") is None:
        return None
    counts = []
    for commits in (5, 25):
        log = folder / f"strace-{way}-{commits}"
        root = make_repository(folder / f"syncs-{way}-{commits}")
        _child(
            way, root, commits, "strace", "-f", "-qq", "-o", str(log), "-e", f"trace={','.join(_SYNCS)}"
        ).communicate()
        counts.append(sum(1 for line in log.read_text().splitlines() if re.search(r"\b(?:f|fdata)?sync\w*\(", line)))
    return (counts[1] - counts[0]) / 20


# -- power cuts ----------------------------------------------------------------------------------------


def can_cut_power() -> bool:
    """Whether file systems can be made and mounted here."""
    return hasattr(os, "geteuid") and os.geteuid() == 0 and all(map(shutil.which, ("mkfs.ext4", "mount", "losetup")))


def cut_power(way: str, folder: Path, commits: int) -> tuple[bool, bool]:
    """Whether the newest acknowledged commit survived, and whether git finds the repository sound."""
    image, copy, place = folder / "disk.img", folder / "after.img", folder / "mnt"
    place.mkdir(exist_ok=True)
    with image.open("wb") as file:
        file.truncate(40 << 20)
    _run("mkfs.ext4", "-q", "-F", str(image))
    # the journal's own timer is put off: only what was asked for is synced
    with _mounted(image, place, "loop,commit=300"):
        root = make_repository(place / "repo")
        _run("sync", "-f", str(place))
        child = _child(way, root, 1_000_000)
        try:
            assert child.stdout is not None
            newest = [child.stdout.readline().split()[0] for _ in range(commits)][-1]
            child.send_signal(signal.SIGSTOP)
            shutil.copyfile(image, copy)
        finally:
            child.kill()
            child.wait()
    with _mounted(copy, place, "loop"):
        return _look(place / "repo", newest)


def _look(root: Path, newest: str) -> tuple[bool, bool]:
    git = ["git", "-c", "safe.directory=*", "-C", str(root)]
    found = subprocess.run([*git, "rev-list", "--objects", REF], capture_output=True, text=True, check=False)
    sound = subprocess.run([*git, "fsck", "--strict", "--no-dangling"], capture_output=True, check=False)
    there = found.returncode == 0 and newest in {line.split()[0] for line in found.stdout.splitlines()}
    return there, sound.returncode == 0


@contextmanager
def _mounted(image: Path, place: Path, options: str) -> Iterator[None]:
    _run("mount", "-o", options, str(image), str(place))
    try:
        yield
    finally:
        _run("umount", "--lazy", str(place))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


# -- eight writers -------------------------------------------------------------------------------------


def lose_updates(way: str, folder: Path, writers: int = 8, each: int = 10) -> tuple[int, int]:
    """How many of all updates are not in the history at the end."""
    root = make_repository(folder / f"race-{way}")
    children = [_child(way, root, each) for _ in range(writers)]
    written = [line.split()[0] for child in children for line in child.communicate()[0].splitlines()]
    listed = subprocess.run(["git", "-C", str(root), "rev-list", REF], capture_output=True, text=True, check=False)
    kept = set(listed.stdout.split())
    return sum(sha not in kept for sha in written), len(written)


# -- the table -----------------------------------------------------------------------------------------


PARTS = ("times", "syncs", "race", "power")


def measure(folder: Path, commits: int, trials: int, parts: Sequence[str]) -> list[Row]:
    """All rows, with those columns that were asked for."""
    rows = {way: Row(way) for way in WAYS}
    if "times" in parts:
        for way, times in time_all(folder, commits).items():
            rows[way].quiet_ms = statistics.median(times)
        with busy_disk(folder):
            for way, times in time_all(folder, commits).items():
                rows[way].busy_ms = statistics.median(times)
    for way, row in rows.items():
        if "syncs" in parts:
            row.syncs = count_syncs(way, folder)
        if way == FLOOR:  # bytes in a file: no ref, nothing to lose or to find
            continue
        if "race" in parts:
            row.lost_updates, row.updates = lose_updates(way, folder)
        if "power" in parts and trials and can_cut_power():
            results = [cut_power(way, folder, 3 + trial) for trial in range(trials)]
            row.trials = trials
            row.survived = sum(there for there, _ in results)
            row.sound = sum(sound for _, sound in results)
    return list(rows.values())


def _said(value: float | None, form: str = "g", after: str = "") -> str:
    return "" if value is None else f"{value:{form}}{after}"


def table(rows: list[Row]) -> str:
    """As Markdown."""
    lines = [
        "| way to write | ms (quiet) | ms (busy) | syncs | newest commit after a power cut | sound | updates lost |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cells = (
            row.way,
            _said(row.quiet_ms, ".1f"),
            _said(row.busy_ms, ".1f"),
            _said(row.syncs),
            _said(row.survived, "g", f" of {row.trials}"),
            _said(row.sound, "g", f" of {row.trials}"),
            _said(row.lost_updates, "g", f" of {row.updates}"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print, or be the writer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int, default=15, help="commits for each timing (default 15)")
    parser.add_argument("--trials", type=int, default=6, help="power cuts for each way (default 6)")
    parser.add_argument("--part", action="append", choices=PARTS, help="only these columns")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", nargs=2, metavar=("WAY", "ROOT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write[0], Path(options.write[1]), options.commits)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that nothing stays mounted
    folder = Path(tempfile.mkdtemp(prefix="durability-"))
    try:
        rows = measure(folder, options.commits, options.trials, options.part or PARTS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps([asdict(row) for row in rows], indent=2) if options.json else table(rows))
    if options.trials and not can_cut_power():
        print("no power was cut: that needs root, loop devices and mkfs.ext4", file=sys.stderr)


if __name__ == "__main__":
    main()
