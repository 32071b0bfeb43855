"""Each limit stops a runaway, and no restart makes it forget. Contract: `loop.md`, Limits; `state.md`, clock jumps.

The runs are in this process, over a real repository and a real model server, so that the clock can be the test's.
"""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
import yaml
from run_records import TRACK, WP, end_state, small_packet

from handshake.config import failpoints
from handshake.config.failpoints import FailpointReached
from handshake.config.loading import load_settings
from handshake.domain.clock import SystemClock, SystemIds
from handshake.domain.errors import UsageError, WaitsForHuman
from handshake.domain.states import JobStatus
from handshake.loop import limits
from handshake.loop.executor import run_packet
from handshake.loop.surroundings import NobodyWatches, Surroundings
from handshake.repo.git import find_repository

RULES = [
    {"when": {"model": "runaway"}, "behave": "partial", "usage": {"prompt_tokens": 900, "completion_tokens": 100}},
    {"solve": "solution", "usage": {"prompt_tokens": 900, "completion_tokens": 100}},
]
NO_END = {"max_iterations_per_mt": 20, "max_total_iterations": 200}


class JumpingClock(SystemClock):
    """The machine's clock, moved at will."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self.worked = 0.0

    def now(self):
        return super().now() + self.ahead

    def monotonic(self):
        return time.monotonic() + self.worked


class AtEachReply(NobodyWatches):
    """Does something whenever a model has answered."""

    def __init__(self, act):
        self.act = act

    def event(self, event):
        if event.event_type == "FR-EVT-006":
            self.act()


@pytest.fixture(scope="module")
def models(make_server):
    served = make_server(RULES)
    yield served
    served.stop()


@pytest.fixture
def lab(shop, models, monkeypatch):
    """The small packet, to be run in this process by `run_here`."""
    shop.borrow(models)
    shop.drop(small_packet)
    for name, value in shop.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(failpoints, "_passed", {})
    return shop


def run_here(shop, clock=None, at_each_reply=lambda: None):
    settings = load_settings(shop.root, env=shop.environment, require_trust=True).settings
    watcher = AtEachReply(at_each_reply)
    around = Surroundings(find_repository(shop.root), settings, clock or SystemClock(), SystemIds(), watcher)
    return run_packet(around, WP)


def gate(shop, reason, **how):
    """Run until the gate of that reason; the figures it names."""
    with pytest.raises(WaitsForHuman, match=reason):
        run_here(shop, **how)
    return shop.event_rows("FR-EVT-MT-006")[-1]["figures"]


def go_on(shop, *options):
    shop.handshake("decide", WP, "continue", *options)


def test_iterations(lab, models):
    lab.served_by("runaway", policy={**NO_END, "max_total_iterations": 3})
    before = len(models.calls())
    assert gate(lab, "max_total_iterations")["total_iterations"] == 3
    packs = lab.root / ".git" / "objects" / "pack"
    assert len(list(packs.glob("*.pack"))) <= 2 and not list(packs.glob("*.keep"))  # gathered while it waits
    go_on(lab, "--add-iterations", "2")
    assert gate(lab, "max_total_iterations")["total_iterations"] == 5
    assert len(models.calls()) - before == 5


def test_tokens(lab):
    lab.served_by("runaway", policy={**NO_END, "max_total_tokens": 2500})
    assert gate(lab, "max_total_tokens") == {"tokens": 3000, "max_total_tokens": 2500}
    go_on(lab, "--add-tokens", "1500")
    assert gate(lab, "max_total_tokens") == {"tokens": 4000, "max_total_tokens": 4000}


def test_money_is_told_for_each_level_and_micro_task(lab):
    price = {"prompt": 100.0, "completion": 1000.0}
    lab.served_by("runaway", "solver", policy={"max_iterations_per_mt": 2}, price=price)
    place = lab.root / ".handshake" / "config.yaml"
    config = yaml.safe_load(place.read_text())
    config["models"]["m1"]["price"] = {"prompt": 1000.0, "completion": 10000.0}
    place.write_text(yaml.safe_dump(config))
    run_here(lab)
    low, high = 0.19, 1.9  # 900 tokens in and 100 out
    seen = lab.json("status", WP)["runs"][0]
    [first, *rest] = seen["micro_tasks"]
    assert (first["iterations"], first["tokens_prompt"], first["tokens_completion"]) == (3, 2700, 300)
    assert first["cost"] == round(2 * low + high, 6)
    asked = [mt for mt in (first, *rest) if mt["iterations"]]
    costs = {use["level"]: (use["model_id"], use["iterations"], use["cost"]) for use in seen["levels"]}
    assert costs[0] == ("m0", 2 * len(asked), round(2 * low * len(asked), 6))
    assert costs[1] == ("m1", len(asked), round(high * len(asked), 6))
    assert seen["cost"] == round(sum(mt["cost"] for mt in asked), 6)
    assert [mt["cost"] for mt in rest if not mt["iterations"]] == [None] * (len(rest) + 1 - len(asked))
    text = lab.handshake("status", WP).stdout
    assert "2700 tokens in, 300 out, cost 2.2800" in text and "level 1  m1: " in text
    assert "spent: 900 tokens in, 100 out, cost 0.1900" in lab.handshake("show", f"{WP}/MT-001/1").stdout
    told = lab.json("metrics")
    assert [(row["level"], row["cost"]) for row in told["models"]] == [(n, costs[n][2]) for n in (0, 1)]
    assert told["totals"]["cost"] == seen["cost"]
    page = lab.handshake("report", WP, "--output", "-").stdout
    assert "<dt>Cost</dt>" in page and f">{costs[1][2]:.2f}<" in page and "cost 2.28" in page


def test_money(lab):
    lab.served_by("runaway", policy={**NO_END, "max_cost": 0.5}, price={"prompt": 100.0, "completion": 1000.0})
    figures = gate(lab, "resource_exhausted")
    assert (figures["cost"], figures["max_cost"]) == (0.57, 0.5)  # three calls of 0.19
    go_on(lab)
    figures = gate(lab, "resource_exhausted")
    assert (figures["cost"], figures["max_cost"]) == (0.76, 0.75)
    go_on(lab, "--add-cost", "0.15")
    figures = gate(lab, "resource_exhausted")
    assert (figures["cost"], figures["max_cost"]) == (0.95, 0.9)
    assert lab.on_track("job.json")["metrics"]["cost"] == 0.95


def test_money_needs_prices_where_it_leaves_the_machine(lab):
    lab.served_by("far", policy={"max_cost": 0.5, "cloud_escalation_allowed": True}, is_cloud=True)
    place = lab.root / ".handshake" / "config.yaml"
    config = yaml.safe_load(place.read_text())
    config["policy"]["escalation_chain"][0]["is_cloud"] = True
    place.write_text(yaml.safe_dump(config))
    with pytest.raises(UsageError, match="has no price"):
        run_here(lab)


@pytest.mark.parametrize(
    ("limit", "figure"),
    [("PROGRESS_BYTES", "progress_bytes"), ("LEDGER_BYTES", "ledger_bytes"), ("ARTIFACT_BYTES", "artifact_bytes")],
)
def test_storage(lab, monkeypatch, limit, figure):
    sizes = {"PROGRESS_BYTES": 5_000, "LEDGER_BYTES": 1_500, "ARTIFACT_BYTES": 60_000}
    monkeypatch.setattr(limits, limit, sizes[limit])
    lab.served_by("runaway", policy=NO_END)
    figures = gate(lab, "resource_exhausted")
    assert figures[figure] >= figures["limit"] == sizes[limit]
    first = lab.on_track("job.json")["execution_state"]["total_iterations"]
    go_on(lab)
    assert gate(lab, "resource_exhausted")["limit"] == sizes[limit] * 3 // 2
    assert lab.on_track("job.json")["execution_state"]["total_iterations"] > first


def test_duration_and_poison(lab, models):
    lab.served_by("runaway", policy={**NO_END, "max_duration_ms": 600_000})
    clock = JumpingClock()

    def spend():
        clock.worked += 1_500.0  # one iteration that leads from below the limit to past twice of it

    figures = gate(lab, "max_duration", clock=clock, at_each_reply=spend)
    assert figures["elapsed_ms"] >= 1_500_000
    go_on(lab, "--add-minutes", "20")  # 30 minutes now, 25 of them spent
    before = len(models.calls())

    def spend_more():
        clock.worked += 3_000.0

    ended = run_here(lab, clock, spend_more)
    assert ended.job.status is JobStatus.POISONED
    assert len(models.calls()) - before == 1
    tip = lab.git("rev-parse", TRACK)
    lab.handshake("run", WP, code=5)  # never again by itself
    assert lab.git("rev-parse", TRACK) == tip


def test_counters_survive_a_kill_at_each_step(lab, models, monkeypatch):
    lab.served_by("runaway", policy={**NO_END, "max_total_iterations": 4}, price={"prompt": 100.0, "completion": 0.0})
    clock, before = JumpingClock(), len(models.calls())

    def spend():
        clock.worked += 100.0

    for _ in range(3):
        monkeypatch.setattr(failpoints, "_passed", {})
        monkeypatch.setenv("HANDSHAKE_FAILPOINT", "model.call:before@2:raise")
        with pytest.raises(FailpointReached):
            run_here(lab, clock, spend)
    monkeypatch.delenv("HANDSHAKE_FAILPOINT")
    figures = gate(lab, "max_total_iterations", clock=clock, at_each_reply=spend)
    assert figures["total_iterations"] == 4
    assert len(models.calls()) - before == 4
    metrics = lab.on_track("job.json")["metrics"]
    assert metrics["tokens_prompt"] == 3600 and metrics["model_calls"] == 4
    assert metrics["cost"] == 0.36
    assert 400_000 <= metrics["duration_ms"] < 500_000


@pytest.mark.parametrize("jump", [timedelta(days=-400), timedelta(days=400)])
def test_a_clock_that_jumps_changes_nothing(lab, make_shop, models, tmp_path, jump):
    lab.served_by("solves")
    clock = JumpingClock()

    def leap():
        clock.ahead += jump

    run_here(lab, clock, leap)
    jumped = end_state(lab)
    quiet = make_shop(tmp_path / "quiet" / "shop")
    quiet.borrow(models)
    quiet.drop(small_packet)
    quiet.served_by("solves")
    run_here(quiet)
    assert jumped == end_state(quiet)


def test_a_job_begun_before_the_last_ones_time_is_still_the_newest(lab):
    lab.served_by("solves")
    clock = JumpingClock()
    first = run_here(lab, clock)
    clock.ahead = timedelta(days=-1000)
    settings = load_settings(lab.root, env=lab.environment, require_trust=True).settings
    ids = SystemIds()
    around = Surroundings(find_repository(lab.root), settings, clock, ids)
    ids.uuid7 = lambda: "00000000-0001-7000-8000-000000000001"  # what a clock of 1970 gives
    lab.git("branch", "-q", "-m", f"feat/{WP}", "kept")
    second = run_packet(around, WP, again=True)
    assert second.job.job_id > first.job.job_id
    assert lab.on_track("job.json")["job_id"] == second.job.job_id
