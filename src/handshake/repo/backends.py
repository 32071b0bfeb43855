"""Two ways to put objects and move refs so that they survive a power loss. Contract: `state.md`, Durability.

pygit2 is the default; the git CLI serves where libgit2 cannot open the repository. Neither syncs the
folders above a new ref: that is done here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from handshake.domain.errors import EnvironmentProblem, ResourceExhausted, StateCorruption
from handshake.repo.atomic import disk_error, says_disk_full, sync_upwards
from handshake.repo.git import Git, Repository, durable_settings
from handshake.repo.objects import GitObject

if TYPE_CHECKING:
    import pygit2


class RefBusy(Exception):
    """Another process holds the ref's lock right now."""


class RefMoved(Exception):
    """The ref is not where it was expected."""


class ObjectVanished(Exception):
    """An object that was there is gone: a garbage collection ran."""


class Backend(Protocol):
    """What the store needs of a way to write."""

    def put(self, objects: Sequence[GitObject]) -> None:
        """Store objects durably, or freshen those that are there."""
        ...

    def read_tree(self, sha: str) -> bytes:
        """A stored tree's bytes. The id may be a commit's: then its tree."""
        ...

    def missing(self, shas: Sequence[str]) -> list[str]:
        """Those that are not stored."""
        ...

    def move_ref(self, ref: str, new: str, expected: str | None) -> None:
        """Compare and swap, durably; raises RefBusy, RefMoved or ObjectVanished."""
        ...


class CliBackend:
    """The git command, its files synced by its own settings, the ref's folders by us."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._git = Git(repo.root, settings=durable_settings())

    def put(self, objects: Sequence[GitObject]) -> None:
        """Store by `hash-object`, one process for each kind."""
        for kind in ("blob", "tree", "commit"):
            wanted = [item for item in objects if item.kind == kind]
            if wanted:
                self._put_kind(kind, wanted)
        sync_upwards(self._repo.common_dir / "objects", self._repo.common_dir / "objects")

    def _put_kind(self, kind: str, objects: Sequence[GitObject]) -> None:
        args = ("hash-object", "-w", "-t", kind, "--no-filters")
        if len(objects) == 1:
            shas = [self._git.run(*args, "--stdin", input=objects[0].data).stdout.decode().strip()]
        else:
            with tempfile.TemporaryDirectory(prefix="put-", dir=self._repo.state_dir) as folder:
                names = []
                try:
                    for number, item in enumerate(objects):
                        names.append(Path(folder) / str(number))
                        names[-1].write_bytes(item.data)
                except OSError as error:
                    raise disk_error(error, f"cannot write {folder}") from error
                listed = "".join(f"{name}\n" for name in names).encode()
                shas = self._git.run(*args, "--stdin-paths", input=listed).stdout.decode().split()
        if shas != [item.sha for item in objects]:
            raise StateCorruption(f"git stored a {kind} under another id", next_step="git fsck")

    def read_tree(self, sha: str) -> bytes:
        """By `cat-file`."""
        return self._git.run("cat-file", "tree", f"{sha}^{{tree}}").stdout

    def missing(self, shas: Sequence[str]) -> list[str]:
        """By `cat-file --batch-check`."""
        out = self._git.run("cat-file", "--batch-check", input="".join(f"{sha}\n" for sha in shas).encode()).stdout
        return [line.split()[0] for line in out.decode().splitlines() if line.endswith(" missing")]

    def move_ref(self, ref: str, new: str, expected: str | None) -> None:
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
                sync_upwards((common / ref).parent, common)
        except OSError as error:
            raise disk_error(error, f"cannot sync {ref}") from error


class PygitBackend:
    """libgit2 with `enable_fsync_gitdir`: it syncs objects, refs and the folders they stand in."""

    def __init__(self, repo: Repository, handle: pygit2.Repository) -> None:
        self._repo = repo
        self._handle = handle
        self._cli = CliBackend(repo)
        handle.set_ident("Handshake", "handshake@localhost")  # for reflogs: the user's name is not ours to use

    def put(self, objects: Sequence[GitObject]) -> None:
        """Store loose objects; one that is there already is freshened."""
        import pygit2
        from pygit2.enums import ObjectType

        kinds = {"blob": ObjectType.BLOB, "tree": ObjectType.TREE, "commit": ObjectType.COMMIT}
        for item in objects:
            try:
                stored = str(self._handle.write(kinds[item.kind], item.data))
            except (pygit2.GitError, OSError) as error:
                raise _failed(error, f"cannot store a {item.kind} in {self._repo.common_dir}") from error
            if stored != item.sha:
                raise StateCorruption(f"a {item.kind} was stored under another id", next_step="git fsck")

    def read_tree(self, sha: str) -> bytes:
        """From libgit2; by git where it is not there (a partial clone fetches it)."""
        import pygit2

        try:
            return self._handle[sha].peel(pygit2.Tree).read_raw()
        except KeyError:
            return self._cli.read_tree(sha)

    def missing(self, shas: Sequence[str]) -> list[str]:
        """Asked of the object store."""
        return [sha for sha in shas if sha not in self._handle]

    def move_ref(self, ref: str, new: str, expected: str | None) -> None:
        """Under the ref's lock. A new ref is made by git: libgit2 would not see another that makes it too."""
        if expected is None:
            self._cli.move_ref(ref, new, None)
            return
        import pygit2

        reference = self._handle.references.get(ref)
        if reference is None or str(reference.target) != expected:
            raise RefMoved(ref)
        try:
            reference.set_target(pygit2.Oid(hex=new), "handshake")
        except (pygit2.GitError, OSError) as error:
            text = str(error)
            if "old reference value does not match" in text:
                raise RefMoved(ref) from None
            # libgit2 says one or the other, by which of its ways to the lock file found it taken
            if ("failed to lock file" in text or "failed to create locked file" in text) and not says_disk_full(text):
                raise RefBusy(ref) from None
            if "target OID" in text:
                raise ObjectVanished(new) from None
            raise _failed(error, f"cannot move {ref}") from error


def _failed(error: Exception, what: str) -> EnvironmentProblem:
    if says_disk_full(str(error)):
        return ResourceExhausted(f"{what}: the disk is full", next_step="free disk space, then run again")
    return EnvironmentProblem(f"{what}: {error}", next_step="git fsck")
