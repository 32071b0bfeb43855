"""A file with a reply's definitions in it."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handshake.loop.merge_definitions import Merged, merge_definitions

OLD = '''"""Areas."""

import os

RATE = 2


def rectangle(width, height):
    """The area."""
    return width * height


class Shape:
    """Anything."""

    corners = 4

    @property
    def area(self):
        return 1

    # how long it is
    def edge(self):
        return 2


if __name__ == "__main__":
    print(rectangle(1, 2))
'''


def merge(reply: str, old: str = OLD, path: str = "geo/shapes.py", gone: str | None = None) -> str | None:
    merged = merge_definitions(
        path, old, reply, {"rectangle", "Shape", "Shape.area", "Shape.edge", "RATE", "one", "Area"} - {gone}
    )
    return None if merged is None else "\n".join(merged.lines) + "\n"


def test_a_new_function_comes_after_the_last() -> None:
    new = "def square(side):\n    return side * side"
    assert merge(new) == OLD.replace("        return 2\n", f"        return 2\n\n\n{new}\n")


def test_a_changed_function_takes_its_place_and_a_new_one_stands_by_its_neighbour() -> None:
    reply = "def square(side):\n    return side * side\n\n\ndef rectangle(a, b):\n    return a * b\n"
    merged = merge(reply)
    assert merged is not None
    assert merged.startswith(f'"""Areas."""\n\nimport os\n\nRATE = 2\n\n\n{reply}\n\nclass Shape:')


def test_an_import_joins_the_others_or_the_head() -> None:
    reply = "import math\n\n\ndef circle(r):\n    return math.pi * r\n"
    merged = merge(reply)
    assert merged is not None
    assert "import os\nimport math\n\nRATE" in merged
    assert merge(reply, old='"""Doc."""\n\n\ndef one():\n    return 1\n') == (
        '"""Doc."""\n\nimport math\n\n\ndef one():\n    return 1\n\n\ndef circle(r):\n    return math.pi * r\n'
    )


def test_methods_are_merged_into_their_class() -> None:
    merged = merge("class Shape:\n    def edge(self):\n        return 3\n\n    def round(self):\n        return 0\n")
    assert merged is not None
    methods = ["def area(self):\n        return 1", "def edge(self):\n        return 3", "def round(self):\n"]
    assert "    @property\n    " + "\n\n    ".join(methods) in merged
    assert '    """Anything."""\n\n    corners = 4\n' in merged


def test_a_name_that_may_go_goes() -> None:
    merged = merge("def oblong(a, b):\n    return a * b\n", gone="rectangle")
    assert merged is not None
    assert "def rectangle" not in merged
    assert "def oblong" in merged
    assert merged.startswith('"""Areas."""\n\nimport os\n\nRATE = 2\n')


@pytest.mark.parametrize(
    "reply",
    [
        "print(2)\n\n\ndef square(side):\n    return side\n",  # where would it stand?
        "class Shape(Base):\n    def round(self):\n        return 0\n",  # another class line, and methods lost
        "def one(): pass\ndef one(): pass\n",  # which of them?
        "square = side = 1; other = 2\n",  # two on a line
        "Here is the function.\n",
        "",
    ],
)
def test_what_is_not_plain_is_not_merged(reply: str) -> None:
    assert merge(reply) is None


def test_another_language() -> None:
    old = "package geo\n\n// Area is one.\nfunc Area() int {\n\treturn 1\n}\n"
    reply = "// Edge is two.\nfunc Edge() int {\n\treturn 2\n}\n"
    assert merge(reply, old, "geo/area.go") == f"{old}\n{reply}"
    assert merge(reply, old, "geo/area.txt") is None


NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True)


def module(names: list[str], value: int) -> str:
    return "".join(f"def {name}():\n    return {value}\n\n\n" for name in names)


@given(NAMES.filter(bool), NAMES.filter(bool), st.sets(st.sampled_from("abcdefgh")))
def test_nothing_is_lost_and_everything_given_is_there_once(
    there: list[str], given_: list[str], go: set[str]
) -> None:
    old = '"""Doc."""\n\n\n' + module(there, 1)
    reply = module(given_, 2)
    merged = merge_definitions("m.py", old, reply, set("abcdefgh") - go)
    assert isinstance(merged, Merged)
    tree = ast.parse("\n".join(merged.lines))
    assert ast.get_docstring(tree) == "Doc."
    found = {
        node.name: node.body[0].value.value  # type: ignore[attr-defined]
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }
    assert len(found) == sum(isinstance(node, ast.FunctionDef) for node in tree.body)
    kept = [name for name in there if name in given_ or name not in go]
    assert found == {**dict.fromkeys(kept, 1), **dict.fromkeys(given_, 2)}
    for first, last, to in merged.moved:
        assert reply.split("\n")[first - 1 : last] == list(merged.lines[to - 1 : to + last - first])
        assert merged.place_of(first, last) == (to, to + last - first)
