"""Every job of every tracking branch, here or fetched, as last heard of. Contract: `interface.md`, `jobs`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from handshake.domain.job import Job
from handshake.recorder.sources import tracking_refs
from handshake.repo.git import Repository


@dataclass(frozen=True)
class JobRow:
    """One job as it was last heard of; `remote` names from where, None is this clone."""

    job: Job
    remote: str | None

    @property
    def began(self) -> datetime:
        """When it was created."""
        return self.job.created_at


@dataclass(frozen=True)
class Unreadable:
    """A job record that is none, or one of a version that is not known."""

    where: str
    why: str


def job_history(repo: Repository, namespace: str) -> tuple[list[JobRow], list[Unreadable]]:
    """All jobs, oldest first, and the records that cannot be read."""
    newest: dict[str, JobRow] = {}
    unreadable: list[Unreadable] = []
    for ref in tracking_refs(repo, namespace):
        view = repo.tree(ref.tip)
        for job_id in view.names_in("jobs"):
            path = f"jobs/{job_id}/job.json"
            data = view.read(path)
            if data is None:
                continue
            try:
                job = Job.model_validate_json(data)
            except ValidationError as error:
                first = error.errors()[0]
                why = f"{'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}"
                unreadable.append(Unreadable(f"{ref.ref}:{path}", why))
                continue
            known = newest.get(job_id)
            if known is None or known.job.execution_state.last_activity_at < job.execution_state.last_activity_at:
                newest[job_id] = JobRow(job, ref.remote)
    return sorted(newest.values(), key=lambda row: (row.began, row.job.job_id)), unreadable
