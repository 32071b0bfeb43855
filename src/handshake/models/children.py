"""Child processes of ours that serve models: a clean environment, a ready file, and death with the parent.

The child's stdin is a pipe whose other end only we hold. Its first line is the child's settings (a key
among them: neither arguments nor environment are private); its end, however we die, is the child's end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handshake.domain.clock import Clock
from handshake.domain.errors import EnvironmentProblem
from handshake.models.provider import Progress

_KEPT = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "TMP",
    "TEMP",
    "SYSTEMROOT",
    "WINDIR",
    "COMSPEC",
    "PATHEXT",
    "SYSTEMDRIVE",
    "USERPROFILE",
    "APPDATA",
    "LOCALAPPDATA",
    "PROGRAMDATA",
    "PROGRAMFILES",
    "NUMBER_OF_PROCESSORS",
    "VIRTUAL_ENV",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
]
_POLL_S = 0.05


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a child may know of our environment: an allow-list without keys and tokens, and `extra`."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    kept.update({name: value for name, value in os.environ.items() if name.startswith("LC_")})
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", **(extra or {})}


class ServingChild:
    """A running `python -m MODULE` that serves on loopback. `address` is like `http://127.0.0.1:41234`."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, folder: Path) -> None:
        self.address = address
        self._process = process
        self._folder = folder

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def close(self) -> None:
        """End it: ask by closing its stdin, then insist."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it may be gone already
                self._process.stdin.close()
        try:
            self._process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def start_serving(
    module: str,
    settings: Mapping[str, Any],
    *,
    what: str,
    clock: Clock,
    mend: str,
    within_s: float = 60.0,
    progress: Progress | None = None,
) -> ServingChild:
    """Start `python -m module` and wait until it serves.

    Args:
        settings: what the child reads as the first line of its stdin, as JSON.
        what: names the child to a person.
        mend: the next command when it does not start.

    Raises:
        EnvironmentProblem: it ended, or does not serve within `within_s` seconds.
    """
    folder = Path(tempfile.mkdtemp(prefix="handshake-child-"))
    ready = folder / "ready"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", module, "--child", str(ready)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=clean_environment(),
            cwd=folder,
        )
    child = ServingChild(process, "", folder)
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # a child that died at once is reported below, with its log
        process.stdin.write(json.dumps(dict(settings)).encode("utf-8") + b"\n")
        process.stdin.flush()
    started = clock.monotonic()
    said = 0.0
    while not ready.exists():
        waited = clock.monotonic() - started
        if not child.alive or waited > within_s:
            reason = "ended while starting" if not child.alive else f"does not serve after {within_s:g} s"
            last = _last_words(folder / "log")
            child.close()
            raise EnvironmentProblem(f"{what} {reason}{': ' + last if last else ''}", next_step=mend)
        if progress is not None and waited - said >= 1:
            said = waited
            progress(f"{what}: loading, {waited:.0f} s")
        clock.sleep(_POLL_S)
    child.address = ready.read_text("utf-8").strip()
    return child


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "failed" in line.lower()]
    return " | ".join((telling or lines)[-2:])[:400]


def child_settings(ready: Path) -> dict[str, Any]:
    """In the child: the settings its parent wrote; from now on the parent's death is the child's.

    A settings line that is not there is that of a parent that died meanwhile. The folder of `ready` is
    removed with us: a killed parent cannot.
    """
    line = sys.stdin.buffer.readline()
    threading.Thread(target=_die_with_parent, args=(ready.parent,), name="parent-watch", daemon=True).start()
    if not line:
        os._exit(0)
    settings: dict[str, Any] = json.loads(line)
    return settings


def announce(ready: Path, address: str) -> None:
    """In the child: tell the parent where it serves, in one move."""
    draft = ready.with_suffix(".draft")
    draft.write_text(address, "utf-8")
    draft.replace(ready)


def _die_with_parent(folder: Path) -> None:
    # the unbuffered end: the buffered one holds a lock that the interpreter's shutdown waits for
    while os.read(sys.stdin.fileno(), 4096):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)
