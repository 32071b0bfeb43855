"""Reading the worktree for a prompt: bounded, and never surprised by what lies there."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from handshake.domain.canonical import sha256_hex

BYTES_PER_TOKEN = 4
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class SourceFile:
    """One text file as it was read. `lines` have no line ends; `cut` says that the file goes on."""

    path: str
    lines: tuple[str, ...]
    digest: str
    cut: bool = False

    @property
    def text(self) -> str:
        """The lines joined, with a final line end."""
        return "".join(line + "\n" for line in self.lines)


@dataclass(frozen=True)
class ReadOutcome:
    """A file, or why there is none; `warning` is one line for the trace, in either case."""

    source: SourceFile | None
    warning: str | None = None
    missing: bool = False


def read_source(worktree: Path, path: str, max_tokens: int) -> ReadOutcome:
    """Read a repo-relative file, at most about `max_tokens` of it.

    What is not there, not a plain file inside the worktree, or not text gives a warning and no source.
    """
    place = worktree.joinpath(*path.split("/"))
    found = _open_inside(worktree, place)
    if isinstance(found, str):
        return ReadOutcome(None, f"{path}: {found}", missing=found == "not there")
    limit = max_tokens * BYTES_PER_TOKEN
    try:
        data = place.read_bytes()
    except OSError as error:
        return ReadOutcome(None, f"{path}: cannot be read ({error.strerror})")
    digest = sha256_hex(data)
    head = data[:limit]
    if b"\0" in head[:8192]:
        return ReadOutcome(None, f"{path}: binary, not shown")
    warning = f"{path}: {len(data)} bytes, only the first {limit} are read" if len(data) > limit else None
    try:
        text = head.removeprefix(_BOM).decode("utf-8", errors="strict" if warning is None else "ignore")
    except UnicodeDecodeError as error:
        text = head.decode("utf-8", errors="replace")
        warning = f"{path}: not UTF-8 at byte {error.start}, unreadable bytes are shown as \ufffd"
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if lines[-1] == "" or len(data) > limit:
        lines.pop()
    return ReadOutcome(SourceFile(path, tuple(lines), digest, len(data) > limit), warning)


def digest_now(worktree: Path, path: str) -> str | None:
    """SHA-256 of the file's bytes as they are now; None if it cannot be read."""
    try:
        return sha256_hex(worktree.joinpath(*path.split("/")).read_bytes())
    except OSError:
        return None


def _open_inside(worktree: Path, place: Path) -> str | None:
    """Why a path must not be read, or None."""
    try:
        inside = place.resolve(strict=True).is_relative_to(worktree.resolve())
        mode = place.stat().st_mode
    except FileNotFoundError:
        return "not there"
    except (OSError, RuntimeError):  # a symlink loop, a part of the path that is a file, no permission
        return "cannot be reached"
    if not inside:
        return "leads out of the worktree, not read"
    return None if stat.S_ISREG(mode) else "not a plain file"
