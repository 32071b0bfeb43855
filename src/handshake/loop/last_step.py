"""Whether an ended job still owes its WP branch a commit; light, so that the daemon can ask it of every packet."""

from __future__ import annotations

from handshake.domain.job import Job
from handshake.domain.states import is_terminal
from handshake.repo.git import Repository


def last_step_is_open(repo: Repository, job: Job) -> bool:
    """Whether the job ended, and its process before the WP branch got the last commit.

    A branch that stands anywhere else, or is gone, was moved by a person and is left alone.
    """
    head = job.workspace.head_commit
    tip = repo.branch_tip(job.workspace.wp_branch)
    return is_terminal(job.status) and tip is not None and tip != head and tip == repo.resolve(f"{head}^")
