"""The model call: a stored reply first, then the provider, and never twice for one. Contract: `models.md`."""

from __future__ import annotations

from handshake.config.failpoints import failpoint
from handshake.domain.canonical import hash_of
from handshake.domain.errors import ModelFailed, ResourceExhausted
from handshake.domain.microtask import MicroTaskDefinition
from handshake.domain.modelcall import ModelReply
from handshake.loop.equipment import Equipment
from handshake.loop.prepare import Prepared
from handshake.loop.run import Run
from handshake.loop.surroundings import Surroundings
from handshake.models.replies import ReplyStore

TIMEOUT_ATTEMPTS = 3
KEEP_WAITS_S = (1.0, 4.0, 10.0, 15.0)


class ReplyNotKept(ResourceExhausted):
    """A reply is lost, after long enough a wait: to go on at once would only pay for the next one."""


def stored_reply(replies: ReplyStore, prepared: Prepared) -> ModelReply | None:
    """The reply of this step, if one was paid for already."""
    for attempt in range(1, TIMEOUT_ATTEMPTS + 1):
        reply = replies.get(prepared.request(attempt).content_key)
        if reply is not None:
            return reply
    return None


def obtain_reply(run: Run, equipment: Equipment, mt: MicroTaskDefinition, prepared: Prepared) -> ModelReply:
    """The reply to a prepared step, stored durable before it is used.

    Raises:
        ModelFailed: timed out three times (each half as long again), or failed otherwise.
    """
    reply = stored_reply(equipment.replies, prepared)
    if reply is None:
        reply = _call(run, equipment, mt, prepared)
    usage = reply.usage
    run.emit(
        "FR-EVT-006",
        {
            "model_id": reply.model_id,
            "token_usage": {
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                "total_tokens": usage.total_tokens,
            },
            "latency_ms": reply.latency_ms,
            "prompt_hash": prepared.stored.prompt_hash,
            "response_hash": hash_of([sample.text for sample in reply.samples]),
            "step_id": prepared.step_id,
            "estimated": usage.estimated,
        },
        key=f"{prepared.step_id}/006",
        actor="agent",
        mt_id=mt.mt_id,
        iteration=prepared.number,
    )
    return reply


def _call(run: Run, equipment: Equipment, mt: MicroTaskDefinition, prepared: Prepared) -> ModelReply:
    stored = prepared.stored
    lora = next((lora for lora in run.around.settings.loras if lora.id == stored.lora_id), None)
    provider = equipment.pool.provider(stored.model_id, lora)
    for attempt in range(1, TIMEOUT_ATTEMPTS + 1):
        request = prepared.request(attempt)
        samples = f", {request.sampling.samples} samples" if request.sampling.samples > 1 else ""
        run.around.watcher.working(f"{mt.mt_id} iter {prepared.number}: {stored.model_id} is answering{samples}")
        run.show("prompt", request.prompt)
        run.settle()
        failpoint("model.call:before")
        try:
            reply = provider.complete(request)
        except ModelFailed as failure:
            if failure.category == "model_timeout" and attempt < TIMEOUT_ATTEMPTS:
                continue
            raise
        failpoint("model.call:after")
        keep_reply(run.around, equipment.replies, reply)
        return reply
    raise AssertionError("unreachable: the last attempt returns or raises")


def keep_reply(around: Surroundings, replies: ReplyStore, reply: ModelReply) -> None:
    """Store a reply. It was paid for: while the disk is full it is held on to, for as long as a person may need.

    Raises:
        ReplyNotKept: the disk stayed full.
    """
    for wait_s in KEEP_WAITS_S:
        try:
            replies.put(reply)
        except ResourceExhausted as shortage:
            around.watcher.note(f"{shortage.what}; the reply is held in memory, trying again in {wait_s:g} s")
            around.clock.sleep(wait_s)
        else:
            return
    try:
        replies.put(reply)
    except ResourceExhausted as shortage:
        raise ReplyNotKept(shortage.what, next_step=shortage.next_step) from shortage
