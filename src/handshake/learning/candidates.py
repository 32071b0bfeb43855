"""Candidates as the tracking branches hold them, each with its texts and whether those are still what was recorded.

Contract: `learning.md`, DistillationCandidate and what is exported; paths as in `state.md`, The tracking branch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from handshake.domain.artifact import ArtifactHandle
from handshake.domain.canonical import sha256_hex
from handshake.domain.learning import DistillationCandidate, StudentAttempt, TeacherSuccess
from handshake.learning.records import JobRecords, recorded_jobs
from handshake.learning.trust import STUDENT_NOT_REFUTED
from handshake.repo.git import Repository
from handshake.repo.tree import TreeView

_FILE = re.compile(r"^diff --git (.*)$", re.MULTILINE)
_BEFORE = re.compile(r"^index ([0-9a-f]+)\.\.[0-9a-f]+", re.MULTILINE)


@dataclass(frozen=True)
class SideTexts:
    """What one side was sent and what it said; None where the text is not what was recorded.

    `profile` is the form in which it was asked; `started_from` are the files of its diff as they were before it.
    """

    prompt: str | None
    output: str | None
    profile: str | None = None
    started_from: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class StoredCandidate:
    """A candidate at the tip of its tracking branch. `refusals` say why it is not exported; empty if it may be."""

    job_id: str
    candidate: DistillationCandidate
    student: SideTexts
    teacher: SideTexts | None
    refusals: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the command line calls it, e.g. `WP-1-Demo-v1/MT-001`."""
        return f"{self.candidate.wp_id}/{self.candidate.mt_id}"

    @property
    def refusals_as_pair(self) -> tuple[str, ...]:
        """Why its two replies are no answers to one question, of which one is better: for preference training."""
        found = list(self.refusals)
        if f"weak:{STUDENT_NOT_REFUTED}" in self.candidate.contributing_factors:
            found.append("no command failed on the student's files")
        if holds_secret(self.student):
            found.append("the student's prompt or reply holds a secret")
        if self.student.prompt is None or self.student.output is None:
            found.append("the student's prompt or reply is not what was recorded")
        if self.teacher is not None and not _answer_one_question(self.student, self.teacher):
            found.append("the two were asked in different forms, or began from different files")
        return tuple(found)


def stored_candidates(
    repo: Repository, namespace: str = "handshake/track", wp_id: str | None = None, *, fetched: bool = False
) -> Iterator[StoredCandidate]:
    """Every candidate of every job, by packet, job and micro-task; with `fetched` those of fetched branches too.

    Raises:
        StateCorruption: a record on a branch cannot be read.
    """
    for job in recorded_jobs(repo, namespace, wp_id=wp_id, fetched=fetched):
        for path in job.micro_task_files("distillation"):
            yield _stored(job, path)


def _stored(job: JobRecords, path: str) -> StoredCandidate:
    candidate = job.read(path, DistillationCandidate)
    ledger = json.loads(job.view.read(f"jobs/{job.job_id}/run_ledger.json") or b"{}")
    replies = {
        step["output_artifact_ref"]["path"]: step["output_artifact_ref"]["content_hash"]
        for step in ledger.get("steps", ())
        if step.get("output_artifact_ref")
    }
    student = _texts(job.view, candidate.student_attempt, replies)
    teacher = _texts(job.view, candidate.teacher_success, replies) if candidate.teacher_success else None
    return StoredCandidate(job.job_id, candidate, student, teacher, tuple(_refusals(candidate, teacher)))


def _refusals(candidate: DistillationCandidate, teacher: SideTexts | None) -> Iterator[str]:
    if candidate.status != "final" or teacher is None:
        yield "pending: no higher level succeeded"
        return
    if not candidate.distillation_eligible:
        weak = [factor.removeprefix("weak:") for factor in candidate.contributing_factors if factor[:5] == "weak:"]
        yield f"not eligible: score {candidate.data_trust_score:g}" + (f" ({', '.join(weak)})" if weak else "")
    if holds_secret(teacher):
        yield "the teacher's prompt or reply holds a secret"
    if teacher.prompt is None:
        yield "the teacher's prompt is not what was recorded"
    if teacher.output is None:
        yield "the teacher's reply is not what was recorded"


def holds_secret(side: SideTexts) -> bool:
    """Whether a detector finds a secret in what would be exported: those of today, not those of the run."""
    from handshake.recorder.secrets import found_secrets

    return any(True for text in (side.prompt, side.output) if text for _ in found_secrets(text))


def _texts(view: TreeView, side: StudentAttempt | TeacherSuccess, replies: dict[str, str]) -> SideTexts:
    """Each text must fit the candidate's own hash and the one that the run wrote down when it was used."""
    prompt, output = side.prompt_snapshot_ref, side.output_snapshot_ref
    folder = prompt.path.rpartition("/")[0]
    request: dict[str, Any] = json.loads(view.read(f"{folder}/request.json") or b"{}")
    patch = (view.read(f"{folder}/changes.patch") or b"").decode("utf-8", errors="replace")
    return SideTexts(
        _text(view, prompt, request.get("prompt_hash")),
        _text(view, output, replies.get(output.path)),
        request.get("profile"),
        tuple(zip(_FILE.findall(patch), _BEFORE.findall(patch), strict=False)),
    )


def _answer_one_question(student: SideTexts, teacher: SideTexts) -> bool:
    mine, theirs = dict(student.started_from), dict(teacher.started_from)
    shared = mine.keys() & theirs.keys()
    return student.profile == teacher.profile and bool(shared) and all(mine[f] == theirs[f] for f in shared)


def _text(view: TreeView, handle: ArtifactHandle, recorded: str | None) -> str | None:
    data = view.read(handle.path)
    if data is None or not data.strip() or not handle.exportable:
        return None
    if not sha256_hex(data) == handle.content_hash == recorded:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None
