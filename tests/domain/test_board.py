"""The board: read in any hand, changed in one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handshake.domain.board import SECTION_OF, BoardTag, read_board, tag_of_status, with_entry
from handshake.domain.packet import PacketStatus

BOARD = b"""# Task Board

Ours.

## In Progress
- **[WP-1-Old-v1]** - [IN_PROGRESS]  since Monday

## Ready for Dev

- **[WP-2-Middle-v1]** - [READY_FOR_DEV]
- **[WP-3-Late-v1]** - [READY_FOR_DEV]

## Done
- **[WP-0-First-v1]** - [VALIDATED]
- **[WP-9-Last-v1]** - [FAIL]

## Notes
<!-- - **[WP-4-Hidden-v1]** - [STUB] -->
```
- **[WP-5-Quoted-v1]** - [STUB]
```
  * a caf\xe9 line that is nobody's business
"""


def standing(data: bytes) -> list[tuple[str, str, str | None]]:
    return [(entry.wp_id, entry.tag, entry.section) for entry in read_board(data)]


def test_entries_stand_under_their_sections_and_quoted_ones_do_not_count():
    assert standing(BOARD) == [
        ("WP-1-Old-v1", "IN_PROGRESS", "In Progress"),
        ("WP-2-Middle-v1", "READY_FOR_DEV", "Ready"),
        ("WP-3-Late-v1", "READY_FOR_DEV", "Ready"),
        ("WP-0-First-v1", "VALIDATED", "Done"),
        ("WP-9-Last-v1", "FAIL", "Done"),
    ]
    assert read_board(BOARD)[0].line == 6


def test_a_line_moves_with_what_a_person_wrote_behind_it():
    moved = with_entry(BOARD, "WP-1-Old-v1", BoardTag.VALIDATED)
    line = b"- **[WP-1-Old-v1]** - [IN_PROGRESS]  since Monday\n"
    first = b"- **[WP-0-First-v1]** - [VALIDATED]\n"
    expected = BOARD.replace(line, b"").replace(first, first + line.replace(b"IN_PROGRESS", b"VALIDATED"))
    assert moved == expected


def test_a_line_in_its_section_keeps_its_place():
    assert with_entry(BOARD, "WP-9-Last-v1", BoardTag.VALIDATED) == BOARD.replace(b"[FAIL]", b"[VALIDATED]")
    assert with_entry(BOARD, "WP-2-Middle-v1", BoardTag.READY_FOR_DEV) == BOARD


def test_a_new_packet_goes_where_its_name_belongs():
    grown = with_entry(BOARD, "WP-2-Zebra-v1", BoardTag.READY_FOR_DEV)
    assert [row[0] for row in standing(grown) if row[2] == "Ready"] == [
        "WP-2-Middle-v1",
        "WP-2-Zebra-v1",
        "WP-3-Late-v1",
    ]
    assert grown.replace(b"- **[WP-2-Zebra-v1]** - [READY_FOR_DEV]\n", b"") == BOARD


def test_a_packet_that_stood_twice_stands_once():
    twice = BOARD.replace(b"## Notes\n", b"## Notes\n- **[WP-0-First-v1]** - [STUB]\n")
    assert with_entry(twice, "WP-0-First-v1", BoardTag.VALIDATED) == BOARD


def test_a_missing_section_and_an_empty_board():
    superseded = with_entry(BOARD, "WP-0-First-v1", BoardTag.SUPERSEDED)
    assert superseded.endswith(b"\n\n## Superseded\n- **[WP-0-First-v1]** - [SUPERSEDED]\n")
    assert with_entry(b"", "WP-1", BoardTag.STUB) == b"## Stubs\n- **[WP-1]** - [STUB]\n"
    empty = b"## In Progress\n\n## Done\n"
    assert with_entry(empty, "WP-1", BoardTag.VALIDATED) == empty + b"- **[WP-1]** - [VALIDATED]\n"
    assert with_entry(empty, "WP-1", BoardTag.IN_PROGRESS).startswith(b"## In Progress\n- **[WP-1]**")


@pytest.mark.parametrize("tag", BoardTag)
def test_line_endings_and_a_missing_last_newline_stay(tag):
    windows = BOARD.replace(b"\n", b"\r\n")
    moved = with_entry(windows, "WP-1-Old-v1", tag)
    assert moved == with_entry(BOARD, "WP-1-Old-v1", tag).replace(b"\n", b"\r\n")
    open_ended = with_entry(b"## Done\n- **[WP-1]** - [FAIL]", "WP-2", BoardTag.VALIDATED)
    assert open_ended == b"## Done\n- **[WP-1]** - [FAIL]\n- **[WP-2]** - [VALIDATED]"


_LINES = st.sampled_from([*BOARD.split(b"\n"), b"```", b"<!--", b"-->", b"# Done", b"### Stubs", b"\xff", b"\r"])


@given(st.lists(_LINES, max_size=25).map(b"\n".join), st.sampled_from(list(BoardTag)))
def test_whatever_the_board_no_line_of_others_is_touched(data, tag):
    changed = with_entry(data, "WP-1-Old-v1", tag)
    mine = [entry for entry in read_board(changed) if entry.wp_id == "WP-1-Old-v1"]
    rest = [[row.wp_id for row in read_board(board) if row.wp_id != "WP-1-Old-v1"] for board in (data, changed)]
    assert rest[0] == rest[1]
    assert with_entry(changed, "WP-1-Old-v1", tag) == changed
    if changed != data:
        assert [(entry.tag, entry.section) for entry in mine] == [(tag.value, SECTION_OF[tag])]


def test_the_status_of_a_packet_is_the_source():
    assert tag_of_status(PacketStatus.READY_FOR_DEV) is BoardTag.READY_FOR_DEV
    assert tag_of_status(PacketStatus.DONE) is BoardTag.VALIDATED
    assert tag_of_status(PacketStatus.DONE, needs_review=True) is BoardTag.IN_PROGRESS
    assert tag_of_status(PacketStatus.DONE, "PASS", needs_review=True) is BoardTag.VALIDATED
    assert tag_of_status(PacketStatus.DONE, "Fail, see below", needs_review=True) is BoardTag.FAIL
    assert tag_of_status(PacketStatus.DONE, "FAIL") is BoardTag.FAIL
    assert tag_of_status(PacketStatus.DRAFT) is None
