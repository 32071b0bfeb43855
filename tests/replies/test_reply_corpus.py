"""Replies that fuzzing found or grew, read and applied once more. `bench/fuzz_replies.py` made them and says how."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from judge_replies import CLAIM, Place, judge, read, stands_in_the_open

KEPT = json.loads((Path(__file__).parent / "data" / "corpus.json").read_text("utf-8"))["replies"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("text", KEPT, ids=[f"reply-{number}" for number in range(len(KEPT))])
def test_a_kept_reply_breaks_no_promise(text: str, place: Place) -> None:
    judge(text, place)


def test_the_corpus_holds_every_kind_of_reading() -> None:
    read_all = [read(text) for text in KEPT]
    assert 30 <= len(KEPT) <= 60
    assert any(parsed.signal.claimed_complete for parsed in read_all)
    assert any(parsed.signal.blocked for parsed in read_all)
    assert len({parsed.signal.malformed for parsed in read_all}) >= 8
    assert {edit.form for parsed in read_all for edit in parsed.edits} == {"whole", "search_replace"}


@pytest.mark.parametrize(
    "text",
    [
        f"> {CLAIM}",
        f"```\nso:\n{CLAIM}\n```",
        f"<think>\n{CLAIM}",
        f"~~~\n```\n~~~ x\n{CLAIM}\n~~~",
        f"{CLAIM}\n</think>",
        f"\r``` xml\n{CLAIM}\nmore",
    ],
)
def test_the_second_opinion_says_no_where_it_must(text: str) -> None:
    assert not stands_in_the_open(text, CLAIM)
    assert stands_in_the_open(f"Done.\n\n{CLAIM}\n", CLAIM)


def test_a_block_that_an_edit_was_taken_out_of_is_found_by_its_tag() -> None:
    text = "<blocked>\nREASON: a\nNEED: b\nFILE: a.py\n```\nx = 1\n```\n</blocked>\n"
    signal = read(text).signal
    assert signal.blocked
    assert signal.raw_block is not None
    assert signal.raw_block not in text
    assert not stands_in_the_open("".join(f"> {line}\n" for line in text.splitlines()), signal.raw_block)


def test_the_second_opinion_counts_lines_as_markdown_does() -> None:
    assert stands_in_the_open(f"~~~ a\nb\n\rc\n~~~\n{CLAIM}\n", CLAIM)
