"""The WP branch and its worktree: made, repaired, never trusted, and nothing found there is lost.

Contract: `state.md`, Recovery 4, and WP branch and worktree.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from handshake.config.failpoints import failpoint
from handshake.domain.clock import Clock, SystemClock
from handshake.domain.errors import CapabilityViolation, EnvironmentProblem, StaleOwner, UsageError
from handshake.domain.settings import Identity
from handshake.repo.atomic import disk_error, replace_file, write_durably
from handshake.repo.git import Git, GitFailed, Repository
from handshake.repo.salvage import salvage_ref, save_detached_head, save_found
from handshake.repo.store import ObjectStore, clear_stale_ref_lock

MARKER = "handshake-worktree"
Known = Mapping[str, Collection[bytes | None]]

# Bytes in the worktree are the bytes of the commit, on every system.
WORKTREE_SETTINGS = (
    "core.autocrlf=false",
    "core.eol=lf",
    "core.safecrlf=false",
    "core.sparseCheckout=false",
    "advice.detachedHead=false",
)


class Workspace:
    """The worktree of one work packet, on its branch.

    Args:
        repo: the user's repository.
        wp_id: names the folder and the salvage refs.
        branch: e.g. `feat/WP-1`.
        dir_template: `worktrees.dir`, relative to the main checkout; `{repo}` is the repository's folder name.
        identity: who salvage commits are by.
        objects: the store to write through; made here if not given.
        clock: dates salvage commits.
    """

    def __init__(
        self,
        repo: Repository,
        wp_id: str,
        branch: str,
        dir_template: str = "../{repo}.worktrees",
        *,
        identity: Identity | None = None,
        objects: ObjectStore | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.wp_id = wp_id
        self.branch = branch
        self.ref = f"refs/heads/{branch}"
        self.objects = objects or ObjectStore(repo, identity)
        self._repo = repo
        self._clock = clock or SystemClock()
        self.path = _place(repo, dir_template) / wp_id
        self._settings = (*WORKTREE_SETTINGS, *repo.no_filters)
        self.git = Git(self.path, settings=self._settings, guard=self.verify)

    # -- making it right ---------------------------------------------------------------------------

    def ensure(self, commit: str, known: Known | None = None) -> Path:
        """The worktree, on its branch, its files equal to `commit`. Call only while holding the run lock.

        A worktree that is missing, moved, locked, half-written or dirty is set right or made anew; what it
        held and no commit has is first saved under `refs/handshake/salvage/<WP_ID>/`. A folder that is not
        a sound worktree is set aside, whole, beside it. Ignored files stay.

        Args:
            known: contents by path that the run can make again: no salvage is made of them.

        Raises:
            StaleOwner: the branch is at another commit.
            UsageError: the branch is checked out elsewhere, or the commit does not exist.
            EnvironmentProblem, ResourceExhausted: the folder cannot be written.
        """
        if self._repo.resolve(commit) != commit:
            raise UsageError(f"there is no commit {commit}", next_step=f"git -C {self._repo.root} fsck")
        clear_stale_ref_lock(self._repo, self.ref)
        if self._repo.branch_tip(self.branch) is None:
            self.objects.update_ref(self.ref, commit, None)
        self._branch_is_at(commit)
        self._bring_back()
        admin = self._sound_admin()
        if admin is None:
            self._make_room(commit, known)
            self._add()
        else:
            _clear_leftovers(admin)
            if self._is_dirty(admin):
                self.salvage(commit, known)
        return self.sync(commit)

    def sync(self, commit: str) -> Path:
        """Make index and files equal to the branch's head, which must be `commit`. Ignored files stay.

        Raises:
            StaleOwner: the branch is at another commit.
        """
        self._branch_is_at(commit)
        failpoint("worktree.reset:before")
        self.git.run("reset", "--hard", "--quiet")  # names no commit: it can never move the branch
        self.git.run("clean", "-d", "--force", "--quiet")
        failpoint("worktree.reset:after")
        return self.path

    def follow(self, commit: str) -> Path:
        """Make index and tracked files equal to the branch's head, which just moved to `commit`.

        Untracked files are left to the next look for unexpected ones.

        Raises:
            StaleOwner: the branch is at another commit.
        """
        self._branch_is_at(commit)
        failpoint("worktree.reset:before")
        self.git.run("reset", "--hard", "--quiet")
        failpoint("worktree.reset:after")
        return self.path

    def salvage(self, commit: str, known: Known | None = None, *, only: Iterable[str] | None = None) -> str | None:
        """Save what the folder holds and `commit` does not, as a commit with a ref of its own.

        Args:
            only: of these paths alone.

        Returns:
            The salvage commit, or None where there was nothing to save.
        """
        when, paths = self._clock.now(), None if only is None else frozenset(only)
        return save_found(self._repo, self.objects, self.path, self.wp_id, commit, when, self._settings, known, paths)

    def salvage_refs(self) -> tuple[str, ...]:
        """The refs under which something was saved, oldest first."""
        prefix = salvage_ref(self.wp_id)
        names = self._repo.git.text("for-each-ref", "--format=%(refname)", f"{prefix}/").splitlines()
        return tuple(sorted(names, key=lambda name: int(name.rpartition("/")[2])))

    def remove(self) -> None:
        """Take the worktree away; the branch stays. What no commit has is salvaged first."""
        tip = self._repo.branch_tip(self.branch)
        if tip is not None and self.path.is_dir():
            self.salvage(tip)
        admin = self._sound_admin()
        if admin is not None:
            (admin / "locked").unlink(missing_ok=True)
            self._repo.git.run("worktree", "remove", "--force", "--", str(self.path))
        elif os.path.lexists(self.path):
            self._set_aside(self.path)

    def ignored_paths(self) -> tuple[str, ...]:
        """Files and whole folders (with a final `/`) that are ignored, so that no commit has them; sorted."""
        return self.git.names("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")

    def keep_ignored(self, paths: Sequence[str]) -> Path:
        """Move ignored files and folders out of the worktree, under their names, into a folder beside it.

        Raises:
            ResourceExhausted, EnvironmentProblem: they cannot be moved; those that are left are where they were.
        """
        aside = self._place_aside(f"{self.path.name}-ignored")
        for path in paths:
            target = aside / path.rstrip("/")
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                (self.path / path.rstrip("/")).rename(target)
            except OSError as error:
                raise disk_error(error, f"cannot move {self.path / path} to {aside}") from error
        return aside

    def _is_dirty(self, admin: Path) -> bool:
        """Whether files differ from the head. An index that git cannot read is thrown away: it holds no content."""
        try:
            return bool(self.changed_paths())
        except GitFailed:
            (admin / "index").unlink(missing_ok=True)
            return True

    def _branch_is_at(self, commit: str) -> None:
        tip = self._repo.branch_tip(self.branch)
        if tip != commit:
            raise StaleOwner(
                f"branch {self.branch} is at {(tip or 'nothing')[:12]}, not at {commit[:12]}",
                next_step=f"git log {self.branch}",
            )

    def checked_out_elsewhere(self) -> Path | None:
        """Another place than ours at which the branch is checked out."""
        places = self._repo.checked_out_at(self.branch)
        return next((place for place in places if place.exists() and not _same_place(place, self.path)), None)

    def _bring_back(self) -> None:
        """Move our worktree back if it was moved; refuse if somebody else has the branch checked out."""
        for place in self._repo.checked_out_at(self.branch):
            if _same_place(place, self.path) or not place.exists():
                continue
            admin = self._admin_of(place)
            if admin is None or not (admin / MARKER).is_file():
                raise UsageError(
                    f"{self.branch} is checked out at {place}",
                    next_step=f"git -C {place} switch another branch there",
                )
            if os.path.lexists(self.path):
                self._set_aside(self.path)
            (admin / "locked").unlink(missing_ok=True)
            self._repo.git.run("worktree", "move", "--force", str(place), str(self.path))

    def _add(self) -> None:
        failpoint("worktree.add:before")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, f"cannot make {self.path.parent}") from error
        Git(self._repo.root, settings=self._settings).run(
            "worktree", "add", "--force", "--force", "--no-checkout", "--quiet", "--", str(self.path), self.branch
        )
        admin = self._sound_admin()
        assert admin is not None
        write_durably(admin / MARKER, f"{self.wp_id}\n".encode())
        failpoint("worktree.add:after")

    def _make_room(self, commit: str, known: Known | None) -> None:
        """Save what stands where the worktree belongs, then move it out of the way."""
        admin = self._admin_of(self.path)
        if admin is not None:
            save_detached_head(self._repo, self.objects, admin, self.wp_id)
        if os.path.lexists(self.path):
            self.salvage(commit, known)
            aside = self._set_aside(self.path)
            pointer = aside / ".git"
            if pointer.is_file():  # else it would lead into the new worktree's git folder
                pointer.rename(aside / ".git.set-aside")

    def _set_aside(self, path: Path) -> Path:
        """Move a folder or file out of the way, whole: it may hold ignored files that no commit can have."""
        target = self._place_aside(path.name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        except OSError as error:
            raise disk_error(error, f"cannot move {path} out of the way") from error
        return target

    def _place_aside(self, name: str) -> Path:
        """A path that nothing has yet, in the folder beside the worktrees for what was in their way."""
        shelf, number = self.path.parent / ".set-aside", 1
        while os.path.lexists(target := shelf / f"{name}-{number}"):
            number += 1
        return target

    # -- whether it is what it was -----------------------------------------------------------------

    def verify(self) -> None:
        """Whether the worktree still leads to this repository: its `.git` file may have been replaced.

        Raises:
            EnvironmentProblem: it does not.
        """
        if self._sound_admin() is None:
            raise EnvironmentProblem(
                f"{self.path} is not the worktree of {self.branch} any more", next_step=f"handshake run {self.wp_id}"
            )

    def _sound_admin(self) -> Path | None:
        """The worktree's own git folder, if it and the worktree name each other and the branch."""
        pointer = self.path / ".git"
        if self.path.is_symlink() or pointer.is_symlink() or not pointer.is_file():
            return None
        admin = self._admin_of(self.path)
        if admin is None:
            return None
        named = _first_line(pointer).removeprefix("gitdir: ")
        if not _same_place(self.path / named, admin) or self._head_of(admin) != self.ref:
            return None
        if not self._repo.uses_reftable and not _same_place(
            admin / _first_line(admin / "commondir"), self._repo.common_dir
        ):
            return None
        return admin

    def _head_of(self, admin: Path) -> str:
        """The full ref that the worktree's HEAD names, or an empty word. In reftable git alone can tell."""
        if not self._repo.uses_reftable:
            named = _first_line(admin / "HEAD")
            return named.removeprefix("ref: ") if named.startswith("ref: ") else ""
        told = self._repo.git.run("symbolic-ref", "--quiet", "HEAD", check=False, env={"GIT_DIR": str(admin)})
        return told.stdout.decode("utf-8", "surrogateescape").strip()

    def _admin_of(self, place: Path) -> Path | None:
        for admin in sorted((self._repo.common_dir / "worktrees").glob("*")):
            back = _first_line(admin / "gitdir")
            if back and _same_place(admin / back, place / ".git"):
                return admin
        return None

    # -- files -------------------------------------------------------------------------------------

    def changed_paths(self) -> tuple[str, ...]:
        """Tracked files that differ from the head, and files that are neither tracked nor ignored; sorted.

        A repository made inside the worktree is one name that ends in `/`.
        """
        rows = self.git.names(
            "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all", "--ignore-submodules=all"
        )
        return tuple(sorted({row[3:] for row in rows}))

    def restore(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Set paths back to the head: tracked files get its content, others are removed.

        Returns:
            Those that the head has.
        """
        wanted = sorted(set(paths))
        if not wanted:
            return ()
        head = self._repo.tree(self._head())
        tracked = [path for path in wanted if head.mode(path) is not None]
        for path in wanted:
            if path not in tracked:
                self._take_away(self._inside(path.rstrip("/"), follow_last=True))
        for path in tracked:  # after the others: one of them may have been a link in this one's way
            place = self._inside(path, follow_last=True)
            if place.is_dir() and not place.is_symlink():
                self._set_aside(place)
        self._by_paths(wanted, "reset", "--quiet")
        self._by_paths(tracked, "checkout", "--quiet")
        return tuple(tracked)

    def _head(self) -> str:
        """The commit the worktree stands on: its branch's, once it is known to be our worktree."""
        self.verify()
        return self._repo.branch_tip(self.branch) or self.git.text("rev-parse", "HEAD")

    def read(self, path: str) -> bytes | None:
        """A file's bytes, or None where there is no such file.

        Raises:
            CapabilityViolation: the path leads out of the worktree or over a symbolic link.
        """
        place = self._inside(path)
        try:
            return place.read_bytes() if place.is_file() else None
        except OSError as error:
            raise disk_error(error, f"cannot read {place}") from error

    def size(self, path: str) -> int:
        """A file's size in bytes; of a link, and of what is not there, 0."""
        place = self._inside(path, follow_last=True)
        return place.stat().st_size if place.is_file() and not place.is_symlink() else 0

    def write_snapshot(self, files: Mapping[str, bytes | None]) -> None:
        """Put a task's files back as a step left them; None stands for no file.

        Raises:
            CapabilityViolation: a path leads out of the worktree or over a symbolic link; nothing is written.
            ResourceExhausted: the disk is full.
        """
        self.verify()
        places = {path: self._inside(path) for path in sorted(files)}
        head: dict[str, int | None] = {}
        if any(not place.exists() for place in places.values()):
            view = self._repo.tree(self._head())
            head = {path: view.mode(path) for path in places}
        for path, place in places.items():
            data = files[path]
            if data is None:
                place.unlink(missing_ok=True)
                self._drop_empty_folders(place.parent)
            elif self.read(path) != data:
                mode = None if place.exists() else (head.get(path) or 0o644) & 0o777
                replace_file(place, data, mode=mode)

    def _inside(self, path: str, *, follow_last: bool = False) -> Path:
        """The place of a path, once every part of it is known to stay in the worktree."""
        parts = path.split("/")
        odd = {"", ".", ".."} & set(parts) or "\0" in path or Path(path).is_absolute() or Path(path).drive
        if odd or any(part.lower() == ".git" for part in parts) or (os.name == "nt" and "\\" in path):
            raise CapabilityViolation(f"the path {path!r} leads out of {self.path}")
        place = self.path
        for number, part in enumerate(parts, start=1):
            place = place / part
            if place.is_symlink() and not (follow_last and number == len(parts)):
                raise CapabilityViolation(f"the path {path!r} goes over the symbolic link {place}")
        return place

    def _by_paths(self, paths: list[str], *command: str) -> None:
        if paths:
            self.git.run(
                *command,
                "--pathspec-from-file=-",
                "--pathspec-file-nul",
                "HEAD",
                input=b"\0".join(map(os.fsencode, paths)),
                env={"GIT_LITERAL_PATHSPECS": "1"},
            )

    def _take_away(self, place: Path) -> None:
        if place.is_dir() and not place.is_symlink():
            self._set_aside(place)  # a repository of its own: its commits are nowhere else
        else:
            place.unlink(missing_ok=True)
        self._drop_empty_folders(place.parent)

    def _drop_empty_folders(self, folder: Path) -> None:
        while folder != self.path and self.path in folder.parents:
            with contextlib.suppress(FileNotFoundError):
                if any(folder.iterdir()):
                    return
                folder.rmdir()
            folder = folder.parent


def _clear_leftovers(admin: Path) -> None:
    """Remove what a killed git left: lock files of this worktree alone, and its lock against pruning."""
    for name in ("index.lock", "HEAD.lock", "ORIG_HEAD.lock", "locked"):
        (admin / name).unlink(missing_ok=True)


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").split("\n", 1)[0].strip()
    except OSError:
        return ""


def _same_place(one: Path, other: Path) -> bool:
    return os.path.normcase(os.path.realpath(one)) == os.path.normcase(os.path.realpath(other))


def _place(repo: Repository, template: str) -> Path:
    """The folder of this repository's worktrees; in the user's state directory if the wanted one is read-only."""
    base = Path(os.path.normpath(repo.main_root / template.format(repo=repo.name)))
    if base in (repo.main_root, repo.root) or {repo.main_root, repo.root} & set(base.parents):
        raise UsageError(
            f"worktrees.dir {template!r} lies inside the repository", next_step='use "../{repo}.worktrees"'
        )
    existing = next(folder for folder in (base, *base.parents) if folder.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return base
    from platformdirs import user_state_path

    tag = sha256(os.fsencode(repo.common_dir)).hexdigest()[:8]
    return user_state_path("handshake") / "worktrees" / f"{repo.name}-{tag}"
