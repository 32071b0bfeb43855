"""Saving what a worktree holds and no commit has, before it is set right. Contract: `state.md`, Recovery 4."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path

from handshake.repo.git import Git, Repository
from handshake.repo.objects import EXECUTABLE, REGULAR, SYMLINK, BlobEntry
from handshake.repo.store import ObjectStore


def salvage_ref(wp_id: str) -> str:
    """The ref folder of a work packet's salvage commits."""
    return f"refs/handshake/salvage/{wp_id}"


def save_found(
    repo: Repository,
    objects: ObjectStore,
    folder: Path,
    wp_id: str,
    commit: str,
    when: datetime,
    settings: tuple[str, ...] = (),
    explained: Mapping[str, Collection[bytes | None]] | None = None,
    only: Collection[str] | None = None,
) -> str | None:
    """Save a folder's files that differ from `commit`, or that it lacks, as a child of `commit`.

    Ignored files, repositories inside the folder, and files that were only deleted are not saved. The folder
    need not be a sound worktree. The same content is saved once, however often this is called.

    Args:
        explained: contents by path that stand elsewhere too, or can be made again: they need no saving.
        only: of these paths alone.

    Returns:
        The salvage commit, or None where there was nothing to save.

    Raises:
        ResourceExhausted: the disk is full; nothing was changed.
    """
    if folder.is_symlink() or not folder.is_dir():
        return None
    differing = _differing(repo, folder, commit, settings) if only is None else sorted(only)
    found = {path: entry for path in differing if (entry := _entry(folder / path))}
    view = repo.tree(commit)
    found = {
        path: entry
        for path, entry in found.items()
        if (view.mode(path) != entry.mode or view.read(path) != entry.data)
        and entry.data not in (explained or {}).get(path, ())
    }
    if not found:
        return None
    prefix = salvage_ref(wp_id)
    known = repo.git.text("for-each-ref", "--format=%(refname) %(tree)", f"{prefix}/").splitlines()
    saved = objects.write_commit(
        parent=commit,
        base_tree=commit,
        changes=found,
        message=f"Salvage of {wp_id}: {len(found)} files found in its worktree and nowhere else\n\n"
        f"Handshake-WP: {wp_id}\n",
        when=when,
    )
    tree = repo.git.text("rev-parse", f"{saved}^{{tree}}")
    for row in known:
        ref, _, known_tree = row.partition(" ")
        if known_tree == tree:
            return repo.ref_target(ref)
    objects.update_ref(_next_ref(wp_id, [row.split()[0] for row in known]), saved, None)
    return saved


def save_detached_head(repo: Repository, objects: ObjectStore, admin: Path, wp_id: str) -> str | None:
    """Keep the commit that a worktree's HEAD names and no ref reaches, before its git folder is replaced.

    Args:
        admin: the worktree's own git folder.

    Returns:
        The commit that got a salvage ref, or None where none was in danger.
    """
    git = Git(repo.root)
    head = git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}", check=False, env={"GIT_DIR": str(admin)})
    commit = head.stdout.decode().strip()
    if head.code != 0 or git.text("for-each-ref", "--count=1", f"--contains={commit}"):
        return None
    prefix = salvage_ref(wp_id)
    known = git.text("for-each-ref", "--format=%(refname)", f"{prefix}/").splitlines()
    objects.update_ref(_next_ref(wp_id, known), commit, None)
    return commit


def _next_ref(wp_id: str, known: list[str]) -> str:
    number = 1 + max((int(ref.rpartition("/")[2]) for ref in known), default=0)
    return f"{salvage_ref(wp_id)}/{number}"


def _differing(repo: Repository, folder: Path, commit: str, settings: tuple[str, ...]) -> list[str]:
    """Files that differ from the commit or that it lacks, found with an index of our own: theirs may be broken."""
    with tempfile.TemporaryDirectory(prefix="salvage-", dir=repo.state_dir) as scratch:
        env = {
            "GIT_DIR": str(repo.common_dir),
            "GIT_WORK_TREE": str(folder),
            "GIT_INDEX_FILE": str(Path(scratch) / "index"),
        }
        git = Git(folder, settings=settings)
        git.run("read-tree", commit, env=env)
        modified = git.names("ls-files", "-z", "--modified", "--", env=env)
        others = git.names("ls-files", "-z", "--others", "--exclude-standard", "--", env=env)
    return sorted({path for path in (*modified, *others) if not path.endswith("/")})


def _entry(place: Path) -> BlobEntry | None:
    if place.is_symlink():
        return BlobEntry(os.fsencode(place.readlink()), SYMLINK)
    if not place.is_file():
        return None
    executable = os.name != "nt" and place.stat().st_mode & 0o100
    return BlobEntry(place.read_bytes(), EXECUTABLE if executable else REGULAR)
