"""The macOS backend: `sandbox-exec` with a profile written for each launch. Partial. Contract: `tool-bus.md`.

Apple calls the program deprecated and documents its language in parts; it is what the system itself and Chromium use.
There are no namespaces: other processes are seen, memory and disk are not bounded by it. Written by its documents;
its text is tested, the real profile is probed where it runs.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from handshake.toolbus.environment import readable_prefixes
from handshake.toolbus.probing import probe
from handshake.toolbus.sandbox import LaunchPlan, Level, Limits, Places

# the system's own, readable by everybody; /private/etc only where nothing secret stands
_READABLE = (
    *("/usr", "/bin", "/sbin", "/System", "/Library/Developer", "/Library/Apple", "/Library/Frameworks", "/opt"),
    *("/private/var/db/timezone", "/private/var/select", "/private/var/db/xcode_select_link", "/private/etc/ssl"),
    *("/Applications/Xcode.app", "/Library/Preferences/com.apple.dt.Xcode.plist"),
)
_READABLE_FILES = (
    *("/private/etc/passwd", "/private/etc/group", "/private/etc/hosts", "/private/etc/localtime"),
    *("/private/etc/services", "/private/etc/protocols", "/dev/random", "/dev/urandom", "/dev/zero", "/dev/null"),
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/dtracehelper")


@dataclass(frozen=True)
class SeatbeltSandbox:
    """macOS, partial."""

    program: str = "/usr/bin/sandbox-exec"
    prefixes: tuple[Path, ...] | None = None

    @property
    def name(self) -> str:
        """The backend."""
        return "sandbox-exec"

    @property
    def level(self) -> Level:
        """It holds files and the network, and no more."""
        return "partial"

    def describe(self) -> str:
        """What it is and what it lacks."""
        return "sandbox sandbox-exec (partial): other processes are seen, memory and disk are not bounded by it"

    def places(self, scratch: Path) -> Places:
        """A home and a temp directory in `scratch`."""
        return Places.made_in(scratch)

    def wrap(
        self,
        argv: tuple[str, ...],
        *,
        worktree: Path,
        cwd: Path,
        env: Mapping[str, str],
        limits: Limits,
        scratch: Path,
        repository: Path | None = None,
    ) -> LaunchPlan:
        """The plan: the profile travels on the command line."""
        shown = readable_prefixes(worktree, os.environ) if self.prefixes is None else list(self.prefixes)
        text = profile(worktree, (scratch / "home", scratch / "tmp"), tuple(shown))
        return LaunchPlan(argv=(self.program, "-p", text, *argv), cwd=cwd, env=env, complaint=b"sandbox-exec: ")


def profile(worktree: Path, writable: tuple[Path, ...], readable: tuple[Path, ...]) -> str:
    """The profile in the language of `sandbox-exec`: deny all, then an allow-list; the last rule that fits counts.

    Paths must be real ones: `/tmp` is a link to `/private/tmp`, and rules see the target.
    """
    real = [place.resolve() for place in (worktree, *writable)]
    return "\n".join(
        (
            "(version 1)",
            "(deny default)",
            "(allow process-exec process-fork)",
            "(allow signal (target same-sandbox))",
            "(allow process-info* (target same-sandbox))",
            "(allow sysctl-read)",
            "(allow mach-lookup",
            '  (global-name "com.apple.system.opendirectoryd.libinfo")',
            '  (global-name "com.apple.system.logger"))',
            "(allow ipc-posix-sem)",
            # names and kinds of files only: a path cannot be walked without
            "(allow file-read-metadata)",
            "(allow file-read*",
            '  (literal "/")',
            *(f"  (literal {_quoted(place)})" for place in map(Path, _READABLE_FILES)),
            *(f"  (subpath {_quoted(place)})" for place in (*map(Path, _READABLE), *readable, *real)),
            ")",
            "(allow file-write*",
            *(f"  (literal {_quoted(place)})" for place in map(Path, _DEVICES)),
            *(f"  (subpath {_quoted(place)})" for place in real),
            ")",
            '(allow file-ioctl (literal "/dev/null"))',
            # after what allows the worktree: the last rule that fits counts
            f"(deny file-write* (literal {_quoted(real[0] / '.git')}) (subpath {_quoted(real[0] / '.git')}))",
            "(deny network*)",
            "",
        )
    )


def _quoted(place: Path) -> str:
    text = str(place).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


@cache
def probed_seatbelt() -> tuple[SeatbeltSandbox | None, str]:
    """The backend if its real profile holds on this machine, else why not. Asked once per process."""
    program = shutil.which("sandbox-exec", path="/usr/bin")
    if sys.platform != "darwin" or program is None:
        return None, "sandbox-exec is not there"
    backend = SeatbeltSandbox(program)
    failed = probe(backend)
    return (None, failed) if failed is not None else (backend, "")
