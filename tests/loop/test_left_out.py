"""Definitions that a whole-file reply forgot. Contract: `models.md`, The reply."""

from __future__ import annotations

import pytest

from handshake.domain.reply import CompletionSignal, Edit, EvidenceLine, ParsedReply
from handshake.loop.left_out import left_out, put_back, told

OLD = """class Shape:
    def area(self):
        return 0

    def edge(self):
        return 1


def rectangle(width, height):
    return width * height
"""
SQUARE = "def square(side):\n    return side * side\n"
BEFORE = {"shapes.py": OLD.encode()}
TASK = "There is a function `square(side)`."


def whole(content: str, path: str = "shapes.py") -> Edit:
    return Edit(path=path, form="whole", content=content)


@pytest.mark.parametrize(
    ("new", "names"),
    [
        (SQUARE, ("Shape", "rectangle")),
        (OLD.replace("    def edge(self):\n        return 1\n", ""), ("Shape.edge",)),
        ("import math\n", ("Shape", "rectangle")),
    ],
)
def test_what_was_there_and_is_gone_is_named(new: str, names: tuple[str, ...]) -> None:
    assert left_out([whole(new)], BEFORE, BEFORE, TASK) == {"shapes.py": names}


def test_many_are_named_in_part() -> None:
    old = "".join(f"def f{n}():\n    pass\n" for n in range(20))
    sentence = told(left_out([whole("", "a.py")], {"a.py": old.encode()}, {"a.py": old.encode()}, "")["a.py"])
    assert "`f5`, ...:" in sentence
    assert "`f6`" not in sentence


def test_nothing_is_said_of_what_is_still_there_or_may_go() -> None:
    assert left_out([whole(f"{OLD}\n\n{SQUARE}")], BEFORE, BEFORE, TASK) == {}
    assert (
        left_out([whole(OLD.replace("rectangle", "oblong"))], BEFORE, BEFORE, "`rectangle` is called `oblong`.") == {}
    )
    assert left_out([Edit(path="shapes.py", form="search_replace")], BEFORE, BEFORE, TASK) == {}
    assert left_out([whole("x", "a.py")], {"a.py": None}, {"a.py": None}, "") == {}
    assert (
        left_out([whole("x", "notes.txt")], {"notes.txt": b"def one():\n"}, {"notes.txt": b"def one():\n"}, "") == {}
    )


def test_what_an_earlier_reply_of_the_task_added_may_go_again() -> None:
    before = {"shapes.py": f"{OLD}\n\ndef half(side):\n    return side / 2\n".encode()}
    assert left_out([whole(OLD)], before, BEFORE, TASK) == {}
    assert left_out([whole(SQUARE)], before, BEFORE, TASK) == {"shapes.py": ("Shape", "rectangle")}
    added = put_back(claimed(whole(SQUARE)), before, BEFORE, TASK)
    assert added is not None
    assert added.parsed.edits[0].content == f"{OLD}\n\n{SQUARE}"


def claimed(*edits: Edit, at: tuple[int, int] = (1, 2)) -> ParsedReply:
    start, end = at
    where = f"shapes.py:{start}-{end}"
    line = EvidenceLine(criterion=TASK, evidence_location=where, path="shapes.py", start=start, end=end)
    return ParsedReply(edits=edits, signal=CompletionSignal(claimed_complete=True, evidence=(line,)))


def test_what_is_put_back_stands_where_it_was_and_evidence_moves_along() -> None:
    added = put_back(claimed(whole(SQUARE)), BEFORE, BEFORE, TASK)
    assert added is not None
    assert added.names == {"shapes.py": ("Shape", "rectangle")}
    assert added.parsed.edits[0].content == f"{OLD}\n\n{SQUARE}"
    [line] = added.parsed.signal.evidence
    assert (line.start, line.end, line.evidence_location) == (13, 14, "shapes.py:13-14")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
def test_a_file_in_another_encoding_keeps_its_letters(encoding: str) -> None:
    old = "def größe():\n    return 'ü'\n"
    before = {"shapes.py": old.encode(encoding)}
    added = put_back(claimed(whole(SQUARE)), before, before, TASK)
    assert added is not None
    assert added.parsed.edits[0].content == f"{old}\n\n{SQUARE}"
    assert put_back(claimed(whole(SQUARE)), {"shapes.py": b"\0\1\2"}, before, TASK) is None


def test_another_file_of_the_reply_stays_as_it_was_given() -> None:
    other = Edit(path="other.py", form="whole", content="x = 1\n")
    before = {**BEFORE, "other.py": None}
    added = put_back(claimed(other, whole(SQUARE)), before, before, TASK)
    assert added is not None
    assert added.parsed.edits[0] == other


@pytest.mark.parametrize(
    "edits",
    [
        (whole(f"{OLD}\n\n{SQUARE}"),),  # nothing is missing
        (whole(f"print('hello')\n{SQUARE}"),),  # a statement whose place nobody knows
        (whole("import math\n"),),  # no definition at all
        (whole(SQUARE), whole(SQUARE)),  # one file twice
    ],
)
def test_nothing_is_put_back_where_it_is_not_plain_how(edits: tuple[Edit, ...]) -> None:
    assert put_back(claimed(*edits), BEFORE, BEFORE, TASK) is None
