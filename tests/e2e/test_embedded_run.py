"""A run with a real small model: what it gets done is its affair; that the records say so, ours (`-m embedded`)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import yaml
from run_records import BRANCH, WP, tiny_packet

from handshake.models.install import installed_model

MODEL = "qwen2.5-coder-0.5b"

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        importlib.util.find_spec("xllamacpp") is None or installed_model(MODEL) is None,
        reason=f"run: handshake model install {MODEL}",
    ),
]


@pytest.fixture
def ended(shop, monkeypatch):
    """The exit code of a run of one micro-task with three tries; then a human is asked."""
    monkeypatch.setenv("HANDSHAKE_MODELS", str(installed_model(MODEL).path.parent))  # the shop has a home of its own
    model = {"provider": "embedded", "model": MODEL, "profile": "tiny", "samples": 2, "seed": 0}
    chain = [{"level": 0, "model_id": "small"}, {"level": 1, "model_id": "HARD_GATE", "is_hard_gate": True}]
    config = {
        "version": 1,
        "commands": {"allow": ["python"]},
        "models": {"small": {**model, "context_window": 4096, "timeout_s": 300}},
        "policy": {"max_iterations_per_mt": 3, "escalation_chain": chain},
    }
    (shop.root / ".handshake").mkdir()
    (shop.root / ".handshake" / "config.yaml").write_text(yaml.safe_dump(config))
    shop.drop(tiny_packet)
    shop.patience_s = 800
    return shop.handshake("run", WP, code=None).returncode


def test_what_a_real_model_did_is_told_as_it_was(shop, ended):
    assert ended in (0, 3)
    shop.git("worktree", "add", "-q", "--detach", "../result", BRANCH)
    tests = [sys.executable, "-m", "unittest", "-q", "tests.test_pricing"]
    passes = subprocess.run(tests, cwd=shop.root.parent / "result", capture_output=True, check=False).returncode == 0
    assert passes == (ended == 0)
    assert shop.event_rows("FR-EVT-MT-012")[-1]["passed"] is passes
    calls = shop.on_track("progress_artifact.json")["aggregate_stats"]
    assert calls["tokens_prompt"] > 0 and calls["tokens_completion"] > 0
    said = shop.json("replay", f"{WP}/MT-001/1", "--rerun")
    assert said["same_prompt"] and said["same_edits"] is not False
