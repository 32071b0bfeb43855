"""The client and the embedded provider at a real llama.cpp, with a small real model that says what the test wants."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("xllamacpp", reason="the embedded runtime is not installed")
sys.path.insert(0, str(Path(__file__).parent))

from reciting_model import write_model

from handshake.domain.clock import SystemClock
from handshake.domain.errors import EnvironmentProblem, ModelFailed
from handshake.domain.settings import ModelConfig
from handshake.models.children import ServingChild, start_serving
from handshake.models.embedded import EmbeddedProvider
from handshake.models.openai import OpenAiProvider
from handshake.models.retry import RetryRule
from handshake.models.speed import measure_speed

HELLO = "FILE: a.py\n```python\ndef f():\n    return 'ä → …'\n```\nEND\n"
THOUGHT = "<think>\nlet me see\n</think>\nit is so\n"
TICKS = "tick tack " * 4 + "\n"
COUNT = "".join(f"{number} is followed by {number + 1}, as everybody knows\n" for number in range(300))
WINDOW = 2048
KEY = "a-key-of-ours"

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model") / "reciting.gguf"
    return write_model(place, {"<one>": HELLO, "<thought>": THOUGHT}, rounds={"<ticks>": TICKS, "<count>": COUNT})


def served(model_file: Path, **more: Any) -> ServingChild:
    settings = {
        "file": str(model_file),
        "name": "reciting",
        "api_key": KEY,
        "context_window": WINDOW,
        "samples": 2,
        "max_output_tokens": 64,
        "threads": 1,
        **more,
    }
    return start_serving(
        "handshake.models.embedded_server", settings, what="llama.cpp", clock=SystemClock(), mend="look at its log"
    )


@pytest.fixture(scope="module")
def child(model_file: Path) -> Iterator[ServingChild]:
    started = served(model_file)
    yield started
    started.close()


@contextlib.contextmanager
def asking(child: ServingChild, **more: Any) -> Iterator[OpenAiProvider]:
    """The client; `stall_s` and entries of the configuration in `more`."""
    stall = {"stall_s": more.pop("stall_s")} if "stall_s" in more else {}
    config = ModelConfig(base_url=f"{child.address}/v1", **{"model": "reciting", **more})
    provider = OpenAiProvider("small", config, api_key=KEY, retry=RetryRule(attempts=1), **stall)
    yield provider
    provider.close()


def test_it_says_what_it_is(child: ServingChild) -> None:
    with asking(child) as provider:
        facts = provider.facts
        # the second sample's room comes on top, and llama.cpp rounds up
        assert WINDOW + 64 <= facts.context_window < WINDOW + 512
        assert (facts.supports_n, facts.supports_grammar, facts.exact_tokens) == (True, True, True)
        # a byte is a token here, but for the pieces of a recital
        assert provider.count_tokens("abc ä") == 6
        assert provider.count_tokens("say so") == 6
    with asking(child, context_window=512) as provider:
        assert provider.facts.context_window == 512


def test_a_reply_streams_in_to_the_character(child: ServingChild, a_request: Callable[..., Any]) -> None:
    heard: list[str] = []
    with asking(child) as provider:
        reply = provider.complete(a_request("say <one>", temperature=0.7), heard.append)
    [sample] = reply.samples
    assert (sample.text, sample.finish_reason) == (HELLO, "stop")
    assert "".join(heard) == HELLO and len(heard) >= 3
    # four bytes and the key; six pieces and the end
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.estimated) == (5, 7, False)


def test_reasoning_stays_in_its_tags(child: ServingChild, a_request: Callable[..., Any]) -> None:
    with asking(child) as provider:
        [sample] = provider.complete(a_request("well <thought>")).samples
    assert " ".join(sample.text.split()) == "<think> let me see </think> it is so"


def test_a_stop_word_a_limit_and_several_samples(child: ServingChild, a_request: Callable[..., Any]) -> None:
    with asking(child) as provider:
        [stopped] = provider.complete(a_request("say <one>", stop=("END",))).samples
        assert (stopped.text, stopped.finish_reason) == (HELLO.removesuffix("END\n"), "stop")
        limited = provider.complete(a_request("say <count>", max_output_tokens=5))
        assert limited.samples[0].finish_reason == "length"
        assert limited.samples[0].text == "".join(COUNT.splitlines(keepends=True)[:5])
        assert limited.usage.completion_tokens == 5
        # two slots: a call for two, and one for the third
        three = provider.complete(a_request("say <one>", samples=3))
        assert [sample.text for sample in three.samples] == [HELLO] * 3
        assert (three.usage.prompt_tokens, three.usage.completion_tokens) == (10, 21)


def test_a_grammar_holds_the_reply(child: ServingChild, a_request: Callable[..., Any]) -> None:
    with asking(child) as provider:
        request = a_request("say <one>", grammar='root ::= "red" | "blue"', max_output_tokens=20)
        assert provider.complete(request).samples[0].text in ("red", "blue")


def test_a_reply_that_repeats_itself_is_cut_early(child: ServingChild, a_request: Callable[..., Any]) -> None:
    with asking(child) as provider:
        reply = provider.complete(a_request("say <ticks>", max_output_tokens=1500))
        assert (reply.samples[0].finish_reason, reply.samples[0].cut_reason) == ("cut", "repeats")
        assert len(reply.samples[0].text) < len(TICKS) * 200
        # the slot is free again
        assert provider.complete(a_request("say <one>")).samples[0].text == HELLO


def test_what_never_ends_is_cut_when_its_time_is_over(model_file: Path, a_request: Callable[..., Any]) -> None:
    child = served(model_file, context_window=32_000, samples=1)
    try:
        with asking(child) as provider:
            request = a_request("say <count>", max_output_tokens=31_000, timeout_s=0.4)
            [sample] = provider.complete(request).samples
        assert (sample.finish_reason, sample.cut_reason) == ("cut", "time")
        assert COUNT.startswith(sample.text[: len(COUNT)])
    finally:
        child.close()


@posix
def test_a_server_that_stands_still_is_cut_as_a_stall_or_times_out(
    model_file: Path, a_request: Callable[..., Any]
) -> None:
    child = served(model_file, context_window=32_000, samples=1)
    frozen = threading.Event()

    def freeze(_: str) -> None:
        if not frozen.is_set():
            os.kill(child.pid, signal.SIGSTOP)
            frozen.set()

    try:
        with asking(child, stall_s=0.3) as provider:
            request = a_request("say <count>", max_output_tokens=31_000, timeout_s=20)
            [sample] = provider.complete(request, freeze).samples
            assert (sample.finish_reason, sample.cut_reason) == ("cut", "stall")
            assert sample.text
            with pytest.raises(ModelFailed) as failed:
                provider.complete(a_request("say <one>", timeout_s=0.3))
            assert failed.value.category == "model_timeout"
    finally:
        os.kill(child.pid, signal.SIGCONT)
        child.close()


def test_a_prompt_beyond_the_window_is_refused_here(child: ServingChild, a_request: Callable[..., Any]) -> None:
    with asking(child) as provider:
        window = provider.facts.context_window
        with pytest.raises(ModelFailed, match=f"does not fit the window of {window}"):
            provider.complete(a_request("x" * window))


def test_another_key_is_refused(child: ServingChild) -> None:
    config = ModelConfig(base_url=f"{child.address}/v1", model="reciting")
    with pytest.raises(ModelFailed, match="refuses the key"):
        OpenAiProvider("small", config, api_key="guessed", retry=RetryRule(attempts=1))


def test_its_speed_is_measured(child: ServingChild) -> None:
    with asking(child) as provider:
        assert measure_speed(provider, SystemClock()).first_text_s >= 0


@posix
def test_an_embedded_model_that_was_killed_is_started_again(
    model_file: Path, a_request: Callable[..., Any], quick: RetryRule
) -> None:
    config = ModelConfig(provider="embedded", file=str(model_file), profile="standard", context_window=WINDOW)
    provider = EmbeddedProvider("e", config, retry=quick)
    try:
        assert provider.complete(a_request("say <one>")).samples[0].text == HELLO
        first = provider.pid
        os.kill(first, signal.SIGKILL)
        give_up = time.monotonic() + 10
        while provider._child.alive and time.monotonic() < give_up:
            time.sleep(0.01)
        assert provider.complete(a_request("say <one>")).samples[0].text == HELLO
        assert provider.pid != first
    finally:
        provider.close()


HOLDS_A_MODEL = """
import sys, time
from handshake.domain.settings import ModelConfig
from handshake.models.embedded import EmbeddedProvider
provider = EmbeddedProvider("e", ModelConfig(provider="embedded", file=sys.argv[1], context_window=512))
print(provider.pid, flush=True)
time.sleep(60)
"""


@posix
def test_a_model_does_not_outlive_a_run_that_was_killed(model_file: Path) -> None:
    run = subprocess.Popen([sys.executable, "-c", HOLDS_A_MODEL, str(model_file)], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    child = psutil.Process(int(run.stdout.readline()))
    assert child.is_running()
    run.kill()
    run.wait()
    run.stdout.close()
    _, alive = psutil.wait_procs([child], timeout=10)
    assert not alive


def test_a_file_that_does_not_load_is_explained(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(500))
    with pytest.raises(EnvironmentProblem, match=r"broken\.gguf ended while starting") as failed:
        EmbeddedProvider("e", ModelConfig(provider="embedded", file=str(broken)))
    assert failed.value.next_step is not None and failed.value.next_step.startswith("handshake model install")
