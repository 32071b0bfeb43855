"""The patch of one file between two contents, as git writes it."""

from __future__ import annotations


def file_patch(path: str, before: bytes | None, after: bytes | None) -> str:
    """A unified diff of `path`; empty where nothing changed. None stands for no file."""
    if before == after:
        return ""
    import pygit2

    patch = pygit2.Patch.create_from(before or b"", after or b"", old_as_path=path, new_as_path=path)
    return patch.data.decode("utf-8", errors="replace")
