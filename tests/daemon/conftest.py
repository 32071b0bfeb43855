"""A repository, a daemon over it in this process, and runs that end at once: real processes that move a real ref."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from handshake.daemon.children import Children
from handshake.daemon.watch import Daemon, Means
from handshake.domain.artifact import handle_for
from handshake.domain.canonical import committed_json
from handshake.domain.clock import SystemClock, SystemIds
from handshake.domain.job import ExecutionState, Job, Workspace
from handshake.domain.policy import ExecutionPolicy
from handshake.domain.settings import Settings
from handshake.domain.states import JobStatus
from handshake.loop.surroundings import NobodyWatches, Surroundings
from handshake.repo.git import find_repository
from handshake.repo.store import ObjectStore

NOW = datetime(2026, 1, 22, tzinfo=UTC)
JOB_ID = "01900000-0000-7000-8000-000000000001"

PACKET = """# Task Packet: {wp}

## METADATA
- WP_ID: {wp}
- **Status:** Ready for Dev
- USER_SIGNATURE: {signature}

## SCOPE
- What: Make it so.
- IN_SCOPE_PATHS:
  - {path}

## QUALITY_GATE
### TEST_PLAN
```bash
pytest -q
```

### DONE_MEANS
- It is so.
"""


class QuickRuns(Children):
    """Each run is a process that moves the tracking branch to a finished job, or what `outcome` says."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.begun: list[str] = []
        self.recoveries = 0
        self.commands: dict[str, list[str]] = {}
        self.usual = ["true"]

    def _begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        if "recover" in arguments:
            self.recoveries += 1
            return subprocess.Popen(["true"])
        wp_id = arguments[-1]
        self.begun.append(wp_id)
        command = self.commands.get(wp_id, self.usual)
        return subprocess.Popen([part.replace("{wp}", wp_id) for part in command])


class Place:
    """The repository and what is done in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.git("init", "-q", "-b", "main")
        self.git("-c", "user.name=U", "-c", "user.email=u@example.org", "commit", "-q", "--allow-empty", "-m", "one")
        self.folder = root / "docs" / "task_packets"
        self.folder.mkdir(parents=True)
        self.repo = find_repository(root)
        self.runs = QuickRuns(root)
        self.said: list[str] = []
        self.settings = Settings()
        self.read_settings = lambda: self.settings
        self.config_files: tuple[Path, ...] = ()
        self.job_id = JOB_ID
        self.done = self.commit_of(JobStatus.COMPLETED)
        self.runs.usual = self.moving_to(self.done)

    def git(self, *args: str) -> str:
        done = subprocess.run(["git", "-C", str(self.root), *args], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def moving_to(self, commit: str) -> list[str]:
        return ["git", "-C", str(self.root), "update-ref", "refs/heads/handshake/track/{wp}", commit]

    def drop(self, wp_id: str, path: str | None = None, *, signature: str = "user-signed-this") -> Path:
        place = self.folder / f"{wp_id}.md"
        place.write_text(PACKET.format(wp=wp_id, path=path or f"src/{wp_id}.py", signature=signature))
        return place

    def commit_of(self, status: JobStatus, **fields: object) -> str:
        """A commit of a tracking branch whose job stands there."""
        space = Workspace(
            base_branch="main",
            base_commit="b",
            wp_branch="f",
            checkpoint_commit="c",
            head_commit="c",
            packet_path="p",
        )
        job = Job(
            job_id=JOB_ID,
            workflow_run_id="r",
            trace_id="t",
            wp_id="WP-1",
            mt_definitions_ref=handle_for("file", "d", b""),
            progress_artifact_ref="p",
            run_ledger_ref="l",
            execution_policy=ExecutionPolicy(),
            execution_state=ExecutionState(started_at=NOW, last_activity_at=NOW),
            workspace=space,
            status=status,
            created_at=NOW,
            **fields,
        )
        files = {f"jobs/{JOB_ID}/job.json": committed_json(job), "packet.md": b""}
        (self.repo.state_dir / "journal" / JOB_ID).mkdir(parents=True, exist_ok=True)
        commit = ObjectStore(self.repo).write_commit(
            parent=None, base_tree=None, changes=files, message="m", when=NOW
        )
        self.git("update-ref", f"refs/keep/{commit}", commit)
        return commit

    def track(self, wp_id: str, commit: str) -> None:
        self.git("update-ref", f"refs/heads/handshake/track/{wp_id}", commit)

    def around(self) -> Surroundings:
        return Surroundings(self.repo, self.settings, SystemClock(), SystemIds(), NobodyWatches())

    def means(self) -> Means:
        return Means(self.said.append, self.read_settings, config_files=self.config_files)

    def daemon(self) -> Daemon:
        return Daemon(self.around(), self.means(), self.runs)

    def watch_until(self, condition, timeout: float = 60) -> None:
        """Watch in this thread until the condition holds; another thread asks for it."""
        daemon = self.daemon()
        met = threading.Event()

        def ask() -> None:
            pause, waited = threading.Event(), 0.0
            while waited < timeout:
                if condition():
                    met.set()
                    break
                pause.wait(0.02)
                waited += 0.02
            daemon.stop()

        helper = threading.Thread(target=ask)
        helper.start()
        try:
            daemon.run_forever()
        finally:
            helper.join()
        assert met.is_set(), f"it did not come true in time: {self.said[-20:]}"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An empty packet folder."""
    yield Place(tmp_path / "repo")
