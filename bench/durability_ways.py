"""The ways to write a commit and move a ref that `durability.py` compares.

Each takes a repository and gives a function that writes commit number N, of 12 objects, on top of the ref's tip, and
returns its id once it says that it is done.
"""

from __future__ import annotations

import io
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from handshake.domain.errors import StaleOwner
from handshake.domain.settings import Identity
from handshake.repo.git import find_repository
from handshake.repo.objects import GitObject, TreeEdit, commit_bytes, git_object
from handshake.repo.store import ObjectStore

REF = "refs/heads/handshake/track/WP-1"
WHEN = datetime(2026, 1, 1, tzinfo=UTC)
WHO = Identity()
FLOOR = "floor: append + fsync of the same bytes"
Publish = Callable[[int], str]


def make_repository(root: Path) -> Path:
    """An empty repository whose ref exists: with a reflog, as git makes it."""
    subprocess.run(["git", "init", "-q", "-b", "main", str(root)], check=True)
    for key, value in (("user.name", "Bench"), ("user.email", "bench@localhost"), ("gc.auto", "0")):
        subprocess.run(["git", "-C", str(root), "config", key, value], check=True)
    empty = subprocess.run(
        ["git", "-C", str(root), "commit-tree", "-m", "first", _empty_tree(root)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    subprocess.run(["git", "-C", str(root), "update-ref", REF, empty], check=True)
    return root


def _empty_tree(root: Path) -> str:
    command = ["git", "-C", str(root), "hash-object", "-t", "tree", "-w", "--stdin"]
    return subprocess.run(command, check=True, capture_output=True, text=True, input="").stdout.strip()


def files_of(number: int) -> dict[str, bytes]:
    """Eight files, 40 KB in all; who writes is in them, so that eight writers write different commits."""
    name = f"{number}-{os.getpid()}"
    row = f'{{"step": "{name}", "text": "as a record has it"}}\n'.encode()
    records = {f"jobs/{kind}.json": row * (60 + number) for kind in ("job", "progress", "ledger", "events")}
    return {**records, **{f"steps/{part}.txt": row * 20 + part.encode() for part in ("a", "b", "c", "d")}}


def _objects(tip: str, number: int) -> list[GitObject]:
    edit = TreeEdit("sha1", lambda _: b"")
    tree = edit.apply(None, files_of(number))
    data = commit_bytes(tree=tree, parents=(tip,), author=WHO, committer=WHO, when=WHEN, message=f"step {number}")
    return [*edit.objects, git_object("commit", data, "sha1")]


def _by_handshake(backend: Any) -> Callable[[Path], Publish]:
    def open_(root: Path) -> Publish:
        repo = find_repository(root)
        store = ObjectStore(repo, backend=backend)

        def publish(number: int) -> str:
            while True:
                tip = repo.ref_target(REF)
                sha = store.write_commit(
                    parent=tip, base_tree=None, changes=files_of(number), message=f"step {number}", when=WHEN
                )
                try:
                    store.update_ref(REF, sha, tip)
                except StaleOwner:
                    continue
                return sha

        return publish

    return open_


def _by_pygit2(root: Path) -> Publish:
    import pygit2
    from pygit2.enums import ObjectType, Option

    pygit2.option(Option.ENABLE_FSYNC_GITDIR, True)
    handle = pygit2.Repository(str(root))
    kinds = {"blob": ObjectType.BLOB, "tree": ObjectType.TREE, "commit": ObjectType.COMMIT}

    def publish(number: int) -> str:
        while True:
            reference = handle.references[REF]
            objects = _objects(str(reference.target), number)
            for item in objects:
                handle.write(kinds[item.kind], item.data)
            try:
                reference.set_target(objects[-1].sha, "bench")
            except (pygit2.GitError, OSError):  # the lock is taken, or the ref moved: both mean again
                time.sleep(0.002)
                continue
            return objects[-1].sha

    return publish


def _by_cli(root: Path) -> Publish:
    git = ["git", "-C", str(root), "-c", "core.fsync=all", "-c", "gc.auto=0"]

    def run(*args: str, data: bytes = b"", env: dict[str, str] | None = None) -> str:
        all_of_it = {**os.environ, **(env or {})}
        done = subprocess.run([*git, *args], input=data, capture_output=True, env=all_of_it, check=True)
        return done.stdout.decode().strip()

    def publish(number: int) -> str:
        files = files_of(number)
        with tempfile.TemporaryDirectory() as folder:
            places = []
            for at, data in enumerate(files.values()):
                places.append(Path(folder) / str(at))
                places[-1].write_bytes(data)
            ids = run("hash-object", "-w", "--no-filters", "--stdin-paths", data="\n".join(map(str, places)).encode())
            rows = "".join(f"100644 {sha}\t{path}\n" for sha, path in zip(ids.split(), files, strict=True))
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            run("update-index", "--index-info", data=rows.encode(), env=index)
            tree = run("write-tree", env=index)
        while True:
            tip = run("rev-parse", REF)
            sha = run("commit-tree", "-p", tip, "-m", f"step {number}", tree)
            try:
                run("update-ref", REF, sha, tip)
            except subprocess.CalledProcessError:
                continue
            return sha

    return publish


def _again_where_locked(publish: Publish) -> Publish:
    """GitPython raises where another process holds the ref's lock, or takes the file with the message away."""

    def patient(number: int) -> str:
        while True:
            try:
                return publish(number)
            except OSError:
                time.sleep(0.002)

    return patient


def _by_gitpython_odb(root: Path) -> Publish:
    from git import Reference, Repo
    from gitdb.base import IStream

    repo = Repo(root)

    @_again_where_locked
    def publish(number: int) -> str:
        tip = repo.commit(REF).hexsha
        objects = _objects(tip, number)
        for item in objects:
            repo.odb.store(IStream(item.kind.encode(), len(item.data), io.BytesIO(item.data)))
        Reference(repo, REF).set_object(objects[-1].sha)
        return objects[-1].sha

    return publish


def _by_gitpython_index(root: Path) -> Publish:
    from git import IndexFile, Reference, Repo
    from git.index.typ import BaseIndexEntry
    from gitdb.base import IStream

    repo = Repo(root)

    @_again_where_locked
    def publish(number: int) -> str:
        with tempfile.TemporaryDirectory() as folder:
            index = IndexFile(repo, str(Path(folder) / "index"))
            for path, data in files_of(number).items():
                stored = repo.odb.store(IStream(b"blob", len(data), io.BytesIO(data)))
                index.add([BaseIndexEntry((0o100644, stored.binsha, 0, path))])
            made = index.commit(f"step {number}", parent_commits=[repo.commit(REF)], head=False)
        Reference(repo, REF).set_object(made)
        return str(made.hexsha)

    return publish


def _by_appending(root: Path) -> Publish:
    file = (root / ".git" / "log-of-bytes").open("ab")

    def publish(number: int) -> str:
        file.write(b"".join(files_of(number).values()))
        file.flush()
        os.fsync(file.fileno())
        return "0" * 40

    return publish


WAYS: dict[str, Callable[[Path], Publish]] = {
    "GitPython `index.commit`": _by_gitpython_index,
    "GitPython `odb.store`": _by_gitpython_odb,
    "git CLI, batched, `core.fsync=all`": _by_cli,
    "pygit2, loose, `enable_fsync_gitdir`": _by_pygit2,
    "Handshake, a pack for each commit": _by_handshake("auto"),
    "the same, refs by the git command": _by_handshake("cli"),
    FLOOR: _by_appending,
}
