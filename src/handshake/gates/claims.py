"""A claim is not believed: conditions 1 to 4, pure functions on bytes. Contract: `models.md`.

Each returns one-line reasons, empty when the condition holds. Condition 4 (the graders) is in
`handshake.gates.graders`; condition 5 is the verify commands themselves. `before` is always the tree
as it was when the MT began, not when the iteration did.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from handshake.domain.microtask import DoneCriterion
from handshake.domain.reply import CompletionSignal, EvidenceLine
from handshake.gates.code_lines import held_lines, lines_of, touched_lines
from handshake.gates.counted_tests import count_tests
from handshake.gates.graders import check_graders
from handshake.gates.stubs import check_added_lines

__all__ = ["check_added_lines", "check_changed", "check_evidence", "check_graders", "count_tests", "same_criterion"]

PREFIX_LENGTH = 24
"""An evidence line may name a criterion by a beginning of at least this many characters that only it has."""

_QUOTES = str.maketrans(dict.fromkeys('"“”„«»‘’‚`´′″', "'"))


def check_evidence(
    signal: CompletionSignal,
    criteria: Sequence[DoneCriterion],
    mt_files: Sequence[str],
    before: Mapping[str, bytes | None],
    after: Mapping[str, bytes | None],
    *,
    writable: Sequence[str] | None = None,
    already_satisfied: bool = False,
) -> list[str]:
    """Condition 1: every criterion has evidence, and every location holds it.

    Args:
        signal: the claim.
        criteria: the MT's done criteria.
        mt_files: paths that evidence may lie in (`read`, `modify`, `create`).
        before: those files when the MT began; None or missing: there was none.
        after: those files as they are now.
        writable: those of `mt_files` in which evidence must touch a changed line; default all of them.
        already_satisfied: the MT's verify commands passed before the first iteration, so nothing need change.
    """
    reasons: list[str] = []
    must_touch = {tidy_path(path) for path in (mt_files if writable is None else writable)}
    allowed = {tidy_path(path) for path in mt_files}
    files_before = {tidy_path(path): data for path, data in before.items()}
    files_after = {tidy_path(path): data for path, data in after.items()}
    named = [_criterion_of(line, criteria) for line in signal.evidence]
    for index, criterion in enumerate(criteria):
        if index not in named:
            reasons.append(f"no evidence for the criterion {_shown(criterion.description)}")
    for line, answered in zip(signal.evidence, named, strict=True):
        if answered is None:
            continue
        path = tidy_path(line.path)
        touch = path in must_touch and not already_satisfied
        problem = (
            _location_problem(line, path, files_before.get(path), files_after.get(path), touch)
            if path in allowed
            else "is not a file of this micro-task"
        )
        if problem:
            reasons.append(f"evidence {line.evidence_location} for {_shown(line.criterion)} {problem}")
    return reasons


def check_changed(
    before: Mapping[str, bytes | None], after: Mapping[str, bytes | None], already_satisfied: bool
) -> list[str]:
    """Condition 3: something changed, unless the MT was satisfied before its first iteration."""
    paths = sorted({*before, *after})
    if already_satisfied or any(before.get(path) != after.get(path) for path in paths):
        return []
    return ["nothing changed: every file is as it was when the micro-task began"]


def same_criterion(one: str, other: str) -> bool:
    """Whether two texts are one criterion: but for case, white space, quotes and a final stop."""
    return _normal(one) == _normal(other)


def tidy_path(path: str) -> str:
    """A path as it is compared: forward slashes, no leading `./`."""
    tidied = path.strip().replace("\\", "/")
    while tidied.startswith("./"):
        tidied = tidied[2:]
    return tidied


def _normal(text: str) -> str:
    plain = unicodedata.normalize("NFC", text).translate(_QUOTES).casefold()
    return " ".join(plain.split()).strip("' ").rstrip(".; ")


def _criterion_of(line: EvidenceLine, criteria: Sequence[DoneCriterion]) -> int | None:
    wanted = _normal(line.criterion)
    normal = [_normal(criterion.description) for criterion in criteria]
    if wanted in normal:
        return normal.index(wanted)
    start = re.sub(r"\s*(?:\.{3}|…)$", "", wanted)
    fits = [index for index, text in enumerate(normal) if text.startswith(start)]
    return fits[0] if len(start) >= PREFIX_LENGTH and len(fits) == 1 else None


def _location_problem(
    line: EvidenceLine, path: str, before: bytes | None, after: bytes | None, must_touch: bool
) -> str | None:
    if after is None:
        return "names a file that does not exist"
    lines = lines_of(after)
    if line.end > len(lines):
        return f"is past the end: the file has {_count(len(lines), 'line')}"
    numbers = range(line.start, line.end + 1)
    if not _any_in(numbers, held_lines(path, lines)):
        return "holds only blank lines or comments"
    if must_touch and not _any_in(numbers, touched_lines(lines_of(before), lines)):
        return "touches no line that this micro-task changed"
    return None


def _any_in(numbers: Iterable[int], wanted: frozenset[int]) -> bool:
    return any(number in wanted for number in numbers)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _shown(text: str) -> str:
    short = " ".join(text.split())
    return f'"{short if len(short) <= 80 else short[:77] + "..."}"'
