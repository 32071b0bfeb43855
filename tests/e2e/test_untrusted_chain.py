"""A liar, a scope breaker and a model that hangs each escalate, and a human ends it. `docs/hard_gate.md` shows it."""

from __future__ import annotations

import pytest
import yaml
from run_records import BRANCH, TRACK, WP, tiny_packet

BREAKS_SCOPE = """FILE: shop/pricing.py
```python
VAT_PERCENT = 19
```
FILE: tests/test_pricing.py
```python
print("OK")
```
<mt_complete>
MT_ID: MT-001
EVIDENCE:
- "In `shop/pricing.py` the constant `VAT_PERCENT` is 19." -> shop/pricing.py:1
- "The tests pass." -> shop/pricing.py:1
</mt_complete>
"""
MODELS = {"liar": {"behave": "lie"}, "breaker": {"reply": BREAKS_SCOPE}, "sleeper": {"behave": "hang"}}


@pytest.fixture
def servers(make_server):
    started = {name: make_server([rule]) for name, rule in MODELS.items()}
    yield started
    for served in started.values():
        served.stop()


@pytest.fixture
def distrusted(shop, servers):
    """A level for each of the three, each served by a process of its own."""
    shop.borrow(servers["liar"])
    shop.drop(tiny_packet)
    shop.served_by(*MODELS, policy={"max_iterations_per_mt": 2}, timeout_s=0.4)
    place = shop.root / ".handshake" / "config.yaml"
    config = yaml.safe_load(place.read_text())
    for entry in config["models"].values():
        entry["base_url"] = servers[entry["model"]].url
    place.write_text(yaml.safe_dump(config))
    return shop


def test_none_of_three_is_believed_and_a_human_ends_it(distrusted):
    shop = distrusted
    user = shop.user_state()
    said = shop.handshake("run", WP, code=3).stderr
    assert "waits for a human: escalation_exhausted" in said
    for why in ("not true: evidence shop/pricing.py", "tests/test_pricing.py: not among the files", "gave no text"):
        assert why in said, said

    tries = shop.event_rows("FR-EVT-MT-003")
    told = [(row["model"]["base"], row["outcome"]["failure_category"], row["decision"]["action"]) for row in tries]
    assert told == [
        ("m0", "incomplete_implementation", "retry"),
        ("m0", "incomplete_implementation", "escalate"),
        ("m1", "scope_violation", "retry"),
        ("m1", "scope_violation", "escalate"),
        ("m2", "timeout_exceeded", "retry"),
        ("m2", "timeout_exceeded", "hard_gate"),
    ]
    steps = [(row["from_model"], row["to_model"]) for row in shop.event_rows("FR-EVT-MT-005")]
    assert steps == [("m0", "m1"), ("m1", "m2"), ("m2", "HARD_GATE")]
    # a try of the one that hangs asks three times, and none of that is paid for as a reply
    assert [row["execution"]["tokens_completion"] for row in tries[4:]] == [0, 0]

    # nothing of it is anywhere but in the log
    assert shop.git("status", "--porcelain", at=shop.worktree) == ""
    assert shop.git("diff", "--stat", "main", BRANCH, "--", "shop", "tests") == ""
    assert shop.git("log", "--format=%s", f"main..{BRANCH}") == f"{WP}: the packet as signed"

    shop.handshake("decide", WP, "abort", "--note", "I mend it myself")
    ended = shop.handshake("run", WP, code=1)
    assert f"{WP}: failed" in ended.stdout
    [failed] = shop.event_rows("FR-EVT-MT-010")
    assert failed["error_category"] == "aborted" and "I mend it myself" in failed["reason"]
    seen = shop.json("status", WP)["runs"][0]
    assert [mt["status"] for mt in seen["micro_tasks"]] == ["failed", "pending"]
    [decision] = [
        path for path in shop.git("ls-tree", "-r", "--name-only", TRACK).splitlines() if "decisions/" in path
    ]
    kept = yaml.safe_load(shop.git("show", f"{TRACK}:{decision}"))
    assert (kept["decision"], kept["note"]) == ("abort", "I mend it myself")
    assert shop.git("log", "-1", "--format=%s", TRACK) == "Gate 1: abort"
    assert shop.user_state() == user
