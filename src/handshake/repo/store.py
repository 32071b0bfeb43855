"""The durable write path: objects first, then the ref by compare-and-swap; and the tracking branch on it.

Contract: `state.md`, The tracking branch and Durability.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Literal, NamedTuple

from handshake.config.failpoints import failpoint
from handshake.domain.errors import EnvironmentProblem, RefGone, StaleOwner, StateCorruption, UsageError
from handshake.domain.settings import Identity
from handshake.repo.backends import Backend, CliBackend, ObjectVanished, PygitBackend
from handshake.repo.consolidate import gather_packs
from handshake.repo.git import Repository
from handshake.repo.objects import BlobEntry, Change, GitObject, TreeEdit, commit_bytes, git_object
from handshake.repo.packs import KeptPack, PackWriter, clear_left_packs, left_packs
from handshake.repo.refs import RefBusy, RefMoved
from handshake.repo.tree import TreeView

__all__ = [
    "BlobEntry",
    "Change",
    "ObjectStore",
    "TrackedCommit",
    "TrackingBranch",
    "clear_stale_ref_lock",
    "held_ref",
    "tracked_packets",
]

_LOCK_PATIENCE_S = 5.0
_KEPT_COMMITS = 8
_KNOWN_TREES = 64
_EARLIER_BY_GIT = 20
_WP_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.|lock$|$))*")


class ObjectStore:
    """Writes commits and moves refs of one repository.

    Args:
        repo: where.
        identity: author and committer unless a call names others.
        backend: `auto` takes pygit2 where it opens the repository, else the git command.
        keep_packs: whether packs stay kept until `close` and not only until a ref names their commit. A run has many,
            and past 50 that are not kept (`gc.autoPackLimit`) each `git commit` of the user's would start a `gc`.

    Raises:
        EnvironmentProblem: pygit2 is demanded and cannot open the repository.
    """

    def __init__(
        self,
        repo: Repository,
        identity: Identity | None = None,
        backend: Literal["auto", "pygit2", "cli"] = "auto",
        *,
        keep_packs: bool = False,
    ) -> None:
        self._repo = repo
        self._identity = identity or Identity()
        handle = None if backend == "cli" else repo.pygit2
        if backend == "pygit2" and handle is None:
            raise EnvironmentProblem(
                f"libgit2 cannot open {repo.common_dir} (object format {repo.object_format})",
                next_step="let the git command write: it is chosen by itself",
            )
        self.backend: Backend = CliBackend(repo) if handle is None else PygitBackend(repo, handle)
        self._folder = repo.common_dir / "objects" / "pack"
        self._packs = PackWriter(self._folder, repo.object_format, repo.state_dir / "locks")
        self._written: dict[str, tuple[list[GitObject], KeptPack]] = {}
        self._trees: dict[str, bytes] = {}
        self._kept: list[KeptPack] | None = [] if keep_packs else None

    def write_commit(
        self,
        *,
        parent: str | None,
        base_tree: str | None,
        changes: Mapping[str, Change],
        message: str,
        when: datetime,
        author: Identity | None = None,
        committer: Identity | None = None,
        merges: tuple[str, ...] = (),
    ) -> str:
        """Store a commit that no ref names yet. Same arguments, same id, whichever backend writes.

        Args:
            parent: the commit before, or None for a root commit.
            base_tree: a tree or commit id whose files are kept where `changes` does not name them.
            changes: path to bytes (the mode of the file that was there is kept), to a BlobEntry, or to None
                for no file.
            message: subject, body, trailers.
            when: author and committer time.
            merges: further parents, whose files are not looked at.

        Returns:
            The commit's id; its objects are on the disk.

        Raises:
            ResourceExhausted: the disk is full.
            UsageError: a path that git cannot hold.
        """
        failpoint("objects.write:before")
        edit = TreeEdit(self._repo.object_format, self._read_tree)
        tree = edit.apply(self._tree_of(base_tree), changes)
        who = author or self._identity
        data = commit_bytes(
            tree=tree,
            parents=(*((parent,) if parent else ()), *merges),
            author=who,
            committer=committer or who,
            when=when,
            message=message,
        )
        commit = git_object("commit", data, self._repo.object_format)
        objects = [*edit.objects, commit]
        self._written[commit.sha] = objects, self._packs.write(objects)  # kept until a ref names it
        self._remember_trees(commit.sha, tree, edit.objects)
        while len(self._written) > _KEPT_COMMITS:
            self._forget(next(iter(self._written)))
        failpoint("objects.write:after")
        return commit.sha

    def _tree_of(self, base: str | None) -> str | None:
        """The tree id of a commit or tree id."""
        if base is None:
            return None
        return git_object("tree", self._read_tree(base), self._repo.object_format).sha

    def _read_tree(self, sha: str) -> bytes:
        """A tree's bytes, by its id or a commit's; those written last are not read back."""
        known = self._trees.get(sha)
        return self.backend.read_tree(sha) if known is None else known

    def _remember_trees(self, commit: str, root: str, objects: Sequence[GitObject]) -> None:
        fresh = {item.sha: item.data for item in objects if item.kind == "tree"}
        if root in fresh:
            fresh[commit] = fresh[root]
        self._trees |= fresh
        for sha in list(self._trees)[: max(0, len(self._trees) - _KNOWN_TREES)]:
            del self._trees[sha]

    def _forget(self, commit: str) -> None:
        """The commit is named by a ref, or will never be: collections may do what they do."""
        held = self._written.pop(commit, None)
        if held is None:
            return
        if self._kept is None:
            held[1].release()
        else:
            self._kept.append(held[1])

    def update_ref(self, ref: str, new: str, expected: str | None) -> None:
        """Move a ref from `expected` (None: it must not exist) to `new`; on the disk when this returns.

        Raises:
            StaleOwner, RefGone: the ref is elsewhere, or was deleted; nothing changed.
            EnvironmentProblem: its lock stays held, by whom is not known.
        """
        failpoint("ref.update:before")
        try:
            self._swap(ref, new, expected)
        except ObjectVanished:
            self._write_again(new)
            self._swap(ref, new, expected)
        except StaleOwner:
            self._forget(new)
            raise
        if new in self._written and not self._written[new][1].is_there:
            self._write_again(new)
        self._forget(new)
        failpoint("ref.update:after")

    def drop_ref(self, ref: str, expected: str) -> None:
        """Take a ref away that is at `expected`. Whoever calls knows that its commits are reachable from another.

        Raises:
            StaleOwner: it is elsewhere, or locked; nothing changed.
        """
        result = self._repo.git.run("update-ref", "--no-deref", "-d", ref, expected, check=False)
        if result.code != 0:
            raise StaleOwner(
                f"{ref} cannot be removed at {expected[:12]}: {result.reason}", next_step=f"git log {ref}"
            )

    def _swap(self, ref: str, new: str, expected: str | None) -> None:
        stored = new in self._written and self._written[new][1].is_there
        give_up = time.monotonic() + _LOCK_PATIENCE_S
        pause = 0.002
        while True:
            try:
                self.backend.move_ref(ref, new, expected, stored=stored)
            except RefMoved:
                if expected is not None and self._repo.ref_target(ref) is None:
                    raise RefGone(ref, expected) from None
                raise StaleOwner(
                    f"{ref} is not at {(expected or 'nothing')[:12]} any more: another process owns the run",
                    next_step=f"git log {ref}",
                ) from None
            except RefBusy:
                if time.monotonic() > give_up:
                    raise EnvironmentProblem(
                        f"{self._repo.common_dir / ref}.lock stays locked",
                        next_step="wait for the git command that runs, or remove that file if none does",
                    ) from None
                time.sleep(pause)
                pause = min(pause * 2, 0.1)
            else:
                return

    def _write_again(self, commit: str) -> None:
        """Store once more what somebody took between the objects and the ref. Contract: `state.md`: retry once."""
        objects, _ = self._written.get(commit, ([], None))
        if not objects:
            raise StateCorruption(f"commit {commit[:12]} is gone before a ref named it", next_step="git fsck")
        pack = self._packs.write(objects)
        self._written[commit] = objects, pack
        if not pack.is_there:
            raise StateCorruption(f"objects of commit {commit[:12]} vanish as they are written", next_step="git fsck")

    def clear_left_packs(self) -> int:
        """Take over, or release, what killed processes kept from collections; see `packs.left_packs`."""
        locks = self._repo.state_dir / "locks"
        if self._kept is None:
            return clear_left_packs(self._folder, locks)
        whole, half = left_packs(self._folder, locks)
        self._kept += [self._packs.adopt(stem) for stem in whole]
        return len(whole) + half

    def close(self) -> None:
        """Release every pack, also of commits that no ref came to name. The store can be used again."""
        for commit in list(self._written):
            self._forget(commit)
        for pack in self._kept or ():
            pack.release()
        if self._kept is not None:
            self._kept = []


def held_ref(wp_id: str) -> str:
    """The ref that keeps the newest commit written for the WP branch, until the branch follows."""
    return f"refs/handshake/held/{wp_id}"


def clear_stale_ref_lock(repo: Repository, ref: str, *, patience_s: float = 1.0) -> bool:
    """Remove a ref's lock file that a killed process left. Call only while holding the run lock.

    A lock that goes away, or changes, within `patience_s` belongs to a living process and is left alone.

    Returns:
        Whether one was removed.
    """
    # a repository with reftable has one lock for all refs, held for milliseconds
    lock = repo.common_dir / ("reftable/tables.list.lock" if repo.uses_reftable else f"{ref}.lock")
    first = _stamp(lock)
    if first is None:
        return False
    give_up = time.monotonic() + patience_s
    while time.monotonic() < give_up:
        if _stamp(lock) != first:
            return False
        time.sleep(0.02)
    lock.unlink(missing_ok=True)
    return True


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class TrackedCommit(NamedTuple):
    """One state transition."""

    sha: str
    when: datetime
    subject: str
    trailers: dict[str, str]


class TrackingBranch:
    """The log of one work packet's runs: a branch with its own root that is never checked out.

    Args:
        repo: where.
        wp_id: names the branch.
        namespace: below `refs/heads/`, unless it starts with `refs/` itself.
        identity: author and committer.
        objects: the store to write through; made here if not given.

    Raises:
        UsageError: the name cannot be a ref.
    """

    def __init__(
        self,
        repo: Repository,
        wp_id: str,
        namespace: str = "handshake/track",
        identity: Identity | None = None,
        objects: ObjectStore | None = None,
    ) -> None:
        if not _WP_ID.fullmatch(wp_id):
            raise UsageError(
                f"{wp_id!r} cannot name a branch", next_step="use letters, digits, '-', '_' and '.' in a WP_ID"
            )
        prefix = namespace.strip("/")
        self.ref = f"{prefix}/{wp_id}" if prefix.startswith("refs/") else f"refs/heads/{prefix}/{wp_id}"
        self.wp_id = wp_id
        self.after_publish: Callable[[], None] | None = None
        self.objects = objects or ObjectStore(repo, identity)
        self._repo = repo
        self._views: dict[str, TreeView] = {}

    def tip(self) -> str | None:
        """The last commit, or None where nothing was published yet."""
        return self._repo.ref_target(self.ref)

    def read(self, path: str, at: str | None = None) -> bytes | None:
        """A file at a commit (default: the tip), or None."""
        view = self._view(at)
        return None if view is None else view.read(path)

    def list(self, prefix: str = "", at: str | None = None) -> tuple[str, ...]:
        """The paths in a folder, at any depth, sorted; all for the empty prefix."""
        view = self._view(at)
        return () if view is None else view.paths_under(prefix)

    def names_in(self, folder: str, at: str | None = None) -> tuple[str, ...]:
        """The names right in a folder, sorted; cheap however long the run was."""
        view = self._view(at)
        return () if view is None else view.names_in(folder)

    def _view(self, at: str | None) -> TreeView | None:
        commit = at or self.tip()
        if commit is None:
            return None
        if commit not in self._views:
            self._views = {commit: self._repo.tree(commit)}
        return self._views[commit]

    def publish(self, changes: Mapping[str, Change], *, message: str, when: datetime, expected: str | None) -> str:
        """Make a state transition true: store its files, then move the ref.

        Args:
            changes: as for `ObjectStore.write_commit`, laid over the files at `expected`.
            expected: the tip as this process knows it; None for the first commit.

        Returns:
            The new tip.

        Raises:
            StaleOwner: the branch moved; nothing of this is on it.
            ResourceExhausted: the disk is full; nothing was published.
            UsageError: the branch is checked out somewhere.
        """
        self._refuse_if_checked_out()
        commit = self.objects.write_commit(
            parent=expected, base_tree=expected, changes=changes, message=message, when=when
        )
        self.objects.update_ref(self.ref, commit, expected)
        if self.after_publish is not None:
            self.after_publish()
        return commit

    def _refuse_if_checked_out(self) -> None:
        for path, ref in self._repo.worktrees():
            if ref == self.ref:
                raise UsageError(
                    f"{self.ref.removeprefix('refs/heads/')} is checked out at {path}",
                    next_step=f"git -C {path} switch another branch there: this one is the run's log",
                )

    def repack(self) -> None:
        """Gather the small packs of the commits in one. For the end of a run, never the middle of one.

        Nothing but copies of gathered objects is removed, so a kill at any moment loses nothing.

        Raises:
            ResourceExhausted: the disk is full; the small packs stay.
        """
        gather_packs(self._repo, self.tip())

    def history(self, limit: int | None = None) -> Iterator[TrackedCommit]:
        """The transitions, newest first."""
        tip = self.tip()
        if tip is None:
            return
        args = ["log", "-z", "--format=%H%x1f%ct%x1f%s%x1f%(trailers:only,unfold)"]
        if limit is not None:
            args.append(f"--max-count={limit}")
        for record in self._repo.git.names(*args, tip, "--"):
            sha, seconds, subject, rest = record.split("\x1f", 3)
            rows = (line.partition(": ") for line in rest.splitlines() if ": " in line)
            yield TrackedCommit(
                sha, datetime.fromtimestamp(int(seconds), UTC), subject, {name: value for name, _, value in rows}
            )

    def earlier_tips(self) -> tuple[str, ...]:
        """Where the branch stood before, newest first, by its reflog; nothing where git keeps none.

        The file is read by us: `git reflog` reads each commit that it names, and stops at one that rotted. Where
        there is no file, in reftable, git is asked for one entry after the other.
        """
        if self._repo.uses_reftable:
            asked = (f"{self.ref}@{{{number}}}" for number in range(_EARLIER_BY_GIT))
            told = (self._repo.git.run("rev-parse", "--verify", "--quiet", name, check=False) for name in asked)
            return tuple(dict.fromkeys(one.stdout.decode().strip() for one in takewhile(lambda r: r.code == 0, told)))
        try:
            lines = (self._repo.common_dir / "logs" / self.ref).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ()
        found = [word for line in reversed(lines.splitlines()) for word in reversed(line.split(" ", 2)[:2])]
        return tuple(dict.fromkeys(sha for sha in found if sha.strip("0")))


def tracked_packets(repo: Repository, namespace: str = "handshake/track") -> Sequence[str]:
    """The WP_IDs that have a tracking branch, sorted."""
    prefix = namespace.strip("/")
    prefix = prefix if prefix.startswith("refs/") else f"refs/heads/{prefix}"
    refs = repo.git.text("for-each-ref", "--format=%(refname)", f"{prefix}/").splitlines()
    return sorted(ref.removeprefix(f"{prefix}/") for ref in refs)
