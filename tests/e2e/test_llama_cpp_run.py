"""A whole run on a real llama.cpp: the embedded runtime serves a small real model that recites the right reply."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("xllamacpp", reason="the embedded runtime is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

from reciting_model import write_model
from run_records import BRANCH, WP, tiny_packet

CRITERION = "In `shop/pricing.py` the constant `VAT_PERCENT` is 19."
REPLY = f"""It is done.

FILE: shop/pricing.py
```python
{{content}}```

<mt_complete>
MT_ID: MT-001
EVIDENCE:
- "{CRITERION}" -> shop/pricing.py:{{line}}
</mt_complete>
"""


def recite(shop, reply, **more):
    """One level: the embedded runtime with a model that says this, whatever it is asked."""
    file = write_model(shop.root.parent / "reciting.gguf", {"<say>": reply}, key="<say>")
    chain = [{"level": 0, "model_id": "reciting"}, {"level": 1, "model_id": "HARD_GATE", "is_hard_gate": True}]
    entry = {
        "provider": "embedded",
        "file": str(file),
        "profile": "standard",
        "context_window": 16_384,  # a token for each byte of the prompt
        "price": {"prompt": 1.0, "completion": 10.0},
        **more,
    }
    policy = {"escalation_chain": chain, "max_iterations_per_mt": 1}
    config = {"version": 1, "models": {"reciting": entry}, "policy": policy}
    (shop.root / ".handshake").mkdir()
    (shop.root / ".handshake" / "config.yaml").write_text(yaml.safe_dump(config))
    shop.drop(tiny_packet)
    shop.git("add", "docs")
    shop.git("commit", "-qm", "the packet")


def test_a_reply_that_ends_at_its_limit_is_not_applied_and_counts_as_too_long(shop):
    content = (shop.root.parent / "solution" / "shop" / "pricing.py").read_text()
    recite(
        shop, REPLY.format(content=content, line=3) + "".join(f"and {n}\n" for n in range(20)), max_output_tokens=16
    )
    shop.handshake("trust")
    shop.handshake("run", WP, code=3)
    [row] = shop.event_rows("FR-EVT-MT-003")
    assert row["execution"]["tokens_completion"] == 16
    assert row["outcome"]["failure_category"] == "context_overflow"
    assert "cut off at its length limit" in row["outcome"]["error_summary"]
    assert shop.git("status", "--porcelain", at=shop.worktree) == ""


def test_an_embedded_model_does_the_work_once_it_is_trusted_and_its_run_replays_without_it(shop, make_shop, tmp_path):
    content = (shop.root.parent / "solution" / "shop" / "pricing.py").read_text()
    line = next(n for n, text in enumerate(content.splitlines(), 1) if text.startswith("VAT_PERCENT"))
    reply = REPLY.format(content=content, line=line)
    recite(shop, reply)
    assert "models.reciting.file" in shop.handshake("run", WP, code=2).stderr
    shop.handshake("trust")
    shop.handshake("run", WP)
    assert shop.git("show", f"{BRANCH}:shop/pricing.py") == content.strip()
    [row] = shop.event_rows("FR-EVT-MT-003")
    assert row["model"]["context_window"] == 16_384
    seen = shop.json("status", WP)["runs"][0]
    spent = row["execution"]["tokens_prompt"] + 10 * row["execution"]["tokens_completion"]
    assert seen["cost"] == row["execution"]["cost"] == round(spent / 1_000_000, 6)
    told = shop.handshake("doctor", code=None).stdout
    assert "reciting" in told and "16384" in told and "tokens/s" in told, told

    clone = make_shop(tmp_path / "elsewhere" / "shop")
    clone.git("remote", "add", "origin", str(shop.root))
    clone.git("fetch", "-q", "origin")
    clone.git("reset", "-q", "--hard", "origin/main")
    (clone.root / ".handshake").mkdir()
    text = (shop.root / ".handshake" / "config.yaml").read_text()
    config = yaml.safe_load(text)
    config["models"]["reciting"]["provider"] = "replay"
    del config["models"]["reciting"]["file"]
    (clone.root / ".handshake" / "config.yaml").write_text(yaml.safe_dump(config))
    clone.handshake("run", WP)
    assert clone.tree() == shop.tree()
