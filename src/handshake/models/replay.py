"""Replies of an earlier run, by content key: a run again without a model. Contract: `models.md`, Providers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from handshake.domain.canonical import sha256_hex
from handshake.domain.errors import ModelFailed
from handshake.domain.modelcall import ModelReply, ModelRequest
from handshake.domain.settings import ModelConfig
from handshake.models.endpoint import DEFAULT_WINDOW
from handshake.models.profiles import profile_of
from handshake.models.provider import ModelFacts, OnText, estimate_tokens


class Replies(Protocol):
    """Where recorded replies are found."""

    def get(self, content_key: str) -> ModelReply | None:
        """The reply of that key, or None."""
        ...


@dataclass(frozen=True)
class RecordedModel:
    """What was known of a model when it was asked: with another window or without its grammar the key is another."""

    context_window: int | None = None
    takes_grammar: bool = True
    token_counts: Mapping[str, int] = field(default_factory=dict)
    """Of texts, by the first 16 digits of their SHA-256, where the server's own tokenizer counted."""


class RecordedRun(Replies, Protocol):
    """The replies of a run, and what it knew of its models."""

    def model(self, model_id: str) -> RecordedModel:
        """That of the model's last call."""
        ...


class ReplayProvider:
    """Gives back what `store` holds; asks nobody."""

    def __init__(self, model_id: str, config: ModelConfig, store: Replies, run: RecordedRun | None = None) -> None:
        recorded = run.model(model_id) if run is not None else RecordedModel()
        self._store = store
        self._counts = recorded.token_counts
        self.facts = ModelFacts(
            model_id=model_id,
            served_as=config.model or model_id,
            context_window=config.context_window or recorded.context_window or DEFAULT_WINDOW,
            tier="local",
            profile=profile_of(config, model_id).name,
            supports_grammar=recorded.takes_grammar,
            supports_n=True,
            exact_tokens=bool(recorded.token_counts),
        )

    def count_tokens(self, text: str) -> int:
        """What the model's server said when it was there, else the estimate."""
        known = self._counts.get(sha256_hex(text.encode("utf-8", "replace"))[:16]) if self._counts else None
        return estimate_tokens(text) if known is None else known

    def complete(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        """The recorded reply.

        Raises:
            ModelFailed: none is recorded for this request.
        """
        reply = self._store.get(request.content_key)
        if reply is None:
            raise ModelFailed(
                f"no reply is recorded for this call of {request.model_id} (key {request.content_key[:12]})",
                category="model_error",
                transient=False,
                next_step="the prompt or the sampling is not the recorded one: run it with a real model",
            )
        if on_text is not None:
            on_text(reply.samples[0].text)
        return reply

    def close(self) -> None:
        """Nothing is held."""
