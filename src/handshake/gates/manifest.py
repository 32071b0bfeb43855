"""The COR-701 entries of a change: what each file's block must say. Contract: `packets-and-gates.md`, The validation
manifest."""

from __future__ import annotations

from collections.abc import Iterable

from handshake.domain.packet import ManifestEntry
from handshake.domain.packet_manifest import GATE_CODES
from handshake.gates.changes import FileChange, changes_between, changes_to

__all__ = ["FileChange", "changes_between", "changes_to", "manifest_entries", "needs_entry", "window_of"]


def needs_entry(path: str) -> bool:
    """Whether a changed file must stand in the manifest: all but those under `docs/`."""
    return not path.startswith("docs/")


def manifest_entries(changes: Iterable[FileChange]) -> tuple[ManifestEntry, ...]:
    """One entry for each change that must stand in the manifest, by path, every box ticked: git says it is so."""
    return tuple(
        entry_of(change) for change in sorted(changes, key=lambda change: change.path) if needs_entry(change.path)
    )


def entry_of(change: FileChange) -> ManifestEntry:
    """The one block that covers a whole change."""
    start, end = window_of(change)
    return ManifestEntry(
        target_file=change.path,
        start=start,
        end=end,
        line_delta=change.line_delta,
        pre_sha1=change.before_forms[0],
        post_sha1=change.after_forms[0],
        gates=dict.fromkeys(GATE_CODES, True),
    )


def window_of(change: FileChange) -> tuple[int, int]:
    """First and last changed line, over old and new numbering; (1, 1) where no line changed (mode, binary, empty)."""
    windows = (*change.old_windows, *change.new_windows)
    if not windows:
        return 1, 1
    return min(start for start, _ in windows), max(end for _, end in windows)
