"""Objects as `git cat-file --batch` gives them, and one such process that stays.

A git hook asks for dozens of objects, and a process for each would cost more than its checks; everything else reads
by libgit2, which a hook has no time to load. The format: git-cat-file(1), BATCH OUTPUT.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, NamedTuple

from handshake.domain.errors import EnvironmentProblem

# asked before the first answer is read: fewer bytes than any system's pipe holds, so that no side waits for ever
_AT_ONCE = 40


class Stored(NamedTuple):
    """An object: its id, its kind (`blob`, `tree`, `commit`, `tag`) and its bytes."""

    sha: str
    kind: str
    content: bytes


class ReaderEnded(EnvironmentProblem):
    """Git ended in the middle of an answer: it was asked for what it cannot name, or its store is damaged."""

    def __init__(self) -> None:
        super().__init__("git ended in the middle of an answer", next_step="git fsck --full")


def names_for_git(names: Sequence[str]) -> bytes:
    """The question, one name a line."""
    return "".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape")


def next_answer(source: IO[bytes]) -> Stored | None:
    """The next object of the answer, or None: there is none of that name.

    Raises:
        ReaderEnded: the answer ends here.
    """
    head = source.readline()
    sha, _, rest = head.rstrip(b"\n").partition(b" ")
    kind, _, size = rest.partition(b" ")
    if not head.endswith(b"\n"):
        raise ReaderEnded
    if not size.isdigit():
        return None  # `<name> missing`, `<name> ambiguous`
    content = source.read(int(size) + 1)
    if len(content) != int(size) + 1:
        raise ReaderEnded
    return Stored(sha.decode("ascii"), kind.decode("ascii"), content[:-1])


class ObjectReader:
    """Answers until it is closed; git is started at the first question.

    Args:
        command: `git … cat-file --batch`.
        env: its whole environment.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._command = command
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, names: Sequence[str]) -> list[Stored | None]:
        """The object of each name, in order.

        Raises:
            ReaderEnded: see there; the next question starts git anew.
            FileNotFoundError: there is no git.
        """
        found: list[Stored | None] = []
        try:
            for first in range(0, len(names), _AT_ONCE):
                asked = names[first : first + _AT_ONCE]
                source = self._ask(asked)
                found += [next_answer(source) for _ in asked]
        except (ReaderEnded, BrokenPipeError):
            self.close()
            raise ReaderEnded from None
        return found

    def _ask(self, names: Sequence[str]) -> IO[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603 - the program is git, the arguments are ours
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=dict(self._env),
            )
        to, source = self._process.stdin, self._process.stdout
        assert to is not None
        assert source is not None
        to.write(names_for_git(names))
        to.flush()
        return source

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(BrokenPipeError):  # it ended by itself
                process.communicate()
