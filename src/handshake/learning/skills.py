"""What finished jobs say about the adapters, as a proposal. Contract: `learning.md`, LoRA feedback.

Nothing here changes the registry (`loras:` of the configuration): a proposal is a file that a person reads,
may edit, and accepts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from handshake.domain.job import Job
from handshake.domain.microtask import Plan
from handshake.domain.progress import IterationOutcome, ProgressArtifact
from handshake.domain.record import Record
from handshake.domain.settings import LoraConfig
from handshake.domain.states import JobStatus
from handshake.learning.candidates import StoredCandidate
from handshake.learning.records import recorded_jobs
from handshake.repo.git import Repository

ENOUGH_TASKS = 3
WEAK_BELOW = 0.5
STRONG_FROM = 0.8
DUE_FROM = 20
DUE_FROM_IF_HIGH = 5

_FINISHED = {JobStatus.COMPLETED, JobStatus.COMPLETED_WITH_ISSUES, JobStatus.FAILED}

Priority = Literal["low", "normal", "high"]


class SkillRow(Record):
    """How one adapter did at one kind of task: `failure_category` is None for the attempts that succeeded."""

    lora_id: str | None
    model_id: str
    failure_category: str | None
    task_tags: tuple[str, ...]
    micro_tasks: int
    iterations: int


class SkillProposal(Record):
    """What is proposed for one adapter, and why. `lora_id` None is the bare model."""

    lora_id: str | None
    base_model: str
    micro_tasks: int
    success_rate: float
    weak_on_task_types: tuple[str, ...] = ()
    training_priority: Priority = "normal"
    candidates: int = 0
    candidates_since_training: int = 0
    distillation_due: bool = False
    why: tuple[str, ...] = ()


class SkillsProposal(Record):
    """The proposal file."""

    schema_version: Literal["1.0"] = "1.0"
    created_at: datetime
    jobs: int
    skills: tuple[SkillProposal, ...]
    rows: tuple[SkillRow, ...] = Field(default=())


@dataclass(frozen=True)
class FinishedJob:
    """One job's records."""

    job: Job
    plan: Plan
    progress: ProgressArtifact


@dataclass(frozen=True)
class _Try:
    """What one adapter did for one micro-task."""

    lora_id: str | None
    model_id: str
    tags: tuple[str, ...]
    succeeded: bool
    categories: tuple[str, ...]
    iterations: int


def finished_jobs(repo: Repository, namespace: str = "handshake/track") -> Iterator[FinishedJob]:
    """Every job that ended by itself, by packet and age; cancelled and poisoned ones say nothing of a skill.

    Raises:
        StateCorruption: a record on a branch cannot be read.
    """
    for records in recorded_jobs(repo, namespace):
        root = f"jobs/{records.job_id}"
        job = records.read(f"{root}/job.json", Job)
        if job.status in _FINISHED:
            plan = records.read(f"{root}/mt_definitions.json", Plan)
            yield FinishedJob(job, plan, records.read(f"{root}/progress_artifact.json", ProgressArtifact))


def propose(
    jobs: Sequence[FinishedJob], candidates: Iterable[StoredCandidate], loras: Sequence[LoraConfig], now: datetime
) -> SkillsProposal:
    """What the jobs say about each adapter that was used or is configured, and about the bare models."""
    tries = [attempt for job in jobs for attempt in _tries(job)]
    ended = {job.job.job_id: job.job.completed_at for job in jobs}
    known = {lora.id: lora for lora in loras}
    names = {(attempt.lora_id, attempt.model_id) for attempt in tries}
    names |= {(lora.id, lora.base_model) for lora in loras}
    usable = [c for c in candidates if not c.refusals and c.job_id in ended]
    skills = [
        _skill(
            known.get(lora_id or ""),
            lora_id,
            model_id,
            [attempt for attempt in tries if (attempt.lora_id, attempt.model_id) == (lora_id, model_id)],
            [
                ended[c.job_id]
                for c in usable
                if (c.candidate.student_attempt.lora_id, c.candidate.student_attempt.model_id) == (lora_id, model_id)
            ],
        )
        for lora_id, model_id in sorted(names, key=lambda name: (name[1], name[0] or ""))
    ]
    return SkillsProposal(created_at=now, jobs=len(jobs), skills=tuple(skills), rows=tuple(_rows(tries)))


def _tries(job: FinishedJob) -> Iterator[_Try]:
    for entry in job.progress.micro_tasks:
        tags = tuple(sorted(job.plan.definition(entry.mt_id).task_tags))
        for lora_id, model_id in dict.fromkeys((row.lora_id, row.model_id) for row in entry.iterations):
            rows = [row for row in entry.iterations if (row.lora_id, row.model_id) == (lora_id, model_id)]
            yield _Try(
                lora_id,
                model_id,
                tags,
                any(row.outcome is IterationOutcome.SUCCESS for row in rows),
                tuple(dict.fromkeys(row.failure_category for row in rows if row.failure_category)),
                len(rows),
            )


def _rows(tries: Sequence[_Try]) -> Iterator[SkillRow]:
    counts: Counter[tuple[str, str, str, tuple[str, ...]]] = Counter()
    iterations: Counter[tuple[str, str, str, tuple[str, ...]]] = Counter()
    for attempt in tries:
        for category in attempt.categories or ("",):
            key = (attempt.model_id, attempt.lora_id or "", category, attempt.tags)
            counts[key] += 1
            iterations[key] += attempt.iterations
    for key in sorted(counts):
        model_id, lora_id, category, tags = key
        yield SkillRow(
            lora_id=lora_id or None,
            model_id=model_id,
            failure_category=category or None,
            task_tags=tags,
            micro_tasks=counts[key],
            iterations=iterations[key],
        )


def _skill(
    lora: LoraConfig | None,
    lora_id: str | None,
    model_id: str,
    tries: Sequence[_Try],
    candidates: Sequence[datetime | None],
) -> SkillProposal:
    by_tag = {
        tag: [attempt.succeeded for attempt in tries if tag in attempt.tags]
        for tag in sorted({tag for attempt in tries for tag in attempt.tags})
    }
    why = []
    weak = set(lora.weak_on_task_types if lora else ())
    for tag, results in by_tag.items():
        rate = sum(results) / len(results)
        if len(results) >= ENOUGH_TASKS and rate < WEAK_BELOW:
            weak.add(tag)
            why.append(f"{tag}: {sum(results)} of {len(results)} tasks succeeded")
        elif len(results) >= ENOUGH_TASKS and rate >= STRONG_FROM and tag in weak:
            weak.discard(tag)
            why.append(f"{tag}: weak no more, {sum(results)} of {len(results)} tasks succeeded")
    rate = sum(attempt.succeeded for attempt in tries) / len(tries) if tries else 0.0
    priority = _priority(len(tries), rate, lora)
    trained_at = _moment(lora.last_trained_at) if lora and lora.last_trained_at else None
    new = sum(trained_at is None or (moment is not None and moment > trained_at) for moment in candidates)
    due = new >= DUE_FROM or (priority == "high" and new >= DUE_FROM_IF_HIGH)
    if due:
        why.append(f"a distillation job is due: {new} candidates since the last training")
    return SkillProposal(
        lora_id=lora_id,
        base_model=model_id,
        micro_tasks=len(tries),
        success_rate=round(rate, 6),
        weak_on_task_types=tuple(sorted(weak)),
        training_priority=priority,
        candidates=len(candidates),
        candidates_since_training=new,
        distillation_due=due,
        why=tuple(why),
    )


def _priority(count: int, rate: float, lora: LoraConfig | None) -> Priority:
    if count < ENOUGH_TASKS:
        return lora.training_priority if lora else "normal"
    if rate < WEAK_BELOW:
        return "high"
    return "low" if rate >= STRONG_FROM else "normal"


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def proposal_text(proposal: SkillsProposal) -> str:
    """The proposal as YAML for a person: what it is, then the records."""
    import yaml

    body = json.loads(proposal.model_dump_json())
    head = (
        "# What finished jobs say about the adapters. Nothing has changed yet: read it, edit it, then\n"
        "#   handshake skills refresh --accept\n"
        "# writes weak_on_task_types and training_priority into `loras:` of the configuration.\n"
    )
    return head + str(yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=110))
