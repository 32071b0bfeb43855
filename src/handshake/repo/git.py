"""The one door to git: every call names its folder, runs nothing planted there, and says what failed.

Two ways lead through it. GitPython runs commands; where it cannot (bytes on standard input, or `GIT_*`
variables inherited from a git hook, which it always passes on) the program is started directly. Contract:
`state.md`; the decision "our git calls run with hooks, fsmonitor and submodule recursion off" of the design.

Longer than other files on purpose: what is dropped from the environment, set for each call and refused of a
repository is one guard, and a second file beside it would be a second door.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from handshake.domain.errors import EnvironmentProblem, HandshakeError, ResourceExhausted, UsageError
from handshake.repo.atomic import says_disk_full
from handshake.repo.object_reader import ObjectReader, ReaderEnded, Stored, names_for_git, next_answer
from handshake.repo.tree import TreeView, open_pygit2
from handshake.repo.unusable import why_unusable

if TYPE_CHECKING:
    import pygit2

__all__ = ["Git", "GitFailed", "GitResult", "Repository", "TreeView", "find_repository", "git_version"]

OLDEST_GIT = (2, 30)
_MAY_NOT_WRITE = (errno.EROFS, errno.EACCES, errno.EPERM)

# A worktree may hold planted files and its configuration planted commands: none of them runs.
_ALWAYS = (
    "core.fsmonitor=false",
    f"core.hooksPath={os.devnull}",
    "diff.ignoreSubmodules=all",
    "submodule.recurse=false",
    "commit.gpgsign=false",
    "tag.gpgsign=false",
    "log.showSignature=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "core.editor=false",
    "core.pager=cat",
    "core.quotePath=false",
    "color.ui=false",
)
_KEPT_VARIABLES = re.compile(
    r"GIT_(EXEC_PATH|CONFIG_NOSYSTEM|CONFIG_GLOBAL|CONFIG_SYSTEM|CEILING_DIRECTORIES|DISCOVERY_ACROSS_FILESYSTEM"
    r"|SSH|SSH_COMMAND|ASKPASS|SSL_\w+|PYTHON_\w+|TERMINAL_PROMPT|OPTIONAL_LOCKS)$"
)
_FULL_ID = re.compile(r"[0-9a-f]{40}")
_OURS = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    # an id means what it hashes: a `git replace` of this clone changes no verdict, and libgit2 knows none either
    "GIT_NO_REPLACE_OBJECTS": "1",
    "LC_ALL": "C",
    "LANGUAGE": "C",
}


class GitFailed(HandshakeError):
    """A git command ended with an error. `result` holds its exit code and output."""

    code = "HSK-500-GIT"

    def __init__(self, what: str, *, result: GitResult, next_step: str = "") -> None:
        super().__init__(what, next_step=next_step)
        self.result = result

    @property
    def is_damage(self) -> bool:
        """Whether git's words tell of a damaged store."""
        return bool(_next_step(self.result.stderr))


@dataclass(frozen=True)
class GitResult:
    """What a git command gave: exit code, bytes, and words."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def reason(self) -> str:
        """The first line of its words that says something."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        fatal = next((line for line in lines if line.startswith(("fatal:", "error:"))), None)
        return fatal or (lines[0] if lines else f"exit code {self.code}")


class Git:
    """Runs git in one folder.

    Args:
        directory: verified before each call; git is told it by `-C`.
        settings: further `key=value` settings of each call.
        guard: called before each call; raises where the folder is not what it was.
    """

    # set for the whole process where it lives for days and starts git twice: GitPython is not loaded then
    stays_small: ClassVar[bool] = False

    def __init__(
        self, directory: Path, *, settings: Sequence[str] = (), guard: Callable[[], None] | None = None
    ) -> None:
        self.directory = directory
        self.remembered: dict[str, bytes | None] = {}  # blobs by `tree:path`, see `handshake.repo.tree`
        self._reader: ObjectReader | None = None
        self._settings = (*_ALWAYS, *settings)
        self._guard = guard

    def run(
        self,
        *args: str,
        input: bytes | None = None,  # noqa: A002 - the name every process library has for it
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> GitResult:
        """Run one command.

        Args:
            input: bytes for standard input; without them it is empty.
            check: whether an exit code other than 0 is an error.
            env: further variables, e.g. `GIT_INDEX_FILE`.

        Raises:
            GitFailed: exit code other than 0, if `check`.
            ResourceExhausted: git says that the disk is full.
            EnvironmentProblem: git or the folder is missing.
        """
        if not self.directory.is_dir():
            raise EnvironmentProblem(f"the folder {self.directory} is gone", next_step="handshake doctor")
        if self._guard is not None:
            self._guard()
        command = self._command(args)
        try:
            if input is None and not self.stays_small and not _dropped_variables():
                result = _run_by_gitpython(command, env or {})
            else:
                result = _run_directly(command, input, env or {})
        except FileNotFoundError:
            raise _git_missing() from None
        if result.code != 0 and says_disk_full(result.stderr):
            raise ResourceExhausted(
                f"git {args[0]} in {self.directory}: the disk is full", next_step="free disk space, then run again"
            )
        if check and result.code != 0:
            what = f"git {_shown(args)} in {self.directory} failed: {result.reason}"
            raise GitFailed(what, result=result, next_step=_next_step(result.stderr))
        return result

    def _command(self, args: Sequence[str]) -> list[str]:
        command = ["git", "-C", str(self.directory), "--no-pager"]
        for setting in self._settings:
            command += ["-c", setting]
        return [*command, *args]

    @contextmanager
    def one_reader(self) -> Iterator[None]:
        """Until the end of the block one git process reads all that `objects` is asked for."""
        self._reader = ObjectReader(self._command(("cat-file", "--batch")), {**_clean_environment(), **_OURS})
        try:
            yield
        finally:
            self._reader.close()
            self._reader = None

    @property
    def has_reader(self) -> bool:
        """Whether `objects` costs no process of its own: see `one_reader`."""
        return self._reader is not None

    def objects(self, names: Sequence[str]) -> list[Stored | None]:
        """The object of each name (`HEAD^{commit}`, `<tree>:<path>`, an id), or None. No name has a line break.

        Raises:
            GitFailed: the store is damaged. Else as `run`.
        """
        if self._reader is not None:
            with suppress(ReaderEnded):  # then git says why, below
                return self._reader.read(names)
        answer = BytesIO(self.run("cat-file", "--batch", input=names_for_git(names)).stdout)
        return [next_answer(answer) for _ in names]

    def text(self, *args: str, check: bool = True, env: Mapping[str, str] | None = None) -> str:
        """The output of a command as text, without white space around it. Arguments and errors as `run`."""
        return self.run(*args, check=check, env=env).stdout.decode("utf-8", "surrogateescape").strip()

    def names(self, *args: str, env: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """The file names a command with `-z` gives. Raises as `run`."""
        raw = self.run(*args, env=env).stdout
        return tuple(os.fsdecode(name) for name in raw.split(b"\0") if name)


def _next_step(said: str) -> str:
    """What to do where git's own words tell of a damaged store."""
    lower = said.lower()
    damaged = any(
        sign in lower
        for sign in ("does not match index", "corrupt", "bad object", "unable to read", "unable to stream", "inflate")
    )
    return "git fsck --full, then fetch what it names from a clone, or restore it from a backup" if damaged else ""


def _shown(args: Sequence[str]) -> str:
    text = " ".join(args)
    return text if len(text) <= 120 else text[:117] + "..."


def _git_missing() -> EnvironmentProblem:
    return EnvironmentProblem("git was not found", next_step="install git 2.30 or later and put it on PATH")


def _dropped_variables() -> list[str]:
    return [name for name in os.environ if name.startswith("GIT_") and not _KEPT_VARIABLES.match(name)]


def _clean_environment() -> dict[str, str]:
    dropped = set(_dropped_variables())
    return {name: value for name, value in os.environ.items() if name not in dropped}


def _run_directly(command: list[str], data: bytes | None, env: Mapping[str, str]) -> GitResult:
    done = subprocess.run(  # noqa: S603 - the program is git, the arguments are ours
        command,
        input=data,
        stdin=subprocess.DEVNULL if data is None else None,
        capture_output=True,
        check=False,
        env={**_clean_environment(), **_OURS, **env},
    )
    return GitResult(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))


def _run_by_gitpython(command: list[str], env: Mapping[str, str]) -> GitResult:
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # else its import fails where git is missing
    from git.cmd import Git as GitPython
    from git.exc import GitCommandNotFound

    try:
        code, out, err = GitPython().execute(
            command,
            with_extended_output=True,
            with_exceptions=False,
            stdout_as_string=False,
            strip_newline_in_stdout=False,
            env={**_OURS, **env},
        )
    except GitCommandNotFound:
        raise _git_missing() from None
    return GitResult(code, bytes(out) if isinstance(out, bytes) else str(out).encode(), str(err))


@cache
def git_version() -> tuple[int, int, int]:
    """The version of git.

    Raises:
        EnvironmentProblem: git is missing, or does not say its version.
    """
    try:
        out = _run_directly(["git", "--version"], None, {}).stdout.decode("utf-8", "replace")
    except (FileNotFoundError, PermissionError):
        raise _git_missing() from None
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", out)
    if found is None:
        raise EnvironmentProblem(f"git --version says {out.strip()!r}", next_step="install git 2.30 or later")
    return int(found[1]), int(found[2]), int(found[3] or 0)


def durable_settings() -> tuple[str, ...]:
    """Settings that make git sync objects and refs to the disk. It does not sync a ref's folder: we do."""
    if syncs_refs():
        return ("core.fsync=objects,derived-metadata,reference", "core.fsyncMethod=fsync")
    return ("core.fsyncObjectFiles=true",)


def syncs_refs() -> bool:
    """Whether git syncs a ref's file before it moves it into place: since 2.36."""
    return git_version() >= (2, 36, 0)


class Repository:
    """A repository as the user has it checked out. Read-only but for `state_dir`.

    Args:
        root: top of the user's checkout.
        git_dir: this checkout's own git folder.
        common_dir: the git folder that all worktrees share.
        object_format: `sha1` or `sha256`.
        libgit2: whether objects may be read by libgit2. A git hook says no: importing it costs more than
            the few git commands it would save.
    """

    def __init__(
        self, root: Path, git_dir: Path, common_dir: Path, object_format: str, *, libgit2: bool = True
    ) -> None:
        self._libgit2 = libgit2
        self.root = root
        self.git_dir = git_dir
        self.common_dir = common_dir
        self.object_format = object_format
        self.git = Git(root)

    @property
    def main_root(self) -> Path:
        """The folder beside which worktrees are made: the main checkout's, also when seen from a linked one."""
        return self.common_dir.parent if self.common_dir.name == ".git" else self.root

    @property
    def name(self) -> str:
        """The repository's folder name."""
        return self.main_root.name

    @property
    def state_dir(self) -> Path:
        """`<git folder>/handshake`, made on demand: what is local to this clone and never pushed.

        Where nothing may be written it is only named: who reads finds nothing in it, who writes is told there.
        """
        path = self.common_dir / "handshake"
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            if error.errno not in _MAY_NOT_WRITE:
                raise
        return path

    @cached_property
    def pygit2(self) -> pygit2.Repository | None:
        """The repository opened by libgit2, or None where it cannot open it (SHA-256, reftable)."""
        return open_pygit2(self.common_dir) if self._libgit2 else None

    def by_git_alone(self) -> Repository:
        """The same for a process that must stay small: libgit2 is not loaded, objects are read by the git command."""
        return Repository(self.root, self.git_dir, self.common_dir, self.object_format, libgit2=False)

    @cached_property
    def no_filters(self) -> tuple[str, ...]:
        """Settings that switch off every filter of the user's configuration (git-lfs and its like).

        A worktree's `.gitattributes` chooses files for them, and may have been written by a model: it would start
        programs, and the programs read further planted settings (`.lfsconfig` names a server to send a token to).
        """
        listed = self.git.run(
            "config",
            "--name-only",
            "-z",
            "--get-regexp",
            r"^filter\..*\.(clean|smudge|process|required)$",
            check=False,
        )
        names = sorted({name for name in listed.stdout.decode("utf-8", "replace").split("\0") if name})
        return tuple(f"{name}={'false' if name.endswith('.required') else ''}" for name in names)

    @property
    def uses_reftable(self) -> bool:
        """Whether refs are in git's reftable format."""
        return (self.common_dir / "reftable").is_dir()

    def resolve(self, rev: str) -> str | None:
        """The full commit id a revision names, or None."""
        if rev.startswith("-"):
            return None
        known = self._read_commit(rev)
        if known is not None:
            return known
        if self.git.has_reader and "\n" not in rev:
            stored = self.git.objects([f"{rev}^{{commit}}"])[0]
            return stored.sha if stored else None
        result = self.git.run("rev-parse", "--verify", "--quiet", f"{rev}^{{commit}}", check=False)
        return result.stdout.decode().strip() or None if result.code == 0 else None

    def _read_commit(self, rev: str) -> str | None:
        """The commit of a full ref or id by libgit2, without a process; None where git must be asked."""
        handle = self.pygit2
        if handle is None or not (rev.startswith("refs/") or _FULL_ID.fullmatch(rev)):
            return None
        import pygit2

        try:
            found = handle.lookup_reference(rev).resolve().target if rev.startswith("refs/") else pygit2.Oid(hex=rev)
            return str(handle[found].peel(pygit2.Commit).id)
        except (KeyError, ValueError, pygit2.GitError):
            return None

    def ref_target(self, ref: str) -> str | None:
        """The commit a full ref (`refs/...`) points at, or None."""
        if self.pygit2 is None and not self.git.has_reader:  # the ref of a commit that rotted is there all the same
            return self.git.text("rev-parse", "--verify", "--quiet", ref, check=False) or None
        try:
            return str(self.pygit2.lookup_reference(ref).resolve().target) if self.pygit2 else self.resolve(ref)
        except (KeyError, ValueError):
            return None

    def branch_tip(self, branch: str) -> str | None:
        """The commit a branch points at, or None where there is no such branch."""
        return self.ref_target(f"refs/heads/{branch}")

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `older` is `newer` or stands in its history."""
        if older == newer and self._read_commit(older) == older:
            return True
        if self._read_commit(newer) == newer and self.parents(newer)[:1] == (older,):
            return True  # the common case, a commit just made on top of another, needs no process
        return self.git.run("merge-base", "--is-ancestor", older, newer, check=False).code == 0

    def parents(self, commit: str) -> tuple[str, ...]:
        """The parents of a commit that is stored here."""
        if self.pygit2 is None:
            return tuple(self.git.text("show", "--no-patch", "--format=%P", commit).split())
        import pygit2

        return tuple(str(parent) for parent in self.pygit2[commit].peel(pygit2.Commit).parent_ids)

    def commit_time(self, commit: str) -> datetime:
        """When a commit that is stored here was committed."""
        if self.pygit2 is None:
            return datetime.fromtimestamp(int(self.git.text("show", "--no-patch", "--format=%ct", commit)), UTC)
        import pygit2

        return datetime.fromtimestamp(self.pygit2[commit].peel(pygit2.Commit).commit_time, UTC)

    def head_branch(self) -> str | None:
        """The branch that is checked out here, or None when HEAD is detached."""
        named = None if self.uses_reftable else _head_ref(self.git_dir)
        if named is not None and named.startswith("refs/heads/"):
            return named.removeprefix("refs/heads/")
        result = self.git.run("symbolic-ref", "--quiet", "--short", "HEAD", check=False)
        return result.stdout.decode("utf-8", "surrogateescape").strip() if result.code == 0 else None

    @property
    def has_commits(self) -> bool:
        """Whether there is any commit."""
        return self.resolve("HEAD") is not None or bool(self.git.text("for-each-ref", "--count=1"))

    def tree(self, commit: str) -> TreeView:
        """The files of a commit."""
        return TreeView(self.git, self.pygit2, commit)

    def checked_out_at(self, branch: str) -> list[Path]:
        """The worktrees, the main one included, that have the branch checked out."""
        wanted = f"refs/heads/{branch}"
        return [path for path, ref in self.worktrees() if ref == wanted]

    def worktrees(self) -> list[tuple[Path, str | None]]:
        """Every registered worktree with the full ref its HEAD names (None: detached), the main one first."""
        if self.uses_reftable:
            return self._worktrees_by_git()
        found = [(self.main_root, _head_ref(self.common_dir))]
        for admin in sorted((self.common_dir / "worktrees").glob("*")):
            back = admin / "gitdir"
            if back.is_file():
                place = (admin / back.read_text(encoding="utf-8", errors="surrogateescape").strip()).parent
                found.append((place, _head_ref(admin)))
        return found

    def _worktrees_by_git(self) -> list[tuple[Path, str | None]]:
        found: list[tuple[Path, str | None]] = []
        for block in self.git.text("worktree", "list", "--porcelain").split("\n\n"):
            fields = dict(line.partition(" ")[::2] for line in block.splitlines())
            found.append((Path(fields["worktree"]), fields.get("branch")))
        return found


def _head_ref(git_dir: Path) -> str | None:
    try:
        head = (git_dir / "HEAD").read_text(encoding="utf-8", errors="surrogateescape").strip()
    except OSError:
        return None
    return head.removeprefix("ref: ") if head.startswith("ref: ") else None


def find_repository(start: Path, *, libgit2: bool = True) -> Repository:
    """The repository that `start`, a folder or file in a checkout, belongs to.

    Args:
        libgit2: see `Repository`.

    Raises:
        EnvironmentProblem: git is missing or older than 2.30, or refuses the folder's owner.
        UsageError: no repository, a bare one, or a place inside the git folder.
    """
    if libgit2:  # a hook is called by a git that was asked when the hooks were installed
        _refuse_old_git()
    if not start.exists():
        raise UsageError(f"{start} does not exist", next_step="name a folder of a git repository")
    folder = (start if start.is_dir() else start.parent).resolve()
    result = Git(folder).run(
        "rev-parse",
        "--is-bare-repository",
        "--is-inside-work-tree",
        "--show-object-format",
        "--absolute-git-dir",
        "--git-common-dir",
        "--show-toplevel",
        check=False,
    )
    lines = os.fsdecode(result.stdout).splitlines()
    if result.code != 0 or len(lines) != 6:
        raise why_unusable(folder, result, lines)
    _, _, object_format, git_dir, common_dir, top = lines
    return Repository(
        Path(top).resolve(), Path(git_dir).resolve(), (folder / common_dir).resolve(), object_format, libgit2=libgit2
    )


def _refuse_old_git() -> None:
    version = git_version()
    if version[:2] < OLDEST_GIT:
        raise EnvironmentProblem(
            f"git {'.'.join(map(str, version))} is too old", next_step="install git 2.30 or later"
        )
