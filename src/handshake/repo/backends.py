"""Two ways to read objects and to move refs so that they survive a power loss. Contract: `state.md`, Durability.

pygit2 is the default; the git CLI serves where libgit2 cannot open the repository. The CLI does not sync the
folders above a ref: that is done here. Objects are written by neither: see `packs`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from handshake.domain.errors import EnvironmentProblem
from handshake.repo.atomic import disk_error, sync_upwards
from handshake.repo.git import Git, Repository, durable_settings, syncs_refs
from handshake.repo.refs import RefBusy, RefMoved, note_in_reflog, swap_ref

if TYPE_CHECKING:
    import pygit2


class ObjectVanished(Exception):
    """An object that was there is gone: a garbage collection ran."""


class Backend(Protocol):
    """What the store needs of a way into a repository."""

    def read_tree(self, sha: str) -> bytes:
        """A stored tree's bytes. The id may be a commit's: then its tree."""
        ...

    def move_ref(self, ref: str, new: str, expected: str | None, *, stored: bool = False) -> None:
        """Compare and swap, durably; raises RefBusy, RefMoved or ObjectVanished.

        `stored`: the commit's pack is known to be there. To ask for it makes libgit2 list all packs anew.
        """
        ...


class CliBackend:
    """The git command, refs synced by its own settings, their folders by us."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._git = Git(repo.root, settings=durable_settings())

    def read_tree(self, sha: str) -> bytes:
        """By `cat-file`."""
        return self._git.run("cat-file", "tree", f"{sha}^{{tree}}").stdout

    def move_ref(self, ref: str, new: str, expected: str | None, *, stored: bool = False) -> None:
        """By `update-ref`, which compares under the ref's lock."""
        result = self._git.run(
            "update-ref", "--no-deref", "-m", "handshake", ref, new, expected or "0" * len(new), check=False
        )
        if result.code == 0:
            self._sync_ref(ref)
            return
        if self._repo.ref_target(ref) != expected:
            raise RefMoved(ref)
        if "nonexistent object" in result.stderr or "not a valid SHA1" in result.stderr:
            raise ObjectVanished(new)
        if ".lock" in result.stderr or "unable to lock" in result.stderr.lower():
            raise RefBusy(ref)
        raise EnvironmentProblem(f"git cannot move {ref}: {result.reason}", next_step="git fsck")

    def _sync_ref(self, ref: str) -> None:
        common = self._repo.common_dir
        try:
            if self._repo.uses_reftable:
                sync_upwards(common / "reftable", common)
            else:
                if not syncs_refs():
                    try:
                        _sync_file(common / ref)
                    except FileNotFoundError:  # git has packed it since
                        _sync_file(common / "packed-refs")
                sync_upwards((common / ref).parent, common)
        except OSError as error:
            raise disk_error(error, f"cannot sync {ref}") from error


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


class PygitBackend:
    """libgit2 reads; refs that exist are moved by us, new ones by git."""

    def __init__(self, repo: Repository, handle: pygit2.Repository) -> None:
        self._repo = repo
        self._handle = handle
        self._cli = CliBackend(repo)

    def read_tree(self, sha: str) -> bytes:
        """From libgit2; by git where it is not there (a partial clone fetches it)."""
        import pygit2

        try:
            return self._handle[sha].peel(pygit2.Tree).read_raw()
        except KeyError:
            return self._cli.read_tree(sha)

    def move_ref(self, ref: str, new: str, expected: str | None, *, stored: bool = False) -> None:
        """Under the ref's lock. A new ref is made by git: libgit2 would not see another that makes it too."""
        if expected is None:
            self._cli.move_ref(ref, new, None)
            return
        if not stored and new not in self._handle:
            raise ObjectVanished(new)
        swap_ref(self._repo.common_dir, ref, new, expected, lambda: self._direct(ref))
        note_in_reflog(self._repo.common_dir, ref, expected, new)

    def _direct(self, ref: str) -> str | None:
        """The id that a ref holds; None where there is none, or where it names another ref."""
        import pygit2

        reference = self._handle.references.get(ref)
        return str(reference.target) if reference is not None and isinstance(reference.target, pygit2.Oid) else None
