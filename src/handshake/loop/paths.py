"""Where things stand on the tracking branch. Contract: `state.md`, The tracking branch."""

from __future__ import annotations


class JobPaths:
    """Paths of one job's files on the tracking branch."""

    def __init__(self, job_id: str) -> None:
        self.root = f"jobs/{job_id}"
        self.job = f"{self.root}/job.json"
        self.progress = f"{self.root}/progress_artifact.json"
        self.ledger = f"{self.root}/run_ledger.json"
        self.definitions = f"{self.root}/mt_definitions.json"
        self.worktree = f"{self.root}/worktree"

    def step(self, step_id: str, name: str) -> str:
        """A file of a step, e.g. `prompt.md`."""
        return f"{self.root}/steps/{step_id}/{name}"

    def decision(self, number: int) -> str:
        """The answer to the gate of that number."""
        return f"{self.root}/decisions/{number:03d}.yaml"

    def escalation(self, mt_id: str) -> str:
        """The MT's escalation record."""
        return f"{self.root}/escalations/{mt_id}.json"

    def distillation(self, mt_id: str) -> str:
        """The MT's distillation candidate."""
        return f"{self.root}/distillation/{mt_id}.json"

    def drop_back(self, mt_id: str) -> str:
        """What came of the drop-back after that MT."""
        return f"{self.root}/drop_backs/{mt_id}.json"

    def summary(self, mt_id: str) -> str:
        """The MT's summary for people."""
        return f"{self.root}/summaries/{mt_id}.md"

    def snapshot(self, path: str) -> str:
        """The MT's file as the last step left it."""
        return f"{self.worktree}/{path}"
