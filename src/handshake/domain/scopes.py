"""Whether two scopes could meet in one file: then their packets do not run at the same time."""

from __future__ import annotations

from collections.abc import Sequence

from handshake.domain.packet_scope import has_glob, in_scope


def shared_path(one: Sequence[str], other: Sequence[str]) -> str | None:
    """The narrower of the first two items that could name the same file, or None where no two can.

    Without a tree it is not known what a pattern or a folder holds: in doubt they meet.
    """
    for mine in one:
        for theirs in other:
            if _may_meet(mine, theirs):
                return max(mine, theirs, key=len)
    return None


def _may_meet(one: str, other: str) -> bool:
    if not has_glob(one) and not has_glob(other):
        return in_scope(one.rstrip("/"), (other,)) or in_scope(other.rstrip("/"), (one,))
    for pattern, plain in ((one, other), (other, one)):
        if has_glob(pattern) and not has_glob(plain) and _is_file(plain):
            return in_scope(plain, (pattern,))
    first, second = _fixed_part(one), _fixed_part(other)
    return first[: len(second)] == second or second[: len(first)] == first


def _is_file(path: str) -> bool:
    """Whether the name looks like a file's: a folder with a dot in its name counts as one only with its `/`."""
    return not path.endswith("/") and "." in path.rpartition("/")[2].lstrip(".")


def _fixed_part(path: str) -> list[str]:
    """The folders of a path before its first pattern."""
    parts = path.rstrip("/").split("/")
    return parts[: next((number for number, part in enumerate(parts) if has_glob(part)), len(parts))]
