"""Ways out: each tried below each sandbox and without one, as root and as an ordinary user; the document says how.

`HANDSHAKE_REWRITE_DOCS=1` writes the columns that this machine can try into `docs/sandbox.md`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from escape_arena import ATTACKS, SYSTEM_PYTHON, Arena, arena_for, outcome

from handshake.toolbus import bubblewrap, landlock
from handshake.toolbus.control_groups import can_limit
from handshake.toolbus.sandbox import Sandbox

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "sandbox.md"
REWRITE = os.environ.get("HANDSHAKE_REWRITE_DOCS") == "1"
BEGIN, END = "<!-- escapes: begin -->\n", "<!-- escapes: end -->\n"
FREE = "no sandbox"
COLUMNS = [f"{backend}, {user}" for backend in ("bubblewrap", "landlock", FREE) for user in ("root", "user")]
# what only a machine of today holds; an older one is not the document's
NEWEST_LANDLOCK = 6

pytestmark = pytest.mark.skipif(not Path(SYSTEM_PYTHON).exists(), reason="no python of the system's own")


@pytest.fixture(scope="module", params=["root", "user"])
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    ordinary = request.param == "user"
    if ordinary and os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root can become no ordinary user here")
    if not ordinary and os.geteuid() != 0:
        pytest.skip("this user is not root")
    with (
        tempfile.TemporaryDirectory(prefix="arena-") as folder,
        arena_for(Path(folder).resolve(), ordinary=ordinary) as made,
    ):
        yield made


def user_of(arena: Arena) -> str:
    return "user" if arena.become or os.geteuid() != 0 else "root"


def outcomes(arena: Arena, backend: Sandbox | None) -> dict[str, str]:
    return {attack.name: outcome(arena, attack, backend) for attack in ATTACKS}


def table() -> dict[str, dict[str, str]]:
    """Outcome by column and attack, as the document has it."""
    text = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    rows = [[cell.strip() for cell in line.strip("|\n ").split("|")] for line in text.splitlines() if "|" in line]
    return {column: {row[0]: row[index] for row in rows[2:]} for index, column in enumerate(rows[0][1:], 1)}


def write_column(column: str, found: dict[str, str]) -> None:
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    known = {**table(), column: found}
    lines = [f"| attack | {' | '.join(COLUMNS)} |", f"| --- |{' --- |' * len(COLUMNS)}"]
    for attack in ATTACKS:
        cells = [known.get(name, {}).get(attack.name, "not tried") for name in COLUMNS]
        lines.append(f"| {attack.name} | {' | '.join(cells)} |")
    DOCUMENT.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + rest.partition(END)[2], encoding="utf-8")


def compare(column: str, found: dict[str, str]) -> None:
    if REWRITE:
        write_column(column, found)
    assert found == table()[column]


def test_without_a_sandbox_every_way_out_is_open(arena: Arena) -> None:
    found = outcomes(arena, None)
    closed = {attack.name for attack in ATTACKS if found[attack.name] == "blocked"}
    assert closed <= {attack.name for attack in ATTACKS if attack.may_be_forbidden}
    if not closed or (closed == {"read `/etc/shadow`"} and user_of(arena) == "user"):
        compare(f"{FREE}, {user_of(arena)}", found)


def test_bubblewrap_closes_them(arena: Arena) -> None:
    backend, reason = bubblewrap.probed_bubblewrap()
    if backend is None:
        pytest.skip(reason)
    found = outcomes(arena, replace(backend, prefixes=()))
    open_ways = {name for name, what in found.items() if what != "blocked"}
    if user_of(arena) == "root" and not can_limit():
        open_ways.discard("fork bomb (120 at most)")  # RLIMIT_NPROC does not bind root
    assert open_ways == {"fill the disk through the worktree"}
    if backend.features == bubblewrap.Features() and (user_of(arena) == "user" or can_limit()):
        compare(f"bubblewrap, {user_of(arena)}", found)


def test_landlock_closes_what_the_document_says(arena: Arena) -> None:
    backend, reason = landlock.probed_landlock()
    if backend is None:
        pytest.skip(reason)
    if backend.abi < NEWEST_LANDLOCK or (user_of(arena) == "root" and not can_limit()):
        pytest.skip("the document is of a newer kernel, and of one whose control groups can be written")
    compare(f"landlock, {user_of(arena)}", outcomes(arena, replace(backend, prefixes=())))
