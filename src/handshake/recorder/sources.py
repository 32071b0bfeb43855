"""Where events lie: tracking branches of this clone, those fetched from others, local journals.

Contract: `events.md`. Each job's events lie in several of these places at once; a source says what is there
without reading it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from handshake.domain.errors import RecorderFailed
from handshake.recorder.packets import packet_journals
from handshake.repo.git import Repository
from handshake.repo.tree import TreeView

_REMOTES = "refs/remotes/"


@dataclass(frozen=True)
class TrackingRef:
    """A tracking branch at its tip. `remote` names where it was fetched from, or is None for one of this clone."""

    ref: str
    wp_id: str
    tip: str
    remote: str | None = None

    @property
    def namespace(self) -> str:
        """What the branch's name begins with, as `TrackingBranch` takes it."""
        return self.ref.removesuffix(f"/{self.wp_id}")


def tracking_refs(repo: Repository, namespace: str = "handshake/track") -> list[TrackingRef]:
    """Every tracking branch, of this clone and fetched, sorted; those of this clone first."""
    prefix = namespace.strip("/")
    local = prefix if prefix.startswith("refs/") else f"refs/heads/{prefix}"
    below = local.removeprefix("refs/heads/")
    found = []
    for row in repo.git.text("for-each-ref", "--format=%(objectname) %(refname)", f"{local}/", _REMOTES).splitlines():
        tip, _, ref = row.partition(" ")
        if ref.startswith(f"{local}/"):
            found.append(TrackingRef(ref, ref.removeprefix(f"{local}/"), tip))
        elif ref.startswith(_REMOTES) and f"/{below}/" in ref:
            remote, _, wp_id = ref.removeprefix(_REMOTES).partition(f"/{below}/")
            found.append(TrackingRef(ref, wp_id, tip, remote))
    return sorted(found, key=lambda row: (row.remote or "", row.ref))


@dataclass
class JobSource:
    """What holds one job's events: chunks (by object id, each with a place to read it) and local files with sizes."""

    job_id: str
    chunks: dict[str, tuple[TreeView, str, str]] = field(default_factory=dict)
    files: dict[Path, int] = field(default_factory=dict)


def job_sources(repo: Repository, namespace: str = "handshake/track") -> dict[str, JobSource]:
    """Every job that left events anywhere, by id; the packets' own journals among them.

    Raises:
        RecorderFailed: a journal folder cannot be read.
    """
    found: dict[str, JobSource] = {}
    seen: set[str] = set()
    for ref in tracking_refs(repo, namespace):
        if ref.tip in seen:
            continue
        seen.add(ref.tip)
        view = repo.tree(ref.tip)
        for job_id in view.children("jobs"):
            source = found.setdefault(job_id, JobSource(job_id))
            for name, sha in view.children(f"jobs/{job_id}/events").items():
                if name.endswith(".jsonl"):
                    path = f"jobs/{job_id}/events/{name}"
                    source.chunks.setdefault(sha, (view, path, f"{ref.ref}:{path}"))
    try:
        for file in sorted((repo.state_dir / "journal").glob("*/*.jsonl")):
            source = found.setdefault(file.parent.name, JobSource(file.parent.name))
            source.files[file] = file.stat().st_size
        for file in packet_journals(repo.state_dir):
            owner = f"packet-{file.stem}"
            found.setdefault(owner, JobSource(owner)).files[file] = file.stat().st_size
    except OSError as error:
        raise RecorderFailed(f"cannot read the journals: {error}", next_step="handshake doctor") from error
    return dict(sorted(found.items()))


def numbered_lines(data: bytes, first: int = 1) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a journal with their numbers; a last line without its end was torn and is dropped."""
    whole = data[: data.rfind(b"\n") + 1]
    for number, line in enumerate(whole.split(b"\n"), start=first):
        if line.strip():
            yield number, line
