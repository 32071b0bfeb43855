"""Who starts, who waits, and when a failed one is tried again: pure."""

from __future__ import annotations

from handshake.daemon.candidates import Candidate
from handshake.daemon.patience import Patience
from handshake.daemon.turns import turns


def packet(name, *scope, resumes=False, content="c"):
    return Candidate(name, "run", content, scope=scope, resumes=resumes)


def names(found):
    return [one.wp_id for one in found]


def test_by_name_but_what_has_begun_goes_first():
    ready = [packet("WP-3", "c"), packet("WP-1", "a"), packet("WP-2", "b", resumes=True)]
    starts, waits = turns(ready, {}, 2)
    assert names(starts) == ["WP-2", "WP-1"]
    assert [(wait.wp_id, wait.path) for wait in waits] == [("WP-3", None)]


def test_overlapping_scopes_wait_and_say_for_whom():
    ready = [packet("WP-1", "src/"), packet("WP-2", "src/a.py"), packet("WP-3", "docs/")]
    starts, waits = turns(ready, {}, 3)
    assert names(starts) == ["WP-1", "WP-3"]
    assert [wait.line() for wait in waits] == ["WP-2 waits for WP-1: both may change src/a.py"]


def test_who_waits_is_not_overtaken_for_ever():
    """WP-3 could run beside WP-1, but WP-2, which waits for WP-1, needs its files too."""
    ready = [packet("WP-2", "a.py", "b.py"), packet("WP-3", "b.py")]
    starts, waits = turns(ready, {"WP-1": ("a.py",)}, 3)
    assert starts == ()
    assert [(wait.wp_id, wait.behind) for wait in waits] == [("WP-2", "WP-1"), ("WP-3", "WP-2")]


def test_no_place_no_start():
    starts, waits = turns([packet("WP-2", "b")], {"WP-1": ("a",)}, 0)
    assert starts == () and "every place is taken" in waits[0].line()


def test_each_failure_in_a_row_doubles_the_wait_up_to_a_limit():
    patience, one, now = Patience(), packet("WP-1"), 0.0
    waited = []
    for _ in range(9):
        assert patience.allows(one, now)
        assert "exit code 1" in patience.ended(one, 1, now)
        step = patience.next_due(now)
        waited.append(step)
        assert not patience.allows(one, now + step - 0.1)
        now += step
        assert patience.next_due(now) is None  # due, and perhaps without a place: nothing to wait for
    assert waited == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert patience.ended(one, 0, now) is None and patience.next_due(now) is None
    patience.ended(one, 7, now)
    assert patience.next_due(now) == 5


def test_a_refused_run_waits_for_a_change_and_a_changed_packet_for_nothing():
    patience, one = Patience(), packet("WP-1")
    assert "refused" in patience.ended(one, 2, 0.0)
    assert not patience.allows(one, 1e9) and patience.next_due(0.0) is None
    assert patience.allows(packet("WP-1"), 0.0)  # judged anew
    patience.ended(one, 1, 0.0)
    assert not patience.allows(one, 1.0)
    assert patience.allows(packet("WP-1", content="mended"), 1.0)


def test_a_held_lock_is_asked_for_again_soon_and_waiting_is_no_failure():
    patience, one = Patience(), packet("WP-1")
    assert patience.ended(one, 75, 0.0) is None and patience.next_due(0.0) == 1
    assert patience.ended(one, 3, 0.0) is None and patience.allows(one, 0.0)
    patience.ended(one, 1, 0.0)
    patience.forget()
    assert patience.allows(one, 0.0)
