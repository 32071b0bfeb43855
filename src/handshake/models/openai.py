"""Any OpenAI-compatible chat endpoint, streamed. Contract: `models.md`, Providers."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from handshake.domain.canonical import sha256_hex
from handshake.domain.clock import Clock, SystemClock
from handshake.domain.errors import ModelFailed, PromptTooLong
from handshake.domain.modelcall import ModelReply, ModelRequest, Sample, TokenUsage
from handshake.domain.settings import LoraConfig, ModelConfig
from handshake.models.endpoint import (
    Endpoint,
    default_base_url,
    is_loopback,
    look_up,
    refuse_missing_adapter,
    refused_key,
    retry_after_s,
)
from handshake.models.profiles import profile_of
from handshake.models.provider import ModelFacts, OnText, estimate_tokens
from handshake.models.retry import RetryLater, RetryRule, with_retries
from handshake.models.stream import ReplyCollector, Watchdog, read_stream, read_whole
from handshake.models.wire import BadPayload, OllamaWire, OpenAiWire, Wire

if TYPE_CHECKING:
    import httpx

_REMEMBERED_COUNTS = 4096
_LOOK_UP_S = 10.0
_ERROR_BYTES = 4096
_LARGER_WINDOW = "raise `context_window` (and the server's), or plan smaller micro-tasks"
# vLLM: "maximum context length is 8192 tokens"; llama.cpp: "exceeds the available context size"; hosted ones a code
_SAYS_TOO_LONG = re.compile(r"context (?:length|size|window)|context_length_exceeded", re.IGNORECASE)


class OpenAiProvider:
    """One model of one endpoint.

    Opening it asks the server what it is. Calls are tried again after transient failures within `retry`;
    a reply already flowing is cut (finish reason `cut`) when the request's time is over, when no text came
    for `stall_s` seconds, when it repeats itself, or when it outgrows its bounds.

    Args:
        api_key: a key of ours (embedded server); else `config.api_key_env` is read at each call.
        stall_s: seconds; None is half of a request's time, for a server without a graphics card that reads
            somebody else's long prompt meanwhile says nothing for a minute, and its reply is good.

    Raises:
        ModelFailed: nothing answers, the key is refused, or the model or its adapter is not served.
    """

    def __init__(
        self,
        model_id: str,
        config: ModelConfig,
        *,
        lora: LoraConfig | None = None,
        clock: Clock | None = None,
        retry: RetryRule | None = None,
        api_key: str | None = None,
        stall_s: float | None = None,
    ) -> None:
        self._config = config
        self._clock = clock or SystemClock()
        self._retry = retry or RetryRule()
        self._api_key = api_key
        self._stall_s = stall_s
        self._base_url = config.base_url or default_base_url()
        self._client = _client_for(self._base_url, config.timeout_s)
        self._counts: dict[str, int] = {}
        base = config.model or model_id
        try:
            self._endpoint = with_retries(lambda: self._looked_up(base, lora), self._retry, self._clock)
        except ModelFailed:
            self._client.close()
            raise
        self._most_samples = self._endpoint.most_samples
        self._facts = self._facts_of(model_id, lora.served_as if lora else base)
        self._wire = self._wire_for(self._endpoint)

    @property
    def facts(self) -> ModelFacts:
        """What is known of the model."""
        return self._facts

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`: llama.cpp's `/tokenize` where it is served, else the estimate."""
        return self._count(text, _LOOK_UP_S)

    def complete(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        """One call, `request.sampling.samples` replies. `request.timeout_s` bounds each exchange with the server.

        Raises:
            ModelFailed: `model_timeout` when no text came in time; `model_error` otherwise, transient where
                trying later may help; a prompt that does not fit the window is refused before it is sent.
        """
        self._refuse_overflow(request)
        started = self._clock.monotonic()
        samples: list[Sample] = []
        usages: list[TokenUsage] = []
        wanted = request.sampling.samples
        while len(samples) < wanted:
            count = min(wanted - len(samples), self._most_samples)
            try:
                got, usage = self._exchange(request, count, len(samples), None if samples else on_text)
            except ModelFailed:
                if samples:
                    break  # what was paid for is kept
                raise
            samples.extend(got[:count])
            usages.append(usage)
        return ModelReply(
            content_key=request.content_key,
            model_id=request.model_id,
            samples=tuple(samples),
            usage=_sum(usages),
            latency_ms=max(0, round((self._clock.monotonic() - started) * 1000)),
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _exchange(
        self, request: ModelRequest, count: int, done: int, on_text: OnText | None
    ) -> tuple[tuple[Sample, ...], TokenUsage]:
        def call() -> tuple[tuple[Sample, ...], TokenUsage]:
            return self._call_once(request, count, done, on_text)

        try:
            return with_retries(call, self._retry, self._clock)
        except _NoSeveralSamples:
            self._most_samples = 1
            return self._exchange(request, 1, done, on_text)

    def _call_once(
        self, request: ModelRequest, count: int, done: int, on_text: OnText | None
    ) -> tuple[tuple[Sample, ...], TokenUsage]:
        import httpx

        seed = request.sampling.seed
        body = self._wire.body(request, count, None if seed is None else seed + done)
        collector = ReplyCollector(count, request.sampling.max_output_tokens, on_text)
        watchdog: Watchdog | None = None
        failure: str | None = None
        try:
            with self._streamed(body, request.timeout_s) as answer:
                self._refuse_status(answer, count)
                stall_s = request.timeout_s / 2 if self._stall_s is None else self._stall_s
                watchdog = Watchdog(_socket_of(answer), request.timeout_s, stall_s)
                with watchdog:
                    self._read(answer, collector, watchdog)
        except httpx.TimeoutException:
            failure = "no answer in time"
            collector.cut_open("time")
        except (httpx.TransportError, httpx.StreamError) as broken:
            failure = f"the connection broke ({broken or type(broken).__name__})"
        except BadPayload as broken:
            failure = str(broken)
        return self._outcome(request, collector, watchdog, failure)

    def _read(self, answer: httpx.Response, collector: ReplyCollector, watchdog: Watchdog) -> None:
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in ("text/event-stream", "application/x-ndjson"):
            read_stream(answer.iter_bytes(), self._wire, collector, watchdog)
        elif kind == "application/json":
            for delta in self._wire.whole(read_whole(answer.iter_bytes())):
                collector.take(delta)
        else:
            raise ModelFailed(
                f"{self._wire.path} answers {kind or 'without a content type'}, not a chat completion",
                category="model_error",
                transient=False,
                next_step="check `base_url` in .handshake/config.yaml: it usually ends in /v1",
            )

    def _outcome(
        self, request: ModelRequest, collector: ReplyCollector, watchdog: Watchdog | None, failure: str | None
    ) -> tuple[tuple[Sample, ...], TokenUsage]:
        where = f"{request.served_as} at {self._base_url}"
        fired = watchdog.fired if watchdog else None
        if fired or failure == "no answer in time":
            if not collector.has_text:
                raise ModelFailed(
                    f"{where} gave no text within {request.timeout_s:g} s",
                    category="model_timeout",
                    transient=True,
                    next_step="raise `timeout_s` of its entry in .handshake/config.yaml, or use a smaller model",
                )
            collector.cut_open(fired or "time")
        elif not collector.all_over and (failure or collector.unfinished):
            raise RetryLater(f"{where}: {failure or 'the reply ended in the middle'}")
        return collector.samples(), collector.usage(request.prompt)

    @contextmanager
    def _streamed(self, body: dict[str, object], timeout_s: float) -> Iterator[httpx.Response]:
        import httpx

        timeout = httpx.Timeout(timeout_s, connect=min(10.0, timeout_s))
        headers = {"Accept": "text/event-stream, application/x-ndjson, application/json", **self._authorization()}
        with self._client.stream("POST", self._wire.path, json=body, headers=headers, timeout=timeout) as answer:
            yield answer

    def _refuse_status(self, answer: httpx.Response, count: int) -> None:
        status = answer.status_code
        if status == 200:
            return
        said = self._said(answer)
        what = f"{self._wire.path} answers {status}: {said}" if said else f"{self._wire.path} answers {status}"
        if status in (401, 403):
            raise refused_key(self._wire.path)
        if status in (408, 425, 429) or status >= 500:
            raise RetryLater(what, wait_s=retry_after_s(answer.headers))
        if status in (400, 413, 422) and _SAYS_TOO_LONG.search(said):
            raise PromptTooLong(what, next_step=_LARGER_WINDOW)
        if status in (400, 422) and count > 1:
            raise _NoSeveralSamples(what, category="model_error", transient=False)
        raise ModelFailed(
            what, category="model_error", transient=False, next_step="run `handshake doctor` to see what is served"
        )

    def _said(self, answer: httpx.Response) -> str:
        """The start of an error's text, on one line, without the key should the server echo it."""
        data = b""
        for chunk in answer.iter_bytes():
            data += chunk
            if len(data) >= _ERROR_BYTES:
                break
        text = " ".join(data[:_ERROR_BYTES].decode("utf-8", "replace").split())[:300]
        key = self._key()
        return text.replace(key, "***") if key else text

    def _authorization(self) -> dict[str, str]:
        key = self._key()
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _key(self) -> str:
        if self._api_key is not None:
            return self._api_key
        name = self._config.api_key_env
        if name is None:
            return ""
        key = os.environ.get(name, "").strip()
        if not key:
            raise ModelFailed(
                f"the variable {name} that `api_key_env` names is not set",
                category="model_error",
                transient=False,
                next_step=f"export {name}=…",
            )
        return key

    def _looked_up(self, served_as: str, lora: LoraConfig | None) -> Endpoint:
        self._client.headers.update(self._authorization())
        try:
            found = look_up(self._client, self._base_url, served_as, self._config)
            if lora is not None:
                refuse_missing_adapter(self._client, found, lora)
            return found
        finally:
            self._client.headers.pop("Authorization", None)

    def _facts_of(self, model_id: str, served_as: str) -> ModelFacts:
        grammar = self._endpoint.takes_grammar if self._config.grammar is None else self._config.grammar
        return ModelFacts(
            model_id=model_id,
            served_as=served_as,
            context_window=self._endpoint.window,
            tier="cloud" if self._config.is_cloud else "local",
            profile=profile_of(self._config, model_id).name,
            supports_grammar=grammar,
            supports_n=self._endpoint.most_samples > 1,
            exact_tokens=self._endpoint.has_tokenizer,
        )

    def _wire_for(self, endpoint: Endpoint) -> Wire:
        if endpoint.kind == "ollama":
            return OllamaWire(endpoint.root_url, endpoint.window)
        return OpenAiWire(
            self._base_url, grammar=self._facts.supports_grammar, top_level_lora=endpoint.kind == "llama.cpp"
        )

    def _count(self, text: str, within_s: float) -> int:
        if not self._endpoint.has_tokenizer:
            return estimate_tokens(text)
        key = sha256_hex(text.encode("utf-8", "replace"))
        if key in self._counts:
            return self._counts[key]
        asked = self._asked_count(text, within_s)
        if asked is None:
            return estimate_tokens(text)
        if len(self._counts) >= _REMEMBERED_COUNTS:
            self._counts.clear()
        self._counts[key] = asked
        return asked

    def _asked_count(self, text: str, within_s: float) -> int | None:
        """What the server counts; None if it does not say."""
        import httpx

        try:
            answer = self._client.post(
                self._endpoint.root_url + "/tokenize",
                json={"content": text.encode("utf-8", "replace").decode("utf-8")},
                headers=self._authorization(),
                timeout=within_s,
            )
            tokens = answer.json()["tokens"] if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            tokens = None
        return len(tokens) if isinstance(tokens, list) else None

    def _refuse_overflow(self, request: ModelRequest) -> None:
        needed = self._count(request.prompt, min(_LOOK_UP_S, request.timeout_s))
        if needed + 64 > self._facts.context_window:
            raise PromptTooLong(
                f"a prompt of {needed} tokens does not fit the window of {self._facts.context_window} "
                f"that {request.served_as} at {self._base_url} has in force",
                next_step=_LARGER_WINDOW,
            )


class _NoSeveralSamples(ModelFailed):
    """The server refused a call for several samples; they are asked for one by one."""


def _client_for(base_url: str, timeout_s: float) -> httpx.Client:
    import httpx

    return httpx.Client(
        timeout=httpx.Timeout(min(_LOOK_UP_S, timeout_s)),
        trust_env=not is_loopback(base_url),
        verify=not base_url.startswith("http://"),  # nothing to verify, and loading the certificates takes long
        follow_redirects=False,  # a redirect would carry the key elsewhere
    )


def _socket_of(answer: httpx.Response) -> socket.socket | None:
    stream = answer.extensions.get("network_stream")
    found = stream.get_extra_info("socket") if stream is not None else None
    return found if isinstance(found, socket.socket) else None


def _sum(usages: list[TokenUsage]) -> TokenUsage:
    spent_in = sum(usage.prompt_tokens for usage in usages)
    spent_out = sum(usage.completion_tokens for usage in usages)
    return TokenUsage(
        prompt_tokens=spent_in,
        completion_tokens=spent_out,
        total_tokens=spent_in + spent_out,
        estimated=any(usage.estimated for usage in usages),
    )
