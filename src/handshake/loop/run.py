"""One run in the hand: the records as the tracking branch has them, and the one way to move them on.

A `Run` holds nothing that the branch does not: it is loaded from a tip, changed in memory, and
published as one commit by compare-and-swap. What was not published never happened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from handshake.domain.artifact import ArtifactHandle, ArtifactKind, handle_for
from handshake.domain.canonical import committed_json
from handshake.domain.clock import uuid_from
from handshake.domain.errors import EnvironmentProblem, RefGone, StaleOwner, StateCorruption
from handshake.domain.events import Actor, Event
from handshake.domain.job import ExecutionState, Job, check_pairing
from handshake.domain.ledger import RunLedger
from handshake.domain.microtask import Plan
from handshake.domain.progress import CurrentState, MtProgress, ProgressArtifact, ProgressStatus, aggregate
from handshake.domain.record import Record
from handshake.domain.states import JOB_TRANSITIONS, PHASE_TRANSITIONS, JobStatus, Phase, is_terminal, move
from handshake.loop.limits import RecordBytes
from handshake.loop.paths import JobPaths
from handshake.loop.step_secrets import StepSecrets
from handshake.loop.surroundings import NobodyWatches, Surroundings
from handshake.recorder.journal import Journal
from handshake.repo.hand_moves import decisions_added
from handshake.repo.store import TrackingBranch

R = TypeVar("R", bound=Record)

SCHEMA_VERSION = "1.0"
PUBLISH_TRIES = 20


class Run:
    """The records of one job at one tip of its tracking branch, and what is to be published next."""

    def __init__(
        self,
        around: Surroundings,
        branch: TrackingBranch,
        *,
        job: Job,
        plan: Plan,
        progress: ProgressArtifact,
        ledger: RunLedger,
        packet: bytes,
        tip: str | None,
    ) -> None:
        self.around = around
        self.branch = branch
        self.job = job
        self.plan = plan
        self.progress = progress
        self.ledger = ledger
        self.packet = packet
        self.tip = tip
        self.paths = JobPaths(job.job_id)
        self._journal: Journal | None = None
        self._secrets = StepSecrets(around.repo.state_dir / "verbatim", around.settings)
        self.refusals_said: set[str] = set()
        self.lost_tip: str | None = None  # what the branch names and nobody can read: see `recover`
        self._pending: dict[str, bytes | None] = {}
        self._record_bytes: RecordBytes | None = None
        self._attempt_began = around.clock.monotonic()
        self._duration_before = job.metrics.duration_ms

    # -- reading ---------------------------------------------------------------------------------

    @classmethod
    def load(cls, around: Surroundings, branch: TrackingBranch, job_id: str, tip: str) -> Run:
        """The run as `tip` has it.

        Raises:
            StateCorruption: a record is missing, does not parse, or does not fit its hash.
        """
        paths = JobPaths(job_id)
        job = _read(branch, paths.job, Job, tip)
        check_pairing(job.job_kind.value, job.profile_id, job.protocol_id)
        plan_bytes = branch.read(paths.definitions, tip)
        if plan_bytes is not None and job.mt_definitions_ref.size_bytes:
            found = handle_for("file", paths.definitions, plan_bytes).content_hash
            if found != job.mt_definitions_ref.content_hash:
                raise StateCorruption(
                    f"{paths.definitions} at {tip[:12]} has hash {found[:12]},"
                    f" the job names {job.mt_definitions_ref.content_hash[:12]}",
                    next_step=f"git log {branch.ref} -- {paths.definitions}",
                )
        return cls(
            around,
            branch,
            job=job,
            plan=_read(branch, paths.definitions, Plan, tip),
            progress=_read(branch, paths.progress, ProgressArtifact, tip),
            ledger=_read(branch, paths.ledger, RunLedger, tip),
            packet=branch.read("packet.md", tip) or b"",
            tip=tip,
        )

    def reload(self) -> None:
        """Read the records again, as the branch has them now. What was not published is forgotten."""
        tip = self.branch.tip()
        if tip is None:
            raise RefGone(self.branch.ref, self.tip or "")
        now = Run.load(self.around, self.branch, self.job.job_id, tip)
        self.job, self.plan, self.progress, self.ledger = now.job, now.plan, now.progress, now.ledger
        self.packet, self.tip, self._journal, self._pending = now.packet, now.tip, now.journal, {}

    def follow_branch(self) -> None:
        """Take over decision files that people committed since; nothing else may have moved the branch.

        Raises:
            StaleOwner: it was moved by somebody who is no person with a decision.
            RefGone: it was deleted.
        """
        tip = self.branch.tip()
        if tip == self.tip:
            return
        if tip is None and self.tip is not None:
            raise RefGone(self.branch.ref, self.tip)
        if tip is None or self.tip is None or decisions_added(self.around.repo, self.tip, tip) is None:
            raise StaleOwner(
                f"{self.branch.ref} is not at {(self.tip or 'nothing')[:12]} any more: another process owns the run",
                next_step=f"git log {self.branch.ref}",
            )
        self.tip = tip

    @property
    def journal(self) -> Journal:
        """The job's events. Opened when first asked for: a look at the state of many runs reads no journal."""
        if self._journal is None:
            self._journal = self._open_journal()
        return self._journal

    def _open_journal(self) -> Journal:
        published: list[bytes] = []
        if self.tip is not None:
            for path in self.branch.list(f"{self.paths.root}/events", self.tip):
                published += (self.branch.read(path, self.tip) or b"").splitlines()
        return Journal.open(
            self.around.repo.state_dir / "journal" / self.job.job_id,
            published=published,
            trace_id=self.job.trace_id,
            job_id=self.job.job_id,
            workflow_run_id=self.job.workflow_run_id,
            wp_id=self.job.wp_id,
            clock=self.around.clock,
        )

    def reopen_journal(self) -> None:
        """Go on in a new journal file: a new attempt began."""
        self._journal = self._open_journal()

    def artifact(self, path: str) -> bytes | None:
        """A file as it will be after the next publish: pending first, then the branch."""
        if path in self._pending:
            return self._pending[path]
        return self.branch.read(path, self.tip) if self.tip else None

    def artifact_record(self, path: str, kind: type[R]) -> R | None:
        """The record at that path, or None where there is none."""
        data = self.artifact(path)
        return None if data is None else _parse(data, kind, path)

    def artifact_json(self, path: str) -> Any:
        """The JSON value at that path, or None."""
        data = self.artifact(path)
        return None if data is None else json.loads(data)

    def entry(self, mt_id: str) -> MtProgress:
        """The MT's progress entry."""
        return self.progress.entry(mt_id)

    @property
    def elapsed_ms(self) -> int:
        """Time spent in all attempts so far, in ms; waiting for humans is not in it."""
        return self._duration_before + int((self.around.clock.monotonic() - self._attempt_began) * 1000)

    @property
    def record_bytes(self) -> RecordBytes:
        """Sizes of progress and ledger as they were last published."""
        if self._record_bytes is None:
            self._record_bytes = RecordBytes(len(committed_json(self.progress)), len(committed_json(self.ledger)))
        return self._record_bytes

    def go_on_from(self, tip: str) -> None:
        """Go on from a later tip that does not hold together: with the next publish its files are again as here.

        Raises:
            StateCorruption, GitFailed: nothing can be read there; then nothing changed.
        """
        here = {path: self.branch.read(path, self.tip) for path in self.branch.list("", self.tip)}
        there = {path: self.branch.read(path, tip) for path in here}
        self._pending |= {path: data for path, data in here.items() if data is not None and data != there[path]}
        self.tip = tip

    def add_lost_time(self, milliseconds: int) -> None:
        """Count time that a killed process worked and did not publish."""
        self._duration_before += max(0, milliseconds)

    # -- changing --------------------------------------------------------------------------------

    def emit(
        self,
        event_type: str,
        payload: Mapping[str, Any],
        *,
        key: str,
        actor: Actor = "system",
        mt_id: str | None = None,
        iteration: int | None = None,
    ) -> Event:
        """Record an event; the journal is made durable before the next effect by `settle`."""
        said = self._secrets.masked(dict(payload))
        event = self.journal.emit(event_type, said, key=key, actor=actor, mt_id=mt_id, iteration=iteration)
        self.around.watcher.event(event)
        return event

    def settle(self) -> None:
        """Make all that was emitted durable. Called before an effect takes place."""
        self.journal.sync()

    def store(self, path: str, data: bytes, kind: ArtifactKind = "file") -> ArtifactHandle:
        """Add an artifact to the next publish, and give its handle.

        A secret in what a step leaves is masked on the branch and flagged; a prompt or reply that held one is kept
        as it was in this clone alone. Contract: `events.md`, Secrets.
        """
        if path.startswith(f"{self.paths.root}/steps/"):
            data = self._secrets.shown(path, data, kind)
            self._flag(path)
        self._pending[path] = data
        return self.handle(path, data, kind)

    def store_record(self, path: str, value: Any, kind: ArtifactKind = "file") -> ArtifactHandle:
        """Add a record or JSON value to the next publish in the committed layout, its texts without secrets."""
        if path != self.paths.definitions:  # generated from the packet as signed, and checked by its hash
            value = self._secrets.masked(value)
        data = committed_json(value)
        self._pending[path] = data
        return self.handle(path, data, kind)

    def handle(self, path: str, data: bytes, kind: ArtifactKind) -> ArtifactHandle:
        """The handle of an artifact; one that held a secret is not to be passed on."""
        plain_handle = handle_for(kind, path, data)
        if not self.held_secret(path):
            return plain_handle
        return plain_handle.model_copy(update={"classification": "high", "exportable": False})

    def _flag(self, path: str) -> None:
        """Say beside a step's artifacts which of them were masked; what a killed process said stands."""
        place = self._secrets.flags_path(path)
        flags = {row["path"]: row for row in (self.artifact_json(place) or {"artifacts": []})["artifacts"]}
        found = {row["path"]: row for row in self._secrets.flags_of(path)}
        if found.keys() - flags.keys():
            merged = {**flags, **found}
            self._pending[place] = committed_json({"artifacts": [merged[name] for name in sorted(merged)]})

    def held_secret(self, path: str) -> bool:
        """Whether a step's artifact was masked."""
        stored = self.artifact_json(self._secrets.flags_path(path)) or {"artifacts": []}
        return any(row["path"] == path for row in stored["artifacts"])

    def verbatim(self, path: str) -> bytes | None:
        """A prompt or reply as it was: from this clone where it held a secret; None where only the mask is left."""
        kept = self._secrets.kept(path)
        return kept if kept is not None or self.held_secret(path) else self.artifact(path)

    def withhold(self, path: str, data: bytes, shown: bytes) -> ArtifactHandle:
        """Publish a prompt without what must not leave this machine, and keep it whole in this clone alone."""
        self._secrets.withhold(path, data)
        return self.store(path, shown, "prompt_payload")

    def masked(self, text: str | None) -> str | None:
        """A text of a person's, without secrets."""
        return None if text is None else str(self._secrets.masked(text))

    def show(self, who: str, text: str) -> None:
        """Let the watcher see a prompt or a reply, without secrets."""
        if not isinstance(self.around.watcher, NobodyWatches):
            self.around.watcher.said(who, str(self._secrets.masked(text)))

    def remove(self, path: str) -> None:
        """Take a file off the branch with the next publish."""
        self._pending[path] = None

    def set_status(self, status: JobStatus, **changes: Any) -> None:
        """Move the job's state by the table.

        Raises:
            IllegalTransition: the table does not allow it.
        """
        self.job = self.job.model_copy(update={"status": move(JOB_TRANSITIONS, self.job.status, status), **changes})

    def set_phase(self, phase: Phase) -> None:
        """Move the loop's phase by the table."""
        self.update_state(phase=move(PHASE_TRANSITIONS, self.job.execution_state.phase, phase))

    def update_state(self, **changes: Any) -> None:
        """Change figures of the execution state; the progress artifact's current state follows."""
        state: ExecutionState = self.job.execution_state.model_copy(update=changes)
        self.job = self.job.model_copy(update={"execution_state": state})
        mts = self.plan.order
        active = mts[state.current_mt_index] if state.current_mt_index < len(mts) else None
        self.progress = self.progress.model_copy(
            update={
                "current_state": CurrentState(
                    active_mt=active,
                    active_model_level=state.current_escalation_level,
                    total_iterations=state.total_iterations,
                    total_escalations=state.total_escalations,
                    total_drop_backs=state.total_drop_backs,
                )
            }
        )

    def update_entry(self, mt_id: str, **changes: Any) -> MtProgress:
        """Change an MT's entry."""
        entry = self.entry(mt_id).model_copy(update=changes)
        self.progress = self.progress.with_entry(entry)
        return entry

    def add_cost(self, cost: float | None) -> None:
        """Add to what the job's calls cost; None for a model without a price."""
        if cost is not None:
            total = round((self.job.metrics.cost or 0.0) + cost, 6)
            self.job = self.job.model_copy(update={"metrics": self.job.metrics.model_copy(update={"cost": total})})

    def update_metrics(self, **added: int) -> None:
        """Add to the job's totals."""
        metrics = self.job.metrics
        sums = {name: getattr(metrics, name) + value for name, value in added.items()}
        self.job = self.job.model_copy(update={"metrics": metrics.model_copy(update=sums)})

    def set_progress_status(self, status: ProgressStatus, **changes: Any) -> None:
        """Change where the whole packet stands."""
        self.progress = self.progress.model_copy(update={"status": status, **changes})

    def publish(self, subject: str, **trailers: str) -> str:
        """Make everything that changed since the last publish true, as one commit.

        Raises:
            StaleOwner: the branch moved under this process.
            ResourceExhausted: the disk is full; nothing was published.
        """
        now = self.around.clock.now()
        self.update_state(last_activity_at=now)
        changed = sum(len(data) for data in self._pending.values() if data is not None)
        metrics = self.job.metrics.model_copy(
            update={
                "duration_ms": self.elapsed_ms,
                "artifact_bytes": self.job.metrics.artifact_bytes + changed,
            }
        )
        self.job = self.job.model_copy(update={"metrics": metrics})
        self.progress = self.progress.model_copy(
            update={"updated_at": now, "aggregate_stats": aggregate(self.progress)}
        )
        if self.ended:
            self._announce_end()
        self.settle()
        progress, ledger = (committed_json(self._secrets.masked(record)) for record in (self.progress, self.ledger))
        self._record_bytes = RecordBytes(len(progress), len(ledger))
        files: dict[str, bytes | None] = {
            **self._pending,
            **self.journal.chunks(self.paths.root),
            self.paths.job: committed_json(self._secrets.masked(self.job)),
            self.paths.progress: progress,
            self.paths.ledger: ledger,
        }
        message = commit_message(
            str(self._secrets.masked(subject)), {"WP": self.job.wp_id, "Job": self.job.job_id, **trailers}
        )
        for _ in range(PUBLISH_TRIES):
            try:
                self.tip = self.branch.publish(files, message=message, when=now, expected=self.tip)
            except StaleOwner:
                self.follow_branch()  # or it is raised again
            else:
                break
        else:
            raise StaleOwner(f"{self.branch.ref} keeps moving", next_step=f"git log {self.branch.ref}")
        self._pending = {}
        return self.tip

    def _announce_end(self) -> None:
        """Whatever ended the job, its packet is finished. FR-EVT-GOV-WP-001."""
        said = {"state": "finished", "reason": self.job.status.value}
        self.emit("FR-EVT-GOV-WP-001", {**said, "packet_path": self.job.workspace.packet_path}, key="end/wp")

    @property
    def ended(self) -> bool:
        """Whether nothing may follow."""
        return is_terminal(self.job.status)

    def stable_id(self, name: str) -> str:
        """A UUID that this job gives to `name`, the same after a crash."""
        return uuid_from(f"{self.job.job_id}/{name}")


def latest_job_id(branch: TrackingBranch, tip: str) -> str | None:
    """The newest job on the branch: version 7 UUIDs sort by time."""
    return max(branch.names_in("jobs", tip), default=None)


def commit_message(subject: str, trailers: Mapping[str, str]) -> str:
    """A subject a person can read, then the `Handshake-*` trailers that are not empty."""
    lines = [subject, "", *(f"Handshake-{name}: {value}" for name, value in trailers.items() if value)]
    return "\n".join(lines) + "\n"


def _read(branch: TrackingBranch, path: str, kind: type[R], tip: str) -> R:
    data = branch.read(path, tip)
    if data is None:
        raise StateCorruption(
            f"{path} is missing on {branch.ref} at {tip[:12]}", next_step=f"git log --stat {branch.ref}"
        )
    return _parse(data, kind, path)


def _refuse_foreign(data: bytes, path: str) -> None:
    """A record of another version is no corrupt one: it is not passed over for an older commit.

    Raises:
        EnvironmentProblem: the record says that it is of another version.
    """
    try:
        said = json.loads(data).get("schema_version", SCHEMA_VERSION)
    except (ValueError, AttributeError):
        return
    if said != SCHEMA_VERSION:
        raise EnvironmentProblem(
            f"{path} has schema_version {str(said)[:20]!r}, and this Handshake reads {SCHEMA_VERSION}",
            next_step="use the Handshake that wrote it: pip install --upgrade handshake",
        )


def _parse(data: bytes, kind: type[R], path: str) -> R:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        _refuse_foreign(data, path)
        first = error.errors()[0]
        raise StateCorruption(
            f"{path} is not a {kind.__name__}: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            next_step=f"git log -p -- {path} on the tracking branch shows its last good form",
        ) from None
