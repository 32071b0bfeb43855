"""Kill a run at every failpoint, start it again, and compare with a run that nobody killed.

    python bench/kill_matrix.py [--every] [--only TEXT] [--random N] [--json]

One row for each failpoint: whether the whole end state is equal (both branches, definitions, ledger, events less
the recovery ones, worktree), how often the model was called beyond the undisturbed run, and whether anything of the
user's changed. `--every` kills at each time a place is passed, not only at the first; `--random N` adds a row of N
kills at random moments of one run. Exit code 1 if a row is not what it must be.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "e2e"))

from conftest import Served, Shop
from run_records import WP, end_state, small_packet
from warm_command import WarmCommands

from handshake.config.failpoints import NAMES
from handshake.config.shipped import shipped

# passed when a large repository is indexed for context, which this one is not; its own tests kill there
ELSEWHERE = ("index.batch:before", "index.batch:after")

# a whole matrix takes an hour, and a busy machine stands still for minutes
PATIENCE_S = 1800.0

# between these two a reply is paid for and not stored yet
MAY_COST_A_CALL = ("model.call:after", "reply.store:before")


@dataclass(frozen=True)
class Row:
    """What came of one kill, or of a series of them."""

    place: str
    killed: int
    equal: bool
    extra_calls: int
    allowed_calls: int
    user_unchanged: bool

    @property
    def good(self) -> bool:
        """Whether it is as the contract wants it."""
        return self.equal and self.user_unchanged and self.extra_calls <= self.allowed_calls


class Matrix:
    """One server and one undisturbed run, against which each killed run is held."""

    def __init__(self, folder: Path, warm: WarmCommands, server: Served) -> None:
        self._folder = folder
        self._warm = warm
        self._server = server
        self._count = 0
        shop = self._shop()
        before = len(server.calls())
        shop.handshake("run", WP)
        self._expected = end_state(shop)
        self._calls = len(server.calls()) - before

    def at(self, place: str) -> Row | None:
        """The row of one failpoint (`name` or `name@N`), or None where it was not passed."""
        shop = self._shop()
        user, before = shop.user_state(), len(self._server.calls())
        child = shop.start("run", WP, HANDSHAKE_FAILPOINT=f"{place}:kill")
        child.wait()
        if child.returncode != -signal.SIGKILL:
            return None
        allowed = int(place.partition("@")[0] in MAY_COST_A_CALL)
        return self._row(shop, place, killed=1, allowed=allowed, user=user, calls_before=before)

    def at_random(self, times: int, seed: int) -> Row:
        """The row of a run that was killed so many times, at random moments."""
        shop = self._shop()
        user, before = shop.user_state(), len(self._server.calls())
        moments = random.Random(seed)
        for _ in range(times):
            child = shop.start("run", WP)
            time.sleep(moments.uniform(0.05, 1.5))
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        return self._row(shop, f"random (seed {seed})", killed=times, allowed=times, user=user, calls_before=before)

    def _row(
        self, shop: Shop, place: str, *, killed: int, allowed: int, user: dict[str, str], calls_before: int
    ) -> Row:
        done = shop.handshake("run", WP, code=None)
        if done.returncode:
            print(f"{place}: exit {done.returncode}: {done.stderr.splitlines()[-1]}", file=sys.stderr)
        shop.git("fsck", "--strict")
        row = Row(
            place=place,
            killed=killed,
            equal=done.returncode == 0 and end_state(shop) == self._expected,
            extra_calls=len(self._server.calls()) - calls_before - self._calls,
            allowed_calls=allowed,
            user_unchanged=shop.user_state() == user,
        )
        if row.good:
            shutil.rmtree(shop.root.parent)
        return row

    def _shop(self) -> Shop:
        self._count += 1
        shop = Shop(self._folder / f"run-{self._count:03d}" / "shop", self._warm)
        shop.patience_s = PATIENCE_S
        shop.borrow(self._server)
        shop.configure(levels=1)
        shop.drop(small_packet)
        return shop


def rows(matrix: Matrix, options: argparse.Namespace) -> Iterator[Row]:
    """All rows that were asked for, as they come."""
    for name in (name for name in NAMES if options.only in name and name not in ELSEWHERE):
        number = 1
        while (row := matrix.at(f"{name}@{number}")) is not None:
            yield row
            number += 1
            if not options.every:
                break
        if number == 1:
            yield Row(f"{name}: never passed", 0, False, 0, 0, True)
    if options.random:
        yield matrix.at_random(options.random, options.seed)


def line(row: Row) -> str:
    """The row as Markdown."""
    calls = f"+{row.extra_calls}" if row.extra_calls > 0 else "equal"
    user = "unchanged" if row.user_unchanged else "CHANGED"
    return f"| `{row.place}` | {row.killed} | {'equal' if row.equal else 'DIFFERS'} | {calls} | {user} |"


def main() -> int:
    """Print the table; 1 if a row is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", action="store_true", help="kill at each time a place is passed")
    parser.add_argument("--only", default="", help="failpoints whose name has this text")
    parser.add_argument(
        "--random", type=int, default=0, metavar="N", help="also N kills at random moments of one run"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kill-matrix-"))
    shutil.copytree(shipped("templates", "demo", "solution"), folder / "solution")
    (folder / "script.yaml").write_text(yaml.safe_dump({"rules": [{"solve": "solution"}]}))
    warm, server = WarmCommands(), Served(folder / "script.yaml", folder / "calls.jsonl")
    wrong: list[Any] = []
    try:
        if not options.json:
            print("| killed at | kills | end state | model calls | the user's files and git |\n|---|---|---|---|---|")
        for row in rows(Matrix(folder, warm, server), options):
            wrong += [] if row.good else [row.place]
            print(json.dumps(asdict(row)) if options.json else line(row), flush=True)
    finally:
        warm.stop()
        server.stop()
    if wrong:
        print(f"not as it must be: {', '.join(wrong)}; their repositories are kept in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
