"""A server that misbehaves in every way a server can."""

from __future__ import annotations

import socket
import struct
import time

import pytest

from handshake.domain.clock import SteppingClock
from handshake.domain.errors import ModelFailed
from handshake.models.endpoint import retry_after_s
from handshake.models.openai import OpenAiProvider
from handshake.models.retry import RetryLater, RetryRule, with_retries
from handshake.models.runaway import RunawayWatch, repeats_itself, smallest_period


class NotedClock(SteppingClock):
    """Notes how long it was asked to sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        super().sleep(seconds)


def test_429_waits_as_long_as_the_server_asks(faults, a_request):
    faults.script = [
        lambda call: call.json({"error": "slow down"}, 429, Retry_After="7"),
        lambda call: call.json({"error": "busy"}, 503),
        lambda call: call.good(),
    ]
    clock = NotedClock()
    rule = RetryRule(attempts=5, first_s=1, jitter=lambda: 1.0)
    reply = OpenAiProvider("small", faults.config(), clock=clock, retry=rule).complete(a_request())
    assert reply.samples[0].text == "hello"
    assert clock.slept == [7.0, 2.0]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "Thu, 26 Nov 2026 10:00:30 GMT", "date": "Thu, 26 Nov 2026 10:00:00 GMT"}, 30),
        ({"retry-after": "Thursday, 26-Nov-26 10:00:30 GMT", "date": "Thu Nov 26 10:00:00 2026"}, 30),
        ({"retry-after": "Thu, 26 Nov 2026 09:00:00 GMT", "date": "Thu, 26 Nov 2026 10:00:00 GMT"}, 0),
        ({"retry-after": "Thu, 26 Nov 2026 10:00:30 GMT"}, None),  # whose clock?
        ({"retry-after": "Fri, 26 Nov 2027 10:00:30 GMT", "date": "Thu, 26 Nov 2026 10:00:00 GMT"}, None),
        ({"retry-after": "Thu, 26 Nov 99999999999999999999 10:00:00 GMT", "date": "x"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(headers, seconds):
    assert retry_after_s(headers) == seconds


def test_a_server_that_stays_down_ends_within_the_budget(faults, a_request):
    faults.script = [lambda call: call.json({"error": "down"}, 500)]
    clock = NotedClock()
    rule = RetryRule(attempts=50, first_s=1, longest_s=8, budget_s=20, jitter=lambda: 1.0)
    provider = OpenAiProvider("small", faults.config(), clock=clock, retry=rule)
    with pytest.raises(ModelFailed, match="answers 500") as failed:
        provider.complete(a_request())
    assert failed.value.transient and failed.value.category == "model_error"
    assert clock.slept == [1, 2, 4, 8] and sum(clock.slept) <= 20


def test_a_retry_after_beyond_the_budget_is_not_waited_for(faults, a_request):
    faults.script = [lambda call: call.json({}, 429, Retry_After="3600")]
    clock = NotedClock()
    with pytest.raises(ModelFailed):
        OpenAiProvider("small", faults.config(), clock=clock).complete(a_request())
    assert clock.slept == [] and len(faults.calls) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_not_tried_again(faults, quick, a_request, status):
    faults.script = [lambda call: call.json({}, status)]
    with pytest.raises(ModelFailed, match="refuses the key") as failed:
        OpenAiProvider("small", faults.config(), retry=quick).complete(a_request())
    assert not failed.value.transient and len(faults.calls) == 1


def reset(call):
    call.start_stream()
    call.text("half")
    connection = call.handler.connection
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    raise ConnectionResetError


def cut(call):
    call.start_stream()
    call.text("half a rep")


def not_json(call):
    call.start_stream()
    call.event("{oops")


def error_inside(call):
    call.start_stream()
    call.text("hal")
    call.event({"error": {"message": "out of memory"}})


def no_choices(call):
    call.start_stream()
    call.event("[DONE]")


@pytest.mark.parametrize("fault", [reset, cut, not_json, error_inside, no_choices])
def test_a_broken_stream_is_tried_again_and_its_half_is_dropped(faults, quick, a_request, fault):
    faults.script = [fault, lambda call: call.good("whole")]
    reply = OpenAiProvider("small", faults.config(), retry=quick).complete(a_request())
    assert [sample.text for sample in reply.samples] == ["whole"]


@pytest.mark.parametrize("fault", [reset, cut, not_json, error_inside, no_choices])
def test_a_stream_that_always_breaks_is_a_transient_error(faults, quick, a_request, fault):
    faults.script = [fault]
    with pytest.raises(ModelFailed) as failed:
        OpenAiProvider("small", faults.config(), retry=quick).complete(a_request())
    assert failed.value.transient and failed.value.category == "model_error"
    assert len(faults.calls) == 3


def test_a_reset_after_the_finish_reason_loses_nothing(faults, quick, a_request):
    def finished_then_reset(call):
        call.start_stream()
        call.text("done", finish="stop")

    faults.script = [finished_then_reset]
    reply = OpenAiProvider("small", faults.config(), retry=quick).complete(a_request())
    assert reply.samples[0].text == "done" and len(faults.calls) == 1


@pytest.mark.parametrize("content_type", ["text/html", "text/plain"])
def test_a_wrong_content_type_is_named_and_not_tried_again(faults, quick, a_request, content_type):
    faults.script = [lambda call: call.raw(b"<html>welcome</html>", content_type)]
    with pytest.raises(ModelFailed, match=f"answers {content_type}") as failed:
        OpenAiProvider("small", faults.config(), retry=quick).complete(a_request())
    assert not failed.value.transient


def test_no_usage_is_estimated_and_marked(faults, quick, a_request):
    faults.script = [lambda call: call.good("hello there", usage=False)]
    usage = OpenAiProvider("small", faults.config(), retry=quick).complete(a_request()).usage
    assert usage.estimated and usage.prompt_tokens > 0 and usage.completion_tokens > 0


def test_silence_before_the_first_byte_is_a_timeout(faults, quick, a_request):
    faults.script = [lambda call: faults.over.wait(5)]
    started = time.monotonic()
    with pytest.raises(ModelFailed, match=r"no text within 0\.3 s") as failed:
        OpenAiProvider("small", faults.config(), retry=quick).complete(a_request(timeout_s=0.3))
    assert failed.value.category == "model_timeout"
    assert time.monotonic() - started < 2
    assert len(faults.calls) == 1


def test_keep_alive_lines_do_not_put_off_the_timeout(faults, quick, a_request):
    def pings(call):
        call.start_stream()
        while not faults.over.wait(0.05):
            call.handler.wfile.write(b": still here\n\n")
            call.handler.wfile.flush()

    faults.script = [pings]
    started = time.monotonic()
    with pytest.raises(ModelFailed) as failed:
        OpenAiProvider("small", faults.config(), retry=quick).complete(a_request(timeout_s=0.4))
    assert failed.value.category == "model_timeout"
    assert time.monotonic() - started < 2


def test_a_reply_that_stalls_is_cut_with_what_came(faults, quick, a_request):
    def stall(call):
        call.start_stream()
        call.text("so far")
        faults.over.wait(5)

    faults.script = [stall]
    provider = OpenAiProvider("small", faults.config(), retry=quick, stall_s=0.2)
    reply = provider.complete(a_request(timeout_s=30))
    sample = reply.samples[0]
    assert (sample.text, sample.finish_reason, sample.cut_reason) == ("so far", "cut", "stall")
    assert reply.usage.estimated


def test_a_reply_may_stand_still_for_half_of_its_time(faults, quick, a_request):
    def stand_still(call):
        call.start_stream()
        call.text("so far")
        faults.over.wait(0.2)
        call.text(", and on")
        faults.over.wait(5)

    faults.script = [stand_still]
    sample = OpenAiProvider("small", faults.config(), retry=quick).complete(a_request(timeout_s=1.6)).samples[0]
    assert (sample.text, sample.finish_reason, sample.cut_reason) == ("so far, and on", "cut", "stall")


def test_a_slow_reply_is_cut_when_its_time_is_over(faults, quick, a_request):
    def slow(call):
        call.start_stream()
        while not faults.over.wait(0.02):
            call.text("word ")

    faults.script = [slow]
    sample = OpenAiProvider("small", faults.config(), retry=quick).complete(a_request(timeout_s=0.4)).samples[0]
    assert (sample.finish_reason, sample.cut_reason) == ("cut", "time")
    assert sample.text.startswith("word word")


def test_a_reply_that_repeats_itself_is_cut(faults, quick, a_request):
    def loop(call):
        call.start_stream()
        for _ in range(100_000):
            call.text("    return value or again\n")

    faults.script = [loop]
    sample = OpenAiProvider("small", faults.config(), retry=quick).complete(a_request()).samples[0]
    assert (sample.finish_reason, sample.cut_reason) == ("cut", "repeats")
    assert len(sample.text) < 5000


def test_a_server_that_ignores_the_token_limit_is_cut(faults, quick, a_request):
    def endless(call):
        call.start_stream()
        for number in range(100_000):
            call.text(f"{number * 7919} ")

    faults.script = [endless]
    sample = (
        OpenAiProvider("small", faults.config(), retry=quick).complete(a_request(max_output_tokens=64)).samples[0]
    )
    assert (sample.finish_reason, sample.cut_reason) == ("cut", "size")


@pytest.mark.parametrize("streamed", [True, False])
def test_fifty_megabytes_are_never_held(faults, quick, a_request, streamed):
    sent = []

    def huge(call):
        call.start_stream("text/event-stream" if streamed else "application/json")
        call.handler.wfile.write(b'data: {"choices": [{"index": 0, "delta": {"content": "')
        for _ in range(50):
            call.handler.wfile.write(b"x" * 1_000_000)
            sent.append(1)

    faults.script = [huge]
    rule = RetryRule(attempts=1)
    provider = OpenAiProvider("small", faults.config(), retry=rule)
    if streamed:
        reply = provider.complete(a_request())
        assert reply.samples[0].cut_reason == "size"
    else:
        with pytest.raises(ModelFailed, match="larger than 16 MiB"):
            provider.complete(a_request())
    assert len(sent) < 50


def test_waiting_is_exponential_with_jitter_between_half_and_whole():
    rule = RetryRule(first_s=1, longest_s=10, jitter=lambda: 0.0)
    assert [rule.wait_s(attempt, None) for attempt in (1, 2, 3, 9)] == [0.5, 1.0, 2.0, 5.0]
    assert 0.25 <= RetryRule().wait_s(1, None) <= 0.5
    assert rule.wait_s(1, 9.0) == 9.0


def test_only_failures_that_may_pass_are_tried_again():
    tries = []

    def call():
        tries.append(1)
        raise ModelFailed("no", category="model_error", transient=False)

    with pytest.raises(ModelFailed):
        with_retries(call, RetryRule(), NotedClock())
    assert len(tries) == 1
    assert RetryLater("x").transient


@pytest.mark.parametrize(("text", "period"), [("abcabcabca", 3), ("aaaa", 1), ("abcd", 4), ("", 0), ("ababa", 2)])
def test_the_smallest_period(text, period):
    assert smallest_period(text) == period


def test_ordinary_code_does_not_repeat_itself():
    code = "".join(f"def test_{n}():\n    assert f({n}) == {n * n}\n\n\n" for n in range(300))
    assert not repeats_itself(code)
    watch = RunawayWatch(4096)
    assert {watch.feed(code[at : at + 20]) for at in range(0, len(code), 20)} == {None}


def test_a_long_piece_said_four_times_is_found():
    piece = "".join(f"line {n} of one function\n" for n in range(80))
    assert repeats_itself(piece * 5)
    assert not repeats_itself(piece * 2)
