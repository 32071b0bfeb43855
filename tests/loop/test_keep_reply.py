"""A reply that was paid for is held on to while the disk is full."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from handshake.domain.clock import SteppingClock
from handshake.domain.errors import ResourceExhausted
from handshake.loop.call import KEEP_WAITS_S, ReplyNotKept, keep_reply


class FullFor:
    """A store of replies that takes one after so many refusals."""

    def __init__(self, refusals):
        self.left = refusals
        self.kept = []

    def put(self, reply):
        if self.left:
            self.left -= 1
            raise ResourceExhausted("cannot write it: the disk is full", next_step="free disk space, then run again")
        self.kept.append(reply)


@pytest.fixture
def around():
    said = []
    return SimpleNamespace(clock=SteppingClock(), watcher=SimpleNamespace(note=said.append), said=said)


@pytest.mark.parametrize("refusals", range(len(KEEP_WAITS_S) + 1))
def test_a_reply_waits_for_room_and_is_kept(around, refusals):
    store, began = FullFor(refusals), around.clock.monotonic()
    keep_reply(around, store, "the reply")
    assert store.kept == ["the reply"]
    assert len(around.said) == refusals and all("held in memory" in line for line in around.said)
    assert around.clock.monotonic() - began >= sum(KEEP_WAITS_S[:refusals])


def test_where_no_room_comes_it_is_said_to_be_lost(around):
    store = FullFor(100)
    with pytest.raises(ReplyNotKept, match="the disk is full"):
        keep_reply(around, store, "the reply")
    assert store.kept == []
