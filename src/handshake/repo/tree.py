"""The files of one commit, read from git's objects and never from a checkout. Contract: `context.md`, `state.md`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from handshake.domain.errors import StateCorruption

if TYPE_CHECKING:
    import pygit2

    from handshake.repo.git import Git
    from handshake.repo.object_reader import Stored

_DIRECTORY = 0o040000
_FULL_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SUBMODULE = 0o160000
_SMALL = 1 << 20
_MOST_REMEMBERED = 32


def open_pygit2(git_dir: Path) -> pygit2.Repository | None:
    """The repository by libgit2, writes synced; None where libgit2 cannot open it."""
    import pygit2
    from pygit2.enums import Option

    try:
        handle = pygit2.Repository(str(git_dir))
    except pygit2.GitError:
        return None
    pygit2.option(Option.ENABLE_FSYNC_GITDIR, True)
    return handle


class ChangedFile(NamedTuple):
    """A path, and its blob before and after; None where there is no such file."""

    path: str
    before: str | None
    after: str | None


def _read_blob(git: Git, tree: str, path: str) -> bytes | None:
    """A blob by the git command; small ones of a tree named by its id are remembered: they cannot change."""
    name = f"{tree}:{path}"
    if name in git.remembered:
        return git.remembered[name]
    # `./x` would be a path from the folder we stand in, and a question is one line
    if git.has_reader and "\n" not in path and not path.startswith(("./", "../")):
        stored = git.objects([name])[0]
        content = stored.content if stored and stored.kind == "blob" else None
    else:
        found = git.run("cat-file", "blob", name, check=False)
        content = found.stdout if found.code == 0 else None
    if _FULL_ID.fullmatch(tree) and len(content or b"") <= _SMALL and len(git.remembered) < _MOST_REMEMBERED:
        git.remembered[name] = content
    return content


def _entries_of(tree: Stored) -> dict[str, str]:
    """Names to ids of a tree: `<mode> <name>`, a NUL and the bytes of an id, again and again (gitformat-pack(5))."""
    found: dict[str, str] = {}
    position, width = 0, len(tree.sha) // 2
    while position < len(tree.content):
        end = tree.content.index(b"\0", position)
        name = tree.content[position:end].partition(b" ")[2]
        position = end + 1 + width
        found[os.fsdecode(name)] = tree.content[end + 1 : position].hex()
    return found


class _Entry(NamedTuple):
    mode: int
    sha: str
    size: int | None = None


class TreeView:
    """A commit's files. Paths use `/`; submodules are left out, symbolic links are blobs of mode 0o120000.

    Args:
        git: a door into the repository.
        handle: the repository by libgit2, or None.
        commit: a commit or tree id that exists.
    """

    def __init__(self, git: Git, handle: pygit2.Repository | None, commit: str) -> None:
        self.commit = commit
        self._git = git
        self._handle = handle
        self._entries: dict[str, _Entry] | None = None
        self._mounted: set[str] = set()

    def paths(self) -> tuple[str, ...]:
        """All file paths, sorted."""
        return tuple(sorted(self._all()))

    def paths_under(self, folder: str) -> tuple[str, ...]:
        """The file paths in a folder at any depth, sorted; all of them for the empty name."""
        if not folder:
            return self.paths()
        prefix = folder.rstrip("/") + "/"
        if self._entries is None and self._handle is not None:
            item = self._lookup(folder.rstrip("/"))
            if item is None or item.filemode != _DIRECTORY:
                return ()
            return tuple(sorted(prefix + path for path in self._walk(self._handle[item.id])))
        if self._entries is None:
            return tuple(sorted(self._git.names("ls-tree", "-r", "-z", "--name-only", self.commit, "--", prefix)))
        return tuple(path for path in self.paths() if path.startswith(prefix))

    def names_in(self, folder: str) -> tuple[str, ...]:
        """The names of files and folders right in a folder, sorted; what lies deeper is not looked at."""
        return tuple(sorted(self.children(folder)))

    def children(self, folder: str) -> dict[str, str]:
        """What stands directly in a folder: name to object id, folders among them; empty where there is none."""
        name = folder.rstrip("/")
        if self._handle is not None:
            tree = self._folder(self._lookup(name)) if name else self._root()
            return {os.fsdecode(child.raw_name): str(child.id) for child in tree or ()}
        if self._git.has_reader and "\n" not in name:
            stored = self._git.objects([f"{self.commit}:{name}"])[0]
            return _entries_of(stored) if stored and stored.kind == "tree" else {}
        rows = self._git.names("ls-tree", "-z", self.commit, *([f"{name}/"] if name else ()))
        return {path.rpartition("/")[2]: facts.split()[2] for facts, _, path in (r.partition("\t") for r in rows)}

    def read(self, path: str) -> bytes | None:
        """A file's bytes, or None where there is no such file."""
        if self._entries is None and self._handle is None:
            return _read_blob(self._git, self.commit, path)
        entry = self._entry(path)
        if entry is None:
            return None
        if self._handle is not None:
            import pygit2

            with suppress(pygit2.GitError):  # then git says below what is wrong with it
                blob = self._handle.get(entry.sha)
                if blob is not None:
                    return bytes(blob.data)  # type: ignore[attr-defined]
        return self._git.run("cat-file", "blob", entry.sha).stdout

    def mode(self, path: str) -> int | None:
        """A file's git mode: 0o100644, 0o100755 or 0o120000; None where there is no such file."""
        entry = self._entry(path)
        return None if entry is None else entry.mode

    def size(self, path: str) -> int | None:
        """A file's size in bytes, or None where there is no such file."""
        entry = self._entry(path)
        if entry is None:
            return None
        if entry.size is not None:
            return entry.size
        if self._handle is not None and self._handle.odb.exists(entry.sha):
            return int(self._handle.odb.read_header(entry.sha)[1])
        return int(self._git.text("cat-file", "-s", entry.sha))

    def submodules(self) -> tuple[str, ...]:
        """The paths at which other repositories are mounted, sorted."""
        self._all()
        return tuple(sorted(self._mounted))

    @property
    def tree_id(self) -> str:
        """The id of the root tree: the same files have the same id, whatever the commit."""
        if self._handle is not None:
            return str(self._root().id)
        root = self._git.objects([f"{self.commit}^{{tree}}"])[0] if self._git.has_reader else None
        return root.sha if root else self._git.text("rev-parse", f"{self.commit}^{{tree}}")

    def ids(self) -> dict[str, str]:
        """Each file's blob by its path."""
        return {path: entry.sha for path, entry in self._all().items()}

    def blob(self, blob_id: str, most: int | None = None) -> bytes | None:
        """The bytes of a blob that some tree of this repository holds; None where there are more than `most`."""
        if most is not None and self._blob_size(blob_id) > most:
            return None
        if self._handle is not None and (found := self._handle.get(blob_id)) is not None:
            return bytes(found.data)  # type: ignore[attr-defined]
        return self._git.run("cat-file", "blob", blob_id).stdout

    def _blob_size(self, blob_id: str) -> int:
        if self._handle is not None and hasattr(self._handle.odb, "read_header"):
            return int(self._handle.odb.read_header(blob_id)[1])
        return int(self._git.text("cat-file", "-s", blob_id))

    def changed_since(self, tree_id: str) -> tuple[ChangedFile, ...] | None:
        """The files that differ from another tree, sorted by path; folders that are equal are not entered.

        None where that tree is not in the repository any more.
        """
        if self._handle is None:
            return self._changed_by_listing(tree_id)
        import pygit2

        try:
            before = self._handle[tree_id].peel(pygit2.Tree)
        except (KeyError, ValueError, pygit2.GitError):
            return None
        return tuple(sorted(self._differing(before, self._root(), "")))

    def _changed_by_listing(self, tree_id: str) -> tuple[ChangedFile, ...] | None:
        if self._git.run("cat-file", "-e", f"{tree_id}^{{tree}}", check=False).code != 0:
            return None
        old = TreeView(self._git, None, tree_id)._all()
        new = self._all()
        return tuple(
            ChangedFile(path, old[path].sha if path in old else None, new[path].sha if path in new else None)
            for path in sorted(old.keys() | new.keys())
            if (old.get(path) and old[path].sha) != (new.get(path) and new[path].sha)
        )

    def _differing(self, before: Any, after: Any, prefix: str) -> Iterator[ChangedFile]:
        """Walk two trees side by side; either may be None."""
        old = {item.raw_name: item for item in before} if before is not None else {}
        new = {item.raw_name: item for item in after} if after is not None else {}
        for name in old.keys() | new.keys():
            one, two = old.get(name), new.get(name)
            if one is not None and two is not None and one.id == two.id and one.filemode == two.filemode:
                continue
            path = prefix + os.fsdecode(name)
            folders = [self._folder(item) for item in (one, two)]
            if any(folder is not None for folder in folders):
                yield from self._differing(folders[0], folders[1], path + "/")
            blobs = [self._file_id(item) for item in (one, two)]
            if blobs[0] != blobs[1]:
                yield ChangedFile(path, blobs[0], blobs[1])

    def _folder(self, item: Any) -> Any:
        assert self._handle is not None
        return self._handle[item.id] if item is not None and item.filemode == _DIRECTORY else None

    @staticmethod
    def _file_id(item: Any) -> str | None:
        return str(item.id) if item is not None and item.filemode not in (_DIRECTORY, _SUBMODULE) else None

    def _entry(self, path: str) -> _Entry | None:
        if self._entries is not None or self._handle is None:
            return self._all().get(path)
        item = self._lookup(path)
        if item is None or item.filemode in (_DIRECTORY, _SUBMODULE):
            return None
        return _Entry(item.filemode, str(item.id))

    def _lookup(self, path: str) -> Any:
        """The tree entry at a path, read by libgit2."""
        if not path or path.startswith("/") or path.endswith("/"):
            return None
        import pygit2

        root = self._root()
        try:
            return root[path]
        except KeyError:
            return None
        except pygit2.GitError as error:
            raise self._unreadable(str(error)) from None

    def _root(self) -> Any:
        assert self._handle is not None
        import pygit2

        try:
            return self._handle[self.commit].peel(pygit2.Tree)
        except (KeyError, pygit2.GitError) as error:
            raise self._unreadable(str(error)) from None

    def _unreadable(self, why: str) -> StateCorruption:
        return StateCorruption(f"{self.commit[:12]} cannot be read: {why}", next_step="git fsck --full")

    def _all(self) -> dict[str, _Entry]:
        if self._entries is None:
            self._entries = self._walk(self._root()) if self._handle is not None else self._listed()
        return self._entries

    def _walk(self, tree: Any, prefix: str = "") -> dict[str, _Entry]:
        assert self._handle is not None
        found: dict[str, _Entry] = {}
        for item in tree:
            path = prefix + os.fsdecode(item.raw_name)
            if item.filemode == _DIRECTORY:
                found |= self._walk(self._handle[item.id], path + "/")
            elif item.filemode == _SUBMODULE:
                self._mounted.add(path)
            else:
                found[path] = _Entry(item.filemode, str(item.id))
        return found

    def _listed(self) -> dict[str, _Entry]:
        found: dict[str, _Entry] = {}
        for row in self._git.names("ls-tree", "-r", "-z", "--long", self.commit):
            facts, _, path = row.partition("\t")
            mode, kind, sha, size = facts.split()
            if kind == "blob":
                found[path] = _Entry(int(mode, 8), sha, int(size))
            elif kind == "commit":
                self._mounted.add(path)
        return found
