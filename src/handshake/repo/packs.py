"""A commit's objects as one small pack: two files to sync, however many objects. Contract: `state.md`, Durability.

The order is that of git's own `receive-pack`: a `.keep` file first, then the pack, then its index (which makes it
visible), then the ref, and only then the `.keep` goes. As long as it stands, no `gc`, `repack` or `prune` of the
user takes the objects, though nothing refers to them yet
(https://git-scm.com/docs/git-index-pack, `--keep`; git commit b8077709 tells why).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from handshake.config.failpoints import failpoint
from handshake.domain.errors import StateCorruption
from handshake.repo.atomic import disk_error, sync_directory
from handshake.repo.locks import nobody_holds
from handshake.repo.objects import GitObject

# Names of packs are free as long as they are as long as an id: ours say whose they are ("handshake" in hex).
PREFIX = f"pack-{b'handshake'.hex()}"

_TYPES = {"commit": 1, "tree": 2, "blob": 3}
_LARGEST = 2**31 - 1  # where an index would need its table of long offsets
_FAST = 1  # git's own choice for loose objects: the consolidation at a run's end compresses for good
_INDEX_MAGIC = b"\377tOc" + struct.pack(">I", 2)


class KeptPack:
    """A pack that no ref names yet. `release` lets collections at it."""

    def __init__(self, stem: Path, writer: PackWriter) -> None:
        self.stem = stem
        self._writer: PackWriter | None = writer

    @property
    def is_there(self) -> bool:
        """Whether the pack and its index stand where they were written."""
        return self.stem.with_suffix(".idx").exists() and self.stem.with_suffix(".pack").exists()

    def release(self) -> None:
        """Take the `.keep` away. A crash before it leaves a file that the next run clears."""
        if self._writer is not None:
            self.stem.with_suffix(".keep").unlink(missing_ok=True)
            self._writer.disown()
            self._writer = None


class PackWriter:
    """Writes packs of this process. It must not be used from two threads at once.

    Args:
        folder: the repository's `objects/pack`.
        object_format: `sha1` or `sha256`.
        locks: a folder for a lock file that this process holds while it keeps a pack, so that others can tell a
            `.keep` in use from one that a killed process left.
    """

    def __init__(self, folder: Path, object_format: str, locks: Path) -> None:
        self._folder = folder
        self._format = object_format
        self._locks = locks
        self._owner: Any = None
        self._kept = 0

    def write(self, objects: Sequence[GitObject]) -> KeptPack:
        """Store objects, durably, in a pack that is kept until it is released.

        Raises:
            ResourceExhausted, EnvironmentProblem: the disk is full or cannot be written; nothing is left of it.
            StateCorruption: more than 2 GiB in one commit.
        """
        pack, index = encode_pack(objects, self._format)
        width = hashlib.new(self._format, usedforsecurity=False).digest_size * 2
        tail = secrets.token_hex(width)[: width - len(PREFIX.removeprefix("pack-"))]
        stem = self._folder / f"{PREFIX}{tail}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            owner = self._own()
            try:
                _write_keep(stem, owner)
                _write_synced(stem.with_suffix(".pack"), pack)
                failpoint("pack.index:before")
                half = stem.with_suffix(".idx.tmp")
                _write_synced(half, index)
                half.replace(stem.with_suffix(".idx"))
                sync_directory(self._folder)
            except BaseException:
                discard_pack(stem)
                self.disown()
                raise
        except OSError as error:
            raise disk_error(error, f"cannot store objects in {self._folder}") from error
        return KeptPack(stem, self)

    def adopt(self, stem: Path) -> KeptPack:
        """Keep a pack that a killed process kept."""
        _write_keep(stem, self._own())
        return KeptPack(stem, self)

    def _own(self) -> str:
        """One more pack is kept. The name of the lock that says that this process lives."""
        from filelock import FileLock

        if self._owner is None:
            self._locks.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._locks / f"packs-{secrets.token_hex(8)}.lock", thread_local=False)
            lock.acquire(timeout=0)
            self._owner = lock
        self._kept += 1
        return Path(self._owner.lock_file).name

    def disown(self) -> None:
        """One pack less is kept; with the last one the lock goes."""
        self._kept -= 1
        if self._kept == 0:
            owner, self._owner = self._owner, None
            owner.release()
            Path(owner.lock_file).unlink(missing_ok=True)


def _write_keep(stem: Path, owner: str) -> None:
    """Whole or not at all, so that one that names nobody can only be what a power loss left; it needs no sync."""
    half = stem.with_suffix(".keep.tmp")
    half.write_text(f"handshake {owner}\n", encoding="utf-8")
    half.replace(stem.with_suffix(".keep"))


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        if os.name != "nt":
            os.fchmod(file.fileno(), 0o444)


def discard_pack(stem: Path) -> None:
    """Remove a pack, its index first, so that nobody finds an index without its pack."""
    for suffix in (".idx.tmp", ".idx", ".rev", ".pack", ".keep.tmp", ".keep"):
        with contextlib.suppress(PermissionError):  # Windows: open elsewhere; the next run tries again
            stem.with_suffix(suffix).unlink(missing_ok=True)


def clear_left_packs(folder: Path, locks: Path) -> int:
    """Release what killed processes kept: whole packs become ordinary ones, half-written ones go.

    Safe at any time: a `.keep` whose process lives is left alone.

    Returns:
        How many were released or removed.
    """
    whole, half = left_packs(folder, locks)
    for stem in whole:
        stem.with_suffix(".keep").unlink(missing_ok=True)
    return len(whole) + half


def left_packs(folder: Path, locks: Path) -> tuple[list[Path], int]:
    """The whole packs that killed processes kept, still kept; and how many half-written ones were removed."""
    whole: list[Path] = []
    half, dead = 0, set()
    for keep in sorted(folder.glob(f"{PREFIX}*.keep")):
        owner = _owner_of(keep)
        if owner is None or not nobody_holds(locks / owner):
            continue
        dead.add(locks / owner)
        if keep.with_suffix(".idx").exists():
            whole.append(keep.with_suffix(""))
        else:
            discard_pack(keep.with_suffix(""))
            half += 1
    for place in dead:
        place.unlink(missing_ok=True)
    return whole, half


def _owner_of(keep: Path) -> str | None:
    """The lock that a `.keep` names. One that was torn by a crash, and is empty, is nobody's: `-`."""
    try:
        words = keep.read_text(encoding="utf-8", errors="replace").split()
    except FileNotFoundError:
        return None
    named = words[1] if len(words) == 2 and words[0] == "handshake" else "packs-nobody.lock"
    return named if "/" not in named and "\\" not in named else None


def encode_pack(objects: Sequence[GitObject], object_format: str) -> tuple[bytes, bytes]:
    """The bytes of a pack of whole objects (no deltas), and of its index (version 2).

    Format: https://git-scm.com/docs/pack-format. An object that is given twice stands once.

    Raises:
        StateCorruption: the pack would be larger than 2 GiB.
    """
    unique = {item.sha: item for item in objects}
    body = bytearray(b"PACK" + struct.pack(">II", 2, len(unique)))
    rows: list[tuple[bytes, int, int]] = []  # id, CRC-32 of the entry, offset
    for sha, item in unique.items():
        entry = _entry_head(_TYPES[item.kind], len(item.data)) + zlib.compress(item.data, _FAST)
        rows.append((bytes.fromhex(sha), zlib.crc32(entry), len(body)))
        body += entry
    if len(body) > _LARGEST:
        raise StateCorruption("one commit of more than 2 GiB", next_step="make the packet's scope smaller")
    checksum = _digest(object_format, body)
    return bytes(body) + checksum, _encode_index(sorted(rows), checksum, object_format)


def _entry_head(kind: int, size: int) -> bytes:
    """Type and size, seven bits a byte, the first with the type in its upper half."""
    first, rest = kind << 4 | size & 0x0F, size >> 4
    head = bytearray()
    while rest:
        head.append(first | 0x80)
        first, rest = rest & 0x7F, rest >> 7
    head.append(first)
    return bytes(head)


def _encode_index(rows: Sequence[tuple[bytes, int, int]], checksum: bytes, object_format: str) -> bytes:
    counts = [0] * 256
    for sha, _, _ in rows:
        counts[sha[0]] += 1
    total, fanout = 0, []
    for count in counts:
        total += count
        fanout.append(total)
    index = (
        _INDEX_MAGIC
        + struct.pack(">256I", *fanout)
        + b"".join(sha for sha, _, _ in rows)
        + struct.pack(f">{total}I", *(crc for _, crc, _ in rows))
        + struct.pack(f">{total}I", *(offset for _, _, offset in rows))
        + checksum
    )
    return index + _digest(object_format, index)


def ids_in_index(index: bytes, object_format: str) -> Iterator[str]:
    """The ids that an index (version 2) lists, in order."""
    if not index.startswith(_INDEX_MAGIC):
        raise StateCorruption("a pack index of ours is not of version 2", next_step="git fsck")
    width = hashlib.new(object_format, usedforsecurity=False).digest_size
    start = len(_INDEX_MAGIC) + 4 * 256
    (total,) = struct.unpack(">I", index[start - 4 : start])
    for at in range(start, start + total * width, width):
        yield index[at : at + width].hex()


def _digest(object_format: str, data: bytes | bytearray) -> bytes:
    return hashlib.new(object_format, data, usedforsecurity=False).digest()
