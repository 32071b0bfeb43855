"""The real command in a real process, without its start-up time: forked from a process that has imported it.

Run as a script this is that process: it reads one request a line, forks, and the child is the command,
in a session and a process group of its own. What it imports holds no state of a run.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


class WarmCommands:
    """Starts commands; one for each test process."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="warm-"))
        self._count = 0
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, args: list[str], env: dict[str, str]) -> WarmProcess:
        """Start one command."""
        self._count += 1
        place = self._folder / str(self._count)
        for stream in (".out", ".err"):
            place.with_suffix(stream).touch()
        request = {"args": args, "env": env, "place": str(place), "cwd": str(Path.cwd())}
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return WarmProcess(args, place, int(self._server.stdout.readline()))

    def stop(self) -> None:
        """End the forking process."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()


class WarmProcess:
    """What tests use of `subprocess.Popen`."""

    def __init__(self, args: list[str], place: Path, pid: int) -> None:
        self.args = args
        self.pid = pid
        self.returncode: int | None = None
        self._place = place

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        done = self._place.with_suffix(".code")
        if self.returncode is None and done.exists():
            self.returncode = int(done.read_text())
        return self.returncode

    def wait(self, timeout: float = 120) -> int:
        """Wait for the exit code."""
        give_up = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > give_up:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(0.005)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float = 120) -> tuple[str, str]:
        """Wait, and give what it wrote."""
        self.wait(timeout)
        return self.said()

    def said(self) -> tuple[str, str]:
        """What it wrote so far: stdout, stderr."""
        return self._place.with_suffix(".out").read_text(), self._place.with_suffix(".err").read_text()

    def until_said(self, words: str, timeout: float = 60) -> None:
        """Wait until the words stand on stderr."""
        give_up = time.monotonic() + timeout
        while words not in self.said()[1]:
            assert self.poll() is None and time.monotonic() < give_up, f"{words!r} was not said:\n{self.said()[1]}"
            time.sleep(0.01)

    def send_signal(self, number: int) -> None:
        """Signal this process alone."""
        os.kill(self.pid, number)


def _become(request: dict[str, Any]) -> None:
    """The child: nothing of the forking process is left but its imports."""
    os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    place = Path(request["place"])
    for number, path in ((0, os.devnull), (1, place.with_suffix(".out")), (2, place.with_suffix(".err"))):
        os.dup2(os.open(path, os.O_WRONLY if number else os.O_RDONLY), number)
    from handshake.cli.main import run_command

    code = 70
    try:
        code = run_command(request["args"])
    except BaseException:  # noqa: BLE001 - what a fresh interpreter would print
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    import bashlex  # noqa: F401
    import git.cmd  # noqa: F401
    import httpx  # noqa: F401
    import jinja2  # noqa: F401
    import pygit2  # noqa: F401
    import pyromark  # noqa: F401
    import rank_bm25  # noqa: F401
    import tree_sitter_python  # noqa: F401

    import handshake.cli.live
    import handshake.cli.main
    import handshake.daemon.watch
    import handshake.loop.executor
    import handshake.loop.preview  # noqa: F401

    running: dict[int, Path] = {}
    unread = b""
    while True:
        ready, _, _ = select.select([0], [], [], 0.005 if running else None)
        if ready:
            more = os.read(0, 1 << 16)
            if not more:
                return
            unread += more
        while b"\n" in unread:
            line, _, unread = unread.partition(b"\n")
            request = json.loads(line)
            pid = os.fork()
            if pid == 0:
                _become(request)
            running[pid] = Path(request["place"])
            os.write(1, f"{pid}\n".encode())
        for pid in list(running):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                half = running[pid].with_suffix(".half")
                half.write_text(str(os.waitstatus_to_exitcode(status)))
                half.rename(running.pop(pid).with_suffix(".code"))


if __name__ == "__main__":
    _serve()
