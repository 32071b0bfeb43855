"""Whether a sandbox holds: its real profile is run once. Contract: `tool-bus.md`, Sandbox.

A write outside, the reading of a secret and a connection must all fail in it, and a write inside must not.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from handshake.toolbus.environment import clean_environment
from handshake.toolbus.sandbox import Limits, Sandbox

_PROBE = """
import json, socket, sys
inside, outside, secret, port = sys.argv[1:5]
said = {}
def tries(name, act):
    try:
        act()
        said[name] = True
    except OSError:
        said[name] = False
tries("write_inside", lambda: open(inside, "w").close())
tries("write_outside", lambda: open(outside, "w").close())
tries("read_secret", lambda: open(secret).read())
tries("connect", lambda: socket.create_connection(("127.0.0.1", int(port)), timeout=2).close())
print(json.dumps(said))
"""
_WANTED = {"write_inside": True, "write_outside": False, "read_secret": False, "connect": False}
_SECONDS = 20


def probe(backend: Sandbox) -> str | None:
    """Run the real profile once. None if it holds, else one sentence that says what did not."""
    with tempfile.TemporaryDirectory(prefix="handshake-probe-") as folder, socket.socket() as server:
        base = Path(folder).resolve()
        worktree, outside, scratch = base / "worktree", base / "outside", base / "scratch"
        for place in (worktree, outside, scratch):
            place.mkdir()
        (outside / "secret").write_text("secret\n", encoding="utf-8")
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        asked = (worktree / "w", outside / "w", outside / "secret", server.getsockname()[1])
        places = backend.places(scratch)
        plan = backend.wrap(
            (sys.executable, "-I", "-S", "-c", _PROBE, *map(str, asked)),
            worktree=worktree,
            cwd=worktree,
            env=clean_environment(worktree, os.environ, home=places.home, tmp=places.tmp),
            limits=Limits(),
            scratch=scratch,
        )
        try:
            done = subprocess.run(  # noqa: S603 - the plan is ours, word for word
                plan.argv,
                cwd=plan.cwd,
                env=dict(plan.env),
                stdin=subprocess.DEVNULL,
                pass_fds=plan.pass_fds,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"{backend.name} did not answer within {_SECONDS} s"
        except OSError as error:
            return f"{backend.name} cannot be started: {error.strerror}"
        finally:
            plan.close()
        return _verdict(backend.name, done, outside / "w")


def _verdict(name: str, done: subprocess.CompletedProcess[bytes], written_outside: Path) -> str | None:
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return f"{name} failed: {said[-1] if said else f'exit {done.returncode}'}"
    try:
        said_inside = json.loads(done.stdout)
    except ValueError:
        return f"the probe inside {name} said nothing readable"
    wrong = {what for what, wanted in _WANTED.items() if said_inside.get(what) is not wanted}
    wrong |= {"write_outside"} if written_outside.exists() else set()
    return f"{name} does not hold: {', '.join(sorted(wrong))}" if wrong else None
