"""How fast a served model answers, seen at a real server on loopback."""

from __future__ import annotations

import itertools

import pytest

from handshake.domain.clock import SystemClock
from handshake.domain.errors import ModelFailed
from handshake.domain.settings import ModelConfig
from handshake.models.openai import OpenAiProvider
from handshake.models.retry import RetryRule
from handshake.models.speed import MAX_TOKENS, Speed, measure_speed


class _TickingClock(SystemClock):
    """Half a second later at each look."""

    def __init__(self) -> None:
        self._ticks = itertools.count()

    def monotonic(self) -> float:
        return next(self._ticks) * 0.5


def _provider(faults) -> OpenAiProvider:
    return OpenAiProvider("m", ModelConfig(base_url=faults.url, model="m"), retry=RetryRule(attempts=1))


def test_the_rate_is_that_of_the_flowing_text(faults):
    def flow(call):
        call.start_stream()
        for _ in range(7):
            call.text("1\n")
        call.text("", finish="stop")
        call.event({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}})
        call.event("[DONE]")

    faults.script = [flow]
    speed = measure_speed(_provider(faults), _TickingClock())
    # the clock ticks each time it is looked at: at the start, and at each of the seven pieces of text
    assert speed == Speed(first_text_s=0.5, tokens_per_s=2.0, estimated=False)
    assert faults.calls[0].body["max_tokens"] == MAX_TOKENS


def test_a_reply_in_one_piece_has_no_rate(faults):
    faults.script = [lambda call: call.good("1 2 3")]
    speed = measure_speed(_provider(faults), SystemClock())
    assert speed.tokens_per_s is None
    assert speed.first_text_s >= 0


def test_a_model_that_fails_is_not_given_a_speed(faults):
    faults.script = [lambda call: call.json({"error": "out of memory"}, 400)]
    with pytest.raises(ModelFailed, match="out of memory"):
        measure_speed(_provider(faults), SystemClock())
