"""Reading the worktree for a prompt: bounded, and never surprised by what lies there."""

from __future__ import annotations

import hashlib
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from handshake.domain.context import ContextPack
from handshake.source.languages import Import
from handshake.source.packs import is_minified
from handshake.source.text import is_binary, split_lines

BYTES_PER_TOKEN = 4
_BOM = b"\xef\xbb\xbf"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class SourceFile:
    """One text file as it was read. `lines` have no line ends; `cut` says that the file goes on.

    `pack` is its digest, `imports` what it imports; `pack_known` whether the pack was there before.
    `doubtful`: some of it could not be read, or no person wrote it so.
    """

    path: str
    lines: tuple[str, ...]
    digest: str
    cut: bool = False
    doubtful: bool = False
    pack: ContextPack | None = None
    imports: tuple[Import, ...] = ()
    pack_known: bool = False

    @property
    def text(self) -> str:
        """The lines joined, with a final line end."""
        return "".join(line + "\n" for line in self.lines)

    @property
    def has_fresh_pack(self) -> bool:
        """Whether the pack was made by a grammar from just these bytes, and from all of them."""
        pack = self.pack
        return (
            pack is not None and pack.source_hashes == (self.digest,) and bool(pack.coverage.grammar) and not self.cut
        )


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
    if any(unicodedata.category(sign) == "Cc" for sign in path):
        return ReadOutcome(None, f"{path!r}: a name with control characters, not shown")
    place = worktree.joinpath(*path.split("/"))
    found = _open_inside(worktree, place)
    if isinstance(found, str):
        return ReadOutcome(None, f"{path}: {found}", missing=found == "not there")
    limit = max_tokens * BYTES_PER_TOKEN
    try:
        head, digest, size = _head_and_digest(place, limit)
    except FileNotFoundError:  # it vanished meanwhile
        return ReadOutcome(None, f"{path}: not there", missing=True)
    except OSError as error:
        return ReadOutcome(None, f"{path}: cannot be read ({error.strerror})")
    if is_binary(head):
        return ReadOutcome(None, f"{path}: binary, not shown")
    cut = size > limit
    warning = f"{path}: {size} bytes, only the first {limit} are read" if cut else None
    doubtful = False
    try:
        text = head.removeprefix(_BOM).decode("utf-8", errors="ignore" if cut else "strict")
    except UnicodeDecodeError as error:
        text = head.decode("utf-8", errors="replace")
        warning = f"{path}: not UTF-8 at byte {error.start}, unreadable bytes are shown as \ufffd"
        doubtful = True
    lines = split_lines(text)
    if cut and not text.endswith("\n"):
        lines = lines[:-1]  # half a line
    if is_minified(lines) or (cut and not lines):
        doubtful = True
        warning = warning or f"{path}: very long lines: minified or generated"
    return ReadOutcome(SourceFile(path, lines, digest, cut, doubtful), warning)


def _head_and_digest(place: Path, limit: int) -> tuple[bytes, str, int]:
    """The first `limit` bytes, the SHA-256 of all, and how many there are: a large file is never held whole."""
    hashed = hashlib.sha256()
    kept: list[bytes] = []
    size = 0
    with place.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hashed.update(chunk)
            if size < limit:
                kept.append(chunk[: limit - size])
            size += len(chunk)
    return b"".join(kept), hashed.hexdigest(), size


def digest_now(worktree: Path, path: str) -> str | None:
    """SHA-256 of the file's bytes as they are now; None if it cannot be read."""
    try:
        return _head_and_digest(worktree.joinpath(*path.split("/")), 0)[1]
    except OSError:
        return None


def _open_inside(worktree: Path, place: Path) -> str | None:
    """Why a path must not be read, or None."""
    try:
        inside = place.resolve(strict=True).is_relative_to(worktree.resolve())
        mode = place.stat().st_mode
    except FileNotFoundError:
        return "not there"
    except ValueError:  # a zero byte in the name
        return "not a path"
    except (OSError, RuntimeError):  # a symlink loop, a part of the path that is a file, no permission
        return "cannot be reached"
    if not inside:
        return "leads out of the worktree, not read"
    return None if stat.S_ISREG(mode) else "not a plain file"
