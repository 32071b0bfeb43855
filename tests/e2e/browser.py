"""A headless Chromium, driven over a pipe by its own protocol: what a page does is asked of a real browser."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page. Every address it asks for and every complaint it has is kept."""

    def __init__(self, program: str, profile: Path) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._number = 0
        self._buffer = b""
        to_child, self._out = os.pipe()
        self._in, from_child = os.pipe()
        switches = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
        switches += (
            " disable-component-update disable-sync hide-scrollbars disable-dev-shm-usage remote-debugging-pipe"
        )
        command = [program, *(f"--{name}" for name in switches.split()), f"--user-data-dir={profile}", "about:blank"]
        # the protocol's pipes are the file descriptors 3 and 4
        script = f'exec "$@" 3<&{to_child} 4>&{from_child}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command],
            pass_fds=(to_child, from_child),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_child)
        os.close(from_child)
        (page,) = [t for t in self._ask("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        attached = self._ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session: str | None = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    _session: str | None = None

    def open(self, url: str) -> None:
        """Go there and wait until it is loaded and drawn."""
        self.ask("Page.navigate", url=url)
        give_up = time.monotonic() + 60
        while self.evaluate("document.readyState") != "complete" or self.evaluate("location.href") != url:
            assert time.monotonic() < give_up
            time.sleep(0.02)

    def see(self, *, width: int, height: int, dark: bool = False, media: str = "screen") -> None:
        """The window's size, the reader's scheme, screen or print."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def evaluate(self, expression: str) -> Any:
        """The value of an expression; the page's own policy does not hold it."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def screenshot(self, file: Path) -> None:
        """A picture of the window."""
        file.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def thumbnail(self, width: int, height: int) -> bytes:
        """A picture of the window's upper part, a quarter as large: enough to count its colours."""
        top = self.evaluate("scrollY")
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 0.25}
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png", clip=clip)["data"])

    def pdf_pages(self) -> int:
        """How many pages it prints on."""
        data = base64.b64decode(self.ask("Page.printToPDF", printBackground=True)["data"])
        return data.count(b"/Type /Page\n") or data.count(b"/Type/Page")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        return self._ask(method, session=self._session, **params)

    def _ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            said = self._read()
            if said.get("id") == self._number:
                assert "error" not in said, said
                return dict(said["result"])
            self._note(said)

    def _note(self, said: dict[str, Any]) -> None:
        params = said.get("params", {})
        if said.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif said.get("method") == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif said.get("method") in (
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Page.javascriptDialogOpening",
        ):
            self.complaints.append(json.dumps(params)[:300])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            more = os.read(self._in, 1 << 20)
            assert more, "the browser went away"
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(line))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)
