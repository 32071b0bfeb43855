"""What escalations leave as data, and what of it may be learnt from: real runs, real branches, real files."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime

import pytest
import yaml
from run_records import TRACK, WP, small_packet, tiny_packet

from handshake.repo.git import find_repository
from handshake.repo.store import TrackingBranch

WRONG = '''FILE: shop/pricing.py
```python
"""Prices in cents."""

VAT_PERCENT = 18


def gross(net: int) -> int:
    """The price with value added tax, rounded down to whole cents."""
    return net + net * VAT_PERCENT // 100
```
<mt_complete>
MT_ID: MT-001
EVIDENCE:
- "In `shop/pricing.py` the constant `VAT_PERCENT` is 19." -> shop/pricing.py:3-3
- "The tests pass." -> shop/pricing.py:3-3
</mt_complete>
'''
ON_PURPOSE = WRONG.replace("VAT_PERCENT = 18", "VAT_PERCENT = 7\n\nraise SystemExit").replace(
    "pricing.py:3-3", "pricing.py:5-5"
)

RULES = [
    {"when": {"model": "errs", "mt": "MT-001"}, "reply": WRONG},
    {"when": {"model": "fails-on-purpose", "mt": "MT-001"}, "reply": ON_PURPOSE},
    {"when": {"model": "gives-up", "mt": "MT-001"}, "behave": "give_up"},
    {"when": {"model": "errs-again", "mt": "MT-001"}, "reply": WRONG},
    {"when": {"model": "errs-again", "mt": "MT-002"}, "behave": "give_up"},
    {"when": {"model": "lies", "mt": "MT-001"}, "behave": "lie"},
    {"when": {"model": "breaks", "mt": "MT-001"}, "behave": "error_500"},
    {"solve": "solution"},
]

FLAKY = """
    def test_fails_once_when_right(self) -> None:
        from pathlib import Path

        from shop import pricing

        mark = Path(__file__).parent / "__pycache__" / "was-right"
        if pricing.VAT_PERCENT == 19 and not mark.exists():
            mark.parent.mkdir(exist_ok=True)
            mark.touch()
            self.fail("not this time")
"""


@pytest.fixture(scope="module")
def models(make_server):
    served = make_server(RULES)
    yield served
    served.stop()


@pytest.fixture
def lab(shop, models):
    shop.borrow(models)
    shop.drop(tiny_packet)
    return shop


@pytest.fixture(scope="module")
def pair(models, make_shop, tmp_path_factory):
    """A project whose only run left one good pair; who changes its branch puts it back."""
    shop = make_shop(tmp_path_factory.mktemp("pair") / "shop")
    shop.borrow(models)
    shop.drop(tiny_packet)
    shop.served_by("errs", "solver")
    shop.handshake("run", WP)
    return shop


def taught(shop, student, **more):
    """A run in which `student` fails and the solver succeeds; the candidate as it is listed."""
    shop.served_by(student, "solver", **more)
    shop.handshake("run", WP)
    [row] = shop.json("distill", "list")["candidates"]
    assert row["status"] == "final"
    return row


def weaknesses(row):
    return {factor.removeprefix("weak:") for factor in row["contributing_factors"] if factor.startswith("weak:")}


def refused(shop, form="openai-chat"):
    done = shop.handshake("distill", "export", "--format", form, code=1)
    assert done.stdout == ""
    assert "no candidate may be exported" in done.stderr
    return done.stderr


# -- what may be learnt from -----------------------------------------------------------------------


def test_an_honest_failure_and_its_remedy_are_exported_in_each_form(pair, tmp_path):
    lab = pair
    [row] = lab.json("distill", "list")["candidates"]
    assert row["status"] == "final"
    assert row["distillation_eligible"] and row["data_trust_score"] >= 0.7 and row["refusals"] == []
    factors = dict(f.split(":", 1) for f in row["contributing_factors"] if not f.startswith(("weak:", "category:")))
    assert (factors["levels"], factors["iterations"], factors["files"]) == ("2", "3", "1")
    job = lab.git("ls-tree", "--name-only", f"{TRACK}:jobs")
    prompt, reply = (
        lab.git("show", f"{TRACK}:jobs/{job}/steps/MT-001_iter-003/{name}") for name in ("prompt.md", "reply.md")
    )
    asked = lab.git("show", f"{TRACK}:jobs/{job}/steps/MT-001_iter-001/prompt.md")
    rows = {}
    for form in ("openai-chat", "sharegpt", "alpaca", "dpo"):
        place = tmp_path / f"{form}.jsonl"
        done = lab.handshake("distill", "export", "--format", form, "-o", str(place))
        assert done.stdout == "" and "exported 1" in done.stderr
        [line] = place.read_text("utf-8").splitlines()
        rows[form] = json.loads(line)
        assert lab.handshake("distill", "export", "--format", form, "--wp", WP).stdout == line + "\n"
    chat = rows["openai-chat"]["messages"]
    assert [message["role"] for message in chat] == ["user", "assistant"]
    assert [message["content"].strip() for message in chat] == [prompt, reply]
    assert [turn["from"] for turn in rows["sharegpt"]["conversations"]] == ["human", "gpt"]
    assert [turn["value"] for turn in rows["sharegpt"]["conversations"]] == [m["content"] for m in chat]
    assert rows["alpaca"] == {"instruction": chat[0]["content"], "input": "", "output": chat[1]["content"]}
    assert rows["dpo"]["prompt"].strip() == asked
    assert (rows["dpo"]["rejected"], rows["dpo"]["chosen"]) == (WRONG, chat[1]["content"])
    shown = lab.handshake("distill", "show", f"{WP}/MT-001").stdout
    assert "VAT_PERCENT = 18" in shown and "VAT_PERCENT = 19" in shown


def test_a_candidate_without_a_teacher_stays_pending_and_is_never_exported(lab):
    lab.served_by("errs")
    lab.handshake("run", WP, code=3)
    [row] = lab.json("distill", "list")["candidates"]
    assert (row["status"], row["distillation_eligible"]) == ("pending", False)
    assert "no higher level succeeded" in refused(lab)
    # a human's hint that brings the same level there is no teacher either
    lab.served_by("solver")
    lab.handshake("decide", WP, "continue", "--note", "it is 19")
    lab.handshake("run", WP)
    [row] = lab.json("distill", "list")["candidates"]
    assert row["status"] == "pending"
    assert lab.on_track("escalations/MT-001.json")["remediation"]["success_level"] == 0


def test_nothing_is_kept_where_it_is_switched_off(lab):
    lab.served_by("errs", "solver", policy={"enable_distillation": False})
    lab.handshake("run", WP)
    assert lab.json("distill", "list")["candidates"] == []
    assert lab.on_track("escalations/MT-001.json")["remediation"]["success_level"] == 1


# -- poisoned attempts -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("student", "weakness"),
    [("fails-on-purpose", "student_off_task"), ("gives-up", "student_did_not_try"), ("lies", "student_did_not_try")],
)
def test_a_failure_on_purpose_teaches_nothing(lab, student, weakness):
    row = taught(lab, student)
    assert weakness in weaknesses(row)
    assert not row["distillation_eligible"] and row["data_trust_score"] < 0.7
    assert weakness in refused(lab)
    refused(lab, "dpo")


def test_a_weak_check_teaches_nothing(lab):
    """A command that passes whatever the files hold tells no good reply from a bad one."""
    lab.drop(
        lambda text: tiny_packet(text).replace(
            "python -m unittest tests.test_pricing", "python -m compileall -q shop"
        )
    )
    row = taught(lab, "lies")
    assert "weak_check" in weaknesses(row) or "syntax_check_only" in weaknesses(row)
    assert not row["distillation_eligible"]
    refused(lab)


def test_a_flaky_pass_teaches_nothing(lab):
    test = lab.root / "tests" / "test_pricing.py"
    text = test.read_text()
    head, sep, tail = text.partition("\n\nif __name__")
    test.write_text(head.rstrip("\n") + "\n" + FLAKY + sep + tail)
    lab.git("commit", "-qam", "a test that is not sure of itself")
    row = taught(lab, "errs")
    assert "flaky_pass" in weaknesses(row)
    assert not row["distillation_eligible"]
    refused(lab)


def test_what_holds_a_secret_is_never_eligible(lab):
    """The key stands in a file that is shown to the models: every prompt of the task holds it."""
    pricing = lab.root / "shop" / "pricing.py"
    pricing.write_text(pricing.read_text() + "\n\nCLOUD = '" + "AK" + "IA" + "Q3EGRFYXZ7HWNMPL'\n")
    lab.git("commit", "-qam", "a key that nobody should have committed")
    row = taught(lab, "errs")
    assert "secret_found" in weaknesses(row)
    assert (row["data_trust_score"], row["distillation_eligible"]) == (0, False)
    assert row["teacher_success"]["prompt_snapshot_ref"]["exportable"] is False
    assert "secret_found" in refused(lab)
    refused(lab, "dpo")


def test_a_text_that_is_not_what_was_recorded_is_not_exported(pair, tmp_path):
    lab, recorded = pair, pair.git("rev-parse", TRACK)
    job = lab.git("ls-tree", "--name-only", f"{TRACK}:jobs")
    place = tmp_path / "elsewhere"
    lab.git("worktree", "add", "-q", "--detach", str(place), TRACK)
    reply = place / "jobs" / job / "steps" / "MT-001_iter-003" / "reply.md"
    reply.write_text(reply.read_text().replace("19", "21"))
    lab.git("-c", "core.hooksPath=/dev/null", "commit", "-qam", "a better answer", at=place)
    tip = lab.git("rev-parse", "HEAD", at=place)
    lab.git("worktree", "remove", "--force", str(place))
    lab.git("-c", "core.hooksPath=/dev/null", "update-ref", f"refs/heads/{TRACK}", tip)
    assert "the teacher's reply is not what was recorded" in refused(lab)
    shown = lab.json("distill", "show", f"{WP}/MT-001")
    assert shown["texts"]["teacher: reply"] is None
    lab.git("-c", "core.hooksPath=/dev/null", "update-ref", f"refs/heads/{TRACK}", recorded)


# -- what is wrong with the call -------------------------------------------------------------------


def test_bad_calls_say_what_to_do(lab):
    assert "one of: openai-chat, sharegpt" in lab.handshake("distill", "export", "--format", "csv", code=2).stderr
    assert "handshake distill list" in lab.handshake("distill", "show", f"{WP}/MT-001", code=2).stderr
    assert "no candidates yet" in lab.handshake("distill", "list").stdout


# -- drop-backs and skills -------------------------------------------------------------------------


def test_a_drop_back_is_on_record_with_what_came_of_it(lab):
    lab.drop(small_packet)
    lab.served_by("errs", "solver", policy={"drop_back_strategy": "always"})
    lab.handshake("run", WP)
    record = lab.on_track("drop_backs/MT-001.json")
    assert (record["from_level"], record["to_level"], record["outcome"]) == (1, 0, "SUCCEEDED")
    assert record["next_mt_id"] == "MT-002"
    found = lab.json("skills", "refresh")["drop_backs"]
    assert [(row["succeeded"], row["escalated_again"], row["success_rate"]) for row in found] == [(1, 0, 1)] * len(
        found
    )
    assert {row["failure_category"] for row in found} == {record["failure_category"]}


def test_a_drop_back_that_did_not_hold(lab):
    lab.drop(small_packet)
    lab.served_by("errs-again", "solver", policy={"drop_back_strategy": "always"})
    lab.handshake("run", WP)
    record = lab.on_track("drop_backs/MT-001.json")
    assert (record["next_mt_id"], record["outcome"]) == ("MT-002", "ESCALATED_AGAIN")
    said = lab.handshake("skills", "refresh").stdout
    assert f"drop-back after {record['failure_category']} at {record['task_tags'][0]}: 0 of 1 held (0%)" in said


def test_what_earlier_packets_taught_moves_smart_where_that_is_wanted(lab):
    """Another packet's log says that drop-backs after such failures held, six times."""
    repo = find_repository(lab.root)
    outcome = {
        "mt_id": "MT-001",
        "wp_id": "WP-9-Other-v1",
        "created_at": "2026-01-22T09:00:00Z",
        "failure_category": "logic_error_regression",
        "task_tags": ["python"],
        "from_level": 1,
        "to_level": 0,
        "reason": "always",
        "outcome": "SUCCEEDED",
    }
    rows = {f"jobs/one/drop_backs/MT-00{n}.json": json.dumps(outcome).encode() for n in range(1, 7)}
    branch = TrackingBranch(repo, "WP-9-Other-v1")
    branch.publish(rows, message="another packet", when=datetime(2026, 1, 22, tzinfo=UTC), expected=None)
    lab.served_by("errs", "solver", policy={"drop_back_strategy": "smart"})
    place = lab.root / ".handshake" / "config.yaml"
    place.write_text(place.read_text() + "drop_back: {learned: true}\n")
    lab.handshake("run", WP)
    decision = lab.on_track("escalations/MT-001.json")["remediation"]["drop_back_decision"]
    assert "learned: 6 of 6" in decision["reason"]  # the table would stay: logic errors tend to come again
    assert decision["action"] == "DROP_BACK"


def test_candidates_of_other_clones_are_taken_only_when_asked_for(pair, tmp_path, make_shop):
    other = make_shop(tmp_path / "other" / "shop")
    other.git("remote", "add", "origin", str(pair.root))
    other.git("fetch", "-q", "origin")
    assert other.json("distill", "list")["candidates"] == []
    [row] = other.json("distill", "list", "--fetched")["candidates"]
    assert row["distillation_eligible"] and row["refusals"] == []
    assert other.handshake("distill", "export", "--format", "alpaca", "--fetched").stdout.count("\n") == 1
    assert "VAT_PERCENT = 19" in other.handshake("distill", "show", f"{WP}/MT-001", "--fetched").stdout


def test_skills_are_proposed_in_a_file_and_written_only_when_accepted(lab):
    lab.served_by("errs", "solver")
    place = lab.root / ".handshake" / "config.yaml"
    config = place.read_text() + (
        "loras:  # what the server offers\n"
        "  - id: shop-prices  # young\n"
        "    base_model: m0\n"
        "    served_as: errs\n"
        "    trained_on_task_types: [python]\n"
    )
    place.write_text(config)
    lab.handshake("run", WP)
    said = lab.handshake("skills", "refresh").stdout
    assert "shop-prices on m0: 1 tasks, 0% succeeded" in said
    assert place.read_text() == config
    proposal = lab.root / ".handshake" / "skills-proposal.yaml"
    read = yaml.safe_load(proposal.read_text())
    skill = next(row for row in read["skills"] if row["lora_id"] == "shop-prices")
    assert skill["candidates"] == 1 and not skill["distillation_due"]
    assert any(row["failure_category"] and row["lora_id"] == "shop-prices" for row in read["rows"])
    assert "nothing to change" in lab.handshake("skills", "refresh", "--accept").stdout
    # one failure is not enough to call an adapter weak; the user may say so in the file
    skill.update(weak_on_task_types=["python"], training_priority="high")
    proposal.write_text(yaml.safe_dump(read))
    lab.handshake("skills", "refresh", "--accept")
    assert place.read_text() == config + '    weak_on_task_types: ["python"]\n    training_priority: "high"\n'
    assert shlex.split(lab.handshake("config", "show").stdout)


def test_accepting_without_a_proposal_or_with_a_broken_one_changes_nothing(lab):
    lab.served_by("errs")
    before = (lab.root / ".handshake" / "config.yaml").read_text()
    assert "handshake skills refresh" in lab.handshake("skills", "refresh", "--accept", code=2).stderr
    (lab.root / ".handshake" / "skills-proposal.yaml").write_text("skills: maybe\n")
    assert "skills-proposal.yaml" in lab.handshake("skills", "refresh", "--accept", code=2).stderr
    assert (lab.root / ".handshake" / "config.yaml").read_text() == before
