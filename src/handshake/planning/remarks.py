"""What a plan leaves out, puts aside or shows in part: one finding each, so that nothing is dropped in silence.

Contract: `micro-tasks.md`, Generation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from handshake.domain.microtask import RuleFinding
from handshake.planning.assign import Assignment
from handshake.planning.files import ScopedFiles
from handshake.planning.focus import Focus
from handshake.planning.wording import LONGEST_CRITERION
from handshake.source.project import Project

MOST_NAMED = 50


def remarks(
    project: Project,
    done_means: Sequence[str],
    files: ScopedFiles,
    owned: Sequence[str],
    assignment: Assignment,
    focus: Focus,
) -> tuple[RuleFinding, ...]:
    """The findings, in the order: files left out, files without work, bullets, files in part.

    Args:
        project: the tree.
        done_means: the bullets as the packet has them, repeated and empty ones too.
        files: the expanded scope.
        owned: the files that some MT writes.
        assignment: where each bullet went.
        focus: what is shown of large files.
    """
    messages = [*_files(project, files, owned), *_bullets(done_means, assignment), *_parts(owned, focus)]
    return tuple(RuleFinding(rule="MT-GEN", severity="INFO", message=message) for message in messages)


def _files(project: Project, files: ScopedFiles, owned: Sequence[str]) -> Iterator[str]:
    yield from (f"{path} is left out: {reason}" for path, reason in files.skipped[:MOST_NAMED])
    if len(files.skipped) > MOST_NAMED:
        counts: dict[str, int] = {}
        for _, reason in files.skipped[MOST_NAMED:]:
            counts[reason] = counts.get(reason, 0) + 1
        yield from (f"{count} more files are left out: {reason}" for reason, count in sorted(counts.items()))
    left = sorted(set(files.all) - set(owned))
    if left:
        yield f"{len(left)} in-scope files need no work by any criterion, e.g. {left[0]}"
    yield from (
        f"{path} is not UTF-8: read as {project.encoding(path)}"
        for path in owned
        if project.has(path) and project.encoding(path) != "utf-8"
    )


def _bullets(done_means: Sequence[str], assignment: Assignment) -> Iterator[str]:
    seen: dict[str, int] = {}
    places = iter(assignment.targets)
    for number, bullet in enumerate(done_means, start=1):
        if not bullet.strip():
            yield f"DONE_MEANS {number} is empty"
            continue
        if bullet in seen:
            yield f"DONE_MEANS {number} says again what {seen[bullet]} says; it is held once"
            continue
        seen[bullet] = number
        if not next(places):
            yield f"DONE_MEANS {number} fits no file; the closing micro-task holds it"
        if len(" ".join(bullet.split())) > LONGEST_CRITERION:
            yield f"DONE_MEANS {number} has {len(bullet)} characters: shortened as a criterion, whole in the notes"


def _parts(owned: Sequence[str], focus: Focus) -> Iterator[str]:
    for path in (path for path in owned if focus.is_large(path)):
        yield from (f"{path}: {name} alone is over the budget; shown in part" for name in focus.too_long(path))
        if not focus.has_definitions(path):
            yield f"{path} is over the budget and has no definitions to split it by; shown in part"
