"""The bench of the hooks times real commits: each set of hooks has its rows, and ours is the one with an aim."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "hooks.py"

pytestmark = [
    pytest.mark.slow,  # worth something on a quiet machine alone
    pytest.mark.skipif(not BENCH.is_file(), reason="an installed package has no bench"),
]


def test_every_set_of_hooks_is_timed_on_both_commits():
    command = [sys.executable, str(BENCH), "--rounds", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["hooks"] for row in rows] == ["no hook", "Handshake", "pre-commit framework"] * 2
    assert [row["aim_ms"] for row in rows] == [None, 60, None, None, 250, None]
    for row in rows:
        assert 0 < row["min_ms"] <= row["median_ms"]
        assert row["ratio"] > 0
    # the gates were really asked: a work packet's commit costs more than one that is nobody's
    assert rows[4]["on_top_ms"] > rows[1]["on_top_ms"]
