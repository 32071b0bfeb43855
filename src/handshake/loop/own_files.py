"""What a run may find of its own in its worktree after a kill, so that only what is a person's is salvaged.

Contract: `state.md`, Recovery 4: what is found there *and nowhere else* is saved. What the records explain stands
elsewhere: in the branch's commits, in the last published snapshot, or in a stored reply that will be applied again.
"""

from __future__ import annotations

from handshake.domain.edit_text import resolve_edit
from handshake.domain.ledger import StepStatus
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.progress import MtStatus
from handshake.loop.baseline import files_at
from handshake.loop.call import stored_reply
from handshake.loop.equipment import CodeSide
from handshake.loop.found_files import last_files
from handshake.loop.left_out import criteria_of, put_back
from handshake.loop.prepare import Prepared, as_published
from handshake.loop.run import Run
from handshake.models.reply import parse_reply

Contents = dict[str, set[bytes | None]]


def explained_contents(run: Run, equipment: CodeSide) -> Contents:
    """By path, every content that the run's records explain."""
    space, repo = run.job.workspace, run.around.repo
    if repo.resolve(space.head_commit) is None:
        return {}
    trees = [repo.tree(commit) for commit in (space.head_commit, *repo.parents(space.head_commit)[:1])]
    index = run.job.execution_state.current_mt_index
    mts = [run.plan.definition(mt_id) for mt_id in run.plan.order[max(0, index - 1) : index + 1]]
    paths = {space.packet_path, run.around.settings.paths.board, *(path for mt in mts for path in mt.files.writable)}
    known: Contents = {path: {tree.read(path) for tree in trees} for path in paths}
    if index < len(run.plan.order) and run.entry(mts[-1].mt_id).status is MtStatus.IN_PROGRESS:
        _add_running(known, run, equipment, mts[-1])
    return known


def _add_running(known: Contents, run: Run, equipment: CodeSide, mt: MicroTaskDefinition) -> None:
    """The running task's files: as the last step left them, and as each sample of a stored reply makes them."""
    before = last_files(run, mt)
    base = files_at(run, run.job.workspace.head_commit, mt)
    for path, data in before.items():
        known[path].add(data)
    for step in run.ledger.steps:
        if step.status is not StepStatus.COMPLETED and (prepared := as_published(run, step.step_id)) is not None:
            _add_reply(known, equipment, mt, prepared, before, base)


def _add_reply(
    known: Contents,
    equipment: CodeSide,
    mt: MicroTaskDefinition,
    prepared: Prepared,
    before: dict[str, bytes | None],
    base: dict[str, bytes | None],
) -> None:
    reply = stored_reply(equipment.replies, prepared)
    for sample in reply.samples if reply is not None else ():
        parsed = parse_reply(
            sample.text,
            mt_id=mt.mt_id,
            writable=mt.files.writable,
            single_file_fence=prepared.has_single_file_fence(mt),
        )
        added = put_back(parsed, before, base, criteria_of(mt))
        for reading in (parsed.edits, added.parsed.edits if added else ()):
            after = dict(before)
            for edit in reading:
                made = resolve_edit(after.get(edit.path), edit).data
                if edit.path in known and made is not None:
                    after[edit.path] = made
            for path, data in after.items():
                known[path].add(data)
