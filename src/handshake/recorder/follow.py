"""New events as they come, for `handshake events --follow`. Readers open files and hold nothing: no writer waits.

Local journals are looked at a few times a second; branches, where a fetch may bring events, every few seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from handshake.domain.clock import Clock
from handshake.domain.errors import RecorderFailed
from handshake.domain.events import Event
from handshake.recorder.loading import parsed
from handshake.recorder.packets import packet_journals
from handshake.recorder.sources import job_sources, numbered_lines
from handshake.repo.git import Repository

LOOK_S = 0.2
BRANCHES_EVERY = 25


class Follower:
    """Where a reader stands in each journal. Made before the first answer is read, so that nothing falls between.

    Args:
        repo: whose journals.
        namespace: of the tracking branches.
    """

    def __init__(self, repo: Repository, namespace: str) -> None:
        self._repo = repo
        self._namespace = namespace
        self._offsets: dict[Path, int] = {path: path.stat().st_size for path in self._journals()}
        for path, size in self._offsets.items():
            self._offsets[path] = _whole(path, size)
        self._chunks = self._known_chunks()
        self._seen: set[str] = set()

    def saw(self, event_id: str) -> None:
        """An event that was shown already."""
        self._seen.add(event_id)

    def news(self, *, branches: bool) -> Iterator[Event]:
        """Events written since the last look, each once.

        Args:
            branches: whether tracking branches are looked at too.

        Raises:
            InvalidEvent: a new line is no event.
            RecorderFailed: a journal cannot be read.
        """
        for path in self._journals():
            start = self._offsets.get(path, 0)
            try:
                if path.stat().st_size <= start:
                    continue
                with path.open("rb") as file:
                    file.seek(start)
                    data = file.read()
            except OSError as error:
                raise RecorderFailed(f"cannot read the journal {path}: {error.strerror or error}") from error
            self._offsets[path] = start + data.rfind(b"\n") + 1
            yield from self._fresh(str(path), data)
        if branches:
            yield from self._from_branches()

    def forever(self, clock: Clock) -> Iterator[Event]:
        """News without end; Ctrl-C ends it."""
        look = 0
        while True:
            yield from self.news(branches=look % BRANCHES_EVERY == 0)
            look += 1
            clock.sleep(LOOK_S)

    def _journals(self) -> list[Path]:
        state = self._repo.state_dir
        return [*sorted((state / "journal").glob("*/*.jsonl")), *packet_journals(state)]

    def _known_chunks(self) -> set[str]:
        return {sha for source in job_sources(self._repo, self._namespace).values() for sha in source.chunks}

    def _from_branches(self) -> Iterator[Event]:
        for source in job_sources(self._repo, self._namespace).values():
            for sha, (view, path, where) in source.chunks.items():
                if sha not in self._chunks:
                    self._chunks.add(sha)
                    yield from self._fresh(where, view.read(path) or b"")

    def _fresh(self, where: str, data: bytes) -> Iterator[Event]:
        for _, line in numbered_lines(data):
            event = parsed(line, where)
            if event.event_id not in self._seen:
                self._seen.add(event.event_id)
                yield event


def _whole(path: Path, size: int) -> int:
    """The end of the last whole line within the first `size` bytes."""
    with path.open("rb") as file:
        start = max(0, size - (1 << 16))
        file.seek(start)
        end = file.read(size - start).rfind(b"\n")
    return start + end + 1 if end >= 0 or start == 0 else size
