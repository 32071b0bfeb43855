"""A proxy on loopback that passes everything on and counts tokens, so that two clients are counted alike."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx


class CountingProxy:
    """Passes requests on to `target` with its key. `take` gives and resets what was counted."""

    def __init__(self, target: str, api_key: str, most_tokens: int, patience_s: float) -> None:
        self._lock = threading.Lock()
        self._counts = {"calls": 0, "prompt": 0, "completion": 0}
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def log_message(self, *args: Any) -> None: ...

            def do_GET(self) -> None:
                self._pass("GET", b"")

            def do_POST(self) -> None:
                self._pass("POST", self.rfile.read(int(self.headers.get("Content-Length") or 0)))

            def _pass(self, method: str, body: bytes) -> None:
                chat = self.path.endswith("/chat/completions")
                if chat:
                    asked = json.loads(body)
                    asked["max_tokens"] = min(asked.get("max_tokens") or most_tokens, most_tokens)
                    if asked.get("stream"):
                        asked["stream_options"] = {"include_usage": True}
                    body = json.dumps(asked).encode()
                headers = {"Content-Type": "application/json", "Authorization": f"Bearer {api_key}"}
                with httpx.stream(
                    method, target + self.path, content=body, headers=headers, timeout=patience_s
                ) as answer:
                    self.send_response(answer.status_code)
                    self.send_header("Content-Type", answer.headers.get("content-type", "application/json"))
                    self.end_headers()
                    kept = bytearray()
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a client may cut a reply
                        for chunk in answer.iter_bytes():
                            kept += chunk
                            self.wfile.write(chunk)
                            self.wfile.flush()
                if chat:
                    proxy._count(bytes(kept))

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self) -> dict[str, int]:
        """Calls, prompt and completion tokens since the last time."""
        with self._lock:
            counted, self._counts = self._counts, {"calls": 0, "prompt": 0, "completion": 0}
        return counted

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def _count(self, answer: bytes) -> None:
        """The last usage of each choice's stream, or that of the one document; llama.cpp gives one in all."""
        usages = []
        for line in answer.decode("utf-8", "replace").splitlines() or [""]:
            text = line.removeprefix("data:").strip()
            if text.startswith("{"):
                usage = json.loads(text).get("usage")
                if usage:
                    usages.append(usage)
        with self._lock:
            self._counts["calls"] += 1
            self._counts["prompt"] += max((usage["prompt_tokens"] for usage in usages), default=0)
            self._counts["completion"] += sum(usage["completion_tokens"] for usage in usages)
