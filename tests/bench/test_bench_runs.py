"""The bench runs a real packet and prints its table; what it says of a row is what it timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "overhead.py"
ROWS = {"bare append + fsync", "state persistence", "event emission", "context compilation", "iteration overhead"}

pytestmark = [
    pytest.mark.slow,  # a whole run, alone on a quiet machine: what it prints is worthless beside other tests
    pytest.mark.skipif(not BENCH.is_file(), reason="an installed package has no bench"),
]


def bench(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCH), *args],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def figures():
    done = bench("--steps", "2", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_row_of_the_contract_is_timed(figures):
    rows = {row["what"]: row for row in figures["rows"]}
    assert set(rows) >= ROWS
    assert rows["bare append + fsync"]["ratio"] == 1
    for name in ROWS - {"bare append + fsync"}:
        row = rows[name]
        assert row["n"] > 0
        assert 0 < row["median_ms"] <= row["p95_ms"]
        assert row["aim_ms"] < row["baseline_ms"] < row["maximum_ms"]
    assert figures["bytes_per_publish"] > 1000


def test_peers_write_beside_every_publish(figures):
    rows = {row["what"]: row["n"] for row in figures["rows"]}
    assert rows["bare append + fsync"] == rows["state persistence"]
    if figures["langgraph"]:
        assert rows["LangGraph SqliteSaver.put"] == rows["state persistence"]


def test_the_table_without_langgraph_says_what_to_install(tmp_path):
    (tmp_path / "langgraph").mkdir()
    (tmp_path / "langgraph" / "__init__.py").write_text("raise ImportError('not here')\n")
    done = bench("--steps", "1", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "langgraph-checkpoint-sqlite" in done.stderr
    assert "LangGraph" not in done.stdout
    for name in ROWS:
        assert name in done.stdout


def test_no_steps_is_refused():
    done = bench("--steps", "0")
    assert done.returncode == 2
    assert "--steps" in done.stderr
