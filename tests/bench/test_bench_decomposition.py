"""The decomposition bench: changelogs are read as people read them, and one real pair of releases gives its rows."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "bench"

RST = """
Unreleased
----------

- not yet

`v2.1.0 <https://example.org/compare/2.0.0...2.1.0>`__
------------------------------------------------------

Fixed
~~~~~

- ``mean`` of nothing is 0,
  as it says. :pr:`12` (:issue:`3`)
- Use :func:`pkg.median` again.

    - nested words

A paragraph.

2.0.0
-----

* old
"""
MARKDOWN = (
    "# Changes\n\n## [2.1.0](https://x/2.0.0...2.1.0) - 2026\n\n### Fixed\n\n* See [`a`](http://b).\n\n"
    "## 2.0.0\n\n* old\n"
)


@pytest.fixture(scope="module")
def release_pairs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release_pairs", BENCH / "release_pairs.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["release_pairs"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_one_versions_bullets(release_pairs: ModuleType) -> None:
    assert release_pairs.changelog_bullets(RST, "2.1.0") == (
        "`mean` of nothing is 0, as it says.",
        "Use `pkg.median` again. - nested words",
    )
    assert release_pairs.changelog_bullets(MARKDOWN, "2.1.0") == ("See `a`.",)
    assert release_pairs.changelog_bullets(MARKDOWN, "9.9") == ()


def test_ten_packages_are_measured_and_none_of_them_was_developed_on(release_pairs: ModuleType) -> None:
    measured = {release.name for release in release_pairs.known_releases("measured")}
    developed = {release.name for release in release_pairs.known_releases("developed")}
    assert len(measured) == 10
    assert not measured & developed


@pytest.mark.parametrize("bench", [("decomposition.py", "--only", "none"), ("large_tree.py", "--files", "1")])
def test_a_wrong_option_is_refused(bench: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, str(BENCH / bench[0]), *bench[1:]], capture_output=True, check=False)
    assert done.returncode == 2


@pytest.mark.slow  # pip fetches two releases
def test_a_real_pair_of_releases(tmp_path: Path) -> None:
    command = ("--group", "developed", "--only", "pluggy", "--rounds", "1", "--json", "--cache", str(tmp_path))
    done = subprocess.run(
        [sys.executable, str(BENCH / "decomposition.py"), *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (row,) = document["rows"]
    assert row["files"] == sum(
        round(c["files_per_mt"] * c["micro_tasks"]) for c in [row["cuts"]["one for each file"]]
    )
    assert row["cuts"]["one for all"]["edges_cut"] == 0
    assert row["cuts"]["Handshake"]["micro_tasks"] < row["files"]
    assert document["total"]["Handshake"]["judged"] == row["bullets_judged"]


@pytest.mark.slow  # makes and plans a repository
def test_a_large_tree() -> None:
    command = [sys.executable, str(BENCH / "large_tree.py"), "--files", "400", "--rounds", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {name: row["plan_ms"] > 0 for name, row in json.loads(done.stdout)["rows"].items()} == {
        "five named files": True,
        "one package": True,
        "everything": True,
    }
