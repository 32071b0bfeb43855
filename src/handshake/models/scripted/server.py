"""The scripted model's HTTP server: the paths of a llama.cpp server that Handshake uses, on loopback."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from handshake.domain.canonical import sha256_hex
from handshake.models.provider import estimate_tokens
from handshake.models.scripted.answers import answer
from handshake.models.scripted.prompt import PromptTask, read_prompt
from handshake.models.scripted.script import Rule, Script, ScriptedUsage

_SLOTS = 8
_CHUNK = 64
_HANG_S = 3600.0
_TOKEN = re.compile(r"\w+|[^\w\s]|\s+")


class CallLedger:
    """Counts chat calls by model and micro-task; each completed one is a line of `count_file`, at once on disk.

    Read back when a server starts again, so that `attempt` goes on counting over a kill.
    """

    def __init__(self, count_file: Path | None) -> None:
        self._lock = threading.Lock()
        self._file = count_file
        self.received: Counter[tuple[str, str]] = Counter()
        self.completed: Counter[tuple[str, str]] = Counter()
        if count_file is not None and count_file.exists():
            for line in count_file.read_text("utf-8").splitlines():
                row = json.loads(line)
                self.completed[row["model"], row["mt_id"] or ""] += 1
            self.received.update(self.completed)

    def begin(self, model: str, mt_id: str | None) -> int:
        """Note a call; its number among those of this model and micro-task, from 1."""
        with self._lock:
            self.received[model, mt_id or ""] += 1
            return self.received[model, mt_id or ""]

    def end(self, model: str, mt_id: str | None, prompt: str, attempt: int) -> None:
        """Note that a call's reply is complete."""
        row = {"model": model, "mt_id": mt_id, "prompt_sha256": sha256_hex(prompt), "attempt": attempt}
        with self._lock:
            self.completed[model, mt_id or ""] += 1
            if self._file is not None:
                with self._file.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row, sort_keys=True) + "\n")

    def counters(self) -> dict[str, Any]:
        """What `/handshake/calls` returns."""
        with self._lock:
            rows = [
                {"model": model, "mt_id": mt_id or None, "received": count, "completed": self.completed[model, mt_id]}
                for (model, mt_id), count in sorted(self.received.items())
            ]
        return {"completed": sum(self.completed.values()), "received": sum(self.received.values()), "calls": rows}


class ScriptedServer:
    """Serves a script on loopback. `address` is like `http://127.0.0.1:41234`."""

    def __init__(self, script: Script, *, port: int = 0, count_file: Path | None = None) -> None:
        self.ledger = CallLedger(count_file)
        self._http = ThreadingHTTPServer(("127.0.0.1", port), _handler_for(script, self.ledger))
        self._http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._http.server_address[1]}"

    def serve_forever(self) -> None:
        """Answer until `stop`."""
        self._http.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        """End `serve_forever` and free the port."""
        self._http.shutdown()
        self._http.server_close()


def _handler_for(script: Script, ledger: CallLedger) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.script, Handler.ledger = script, ledger
    return Handler


class _Handler(BaseHTTPRequestHandler):
    # headers and body go out in two writes: with Nagle's algorithm the second waits for an acknowledgement
    disable_nagle_algorithm = True
    script: Script
    ledger: CallLedger
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Quiet: the call ledger is the log."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/v1/models":
            self._json(200, {"object": "list", "data": [self._model_row(name) for name in self._model_names()]})
        elif path == "/props":
            window = {"n_ctx": self.script.context_window}
            self._json(200, {"default_generation_settings": window, "total_slots": _SLOTS})
        elif path == "/health":
            self._json(200, {"status": "ok"})
        elif path == "/handshake/calls":
            self._json(200, self.ledger.counters())
        else:
            self._json(404, {"error": {"message": f"no {path} here", "code": 404}})

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            self._json(400, {"error": {"message": "the body is not a JSON object", "code": 400}})
        elif self.path == "/tokenize":
            self._json(200, {"tokens": list(range(len(_TOKEN.findall(str(body.get("content", ""))))))})
        elif self.path == "/v1/chat/completions":
            self._chat(body)
        else:
            self._json(404, {"error": {"message": f"no {self.path} here", "code": 404}})

    def _chat(self, body: dict[str, Any]) -> None:
        model = str(body.get("model") or "scripted")
        messages = body.get("messages")
        prompt = "\n".join(str(message.get("content", "")) for message in messages) if messages else ""
        task = read_prompt(prompt)
        attempt = self.ledger.begin(model, task.mt_id)
        rule = self.script.rule_for(model, task.mt_id, attempt, prompt)
        if rule.delay_ms:
            time.sleep(rule.delay_ms / 1000)
        if rule.behave == "hang":
            time.sleep(_HANG_S)
        elif rule.behave == "error_500":
            self._json(500, {"error": {"message": "scripted failure", "code": 500}})
        else:
            self._reply(body, model, prompt, attempt, (rule, task))

    def _reply(
        self, body: dict[str, Any], model: str, prompt: str, attempt: int, by: tuple[Rule, PromptTask]
    ) -> None:
        rule, task = by
        count = max(1, min(_SLOTS, int(body.get("n") or 1)))
        texts = answer(rule, task, Path(self.script.folder), count)
        usage = _usage(rule, prompt, texts)
        head = {"id": f"scripted-{attempt}", "created": 0, "model": model}
        self.ledger.end(model, task.mt_id, prompt, attempt)
        if not body.get("stream"):
            choices = [
                {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                for i, text in enumerate(texts)
            ]
            answer_body = {**head, "object": "chat.completion", "choices": choices}
            self._json(200, {**answer_body, "usage": usage} if usage else answer_body)
            return
        chunk = {**head, "object": "chat.completion.chunk"}
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for i, text in enumerate(texts):
            for at in range(0, len(text), _CHUNK):
                self._event({**chunk, "choices": [_piece(i, {"content": text[at : at + _CHUNK]}, None)]})
            self._event({**chunk, "choices": [_piece(i, {}, "stop")]})
        if usage:
            self._event({**chunk, "choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, payload: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(payload).encode("utf-8") + b"\n\n")

    def _json(self, status: int, payload: dict[str, Any]) -> None:
        data = json.dumps(payload).encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> dict[str, Any] | None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(data)
        except ValueError:
            return None
        return body if isinstance(body, dict) else None

    def _model_names(self) -> list[str]:
        named = {rule.when.model for rule in self.script.rules if rule.when.model}
        return ["scripted", *sorted(named - {"scripted"})]

    @staticmethod
    def _model_row(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": 0, "owned_by": "llamacpp"}


def _piece(index: int, delta: dict[str, str], finish: str | None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish}


def _usage(rule: Rule, prompt: str, texts: list[str]) -> dict[str, int] | None:
    if rule.usage == "none":
        return None
    if isinstance(rule.usage, ScriptedUsage):
        spent_in, spent_out = rule.usage.prompt_tokens, rule.usage.completion_tokens
    else:
        spent_in, spent_out = estimate_tokens(prompt), sum(estimate_tokens(text) for text in texts)
    return {"prompt_tokens": spent_in, "completion_tokens": spent_out, "total_tokens": spent_in + spent_out}
