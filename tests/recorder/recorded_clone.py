"""A repository with journals in it: local ones, on tracking branches, fetched."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from handshake.domain.clock import SteppingClock
from handshake.recorder.journal import Journal
from handshake.recorder.store import EventStore
from handshake.repo.git import Repository, find_repository
from handshake.repo.store import TrackingBranch

START = datetime(2026, 1, 1, tzinfo=UTC)


def git(root: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, check=True, text=True)
    return done.stdout.strip()


def made_repository(root: Path) -> Repository:
    root.mkdir(parents=True)
    git(root, "init", "-q", "-b", "main")
    git(root, "-c", "user.name=U", "-c", "user.email=u@x", "commit", "-q", "--allow-empty", "-m", "one")
    return find_repository(root)


class Clone:
    """A repository and the journals that runs would have left in it."""

    def __init__(self, root: Path) -> None:
        self.repo = made_repository(root)

    def store(self, *, days: int = 30, now: datetime = START + timedelta(days=2)) -> EventStore:
        return EventStore(self.repo, "handshake/track", days, SteppingClock(now))

    def journal(self, wp: str = "WP-1", job: str | None = None, *, run: str = "run-1", hours: float = 0) -> Journal:
        job = job or f"job-{wp}"
        return Journal.open(
            self.repo.state_dir / "journal" / job,
            trace_id="t",
            job_id=job,
            workflow_run_id=run,
            wp_id=wp,
            clock=SteppingClock(START + timedelta(hours=hours)),
        )

    def publish(self, journal: Journal) -> None:
        """The journal as the tracking branch would hold it now."""
        base = journal._base
        branch = TrackingBranch(self.repo, base["wp_id"])
        files = {**journal.chunks(f"jobs/{base['job_id']}"), f"jobs/{base['job_id']}/job.json": b"{}\n"}
        branch.publish(files, message="state\n", when=START, expected=branch.tip())


def started(
    journal: Journal, mts: tuple[str, ...] = ("MT-001", "MT-002"), tags: tuple[str, ...] = ("python",)
) -> None:
    journal.emit(
        "FR-EVT-MT-001",
        {
            "total_mts": len(mts),
            "execution_policy": {},
            "mt_ids": list(mts),
            "execution_waves": [list(mts)],
            "micro_tasks": [
                {"mt_id": mt, "task_tags": list(tags), "token_budget": 1000 * n, "files": n}
                for n, mt in enumerate(mts, 1)
            ],
        },
        key="001",
    )


def iteration(journal: Journal, mt: str, number: int, status: str = "RETRY", **more: Any) -> None:
    claimed = more.get("claimed", status == "SUCCESS")
    journal.emit(
        "FR-EVT-MT-003",
        {
            "model": {"base": more.get("model", "small"), "lora": more.get("lora"), "context_window": 8192},
            "execution": {
                "tokens_prompt": 100 * number,
                "tokens_completion": 7,
                "duration_ms": 10 * number,
                "escalation_level": more.get("level", 0),
            },
            "outcome": {
                "claimed_complete": claimed,
                "validation_passed": status == "SUCCESS" if claimed else None,
                "status": status,
                "failure_category": None if status == "SUCCESS" else "unknown",
            },
            "decision": {"action": {"SUCCESS": "complete", "ESCALATE": "escalate"}.get(status, "retry")},
            "context_snapshot_id": "c",
        },
        key=f"{mt}/{number}",
        mt_id=mt,
        iteration=number,
    )


def skipped(journal: Journal, mt: str = "MT-003", reason: str = "r") -> None:
    journal.emit("FR-EVT-MT-016", {"reason": reason, "decided_by": "e"}, key=f"{mt}/s", actor="human", mt_id=mt)


def completed(journal: Journal, mt: str) -> None:
    payload = {"final_iteration": 1, "final_model_level": 0, "commit": "c", "summary_ref": "s"}
    journal.emit("FR-EVT-MT-004", payload, key=f"{mt}/004", mt_id=mt)


def ended(journal: Journal, outcome: str = "completed") -> None:
    journal.emit("FR-EVT-MT-009", {"outcome": outcome, "statistics": {}}, key="end")
    journal.close()
