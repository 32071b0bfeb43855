"""The daemon's own process stays small: what is large is done by processes that end. Contract: under 60 MB."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

SMALL_MB = 60
# each of them takes megabytes, and the daemon needs none
LARGE = ("git2", "ssl", "tree_sitter", "duckdb")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


@pytest.mark.parametrize(
    "packets",
    [
        20,
        pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_it_stays_small_however_many_packets_it_has_seen(place, packets):
    log = place.root.parent / "said"
    env = {**os.environ, "HOME": str(place.root.parent), "XDG_CONFIG_HOME": str(place.root.parent)}
    command = [sys.executable, str(Path(__file__).with_name("small_daemon.py")), str(place.root), *place.runs.usual]
    with log.open("w") as said:
        daemon = subprocess.Popen(command, stderr=said, env=env)
    try:
        until(lambda: "watching" in log.read_text(), daemon)
        for number in range(packets):
            place.drop(f"WP-{number:03d}")
        place.drop("WP-999", signature="pending")
        until(
            lambda: log.read_text().count(": starting") == packets and "WP-999 is refused" in log.read_text(), daemon
        )
        until(lambda: len(list(place.repo.state_dir.glob("packets/WP-999.jsonl"))) == 1, daemon)
        assert psutil.Process(daemon.pid).memory_info().rss / 2**20 < SMALL_MB
        loaded = Path(f"/proc/{daemon.pid}/maps").read_text()
        assert [name for name in LARGE if name in loaded] == []
    finally:
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0


def until(condition, daemon):
    give_up = time.monotonic() + 1500
    while not condition():
        assert daemon.poll() is None and time.monotonic() < give_up
        time.sleep(0.05)
