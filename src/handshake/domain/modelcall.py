"""What is sent to a provider and what comes back. Contract: `models.md`, Providers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from handshake.domain.canonical import hash_of
from handshake.domain.record import Record


class Sampling(Record):
    """How replies are drawn. `samples` replies share one prompt."""

    temperature: float = 0.2
    top_p: float = 0.95
    seed: int | None = None
    max_output_tokens: int = 2048
    samples: int = Field(default=1, ge=1, le=8)
    stop: tuple[str, ...] = ()
    grammar: str | None = None


class ModelRequest(Record):
    """One call. `attempt` is the ordinal of this call among those of the same step and prompt."""

    model_id: str
    lora_id: str | None = None
    served_as: str
    prompt_prefix: str
    prompt_suffix: str
    prompt_hash: str
    sampling: Sampling
    attempt: int = 1
    timeout_s: float

    @property
    def prompt(self) -> str:
        """What the model is sent."""
        return self.prompt_prefix + self.prompt_suffix

    @property
    def content_key(self) -> str:
        """A reply is never paid for twice: SHA-256 over what makes this call this call."""
        return hash_of(
            [
                self.model_id,
                self.lora_id,
                self.sampling.model_dump(mode="json"),
                self.prompt_hash,
                self.attempt,
            ]
        )


class TokenUsage(Record):
    """Tokens of one call. `estimated` when the server gave no figure."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    estimated: bool = False


class Sample(Record):
    """One of the replies to one prompt. `cut_reason` says why we ended it when `finish_reason` is `cut`."""

    text: str
    finish_reason: Literal["stop", "length", "cut", "error"] = "stop"
    cut_reason: Literal["time", "stall", "repeats", "size"] | None = None


class ModelReply(Record):
    """All replies to one call, as stored before they are used."""

    content_key: str
    model_id: str
    samples: tuple[Sample, ...] = Field(min_length=1)
    usage: TokenUsage
    latency_ms: int
