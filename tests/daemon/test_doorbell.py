"""Waiting costs nothing while nothing happens, and ends when something does."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from handshake.daemon.doorbell import Doorbell
from handshake.daemon.notice import Notice

needs_inotify = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture
def bell():
    made = Doorbell()
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "watched"
    made.mkdir()
    return made


def notice_of(folder, bell, **more):
    settings = {"polling": False, "relevant": lambda path: not path.endswith(".lock"), **more}
    return Notice([folder], bell, threading.Event(), **settings)


def test_a_ring_ends_the_wait_from_another_thread_and_before_it(bell):
    began = time.monotonic()
    threading.Timer(0.1, bell.ring).start()
    assert bell.wait(60)
    for _ in range(100_000):  # more than any buffer holds
        bell.ring()
    while bell.wait(0):
        pass
    assert not bell.wait(0.01)
    assert time.monotonic() - began < 50


def test_a_bell_that_was_taken_down_may_still_be_rung():
    bell = Doorbell()
    bell.close()
    bell.ring()


@needs_inotify
def test_changes_are_heard_at_any_depth_also_in_folders_that_come_later(bell, folder):
    assert bell.hang([folder])
    assert not bell.wait(0)
    deep = folder / "a" / "b"
    deep.mkdir(parents=True)
    while bell.wait(0):
        pass
    (deep / "c").mkdir()
    assert bell.wait(0)
    (deep / "c" / "file").write_text("x")
    assert bell.wait(0)
    bell.wait(0)
    (deep / "c" / "file").rename(folder / "file")
    assert bell.wait(0)


@needs_inotify
def test_it_hangs_in_one_place_only_and_a_folder_that_is_gone_is_none(bell, folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    bell.hang([folder])
    bell.hang([other, tmp_path / "gone"])
    (folder / "file").write_text("x")
    assert not bell.wait(0)
    (other / "file").write_text("x")
    assert bell.wait(0)
    assert not bell.hang(())


@needs_inotify
def test_where_the_system_gives_no_watches_it_says_so(bell, folder, monkeypatch):
    import inotify_simple

    def refuse(*_args):
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(inotify_simple.INotify, "add_watch", refuse)
    assert not bell.hang([folder])
    assert not bell.wait(0)


@needs_inotify
def test_nobody_wakes_while_nothing_happens(bell, folder):
    """The kernel counts how often the waiting thread gave the processor up: once for each sleep."""
    import resource

    def sleeps(notice):
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        assert not notice.wait(1.0)
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before

    with notice_of(folder, bell) as notice:
        assert sleeps(notice) <= 5
    with notice_of(folder, bell, polling=True) as notice:
        assert sleeps(notice) > 5


@pytest.mark.parametrize("deaf", [False, True])
def test_what_matters_is_noticed_and_noise_is_not(bell, folder, monkeypatch, deaf):
    if deaf:
        monkeypatch.setattr(bell, "_ears", None)
    with notice_of(folder, bell) as notice:
        (folder / "ref.lock").write_text("x")
        assert not notice.wait(0.5)
        threading.Timer(0.1, (folder / "packet.md").write_text, ("x",)).start()
        give_up = time.monotonic() + 60
        while not notice.wait(1.0):
            assert time.monotonic() < give_up
        threading.Timer(0.1, bell.ring).start()
        assert not notice.wait(60)
        assert time.monotonic() < give_up


def test_watchfiles_own_word_for_polling_is_heeded(monkeypatch):
    from handshake.daemon.notice import _must_poll

    for said, polls in (("1", True), ("disable", False)):
        monkeypatch.setenv("WATCHFILES_FORCE_POLLING", said)
        assert _must_poll() is polls
