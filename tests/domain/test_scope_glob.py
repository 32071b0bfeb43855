"""Globs of a scope mean what they meant, and answer whatever the pattern."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handshake.domain import scope_glob
from handshake.domain.packet_scope import in_scope
from handshake.domain.scope_glob import glob_matches


def as_expression(pattern: str) -> re.Pattern[str]:
    """The meaning, as the regular expression that it is."""
    text = pattern + "**" if pattern.endswith("/") else pattern
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", text)
    signs = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(signs.get(part, re.escape(part)) for part in parts), re.DOTALL)


PATTERNS = st.lists(st.sampled_from(["a", "b", "/", "*", "?", "**", "**/", ".", "\n"]), max_size=9).map("".join)


@settings(max_examples=600, deadline=None)
@given(PATTERNS, st.text(alphabet="ab/.\n", max_size=10), st.sampled_from([0, 2]))
def test_a_glob_means_what_its_expression_means(pattern: str, path: str, few: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scope_glob, "_FEW", few)
        assert glob_matches(pattern, path) is bool(as_expression(pattern).fullmatch(path))


@pytest.mark.parametrize(
    ("entry", "path", "inside"),
    [
        ("app/*a*a*a*b", "app/xaxaxab", True),
        ("app/*a*a*a*b", "app/xa/axab", False),
        ("**/**/**/x/*", "x/y", True),
        ("**/a*/**/*.py", "s/ab/c/d/e.py", True),
        ("**/a*/**/*.py", "s/b/c/d/e.py", False),
        ("**b*c*d", "b/bccd", True),
        ("*/*/*/", "a/b/c/d/e", True),
    ],
)
def test_globs_of_many_stars(entry: str, path: str, inside: bool) -> None:
    assert in_scope(path, [entry]) is inside


HOSTILE = """
from handshake.domain.packet_scope import in_scope
for star in ("*a", "?*", "**a", "**"):
    assert not in_scope("app/" + "a" * 600, ["app/" + star * 40 + "b"])
assert not in_scope("a/" * 600 + "c", ["**/" * 40 + "b"])
assert not in_scope("a/" * 600 + "c", ["**/*" * 40 + "b"])
"""


def test_a_hostile_glob_ends() -> None:
    subprocess.run([sys.executable, "-c", HOSTILE], check=True, timeout=120)
