"""What finished jobs say about the adapters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import yaml

from handshake.config.yaml_text import read_yaml
from handshake.domain.progress import IterationOutcome
from handshake.domain.settings import LoraConfig
from handshake.learning.skills import SkillsProposal, proposal_text, propose

NOW = datetime(2026, 1, 22, tzinfo=UTC)
LORA = LoraConfig(id="py", base_model="small", served_as="small-py")


def job(*tries, number=0):
    """A finished job: each try is (adapter, tags, succeeded, category)."""
    entries, tags_of = [], {}
    for index, (lora, tags, succeeded, category) in enumerate(tries):
        mt_id = f"MT-{index + 1:03d}"
        tags_of[mt_id] = tags
        outcome = IterationOutcome.SUCCESS if succeeded else IterationOutcome.ESCALATE
        row = SimpleNamespace(lora_id=lora, model_id="small", outcome=outcome, failure_category=category)
        entries.append(SimpleNamespace(mt_id=mt_id, iterations=(row,)))
    return SimpleNamespace(
        job=SimpleNamespace(job_id=f"job-{number}", completed_at=NOW - timedelta(days=number)),
        plan=SimpleNamespace(definition=lambda mt_id: SimpleNamespace(task_tags=tags_of[mt_id])),
        progress=SimpleNamespace(micro_tasks=entries),
    )


def candidates(count, *, job_number=0, lora="py", refusals=()):
    side = SimpleNamespace(lora_id=lora, model_id="small")
    one = SimpleNamespace(
        job_id=f"job-{job_number}", refusals=refusals, candidate=SimpleNamespace(student_attempt=side)
    )
    return [one] * count


def skill(jobs, found=(), lora=LORA):
    return next(row for row in propose(jobs, found, [lora], NOW).skills if row.lora_id == "py")


def test_a_tag_at_which_most_tasks_failed_is_weak_and_the_adapter_wants_training():
    failed = ("py", ("api", "python"), False, "unknown")
    held = ("py", ("python",), True, None)
    row = skill([job(failed, failed, failed, held, held, held, held)])
    assert row.weak_on_task_types == ("api",)
    assert (row.training_priority, row.success_rate) == ("normal", pytest.approx(0.571429))
    assert row.why == ("api: 0 of 3 tasks succeeded",)
    assert skill([job(failed, failed, failed)]).training_priority == "high"
    assert skill([job(held, held, held)]).training_priority == "low"


def test_two_failures_are_not_enough_and_what_the_user_said_stays():
    weak = LORA.model_copy(update={"weak_on_task_types": ("rust",), "training_priority": "high"})
    row = skill([job(*[("py", ("api",), False, "unknown")] * 2)], lora=weak)
    assert (row.weak_on_task_types, row.training_priority) == (("rust",), "high")


def test_a_tag_that_does_well_is_weak_no_more():
    weak = LORA.model_copy(update={"weak_on_task_types": ("rust", "python")})
    row = skill([job(*[("py", ("python",), True, None)] * 3)], lora=weak)
    assert row.weak_on_task_types == ("rust",)
    assert "weak no more" in row.why[0]


@pytest.mark.parametrize(
    ("count", "failing", "due"), [(19, False, False), (20, False, True), (4, True, False), (5, True, True)]
)
def test_a_distillation_job_is_due_from_twenty_or_from_five_where_the_priority_is_high(count, failing, due):
    tries = [("py", ("python",), not failing, "unknown" if failing else None)] * 3
    row = skill([job(*tries)], candidates(count))
    assert (row.candidates, row.distillation_due) == (count, due)
    assert any("due" in why for why in row.why) is due


def test_candidates_from_before_the_last_training_are_not_new():
    trained = LORA.model_copy(update={"last_trained_at": "2026-01-20"})
    tried = [("py", ("python",), True, None)] * 3
    found = [*candidates(19, job_number=1), *candidates(9, job_number=5)]
    row = skill([job(*tried, number=1), job(*tried, number=5)], found, trained)
    assert (row.candidates, row.candidates_since_training, row.distillation_due) == (28, 19, False)


def test_what_may_not_be_exported_and_other_adapters_do_not_count():
    tried = job(("py", ("python",), True, None), (None, ("python",), False, "unknown"))
    found = [*candidates(30, refusals=("pending",)), *candidates(2, lora=None), *candidates(1, job_number=7)]
    assert skill([tried], found).candidates == 0
    rows = propose([tried], found, [LORA], NOW)
    assert next(row for row in rows.skills if row.lora_id is None).candidates == 2
    assert [(row.lora_id, row.failure_category, row.task_tags) for row in rows.rows] == [
        (None, "unknown", ("python",)),
        ("py", None, ("python",)),
    ]


def test_the_proposal_is_yaml_that_reads_back():
    proposal = propose([job(("py", ("python",), False, "unknown"))], (), [LORA], NOW)
    text = proposal_text(proposal)
    assert text.startswith("# ")
    assert yaml.safe_load(text)["jobs"] == 1
    assert SkillsProposal.model_validate(read_yaml(text, "p").value) == proposal
