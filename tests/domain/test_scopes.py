"""Two scopes meet where one file could lie in both; in doubt they do."""

from __future__ import annotations

import pytest

from handshake.domain.scopes import shared_path


@pytest.mark.parametrize(
    ("one", "other", "path"),
    [
        (["a.py"], ["a.py"], "a.py"),
        (["a.py"], ["b.py"], None),
        (["src/"], ["src/a.py"], "src/a.py"),
        (["src"], ["src/deep/a.py"], "src/deep/a.py"),
        (["src/"], ["srcs/a.py"], None),
        (["src/*.py"], ["src/a.py"], "src/*.py"),
        (["src/*.py"], ["src/a.md"], None),
        (["src/*.py"], ["src/deep/a.py"], None),
        (["src/**/*.py"], ["src/deep/a.py"], "src/deep/a.py"),
        (["src/**/*.py"], ["src/deep/"], "src/**/*.py"),
        (["src/**"], ["docs/**"], None),
        (["*.md"], ["src/*.py"], "src/*.py"),
        (["app/[id].tsx"], ["app/i.tsx"], None),
        (["a.py", "b.py"], ["c.py", "b.py"], "b.py"),
        ([], ["a.py"], None),
    ],
)
def test_scopes_that_meet(one, other, path):
    assert shared_path(one, other) == path
    assert (shared_path(other, one) is None) == (path is None)
