"""At a run's end its small packs become one. Contract: `state.md`: repack when a run ends, never in the middle.

Every object of the small packs goes into the new one, whether anything refers to it or not, and only then are they
removed: no question of what is reachable is asked, so none can be answered wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from handshake.config.failpoints import failpoint
from handshake.domain.errors import StateCorruption
from handshake.repo.atomic import sync_directory
from handshake.repo.git import Git, GitFailed, Repository, durable_settings
from handshake.repo.packs import PREFIX, discard_pack, ids_in_index

_WORTH_IT = 2


def gather_packs(repo: Repository, tip: str | None) -> bool:
    """Put the objects of all our small packs that no process keeps in one pack, then remove the small ones.

    A collection of the user's, or another run's end at the same moment, may get there first: then the small packs
    stay as they are, for the next run's end.

    Args:
        tip: the commit whose history names the objects, so that versions of one file lie beside each other.

    Returns:
        Whether they were gathered.

    Raises:
        ResourceExhausted: the disk is full; the small packs stay.
    """
    from filelock import FileLock, Timeout

    folder = repo.common_dir / "objects" / "pack"
    try:
        with FileLock(repo.state_dir / "locks" / "gather.lock", timeout=0, thread_local=False):
            stems = _loose_ends(folder)
            if len(stems) < _WORTH_IT:
                return False
            git = Git(repo.root, settings=(*durable_settings(), "pack.packSizeLimit=0"))
            failpoint("packs.gather:before")
            made = _pack_all(git, folder, stems, repo.object_format, tip)
            failpoint("packs.gather:after")
            if made is None:
                return False
            for stem in stems:
                discard_pack(stem)
            sync_directory(folder)
            return True
    except Timeout:
        return False


def _loose_ends(folder: Path) -> list[Path]:
    """Our packs that may be gathered: whole, not kept, and not in an index over many packs that the user made."""
    listed = b""
    if (folder / "multi-pack-index").is_file():
        listed = (folder / "multi-pack-index").read_bytes()
    return [
        index.with_suffix("")
        for index in sorted(folder.glob(f"{PREFIX}*.idx"))
        if not index.with_suffix(".keep").exists() and index.name.encode() not in listed
    ]


def _pack_all(git: Git, folder: Path, stems: Sequence[Path], object_format: str, tip: str | None) -> Path | None:
    """The new pack, synced, or None where a small one went away under our hands."""
    try:
        wanted = {sha for stem in stems for sha in ids_in_index(stem.with_suffix(".idx").read_bytes(), object_format)}
    except FileNotFoundError:
        return None
    rows = [row for row in _named(git, tip) if row.split(" ", 1)[0] in wanted]
    rest = wanted - {row.split(" ", 1)[0] for row in rows}
    try:
        done = git.run(
            "pack-objects",
            "--quiet",
            "--no-reuse-delta",
            str(folder / "pack"),
            input="".join(f"{row}\n" for row in (*rows, *sorted(rest))).encode("utf-8", "surrogateescape"),
        )
    except GitFailed as failure:
        if "unable to read" in failure.result.stderr or "bad object" in failure.result.stderr:
            return None
        raise
    made = folder / f"pack-{done.stdout.decode().strip()}"
    if not made.with_suffix(".idx").is_file():
        raise StateCorruption(f"git packed nothing in {folder}", next_step="git fsck")
    sync_directory(folder)
    return made


def _named(git: Git, tip: str | None) -> list[str]:
    """`<id> <path>` of everything that the run's log holds, newest first."""
    if tip is None:
        return []
    listed = git.run("rev-list", "--objects", tip, check=False)
    return listed.stdout.decode("utf-8", "surrogateescape").splitlines() if listed.code == 0 else []
