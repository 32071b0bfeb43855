"""The ten gates of the validation manifest, each a check of its own. Contract: `packets-and-gates.md`, the table."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from handshake.domain.packet import Finding, ManifestEntry
from handshake.domain.packet_fields import Remarks
from handshake.domain.packet_manifest import GATE_CODES
from handshake.domain.packet_scope import UnreadablePath, canonical_path
from handshake.gates.changes import SUBMODULE, SYMLINK, FileChange, Window

EntryKey = tuple[object, ...]


@dataclass(frozen=True)
class FileCase:
    """One changed file and what is claimed of it. `known` are the blocks the packet had before the change."""

    change: FileChange
    entries: tuple[ManifestEntry, ...]
    in_scope: bool
    waived: bool = False
    known: frozenset[EntryKey] = frozenset()
    broken_links: tuple[tuple[str, int], ...] = ()
    moved: bool = False

    @cached_property
    def claimed_delta(self) -> int:
        """The line deltas of all blocks together."""
        return sum(entry.line_delta for entry in self.entries)

    @cached_property
    def uncovered(self) -> Window | None:
        """The first changed lines that lie in no block, in old or new numbering."""
        blocks = sorted((entry.start, entry.end) for entry in self.entries)
        starts = [start for start, _ in blocks]
        reach = list(accumulate((end for _, end in blocks), max))
        for hunk in self.change.hunks:
            windows = [window for window in hunk if window]
            first, last = min(start for start, _ in windows), max(end for _, end in windows)
            at = bisect_right(starts, first) - 1
            if at < 0 or reach[at] < last:
                return windows[-1]
        return None


def entry_key(entry: ManifestEntry) -> EntryKey:
    """All that a block claims, wherever it stands."""
    claims = (entry.target_file, entry.start, entry.end, entry.line_delta, entry.pre_sha1, entry.post_sha1)
    return (*claims, *sorted(entry.gates.items()))


def judge_file(case: FileCase, packet_path: str, wp_id: str) -> list[Finding]:
    """What the ten gates say of a file's blocks: a box that is false, or true and not ticked, is an error."""
    remarks = Remarks(packet_path)
    mend = f"mend the change or the block: handshake manifest write {wp_id}"
    for entry in case.entries:
        where = f"{entry.target_file}: "
        for gate, code in GATE_CODES.items():
            wrong = _CHECKS[gate](case, entry)
            ticked = entry.gates.get(gate, False)
            if wrong:
                remarks.error(
                    code,
                    entry.line - 1,
                    f"{where}{gate}{' is ticked but false' if ticked else ''}: {wrong}",
                    mend if gate not in _needing_a_waiver(case) else _ONLY_A_PERSON,
                )
            elif not ticked:
                remarks.error(code, entry.line - 1, f"{where}{gate} is not ticked", mend)
        for name, written, forms in (
            ("Pre-SHA1", entry.pre_sha1, case.change.before_forms),
            ("Post-SHA1", entry.post_sha1, case.change.after_forms),
        ):
            if written != forms[0] and written in forms:
                remarks.warning(
                    "C701-G05", entry.line - 1, f"{where}{name} is that of the content before LF endings", mend
                )
    return remarks.findings


_ONLY_A_PERSON = "take it out of the change, or have it named under WAIVERS GRANTED"


def _needing_a_waiver(case: FileCase) -> set[str]:
    """The gates that no other block would pass: `manifest write` would only write the same again."""
    outside = set() if case.in_scope else {"window_matches_plan"}
    return outside if case.waived or _kind(case) is None else {*outside, "filename_canonical_and_openable"}


def _kind(case: FileCase) -> str | None:
    mode = case.change.after_mode or case.change.before_mode
    return {SYMLINK: "a symbolic link", SUBMODULE: "a submodule"}.get(mode)


def _anchors(case: FileCase, entry: ManifestEntry) -> str:
    last = case.change.last_line
    if entry.start < 1 or entry.end < entry.start:
        return f"lines {entry.start} to {entry.end} are no window"
    return f"line {entry.end} is past the end of the file ({last} lines)" if entry.end > last else ""


def _plan(case: FileCase, entry: ManifestEntry) -> str:
    return "" if case.in_scope else "the file is not in IN_SCOPE_PATHS and no waiver names it"


def _rails(case: FileCase, entry: ManifestEntry) -> str:
    lines = case.uncovered
    return f"lines {lines[0]} to {lines[1]} changed outside the window" if lines else ""


def _filename(case: FileCase, entry: ManifestEntry) -> str:
    try:
        normal = canonical_path(entry.target_file)
    except UnreadablePath as problem:
        return str(problem)
    if normal != entry.target_file:
        return f"the canonical name is {normal}"
    kind = _kind(case)
    return f"it is {kind}, not a regular file" if kind and not case.waived else ""


def _pre_sha1(case: FileCase, entry: ManifestEntry) -> str:
    forms = case.change.before_forms
    return "" if entry.pre_sha1 in forms else f"the base has {forms[0]}"


def _post_sha1(case: FileCase, entry: ManifestEntry) -> str:
    forms = case.change.after_forms
    return "" if entry.post_sha1 in forms else f"what is being committed has {forms[0]}"


def _line_delta(case: FileCase, entry: ManifestEntry) -> str:
    claimed = case.claimed_delta
    return "" if claimed == case.change.line_delta else f"git counts {case.change.line_delta}, the manifest {claimed}"


def _links(case: FileCase, entry: ManifestEntry) -> str:
    return "; ".join(f"line {line}: {path} is not there" for path, line in case.broken_links)


def _written(case: FileCase, entry: ManifestEntry) -> str:
    same = entry_key(entry) in case.known
    return "the block was there before this change: it was not written for it" if same else ""


def _preimage(case: FileCase, entry: ManifestEntry) -> str:
    if case.moved:
        return "the revisions moved while they were judged"
    forms = case.change.before_forms
    return "" if entry.pre_sha1 in forms else f"the base content ({forms[0]}) is not that of Pre-SHA1"


_CHECKS: Mapping[str, Callable[[FileCase, ManifestEntry], str]] = {
    "anchors_present": _anchors,
    "window_matches_plan": _plan,
    "rails_untouched_outside_window": _rails,
    "filename_canonical_and_openable": _filename,
    "pre_sha1_captured": _pre_sha1,
    "post_sha1_captured": _post_sha1,
    "line_delta_equals_expected": _line_delta,
    "all_links_resolvable": _links,
    "manifest_written_and_path_returned": _written,
    "current_file_matches_preimage": _preimage,
}
