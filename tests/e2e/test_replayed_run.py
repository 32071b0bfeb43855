"""A recorded run once more, whole and without a model: its replies come from this clone, or from a fetched branch."""

from __future__ import annotations

import yaml
from run_records import TRACK, WP, end_state, small_packet, tiny_packet


def with_replay(shop):
    """Every model of the configuration answers with what was recorded; no server is left."""
    place = shop.root / ".handshake" / "config.yaml"
    config = yaml.safe_load(place.read_text())
    for entry in config["models"].values():
        entry["provider"] = "replay"
        del entry["base_url"]
    place.write_text(yaml.safe_dump(config))


def test_a_run_replays_in_another_clone_without_a_model(shop, make_shop, tmp_path):
    cut = {
        "when": {"mt": "MT-001", "model": "m0", "attempt": 1},
        "reply": "FILE: shop/pricing.py\n```\nVAT",
    }
    lie = {"when": {"mt": "MT-001", "model": "m0", "attempt": 2}, "behave": "lie"}
    shop.serve(cut, lie)
    shop.configure(policy={"max_iterations_per_mt": 2})
    shop.drop(small_packet)
    shop.git("add", "docs")
    shop.git("commit", "-qm", "the packet")
    shop.handshake("run", WP)
    expected, calls = end_state(shop), len(shop.server.calls())
    assert [row["model"]["base"] for row in shop.event_rows("FR-EVT-MT-003")][:3] == ["m0", "m0", "m1"]
    shop.server.stop()

    clone = make_shop(tmp_path / "elsewhere" / "shop")
    clone.git("remote", "add", "origin", str(shop.root))
    clone.git("fetch", "-q", "origin")
    clone.git("reset", "-q", "--hard", "origin/main")
    (clone.root / ".handshake").mkdir()
    (clone.root / ".handshake" / "config.yaml").write_text((shop.root / ".handshake" / "config.yaml").read_text())
    with_replay(clone)
    clone.handshake("run", WP)
    again = end_state(clone)
    differs = {name for name in expected if expected[name] != again[name]}
    assert differs == set(), {name: (expected[name], again[name]) for name in differs}
    assert len(shop.server.calls()) == calls
    assert clone.git("rev-parse", TRACK) != shop.git("rev-parse", TRACK)
    assert "the same as recorded" in clone.handshake("replay", f"{WP}/MT-001/3", "--rerun").stdout


def test_a_record_that_was_tampered_with_is_named_and_nothing_runs(shop, make_shop, tmp_path):
    shop.serve()
    shop.configure(levels=1)
    shop.drop(tiny_packet)
    shop.git("add", "docs")
    shop.git("commit", "-qm", "the packet")
    shop.handshake("run", WP)
    shop.server.stop()
    place = tmp_path / "log"
    shop.git("worktree", "add", "-q", "--detach", str(place), TRACK)
    [request] = place.glob("jobs/*/steps/MT-001_iter-001/request.json")
    request.write_text("{oops")
    hooks = ("-c", "core.hooksPath=/dev/null")
    shop.git(*hooks, "commit", "-qam", "a hand in the log", at=place)

    clone = make_shop(tmp_path / "elsewhere" / "shop")
    tip = shop.git("rev-parse", "HEAD", at=place)
    clone.git("fetch", "-q", str(shop.root), "main", f"{tip}:refs/remotes/origin/{TRACK}")
    clone.git("reset", "-q", "--hard", shop.git("rev-parse", "main"))
    (clone.root / ".handshake").mkdir()
    (clone.root / ".handshake" / "config.yaml").write_text((shop.root / ".handshake" / "config.yaml").read_text())
    with_replay(clone)
    said = clone.handshake("run", WP, code=None)
    assert said.returncode != 0 and "request.json on the tracking branch is not what Handshake records" in said.stderr
    assert clone.git("for-each-ref", f"refs/heads/{TRACK}") == ""
