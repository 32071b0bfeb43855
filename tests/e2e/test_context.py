"""Prompts of real runs: recorded, replayed hash for hash, and shaped by the user's configuration."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess

import pytest
from run_records import TRACK, WP

LIE = {"when": {"model": "m0", "contains": "MODIFY: shop/stock.py"}, "behave": "lie"}


@pytest.fixture(scope="module")
def done(tmp_path_factory, make_shop, make_server):
    """A finished run with a lie, an escalation, and templates of its own."""
    shop = make_shop(tmp_path_factory.mktemp("context") / "shop")
    server = make_server([LIE, {"solve": "solution"}])
    shop.borrow(server)
    shop.configure(context={"templates": ".handshake/prompts"})
    own = shop.root / ".handshake" / "prompts" / "tiny"
    own.mkdir(parents=True)
    (own / "system.md").write_text("# SYSTEM RULES\nOurs: {{ 6 * 7 }}.\n\n")
    shop.drop()
    shop.handshake("run", WP)
    (own / "system.md").write_text("# SYSTEM RULES\nChanged since.\n\n")
    yield shop
    server.stop()


def steps_of(shop) -> list[str]:
    return [s["step_id"] for s in shop.on_track("run_ledger.json")["steps"] if not s["step_id"].endswith("iter-000")]


def prompt_of(shop, step: str) -> str:
    job = shop.git("ls-tree", "--name-only", f"{TRACK}:jobs").splitlines()[-1]
    return shop.git("show", f"{TRACK}:jobs/{job}/steps/{step}/prompt.md")


def test_every_step_is_replayed_hash_for_hash(done):
    steps, before = steps_of(done), done.user_state()
    assert len(steps) >= 4
    for step in steps:
        mt_id, _, number = step.partition("_iter-")
        said = done.json("replay", f"{WP}/{mt_id}/{int(number)}", "--rerun", "--prompt")
        assert (said["same_prompt"], said["same_edits"]) == (True, True)
        assert said["prompt"].strip() == prompt_of(done, step)
        assert said["reply"].startswith("the reply store, key ")
    assert done.user_state() == before
    assert "the same prompt" in done.handshake("replay", steps[0]).stdout


def test_own_templates_shape_the_prompt_and_the_record_keeps_them(done):
    prompt = prompt_of(done, steps_of(done)[0])
    assert prompt.startswith("# SYSTEM RULES\nOurs: 42.\n\n# YOUR TASK\n")
    assert "# COMPLETION PROTOCOL" in prompt  # what is not replaced is the shipped one


def bend(done, copy, name: str, change) -> None:
    """Clone the run and change one record of its first step on the clone's tracking branch, by hand."""
    subprocess.run(["git", "clone", "-q", "--mirror", str(done.root), str(copy / ".git")], check=True)
    who = {f"GIT_{role}_{part}": "x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    env = {"GIT_INDEX_FILE": str(copy / "bent"), "PATH": done.environment["PATH"], **who}

    def git(*args: str, text: str = "") -> str:
        command = ["git", "-C", str(copy), *args]
        return subprocess.run(command, env=env, input=text, check=True, capture_output=True, text=True).stdout.strip()

    git("config", "core.bare", "false")
    job = done.git("ls-tree", "--name-only", f"{TRACK}:jobs").splitlines()[-1]
    path = f"jobs/{job}/steps/MT-001_iter-001/{name}"
    bent = json.dumps(change(json.loads(done.git("show", f"{TRACK}:{path}"))))
    git("read-tree", TRACK)
    git("update-index", "--cacheinfo", f"100644,{git('hash-object', '-w', '--stdin', text=bent)},{path}")
    git("update-ref", f"refs/heads/{TRACK}", git("commit-tree", "-p", TRACK, "-m", "bent", git("write-tree")))


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("compile_request.json", lambda raw: {**raw, "iteration": raw["iteration"] + 1}, "a text is counted that"),
        ("retrieval_trace.json", lambda raw: {**raw, "candidates": raw["candidates"][1:]}, "not the stored ones"),
        ("compile_request.json", lambda raw: {**raw, "templates_hash": "0" * 64}, "another version"),
    ],
)
def test_a_record_that_was_changed_is_not_the_same_prompt(done, tmp_path, name, change, why):
    bend(done, tmp_path, name, change)
    said = done.handshake("-C", str(tmp_path), "replay", f"{WP}/MT-001/1", code=1)
    assert "ContextDeterminismGuard" in said.stderr
    assert why in said.stderr


def test_what_cannot_be_replayed_is_said(done):
    assert "no run has a step" in done.handshake("replay", "MT-001_iter-099", code=2).stderr
    assert "has no run yet" in done.handshake("replay", "WP-9-None-v1/MT-001", code=2).stderr
    assert "no step" in done.handshake("replay", f"{WP}/MT-001/99", code=2).stderr


def test_the_index_is_there_and_can_be_lost(done):
    folder = done.root / ".git" / "handshake" / "context"
    assert list(folder.glob("index-*.sqlite"))
    trace = done.on_track("steps/MT-001_iter-001/retrieval_trace.json")
    said = {row["store"]: row["reason"] for row in trace["route_taken"]}
    assert "weighed by their rarity in" in said["shadow_ws_lexical"]
    assert set(trace["cache_keys"]) == {"context_packs", "candidates"}


def test_the_snapshot_leads_to_prompt_plan_and_trace(done):
    snapshot = done.on_track("steps/MT-001_iter-001/context_snapshot.json")
    for handle, name in zip(
        snapshot["artifact_handles"], ("prompt.md", "query_plan.json", "retrieval_trace.json"), strict=True
    ):
        assert handle["path"].endswith(f"/steps/MT-001_iter-001/{name}")
        command = ["git", "-C", str(done.root), "show", f"{TRACK}:{handle['path']}"]
        data = subprocess.run(command, check=True, capture_output=True).stdout
        assert hashlib.sha256(data).hexdigest() == handle["content_hash"]


def test_what_is_local_only_stays_off_the_branch(shop):
    """The basket reads pricing: the model sees it, the branch does not, and the run can be killed and resumed."""
    shop.serve()
    shop.configure(levels=1, context={"local_only": ["shop/pricing.py"]})
    scope = lambda text: "\n".join(  # noqa: E731 - one line of a packet
        line for line in text.split("\n") if "shop/pricing.py" not in line
    )
    shop.drop(scope)
    shop.handshake("run", WP, code=None, HANDSHAKE_FAILPOINT="model.call:after:kill")
    shop.handshake("run", WP, code=3)  # without the prices the whole TEST_PLAN cannot pass
    shown = [step for step in steps_of(shop) if "kept on this machine" in prompt_of(shop, step)]
    assert shown
    secret = (shop.root / "shop" / "pricing.py").read_text().strip().splitlines()[-1].strip()
    job = shop.git("ls-tree", "--name-only", f"{TRACK}:jobs").splitlines()[-1]
    for step in shown:
        assert secret not in prompt_of(shop, step)
        whole = shop.root / ".git" / "handshake" / "verbatim" / "jobs" / job / "steps" / step / "prompt.md"
        assert secret in whole.read_text()
        assert stat.S_IMODE(whole.stat().st_mode) == 0o600
        mt_id, _, number = step.partition("_iter-")
        assert shop.json("replay", f"{WP}/{mt_id}/{int(number)}")["same_prompt"] is True
        assert shop.on_track(f"steps/{step}/context_snapshot.json")["local_only_payload_ref"].startswith("local:")


@pytest.mark.parametrize(("name", "said"), [("query_plan.json", "query plan is missing"), ("prompt.md", "announced")])
def test_no_plan_no_call_and_no_other_prompt(shop, name, said):
    """A step that was announced and whose papers were then bent is not sent to a model."""
    shop.serve()
    shop.configure(levels=1)
    shop.drop()
    shop.handshake("run", WP, code=None, HANDSHAKE_FAILPOINT="model.call:before:kill")
    job = shop.git("ls-tree", "--name-only", f"{TRACK}:jobs").splitlines()[-1]
    path = f"jobs/{job}/steps/MT-001_iter-001/{name}"
    shop.git("read-tree", "--index-output=" + str(shop.root.parent / "bent"), TRACK)
    env = {**shop.environment, "GIT_INDEX_FILE": str(shop.root.parent / "bent")}

    def git(*args: str, text: str = "") -> str:
        command = ["git", "-C", str(shop.root), *args]
        return subprocess.run(command, env=env, input=text, check=True, capture_output=True, text=True).stdout.strip()

    if name == "prompt.md":
        blob = git("hash-object", "-w", "--stdin", text="Do something else.\n")
        git("update-index", "--cacheinfo", f"100644,{blob},{path}")
    else:
        git("update-index", "--force-remove", path)
    git("update-ref", f"refs/heads/{TRACK}", git("commit-tree", "-p", TRACK, "-m", "bent", git("write-tree")))
    refused = shop.handshake("run", WP, code=None)
    assert refused.returncode not in (0, 3)
    assert said in refused.stderr
    assert shop.server.calls() == []


def test_strict_determinism_asks_for_a_seed(shop):
    shop.serve()
    shop.configure(levels=1, context={"determinism": "strict"})
    shop.drop()
    refused = shop.handshake("run", WP, code=3)
    assert "determinism is strict and models.m0.seed is not set" in refused.stderr


def test_a_broken_template_is_one_line(shop):
    shop.serve()
    shop.configure(levels=1, context={"templates": "prompts"})
    (shop.root / "prompts" / "common").mkdir(parents=True)
    (shop.root / "prompts" / "common" / "files.md").write_text("{{ ''.__class__.__mro__ }}\n")
    shop.drop()
    refused = shop.handshake("run", WP, code=7)
    assert "files.md cannot be used" in refused.stderr
