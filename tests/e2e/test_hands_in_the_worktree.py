"""A person writes into the worktree while the run goes: it is set back, kept, and not charged to the model."""

from __future__ import annotations

import time

import pytest
from run_records import BRANCH, WP, tiny_packet

SALVAGE = f"refs/handshake/salvage/{WP}"
BY_HAND = {"shop/stock.py": "# by hand, elsewhere\n", "notes.txt": "by hand\n", "deep/er/x.txt": "deep\n"}
OWN = {"shop/pricing.py": "# by hand, in the task's own file\n"}

SLOW = """import time
import unittest
from pathlib import Path


class SlowTest(unittest.TestCase):
    def test_slowly(self):
        mark = Path(__file__).parent / "__pycache__" / "mark"
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
        time.sleep(2)
        mark.unlink()
        Path("made.txt").write_text("by the command")
"""


@pytest.fixture
def slow(shop, make_server):
    """A project whose model takes its time."""
    served = make_server([{"solve": "solution", "delay_ms": 2500}])
    shop.borrow(served)
    shop.configure(levels=1)
    shop.drop(tiny_packet)
    yield shop
    served.stop()


def saved(shop):
    """Every file of every salvage commit that its parent lacks or has otherwise, by path."""
    found = {}
    for ref in shop.git("for-each-ref", "--format=%(refname)", f"{SALVAGE}/").splitlines():
        for path in shop.git("diff", "--name-only", f"{ref}~1", ref).splitlines():
            found[path] = shop.git("show", f"{ref}:{path}")
    return found


def wait_for(condition):
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_what_is_written_while_the_model_answers_is_kept(slow):
    child = slow.start("run", WP)
    wait_for(slow.server.is_asked)
    for path, text in {**BY_HAND, **OWN}.items():
        place = slow.worktree / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    _, said = child.communicate(timeout=slow.patience_s)
    assert child.returncode == 0, said
    assert f"; saved as {slow.git('rev-parse', f'{SALVAGE}/1')[:12]}" in said
    assert saved(slow) == {path: text.rstrip("\n") for path, text in {**BY_HAND, **OWN}.items()}
    [verdict] = slow.event_rows("FR-EVT-MT-012")
    assert verdict["passed"], verdict["reasons"]
    assert "by hand" not in slow.git("grep", "-h", "", BRANCH, "--", "shop", "tests")
    assert slow.git("status", "--porcelain", at=slow.worktree) == ""


def test_a_branch_in_the_users_hands_is_not_moved_under_them(slow):
    child = slow.start("run", WP)
    wait_for(slow.server.is_asked)
    slow.git("checkout", "-qf", "--ignore-other-worktrees", BRANCH)
    _, said = child.communicate(timeout=slow.patience_s)
    assert child.returncode == 2 and f"is checked out at {slow.root}" in said
    assert slow.git("status", "--porcelain", "--untracked-files=no") == ""
    slow.git("checkout", "-q", "main")
    slow.handshake("run", WP)
    assert len(slow.server.calls()) == 1


def test_what_is_written_while_a_command_runs_is_kept_and_what_it_writes_each_time_once(slow):
    (slow.root / "tests" / "test_pricing.py").write_text(SLOW)
    slow.git("commit", "-qam", "a slow test")
    child = slow.start("run", WP)
    wait_for((slow.worktree / "tests" / "__pycache__" / "mark").exists)
    (slow.worktree / "notes.txt").write_text("by hand\n")
    _, said = child.communicate(timeout=slow.patience_s)
    assert child.returncode in (0, 3), said
    assert saved(slow)["notes.txt"] == "by hand"
    refs = slow.git("for-each-ref", "--format=%(refname)", f"{SALVAGE}/").splitlines()
    assert len(refs) == 1, said
