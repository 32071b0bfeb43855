"""What changed between two trees, as git sees it and as no attribute, driver or setting can bend it.

Contract: `packets-and-gates.md`, Post-work gate, second paragraph.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from handshake.domain.errors import EnvironmentProblem
from handshake.repo.git import Repository, TreeView

REGULAR = 0o100644
EXECUTABLE = 0o100755
SYMLINK = 0o120000
SUBMODULE = 0o160000

# lines of content begin with a sign, a blank or a backslash: these two are the patch's own
_PATCH = re.compile(rb"^(?:(diff --git )|@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@)", re.MULTILINE)
# Plumbing with every switch given: configuration, attributes and drivers of the repository change nothing.
_DIFF = (
    "diff-tree",
    "-r",
    "--no-renames",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-relative",
    "--ignore-submodules=none",
    "--submodule=short",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--diff-algorithm=myers",
    "--no-indent-heuristic",
    "--inter-hunk-context=0",
    f"-O{os.devnull}",
)

Window = tuple[int, int]
Sha1Forms = tuple[str, str, str]


@dataclass(frozen=True)
class FileChange:
    """One file's change. Contents are None where there is no file; a submodule's content names its commit.

    `added` and `deleted` are git's line counts, 0 for binary files. The windows are the changed lines, 1-based
    and inclusive, of each hunk, in the old and the new numbering. Modes are 0 where there is no file.
    """

    path: str
    before: bytes | None
    after: bytes | None
    added: int = 0
    deleted: int = 0
    old_windows: tuple[Window, ...] = ()
    new_windows: tuple[Window, ...] = ()
    before_mode: int = 0o100644
    after_mode: int = 0o100644
    hunks: tuple[tuple[Window | None, Window | None], ...] = ()

    @property
    def line_delta(self) -> int:
        """Lines added less lines deleted."""
        return self.added - self.deleted

    @cached_property
    def last_line(self) -> int:
        """The highest line number the file has or had; 1 for an empty one."""
        return max(1, line_count(self.before), line_count(self.after))

    @cached_property
    def before_forms(self) -> Sha1Forms:
        """The hashes of the old content."""
        return sha1_forms(self.before)

    @cached_property
    def after_forms(self) -> Sha1Forms:
        """The hashes of the new content."""
        return self.before_forms if self.after is self.before else sha1_forms(self.after)


def line_count(content: bytes | None) -> int:
    """Lines of a file; a last line without newline is one."""
    if not content:
        return 0
    return content.count(b"\n") + (0 if content.endswith(b"\n") else 1)


def is_binary(content: bytes | None) -> bool:
    """Git's own rule: a NUL among the first 8000 bytes."""
    return content is not None and b"\0" in content[:8000]


def sha1_forms(content: bytes | None) -> Sha1Forms:
    """SHA-1 of a content with LF endings, as it is, and with CRLF endings; forty zeros for no file."""
    if content is None:
        zeros = "0" * 40
        return zeros, zeros, zeros
    raw = _sha1(content)
    if is_binary(content):
        return raw, raw, raw
    unix = content.replace(b"\r\n", b"\n")
    return raw if unix == content else _sha1(unix), raw, _sha1(unix.replace(b"\n", b"\r\n"))


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def changes_between(repo: Repository, a: str, b: str, paths: Collection[str] | None = None) -> tuple[FileChange, ...]:
    """Every file that differs between two commits or trees, by path. Renames are a deletion and a creation.

    Args:
        paths: only these files.

    Raises:
        GitFailed: a revision does not exist.
        EnvironmentProblem: git's answer does not fit together.
    """
    raw = repo.git.run(*_DIFF, "-z", "--raw", "--no-abbrev", a, b).stdout
    rows = [row for row in _rows(raw) if paths is None or row.path in paths]
    if not rows:
        return ()
    blobs = _blobs(repo, [sha for row in rows for sha in (row.old, row.new) if sha])
    contents = [(_content(blobs, row.old, row.old_mode), _content(blobs, row.new, row.new_mode)) for row in rows]
    # a binary file has no lines, and may be large: no patch is asked for it
    lined = [row for row, sides in zip(rows, contents, strict=True) if not any(map(is_binary, sides))]
    hunks = dict(zip((row.path for row in lined), _hunks(repo, a, b, lined), strict=True)) if lined else {}
    changes = [
        _change(row, before, after, hunks.get(row.path, ()))
        for row, (before, after) in zip(rows, contents, strict=True)
    ]
    return tuple(sorted(changes, key=lambda change: change.path))


def _change(row: _Row, before: bytes | None, after: bytes | None, hunks: _Hunks) -> FileChange:
    old = tuple(old for old, _ in hunks if old)
    new = tuple(new for _, new in hunks if new)
    return FileChange(
        path=row.path,
        before=before,
        after=after,
        added=sum(end - start + 1 for start, end in new),
        deleted=sum(end - start + 1 for start, end in old),
        old_windows=old,
        new_windows=new,
        before_mode=row.old_mode,
        after_mode=row.new_mode,
        hunks=hunks,
    )


def changes_to(base: TreeView, files: Mapping[str, bytes | None]) -> tuple[FileChange, ...]:
    """What `changes_between` would say of known files, without a commit and without starting git.

    Args:
        base: the tree they are compared with.
        files: the new contents by path, None for no file. A file keeps whether it may be executed.
    """
    changes = []
    for path, after in sorted(files.items()):
        before, mode = base.read(path), base.mode(path) or 0
        after_mode = 0 if after is None else EXECUTABLE if mode == EXECUTABLE else REGULAR
        if before == after and mode == after_mode:
            continue
        hunks = () if is_binary(before) or is_binary(after) else _hunks_of(before, after, mode, after_mode)
        changes.append(_change(_Row(path, mode, after_mode, "", ""), before, after, hunks))
    return tuple(changes)


def _hunks_of(before: bytes | None, after: bytes | None, mode: int, after_mode: int) -> _Hunks:
    """By libgit2, which has git's own algorithm; a change of kind (link to file) is a deletion and a creation."""
    import pygit2
    from pygit2.enums import DiffOption

    pairs = [(before, after)]
    if mode and after_mode and mode & 0o170000 != after_mode & 0o170000:
        pairs = [(before, None), (None, after)]
    hunks: list[tuple[Window | None, Window | None]] = []
    for old, new in pairs:
        patch = pygit2.Patch.create_from(
            old or b"", new or b"", flag=DiffOption.FORCE_TEXT, context_lines=0, interhunk_lines=0
        )
        hunks += [
            (_lines(hunk.old_start, hunk.old_lines), _lines(hunk.new_start, hunk.new_lines)) for hunk in patch.hunks
        ]
    return tuple(hunks)


def _lines(start: int, count: int) -> Window | None:
    return (start, start + count - 1) if count else None


class _Row(NamedTuple):
    path: str
    old_mode: int
    new_mode: int
    old: str
    new: str

    @property
    def sections(self) -> int:
        """How many parts a patch has for it: a change of kind (file to link) is a deletion and a creation."""
        kinds = (self.old_mode & 0o170000, self.new_mode & 0o170000)
        return 2 if all(kinds) and kinds[0] != kinds[1] else 1


def _rows(raw: bytes) -> Iterator[_Row]:
    parts = raw.split(b"\0")
    for head, name in zip(parts[::2], parts[1::2], strict=False):
        old_mode, new_mode, old, new, _ = head.decode("ascii").lstrip(":").split(" ")
        yield _Row(
            os.fsdecode(name),
            int(old_mode, 8),
            int(new_mode, 8),
            old if old.strip("0") else "",
            new if new.strip("0") else "",
        )


def _content(blobs: dict[str, bytes], sha: str, mode: int) -> bytes | None:
    if mode == 0:
        return None
    if mode == SUBMODULE:
        return f"Subproject commit {sha}\n".encode()
    if sha not in blobs:
        raise EnvironmentProblem(
            f"git has lost the object {sha}", next_step="git fsck --full, then fetch what it names"
        )
    return blobs[sha]


def _blobs(repo: Repository, shas: Sequence[str]) -> dict[str, bytes]:
    # what is not there is a submodule's commit: it lies elsewhere
    read = repo.git.objects(sorted(set(shas)))
    return {stored.sha: stored.content for stored in read if stored and stored.kind == "blob"}


_Hunks = tuple[tuple[Window | None, Window | None], ...]


def _hunks(repo: Repository, a: str, b: str, rows: Sequence[_Row]) -> list[_Hunks]:
    """The hunks of each row, from a patch without context. Names are not read from it: they may be anything."""
    pathspecs = [f":(top,literal){row.path}" for row in rows]
    # a long list of names would not fit on a command line: then the whole patch is read and sorted by order
    whole = sum(len(name) for name in pathspecs) > 20_000
    order = list(_rows(repo.git.run(*_DIFF, "-z", "--raw", "--no-abbrev", a, b).stdout)) if whole else list(rows)
    names = [] if whole else ["--", *pathspecs]
    patch = repo.git.run(*_DIFF, "-p", "-U0", "--text", "--full-index", a, b, *names).stdout
    sections: list[list[tuple[Window | None, Window | None]]] = []
    for mark in _PATCH.finditer(patch):
        if mark.group(1):
            sections.append([])
        elif sections:
            sections[-1].append((_window(mark.group(2), mark.group(3)), _window(mark.group(4), mark.group(5))))
    if len(sections) != sum(row.sections for row in order):
        raise EnvironmentProblem(
            f"git lists {len(order)} changed files between {a} and {b} and shows {len(sections)}",
            next_step="git fsck",
        )
    by_path: dict[str, _Hunks] = {}
    position = 0
    for row in order:
        joined = [hunk for part in sections[position : position + row.sections] for hunk in part]
        by_path[row.path] = tuple(joined)
        position += row.sections
    return [by_path[row.path] for row in rows]


def _window(start: bytes, count: bytes | None) -> Window | None:
    return _lines(int(start), 1 if count is None else int(count))
