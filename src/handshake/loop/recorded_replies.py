"""Replies of recorded runs of a packet, by content key: what a `replay` model answers with. Contract: `models.md`.

They are looked for in this clone's reply stores first, where they lie letter for letter, then on the packet's
tracking branches, fetched ones too, where what held a secret is masked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Any, TypeVar

from pydantic import ValidationError

from handshake.domain.errors import StateCorruption
from handshake.domain.modelcall import ModelReply, Sample, TokenUsage
from handshake.domain.record import Record
from handshake.loop.call import TIMEOUT_ATTEMPTS
from handshake.loop.prepare import Prepared, StoredRequest
from handshake.loop.recorded import NAME
from handshake.models.replay import RecordedModel
from handshake.models.replies import ReplyStore
from handshake.recorder.sources import tracking_refs
from handshake.repo.git import Repository
from handshake.repo.tree import TreeView

_MOST_SAMPLES = 8
_R = TypeVar("_R", bound=Record)


class RecordedReplies:
    """Every reply that runs of `wp_id` got, read when first asked for."""

    def __init__(self, repo: Repository, wp_id: str, namespace: str) -> None:
        self._repo = repo
        self._wp_id = wp_id
        self._namespace = namespace

    def get(self, content_key: str) -> ModelReply | None:
        """The reply of that key, or None.

        Raises:
            StateCorruption: a stored reply is not that of its name.
        """
        for job_id in self._jobs:
            reply = ReplyStore(self._repo.state_dir / "replies" / job_id).get(content_key)
            if reply is not None:
                return reply
        return self._on_branches.get(content_key)

    def model(self, model_id: str) -> RecordedModel:
        """What the runs knew of a model when they asked it last."""
        asked = [step for step in self._steps if step[2].model_id == model_id]
        counts: dict[str, int] = {}
        for view, folder, _ in asked:
            counts.update((_json(view, f"{folder}/{NAME}") or {}).get("token_counts") or {})
        return RecordedModel(
            context_window=asked[-1][2].context_window if asked else None,
            takes_grammar=any(stored.sampling.grammar is not None for _, _, stored in asked),
            token_counts=counts,
        )

    @cached_property
    def _steps(self) -> list[tuple[TreeView, str, StoredRequest]]:
        """Tree, folder and request of each step, in the order of the jobs' ids, which is that of their beginning."""
        found = []
        for view, job_id in self._jobs.values():
            for name in view.children(f"jobs/{job_id}/steps"):
                folder = f"jobs/{job_id}/steps/{name}"
                asked = _json(view, f"{folder}/request.json")
                if asked is not None:
                    found.append((view, folder, _checked(StoredRequest, asked, f"{folder}/request.json")))
        return found

    @cached_property
    def _jobs(self) -> dict[str, tuple[TreeView, str]]:
        views = [
            self._repo.tree(ref.tip) for ref in tracking_refs(self._repo, self._namespace) if ref.wp_id == self._wp_id
        ]
        jobs = {job_id: (view, job_id) for view in reversed(views) for job_id in view.children("jobs")}
        return dict(sorted(jobs.items()))

    @cached_property
    def _on_branches(self) -> dict[str, ModelReply]:
        found: dict[str, ModelReply] = {}
        for view, folder, stored in self._steps:
            samples = tuple(_samples(view, folder))
            if not samples:
                continue
            for attempt in range(1, TIMEOUT_ATTEMPTS + 1):  # which of them was answered is not on the branch
                key = Prepared("", 0, stored, "").request(attempt).content_key
                found[key] = ModelReply(
                    content_key=key,
                    model_id=stored.model_id,
                    samples=samples,
                    usage=_usage(view, folder),
                    latency_ms=0,
                )
        return found


def _samples(view: TreeView, folder: str) -> Iterator[Sample]:
    """The replies in the order in which they came; none where the call failed."""
    edits = _json(view, f"{folder}/edits.json")
    if edits is None:
        return
    for number, end in enumerate(edits.get("ends", ["stop"] * _MOST_SAMPLES)):
        name = "reply.md" if number == edits["kept"] else f"reply-{number}.md"
        data = view.read(f"{folder}/{name}")
        if data is None:
            return
        reason, _, cut = end.partition(":")
        text = data.decode("utf-8", "replace")
        row = {"text": text, "finish_reason": reason, "cut_reason": cut or None}
        yield _checked(Sample, row, f"{folder}/edits.json")


def _usage(view: TreeView, folder: str) -> TokenUsage:
    job, step_id = folder.rsplit("/", 2)[0], folder.rpartition("/")[2]
    progress = _json(view, f"{job}/progress_artifact.json") or {"micro_tasks": []}
    rows = [row for entry in progress["micro_tasks"] for row in entry["iterations"] if row["step_id"] == step_id]
    spent_in, spent_out = (rows[0]["tokens_prompt"], rows[0]["tokens_completion"]) if rows else (0, 0)
    return TokenUsage(prompt_tokens=spent_in, completion_tokens=spent_out, total_tokens=spent_in + spent_out)


def _json(view: TreeView, path: str) -> dict[str, Any] | None:
    data = view.read(path)
    try:
        found: dict[str, Any] | None = None if data is None else json.loads(data)
    except ValueError:
        raise _unreadable(path) from None
    return found


def _checked(record: type[_R], row: dict[str, Any], path: str) -> _R:
    try:
        return record.model_validate(row)
    except ValidationError:
        raise _unreadable(path) from None


def _unreadable(path: str) -> StateCorruption:
    return StateCorruption(
        f"{path} on the tracking branch is not what Handshake records",
        next_step=f"git log -p -- '*{path}' on that branch; or name another provider in .handshake/config.yaml",
    )
