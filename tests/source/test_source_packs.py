"""A pack says what the syntax tree says, mechanically, and every item of it points into the file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handshake.source.packs import digest_file, toolchain_hash

STOCK = '''"""What is on the shelves. More text."""

import json

from shop.errors import OutOfStock


class Shelf:
    """A place for items. It must never hold less than nothing."""

    def take(
        self,
        count: int,
    ) -> int:
        """Take items off. Raises OutOfStock if there are too few."""
        # never below zero
        return count  # TODO: log it


LIMIT = 5
'''


def pack_of(path: str, text: str):
    return digest_file(path, text.split("\n"), "d" * 64).pack


def test_a_pack_of_python():
    pack = pack_of("shop/stock.py", STOCK)
    assert pack.synopsis == (
        "shop/stock.py: What is on the shelves. Defines Shelf, LIMIT. Imports json, shop.errors."
    )
    assert [(a.name, a.start, a.end, a.depth, a.excerpt_hint) for a in pack.anchors] == [
        ("Shelf", 8, 17, 0, "class Shelf:"),
        ("Shelf.take", 11, 17, 1, "def take( self, count: int, ) -> int:"),
        ("LIMIT", 20, 20, 0, "LIMIT = 5"),
    ]
    assert [item.text for item in pack.facts] == [
        "class Shelf: A place for items.",
        "def take( self, count: int, ) -> int: Take items off.",
        "LIMIT = 5",
    ]
    assert [item.text for item in pack.constraints] == [
        "It must never hold less than nothing.",
        "Raises OutOfStock if there are too few.",
        "never below zero",
    ]
    assert [item.text for item in pack.open_loops] == ["return count # TODO: log it"]
    assert (pack.coverage.lines, pack.coverage.anchored_lines, pack.coverage.grammar) == (21, 11, "python")


@pytest.mark.parametrize(
    ("path", "text", "anchors", "constraints"),
    [
        (
            "a.rs",
            "/// Adds.\n/// Never panics.\npub fn add(\n  a: i32) -> i32 {\n    a\n}\n",
            [("add", 3, 6, "pub fn add( a: i32) -> i32")],
            ["Never panics."],
        ),
        (
            "a.ts",
            "// Doubles.\nexport function f(x: number): number {\n  return x * 2;\n}\n",
            [("f", 2, 4, "export function f(x: number): number {")],
            [],
        ),
        (
            "a.go",
            "package a\n\n// F must be called once.\nfunc F(x int) int {\n\treturn x\n}\n",
            [("F", 4, 6, "func F(x int) int {")],
            ["F must be called once."],
        ),
        ("a.txt", "must be words alone\n", [], []),
    ],
)
def test_a_pack_of_other_languages(path, text, anchors, constraints):
    pack = pack_of(path, text)
    assert [(a.name, a.start, a.end, a.excerpt_hint) for a in pack.anchors] == anchors
    assert [item.text for item in pack.constraints] == constraints


@given(
    st.lists(
        st.sampled_from(
            [
                "class A:",
                "    def m(self):",
                "        pass",
                "def f(",
                "# must hold",
                "    # TODO x",
                ")",
                '"""',
                "é" * 400,
                "",
            ]
        ),
        max_size=30,
    )
)
def test_every_item_points_to_lines_of_the_file(lines):
    for path in ("a.py", "a.ts", "a.go", "a.rs", "a.md"):
        pack = digest_file(path, lines, "d" * 64).pack
        known = {anchor.anchor_id for anchor in pack.anchors}
        assert all(1 <= a.start <= a.end <= max(1, len(lines)) for a in pack.anchors)
        assert all(item.anchor in known and item.source_refs for item in pack.constraints)
        assert all(item.source_refs for item in (*pack.facts, *pack.open_loops))
        assert len(pack.synopsis) <= 800
        assert pack == digest_file(path, lines, "d" * 64).pack


def test_minified_text_is_not_parsed():
    pack = pack_of("a.js", "function a(){};" * 400)
    assert (pack.anchors, pack.coverage.grammar) == ((), None)


def test_toolchain_hash_is_stable():
    assert toolchain_hash() == toolchain_hash()
    assert len(toolchain_hash()) == 64
