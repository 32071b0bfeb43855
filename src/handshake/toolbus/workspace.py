"""`engine.workspace` / `apply_edits`: a reply's edits, all or none, inside the micro-task's files alone.

Contract: `tool-bus.md`; `models.md`, The reply; `loop.md`, Errors. Reached through the bus alone.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from handshake.config.failpoints import failpoint
from handshake.domain.artifact import handle_for
from handshake.domain.edit_text import resolve_edit
from handshake.domain.errors import CapabilityViolation
from handshake.domain.operation import OperationError, PlannedOperation
from handshake.domain.reply import Edit, EditOutcome, FailureCategory
from handshake.toolbus.engine import Answer, EngineContext
from handshake.toolbus.operations import EditParams, edits_of
from handshake.toolbus.paths import inside, normal
from handshake.toolbus.syntax import syntax_regression

SCOPE_VIOLATION = "scope_violation"
EDIT_FAILED = "edit_failed"


@dataclass(frozen=True)
class _Target:
    """One file to be written: what was there, and what is to be there."""

    path: str
    place: Path
    before: bytes | None
    after: bytes


def apply_edits(op: PlannedOperation, context: EngineContext) -> Answer:
    """Write the edits, or nothing. facts: `outcomes` (one EditOutcome each, in order), `written` (changed paths).

    Errors: `HSK-4001` (status denied) for a path that escapes; `scope_violation` for one that is not the MT's;
    `edit_failed` for an edit that does not apply or breaks a file's syntax.

    Raises:
        OSError: a file cannot be read or written; what had been written is as it was before.
        UsageError: the input artifact holds no edits.
    """
    params = EditParams.model_validate(op.params)
    edits = edits_of(params, context.payloads)
    try:
        places = [inside(context.worktree, edit.path) for edit in edits]
    except CapabilityViolation as error:
        return _nothing(edits, "denied", error.code, error.what, None)
    allowed = {normal(path) for path in params.files.writable}
    if outside := [edit.path for edit in edits if normal(edit.path) not in allowed]:
        message = (
            f"{', '.join(outside)}: not among the files this micro-task may write ({', '.join(sorted(allowed))})"
        )
        return _nothing(edits, "failed", SCOPE_VIOLATION, message, FailureCategory.SCOPE_VIOLATION.value)
    targets, outcomes = _resolved(edits, places, params.allow_shrink)
    if any(not outcome.applied for outcome in outcomes):
        told = [outcome for outcome in outcomes if not outcome.applied]
        first = next((outcome for outcome in told if outcome.error != _HELD_BACK), told[0])
        errors = (OperationError(code=EDIT_FAILED, message=f"{first.path}: {first.error}"),)
        return Answer(status="failed", errors=errors, facts=_facts(outcomes, ()))
    changed = [target for target in targets if target.after != target.before]
    _write_all(changed)
    evidence = tuple(handle_for("file", target.path, target.after) for target in targets)
    return Answer(status="succeeded", evidence=evidence, facts=_facts(outcomes, tuple(t.path for t in changed)))


_HELD_BACK = "not written: another edit of the same reply failed, and edits apply all or none"


def _resolved(
    edits: tuple[Edit, ...], places: list[Path], allow_shrink: bool
) -> tuple[list[_Target], list[EditOutcome]]:
    """What each file is to hold. Several edits of one file build on each other."""
    before: dict[str, bytes | None] = {}
    after: dict[str, bytes | None] = {}
    where: dict[str, Path] = {}
    outcomes: list[EditOutcome] = []
    for edit, place in zip(edits, places, strict=True):
        path = normal(edit.path)
        if path not in before:
            before[path] = after[path] = place.read_bytes() if place.exists() else None
            where[path] = place
        resolved = resolve_edit(after[path], edit, allow_shrink=allow_shrink)
        outcomes.append(resolved.outcome)
        if resolved.outcome.applied and resolved.data is not None:
            after[path] = resolved.data
    targets = [_Target(path, where[path], before[path], data) for path, data in after.items() if data is not None]
    outcomes = _with_syntax(targets, outcomes)
    if any(not outcome.applied for outcome in outcomes):
        held = {"applied": False, "changed": False, "error": _HELD_BACK}
        outcomes = [outcome.model_copy(update=held) if outcome.applied else outcome for outcome in outcomes]
    return targets, outcomes


def _with_syntax(targets: list[_Target], outcomes: list[EditOutcome]) -> list[EditOutcome]:
    """The outcomes, those of a file that would no longer parse turned into failures."""
    if any(not outcome.applied for outcome in outcomes):
        return outcomes
    broken: Mapping[str, str] = {
        target.path: reason
        for target in targets
        if target.after != target.before
        and (reason := syntax_regression(target.path, target.before, target.after)) is not None
    }
    category = FailureCategory.SYNTAX_ERROR_ISOLATED.value
    return [
        outcome.model_copy(update={"applied": False, "changed": False, "error": broken[path], "category": category})
        if (path := normal(outcome.path)) in broken
        else outcome
        for outcome in outcomes
    ]


def _write_all(targets: list[_Target]) -> None:
    """Write every file, or leave every file as it was.

    Raises:
        OSError: one could not be written; the others were put back.
    """
    done: list[_Target] = []
    made: list[Path] = []
    try:
        for target in targets:
            made += _make_folders(target.place.parent)
            failpoint("edit.file:before")
            done.append(target)
            _replace(target.place, target.after)
            failpoint("edit.file:after")
    except OSError:
        for target in reversed(done):
            _restore(target)
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _make_folders(folder: Path) -> list[Path]:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for place in reversed(missing):
        place.mkdir()
    return missing[::-1]


def _replace(place: Path, data: bytes) -> None:
    """Put `data` at `place` in one move, with the mode bits of what was there (or those of a new file)."""
    try:
        mode = stat.S_IMODE(os.lstat(place).st_mode)
    except FileNotFoundError:
        mode = 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(prefix=".handshake-", dir=place.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(place)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _restore(target: _Target) -> None:
    if target.before is None:
        target.place.unlink(missing_ok=True)
    elif target.place.read_bytes() != target.before:
        _replace(target.place, target.before)


def _umask() -> int:
    # there is no way to read it without setting it; runs are single-threaded
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _nothing(edits: tuple[Edit, ...], status: str, code: str, message: str, category: str | None) -> Answer:
    """The answer when nothing was even tried."""
    outcomes = [
        EditOutcome(path=edit.path, form=edit.form, applied=False, error=message, category=category) for edit in edits
    ]
    return Answer(
        status="denied" if status == "denied" else "failed",
        errors=(OperationError(code=code, message=message),),
        facts=_facts(outcomes, ()),
    )


def _facts(outcomes: list[EditOutcome], written: tuple[str, ...]) -> dict[str, object]:
    return {"outcomes": [outcome.model_dump(mode="json") for outcome in outcomes], "written": list(written)}
