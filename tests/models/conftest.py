"""Real servers on loopback for the models' tests, and requests to send them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from handshake.domain.canonical import sha256_hex
from handshake.domain.modelcall import ModelRequest, Sampling
from handshake.domain.settings import ModelConfig
from handshake.models.retry import RetryRule

Behave = Callable[["Call"], None]


class Call:
    """One request that the fault server got, with the means to answer it well or badly."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        self.handler = handler
        self.path = handler.path
        self.body = body
        self.headers = dict(handler.headers)

    def json(self, payload: Any, status: int = 200, **headers: str) -> None:
        self.raw(json.dumps(payload).encode(), "application/json", status, **headers)

    def raw(self, data: bytes, content_type: str, status: int = 200, **headers: str) -> None:
        self.handler.send_response(status)
        self.handler.send_header("Content-Type", content_type)
        self.handler.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()
        self.handler.wfile.write(data)

    def start_stream(self, content_type: str = "text/event-stream") -> None:
        self.handler.send_response(200)
        self.handler.send_header("Content-Type", content_type)
        self.handler.send_header("Connection", "close")
        self.handler.end_headers()
        self.handler.close_connection = True

    def event(self, payload: Any) -> None:
        text = payload if isinstance(payload, str) else json.dumps(payload)
        self.handler.wfile.write(f"data: {text}\n\n".encode())
        self.handler.wfile.flush()

    def text(self, text: str, index: int = 0, finish: str | None = None) -> None:
        self.event({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]})

    def good(self, text: str = "hello", finish: str = "stop", usage: bool = True) -> None:
        self.start_stream()
        self.text(text)
        self.text("", finish=finish)
        if usage:
            self.event({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}})
        self.event("[DONE]")


class FaultServer:
    """Answers look-ups like an unknown OpenAI-compatible server, and chat calls by the next of `script`."""

    def __init__(self) -> None:
        self.script: list[Behave] = []
        self.calls: list[Call] = []
        self.gets: dict[str, Any] = {"/v1/models": {"data": [{"id": "m", "object": "model", "owned_by": "someone"}]}}
        self.posts: dict[str, Any] = {}
        self.over = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None: ...

            def do_GET(self) -> None:
                call = Call(self, {})
                found = server.gets.get(self.path)
                if callable(found):
                    found(call)
                elif found is None:
                    call.json({"error": "unknown path"}, 404)
                else:
                    call.json(found)

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                call = Call(self, json.loads(data))
                if self.path in server.posts:
                    call.json(server.posts[self.path])
                    return
                server.calls.append(call)
                number = min(len(server.calls), len(server.script)) - 1
                try:
                    server.script[number](call)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.root = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.url = f"{self.root}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.over.set()
        self._http.shutdown()
        self._http.server_close()

    def config(self, **more: Any) -> ModelConfig:
        return ModelConfig(base_url=self.url, model="m", **more)


@pytest.fixture
def faults() -> Iterator[FaultServer]:
    server = FaultServer()
    yield server
    server.stop()


QUICK = RetryRule(attempts=3, first_s=0.01, longest_s=0.02, budget_s=5, jitter=lambda: 0.5)


@pytest.fixture
def quick() -> RetryRule:
    return QUICK


def make_request(
    prompt: str = "say hello", *, timeout_s: float = 5, attempt: int = 1, **sampling: Any
) -> ModelRequest:
    return ModelRequest(
        model_id="small",
        served_as="m",
        prompt_prefix=prompt[:3],
        prompt_suffix=prompt[3:],
        prompt_hash=sha256_hex(prompt),
        sampling=Sampling(**sampling),
        attempt=attempt,
        timeout_s=timeout_s,
    )


@pytest.fixture
def a_request() -> Callable[..., ModelRequest]:
    return make_request
