"""Records of jobs as the tracking branches hold them, each job once. Paths: `state.md`, The tracking branch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from handshake.domain.errors import StateCorruption
from handshake.domain.record import Record
from handshake.recorder.sources import tracking_refs
from handshake.repo.git import Repository
from handshake.repo.tree import TreeView

_NAMED = re.compile(r"MT-[0-9]{3}\.json")

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class JobRecords:
    """One job at the tip of its branch. `ref` names the branch, `view` its files."""

    job_id: str
    wp_id: str
    ref: str
    view: TreeView

    def micro_task_files(self, folder: str) -> Iterator[str]:
        """The paths of a folder's files that are named by a micro-task, e.g. `distillation`, sorted."""
        root = f"jobs/{self.job_id}/{folder}"
        return (f"{root}/{name}" for name in sorted(self.view.children(root)) if _NAMED.fullmatch(name))

    def read(self, path: str, kind: type[R]) -> R:
        """A record of the branch.

        Raises:
            StateCorruption: it is not there, or is none.
        """
        try:
            return kind.model_validate_json(self.view.read(path) or b"")
        except ValidationError as error:
            first = error.errors()[0]
            raise StateCorruption(
                f"{path} on {self.ref} is no {kind.__name__}: {'.'.join(map(str, first['loc']))}: {first['msg']}",
                next_step=f"git log -p {self.ref} -- {path}",
            ) from None


def recorded_jobs(
    repo: Repository, namespace: str, *, wp_id: str | None = None, fetched: bool = False
) -> Iterator[JobRecords]:
    """Every job, by packet and age.

    Args:
        wp_id: only this packet's.
        fetched: those of fetched branches too: what others' clones wrote is taken on their word.
    """
    seen: set[str] = set()
    for ref in tracking_refs(repo, namespace):
        if (wp_id is not None and ref.wp_id != wp_id) or (ref.remote is not None and not fetched):
            continue
        view = repo.tree(ref.tip)
        for job_id in sorted(view.children("jobs")):
            if job_id not in seen:
                seen.add(job_id)
                yield JobRecords(job_id, ref.wp_id, ref.ref, view)
