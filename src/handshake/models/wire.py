"""The two dialects of chat: OpenAI's (SSE) and Ollama's own (JSON lines). Contract: `models.md`, Providers.

Ollama's own is used where its server answers, because only there can a call set the context window:
through the OpenAI dialect it serves a small one and drops what does not fit without a word.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

from handshake.domain.modelcall import ModelRequest


@dataclass(frozen=True)
class Delta:
    """A piece of the reply: text or reasoning of sample `index`, its finish reason, or token usage."""

    index: int = 0
    text: str = ""
    reasoning: str = ""
    finish: str | None = None
    usage: tuple[int, int] | None = None
    usage_is_total: bool = False
    ends: bool = False


class BadPayload(ValueError):
    """What came is not what the dialect says."""


class Wire(Protocol):
    """One dialect."""

    path: str

    def body(self, request: ModelRequest, count: int, seed: int | None) -> dict[str, Any]:
        """The JSON that asks for `count` samples."""
        ...

    def line(self, line: str) -> list[Delta]:
        """What one line of the stream says. Raises `BadPayload`."""
        ...

    def whole(self, payload: Any) -> list[Delta]:
        """What an answer that came in one piece says. Raises `BadPayload`."""
        ...


class OpenAiWire:
    """`/v1/chat/completions`, server-sent events. With `grammar`, llama.cpp's own fields may be sent."""

    def __init__(self, base_url: str, *, grammar: bool, top_level_lora: bool = False) -> None:
        self.path = base_url.rstrip("/") + "/chat/completions"
        self._grammar = grammar
        self._lora_by_number = top_level_lora

    def body(self, request: ModelRequest, count: int, seed: int | None) -> dict[str, Any]:
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": request.served_as,
            "messages": [{"role": "user", "content": request.prompt}],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if count > 1:
            body["n"] = count
        if seed is not None:
            body["seed"] = seed
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.grammar and self._grammar:
            body["grammar"] = sampling.grammar
        if self._lora_by_number and request.lora_id and request.served_as.isdigit():
            body["lora"] = [{"id": int(request.served_as), "scale": 1.0}]
        return body

    def line(self, line: str) -> list[Delta]:
        if not line.startswith("data:"):
            return []  # comments, event names and blank lines carry nothing for us
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return [Delta(ends=True)]
        return self._deltas(_parsed(data), "delta")

    def whole(self, payload: Any) -> list[Delta]:
        return [*self._deltas(payload, "message"), Delta(ends=True)]

    def _deltas(self, payload: Any, key: str) -> list[Delta]:
        if not isinstance(payload, dict):
            raise BadPayload("the answer is not a JSON object")
        if payload.get("error"):
            raise BadPayload(f"the server reports: {_short(payload['error'])}")
        choices = payload.get("choices")
        if choices is not None and not isinstance(choices, list):
            raise BadPayload("`choices` is not a list")
        found = [_choice(choice, key) for choice in choices or ()]
        usage = payload.get("usage")
        if isinstance(usage, dict):
            pair = (_whole_number(usage.get("prompt_tokens")), _whole_number(usage.get("completion_tokens")))
            # a usage that comes alone may be that of one sample; one beside text is the total so far
            found.append(Delta(usage=pair, usage_is_total=bool(choices)))
        return found


class OllamaWire:
    """`/api/chat`, one JSON object a line, with `num_ctx` set for each call."""

    def __init__(self, root_url: str, context_window: int) -> None:
        self.path = root_url.rstrip("/") + "/api/chat"
        self._window = context_window

    def body(self, request: ModelRequest, count: int, seed: int | None) -> dict[str, Any]:
        sampling = request.sampling
        options: dict[str, Any] = {
            "num_ctx": self._window,
            "num_predict": sampling.max_output_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if seed is not None:
            options["seed"] = seed
        if sampling.stop:
            options["stop"] = list(sampling.stop)
        messages = [{"role": "user", "content": request.prompt}]
        return {"model": request.served_as, "messages": messages, "stream": True, "options": options}

    def line(self, line: str) -> list[Delta]:
        return self.whole(_parsed(line)) if line.strip() else []

    def whole(self, payload: Any) -> list[Delta]:
        if not isinstance(payload, dict):
            raise BadPayload("the answer is not a JSON object")
        if payload.get("error"):
            raise BadPayload(f"the server reports: {_short(payload['error'])}")
        message = payload.get("message") or {}
        if not isinstance(message, dict):
            raise BadPayload("`message` is not an object")
        found = [Delta(text=_text(message.get("content")), reasoning=_text(message.get("thinking")))]
        if payload.get("done"):
            pair = (_whole_number(payload.get("prompt_eval_count")), _whole_number(payload.get("eval_count")))
            usage = pair if pair[1] else None
            reason = str(payload.get("done_reason") or "stop")
            found.append(Delta(finish=reason, usage=usage, usage_is_total=True, ends=True))
        return found


def _choice(choice: Any, key: str) -> Delta:
    if not isinstance(choice, dict):
        raise BadPayload("a choice is not an object")
    part = choice.get(key) or {}
    if not isinstance(part, dict):
        raise BadPayload(f"`{key}` is not an object")
    reason = choice.get("finish_reason")
    return Delta(
        index=_whole_number(choice.get("index")),
        text=_text(part.get("content")),
        reasoning=_text(part.get("reasoning_content") or part.get("reasoning")),
        finish=str(reason) if reason else None,
    )


def _parsed(data: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise BadPayload(f"not JSON: {_short(data)}") from None


def _text(value: Any) -> str:
    """Text as it can be stored: a lone surrogate has no UTF-8."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


def _whole_number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _short(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("message") or value
    text = " ".join(str(value).split())
    return text if len(text) <= 300 else text[:299] + "…"
