"""A recorded step, once more: its prompt compiled, its reply read and applied again. Contract: `context.md`.

Nothing of the user's is touched and no model is asked: the files come from git, into a folder that is gone
afterwards.
"""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from handshake.context.errors import ContextGuardFailed
from handshake.context.render import Templates
from handshake.context.replay import compile_again
from handshake.context.request import CompiledContext, ContextRequest
from handshake.domain.canonical import sha256_hex
from handshake.domain.context import ContextSnapshot, RetrievalTrace
from handshake.domain.edit_text import resolve_edit
from handshake.domain.errors import ModelFailed, StateCorruption, UsageError
from handshake.domain.modelcall import ModelReply
from handshake.domain.settings import ModelConfig
from handshake.loop.baseline import files_at
from handshake.loop.context_request import protected_store
from handshake.loop.left_out import criteria_of, put_back
from handshake.loop.prepare import Prepared, as_published
from handshake.loop.recorded import RecordedRequest, recorded_request, templates_hash
from handshake.loop.run import Run
from handshake.models.provider import estimate_tokens
from handshake.models.replay import ReplayProvider
from handshake.models.replies import ReplyStore
from handshake.models.reply import parse_reply
from handshake.repo.patch import file_patch

_SYMLINK = 0o120000
_MOST_ATTEMPTS = 20


@dataclass(frozen=True)
class Replayed:
    """What came of it. `reply` says where the reply was found; `edits_match` whether applying it again gave the
    recorded patch; both None where only the prompt was compiled."""

    step_id: str
    compiled: CompiledContext
    reply: str | None = None
    edits_match: bool | None = None


def replay_step(run: Run, step_id: str, *, rerun: bool = False) -> Replayed:
    """Compile a step's prompt from its record, and prove that it is the one that was sent.

    Args:
        run: the run as its tracking branch has it.
        step_id: e.g. `MT-001_iter-002`.
        rerun: also take the recorded reply, parse and apply it again, and compare with the recorded patch.

    Raises:
        ContextGuardFailed: the prompt is not the same; the first part that differs is named.
        UsageError: the step was not recorded well enough to be compiled again.
    """
    if as_published(run, step_id) is None:
        raise UsageError(
            f"{step_id} asked no model, or not from this clone",
            next_step=f"handshake show {run.job.wp_id}/{step_id.partition('_')[0]}",
        )
    recorded = recorded_request(run, step_id)
    snapshot = run.artifact_record(run.paths.step(step_id, "context_snapshot.json"), ContextSnapshot)
    trace = run.artifact_record(run.paths.step(step_id, "retrieval_trace.json"), RetrievalTrace)
    if recorded is None or snapshot is None or trace is None:
        raise UsageError(
            f"{step_id} has no record of what it was compiled from",
            next_step=f"handshake show {run.job.wp_id}/{step_id.partition('_')[0]} has its prompt",
        )
    with tempfile.TemporaryDirectory(prefix="handshake-replay-") as folder:
        tree = Path(folder, "tree")
        tree.mkdir()
        files = _files_before(run, recorded)
        for path, data in files.items():
            _write(tree, path, data)
        compiled = compile_again(_request(run, recorded, trace, tree), snapshot)
    again = Replayed(step_id, compiled)
    return _reply_again(run, again, recorded, files) if rerun else again


def _request(run: Run, recorded: RecordedRequest, trace: RetrievalTrace, tree: Path) -> ContextRequest:
    names = frozenset(RecordedRequest.model_fields) & frozenset(ContextRequest.__dataclass_fields__) - {"templates"}
    request = ContextRequest(
        **{name: getattr(recorded, name) for name in names},
        job_id=run.job.job_id,
        wp_id=run.job.wp_id,
        plan=run.plan,
        worktree=tree,
        count_tokens=_counter(recorded),
        template_texts=recorded.templates,
        protected_store=protected_store(run),
        stored=trace.candidates,
    )
    texts = recorded.templates or Templates(recorded.profile).texts
    if templates_hash(texts) != recorded.templates_hash:
        raise ContextGuardFailed(
            "ContextDeterminismGuard",
            f"{recorded.step_id} was compiled with the templates of another version of Handshake",
            next_step="replay it with the version that ran it",
        )
    return request


def _counter(recorded: RecordedRequest) -> Callable[[str], int]:
    table = recorded.token_counts
    if table is None:
        return estimate_tokens

    def count(text: str) -> int:
        try:
            return table[sha256_hex(text)[:16]]
        except KeyError:
            raise ContextGuardFailed(
                "ContextDeterminismGuard",
                f"{recorded.step_id}: a text is counted that the step did not count",
                next_step="the prompt differs from the recorded one before its hash is taken",
            ) from None

    return count


def _files_before(run: Run, recorded: RecordedRequest) -> dict[str, bytes]:
    """The files that the step looked at, as they stood when it began. A link is the file it leads to.

    Raises:
        UsageError: a file was not in git as the step saw it.
    """
    commits = [
        entry.sha for entry in run.branch.history() if entry.trailers.get("Handshake-Step") == recorded.step_id
    ]
    if not commits:
        raise UsageError(f"{recorded.step_id} has not begun", next_step=f"handshake log {run.job.wp_id}")
    base = run.around.repo.tree(recorded.base_commit)
    found: dict[str, bytes] = {}
    for path, digest in recorded.digests.items():
        if path in recorded.mt.files.writable:
            data = run.branch.read(run.paths.snapshot(path), commits[-1])
        else:
            data = base.read(path)
        if data is not None and base.mode(path) == _SYMLINK:
            target = posixpath.join(posixpath.dirname(path), data.decode("utf-8", "surrogateescape"))
            data = base.read(posixpath.normpath(target))
        if (None if data is None else sha256_hex(data)) != digest:
            raise UsageError(
                f"{recorded.step_id}: {path} is not in git as the step saw it",
                next_step="a file that git does not track cannot be replayed",
            )
        if data is not None:
            found[path] = data
    return found


def _write(tree: Path, path: str, data: bytes) -> None:
    place = tree.joinpath(*path.split("/"))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)


def _reply_again(run: Run, again: Replayed, recorded: RecordedRequest, before: dict[str, bytes]) -> Replayed:
    step_id = recorded.step_id
    prepared = as_published(run, step_id)
    edits = run.artifact_json(run.paths.step(step_id, "edits.json"))
    if prepared is None or edits is None:
        raise UsageError(f"{step_id} got no reply", next_step=f"handshake show {run.job.wp_id}")
    kept = int(edits["kept"])
    reply = _recorded_reply(run, prepared)
    text = (run.verbatim(run.paths.step(step_id, "reply.md")) or b"").decode("utf-8")
    where = "reply.md on the tracking branch"
    if reply is not None:
        where = f"the reply store, key {reply.content_key[:12]}"
        if reply.samples[kept].text != text:
            raise StateCorruption(
                f"{step_id}: reply.md is not the reply that is stored under its key",
                next_step=f"git log -p -- '*{step_id}/reply.md' on the tracking branch",
            )
    mt = recorded.mt
    parsed = parse_reply(
        text,
        mt_id=mt.mt_id,
        writable=mt.files.writable,
        single_file_fence=prepared.has_single_file_fence(mt),
    )
    outcomes = edits["samples"][kept]["outcomes"]
    applied = all(outcome["applied"] for outcome in outcomes)
    if any(outcome.get("put_back") for outcome in outcomes):
        added = put_back(parsed, before, files_at(run, recorded.base_commit, mt), criteria_of(mt))
        parsed = added.parsed if added else parsed
    after: dict[str, bytes | None] = {path: before.get(path) for path in mt.files.writable}
    for edit in parsed.edits if applied else ():
        after[edit.path] = resolve_edit(after.get(edit.path), edit).data
    patch = "".join(file_patch(path, before.get(path), data) for path, data in after.items())
    recorded_patch = (run.artifact(run.paths.step(step_id, "changes.patch")) or b"").decode("utf-8")
    return Replayed(step_id, again.compiled, where, patch == recorded_patch)


def _recorded_reply(run: Run, prepared: Prepared) -> ModelReply | None:
    """The reply by its content key, through the provider that asks nobody; None where this machine has it not."""
    store = ReplyStore(run.around.repo.state_dir / "replies" / run.job.job_id)
    model_id = prepared.stored.model_id
    config = run.around.settings.models.get(model_id, ModelConfig())
    with ExitStack() as stack:
        provider = ReplayProvider(model_id, config, store)
        stack.callback(provider.close)
        for attempt in range(1, _MOST_ATTEMPTS + 1):
            try:
                return provider.complete(prepared.request(attempt))
            except ModelFailed:
                continue
    return None
