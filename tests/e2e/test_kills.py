"""Killed anywhere, a run comes back: the same end, no reply paid for twice, nothing of the user's lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress

import pytest
from run_records import BRANCH, TRACK, WP, end_state, small_packet

from handshake.config.failpoints import NAMES

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")

# between these two a reply is paid for and not yet stored: it may be asked for once more
MAY_COST_A_CALL = {"model.call:after", "reply.store:before"}

# the same places later in a run: another micro-task, the last commits, the end
LATER = (
    "journal.append:after@2",
    "journal.append:after@9",
    "objects.write:after@2",
    "objects.write:before@4",
    "ref.update:before@2",
    "ref.update:after@2",
    "ref.update:before@3",
    "ref.update:after@3",
    "ref.update:after@7",
    "model.call:after@2",
    "reply.store:after@2",
    "edit.file:after@2",
    "verify.end@2",
    "wp.commit:after@2",
    "wp.commit:after@3",
    "worktree.reset:before@2",
    "worktree.reset:after@3",
)


@pytest.fixture
def small(shop, solver):
    """The small packet, its server shared by all tests here."""
    shop.borrow(solver)
    shop.configure(levels=1)
    shop.drop(small_packet)
    return shop


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, warm, solver, request):
    """The end state and the number of calls of a run that nobody kills."""
    shop = request.getfixturevalue("make_shop")(tmp_path_factory.mktemp("undisturbed") / "shop")
    shop.borrow(solver)
    shop.configure(levels=1)
    shop.drop(small_packet)
    before = len(solver.calls())
    shop.handshake("run", WP)
    return end_state(shop), len(solver.calls()) - before


def die(shop, failpoint):
    """Run until the failpoint kills, and kill what is left of the process group."""
    child = shop.start("run", WP, HANDSHAKE_FAILPOINT=f"{failpoint}:kill")
    _, err = child.communicate(timeout=120)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL, f"{failpoint} was not passed: exit {child.returncode}\n{err}"


@pytest.mark.parametrize("failpoint", [*NAMES, *LATER])
def test_a_kill_changes_nothing_in_the_end(small, solver, undisturbed, failpoint):
    expected, calls = undisturbed
    user, before = small.user_state(), len(solver.calls())
    die(small, failpoint)
    assert small.user_state() == user
    done = small.handshake("run", WP)
    assert f"{WP}: completed" in done.stdout
    assert end_state(small) == expected
    assert len(solver.calls()) - before <= calls + (failpoint.partition("@")[0] in MAY_COST_A_CALL)
    assert small.user_state() == user
