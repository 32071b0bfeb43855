"""How fast a served model answers, by one short call. Contract: `interface.md`, `doctor`."""

from __future__ import annotations

from handshake.domain.canonical import sha256_hex
from handshake.domain.clock import Clock
from handshake.domain.modelcall import ModelRequest, Sampling
from handshake.domain.record import Record
from handshake.models.provider import Provider

PROMPT = "Count from 1 to 30 in digits, one number a line. Write nothing else.\n"
MAX_TOKENS = 48
TIMEOUT_S = 60.0


class Speed(Record):
    """Seconds to the first text (loading the model may be in it), and tokens a second after it.

    `tokens_per_s` is None where the reply came in one piece: then only the whole time is known.
    """

    first_text_s: float
    tokens_per_s: float | None
    estimated: bool


def measure_speed(provider: Provider, clock: Clock) -> Speed:
    """One call of at most 48 tokens.

    Raises:
        ModelFailed: no reply came within a minute.
    """
    times: list[float] = []
    began = clock.monotonic()
    reply = provider.complete(
        ModelRequest(
            model_id=provider.facts.model_id,
            served_as=provider.facts.served_as,
            prompt_prefix="",
            prompt_suffix=PROMPT,
            prompt_hash=sha256_hex(PROMPT.encode()),
            sampling=Sampling(temperature=0.0, seed=0, max_output_tokens=MAX_TOKENS),
            timeout_s=TIMEOUT_S,
        ),
        on_text=lambda _: times.append(clock.monotonic()),
    )
    ended = clock.monotonic()
    flowing = times[-1] - times[0] if len(times) > 1 else 0.0
    tokens = reply.usage.completion_tokens
    return Speed(
        first_text_s=round((times[0] if times else ended) - began, 3),
        tokens_per_s=round((tokens - 1) / flowing, 1) if flowing > 0 and tokens > 1 else None,
        estimated=reply.usage.estimated,
    )
