"""The bench of prompts and index runs over a small repository and prints each figure beside something real."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "context.py"

pytestmark = [
    pytest.mark.slow,  # it builds two repositories; what it prints is worthless beside other tests
    pytest.mark.skipif(not BENCH.is_file(), reason="an installed package has no bench"),
]


def test_every_figure_is_there_and_the_rankings_are_compared():
    done = subprocess.run(
        [sys.executable, str(BENCH), "--files", "120", "--index", "80", "--questions", "5", "--json"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    rows = {row["name"].strip(): row for row in said["figures"]}
    assert rows["index of 80 files, words"]["at_most"] == 30
    assert rows["prompt, warm, a file changed since"]["at_most"] == 30
    assert all(row["value"] >= 0 for row in rows.values())
    assert "git grep" in rows["five files changed and committed"]["beside"]
    names = [row["name"] for row in said["rankings"]]
    assert names[:2] == ["ours, rarity from the repository", "ours, rarity from the documents"]
    assert all(0 < row["mrr"] <= 1 for row in said["rankings"])
