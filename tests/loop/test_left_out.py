"""Definitions that a whole-file reply forgot. Contract: `models.md`, The reply."""

from __future__ import annotations

import pytest

from handshake.domain.reply import Edit
from handshake.loop.left_out import left_out

OLD = """class Shape:
    def area(self):
        return 0

    def edge(self):
        return 1


def rectangle(width, height):
    return width * height
"""


def said(new: str, criteria: str = "There is a function `square(side)`.", form: str = "whole") -> dict[str, str]:
    edit = Edit(path="shapes.py", form=form, content=new)
    return left_out([edit], {"shapes.py": OLD.encode()}, {"shapes.py": new.encode()}, criteria)


@pytest.mark.parametrize(
    ("new", "names"),
    [
        ("def square(side):\n    return side * side\n", "`Shape`, `rectangle`:"),
        (OLD.replace("    def edge(self):\n        return 1\n", ""), "`Shape.edge`:"),
        ("import math\n", "`Shape`, `rectangle`:"),
    ],
)
def test_what_was_there_and_is_gone_is_named(new: str, names: str) -> None:
    assert f"the reply left out {names}" in said(new)["shapes.py"]


def test_many_are_named_in_part() -> None:
    old = "".join(f"def f{n}():\n    pass\n" for n in range(20))
    told = left_out([Edit(path="a.py", form="whole", content="")], {"a.py": old.encode()}, {"a.py": b""}, "")
    assert "`f5`, ...:" in told["a.py"]
    assert "`f6`" not in told["a.py"]


def test_nothing_is_said_of_what_is_still_there_or_may_go() -> None:
    assert said(OLD + "\n\ndef square(side):\n    return side * side\n") == {}
    assert said(OLD.replace("rectangle", "oblong"), "`rectangle` is called `oblong`.") == {}
    assert said("import math\n", form="search_replace") == {}
    assert left_out([Edit(path="a.py", form="whole", content="x")], {"a.py": None}, {"a.py": b"x"}, "") == {}
    notes = {"notes.txt": b"def one():\n"}
    assert left_out([Edit(path="notes.txt", form="whole", content="x")], notes, {"notes.txt": b"x"}, "") == {}
