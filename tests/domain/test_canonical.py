from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handshake.domain.canonical import canonical_json, committed_json, hash_of, plain, utc_text

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def test_times_are_utc_with_milliseconds():
    moment = datetime(2026, 1, 22, 9, 43, 59, 16_999, tzinfo=timezone(timedelta(hours=1)))
    assert utc_text(moment) == "2026-01-22T08:43:59.016Z"
    with pytest.raises(ValueError, match="zone"):
        utc_text(datetime(2026, 1, 1))


def test_keys_are_sorted_and_text_is_nfc_and_floats_have_six_decimals():
    assert canonical_json({"b": 0.1234567, "a": "e\u0301", "c": 2.0}) == '{"a":"é","b":0.123457,"c":2}'.encode()


def test_order_of_keys_does_not_change_the_hash():
    assert hash_of({"a": 1, "b": [1, 2]}) == hash_of({"b": [1, 2], "a": 1})
    assert hash_of([1, 2]) != hash_of([2, 1])


def test_rows_stand_on_lines_of_their_own():
    text = committed_json({"steps": [{"id": 1}, {"id": 2}], "name": "x"}).decode()
    assert text.splitlines() == ["{", ' "name": "x",', ' "steps": [', '  {"id": 1},', '  {"id": 2}', " ]", "}"]


@given(JSON_VALUES)
def test_the_committed_layout_holds_the_same_value(value):
    import json

    assert json.loads(committed_json({"v": value})) == json.loads(canonical_json({"v": value}))
    assert committed_json({"v": value}).endswith(b"}\n")


def test_a_set_has_one_order():
    assert plain({"x", "a", "m"}) == ["a", "m", "x"]


def test_nothing_that_is_no_number_is_written():
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


def test_times_in_records_are_utc_text():
    assert plain({"at": datetime(2026, 5, 1, tzinfo=UTC)}) == {"at": "2026-05-01T00:00:00.000Z"}
