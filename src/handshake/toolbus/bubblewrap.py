"""The bubblewrap backend: an allow-listed root, own namespaces, nothing of the user's but the worktree.

Contract: `tool-bus.md`, Sandbox. Whether it works is not guessed from a program on the search path: the real
profile is run once, and a write outside, a read of a secret and a connection must all fail in it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from handshake.domain.errors import CapabilityViolation
from handshake.toolbus.environment import clean_environment, readable_prefixes
from handshake.toolbus.sandbox import LaunchPlan, Level, Limits, Places

# these are the sandbox's own, empty and private: nothing of the machine's temp directories is in them
_TMP = "/tmp"  # noqa: S108 - see above
_VAR_TMP = "/var/tmp"  # noqa: S108 - see above
_SHM = "/dev/shm"  # noqa: S108 - see above
_HOME = f"{_TMP}/.handshake-home"
_ROOTS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
# what programs need of /etc to find users, hosts, libraries, time zones and certificates; no secrets among them
_ETC = (
    "passwd",
    "group",
    "nsswitch.conf",
    "hosts",
    "host.conf",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "timezone",
    "mime.types",
    "protocols",
    "services",
    "alternatives",
    "ssl/certs",
    "ssl/openssl.cnf",
    "ca-certificates",
    "pki/tls/certs",
    "pki/ca-trust/extracted",
    "crypto-policies",
    "fonts",
    "java-17-openjdk",
    "java-21-openjdk",
    "os-release",
)
_PROBE_SECONDS = 20


@dataclass(frozen=True)
class Features:
    """What this bubblewrap knows; older ones lack some."""

    disable_userns: bool = True
    sized_tmpfs: bool = True


@dataclass(frozen=True)
class BubblewrapSandbox:
    """Linux, full. `prefixes` are shown read-only; None: those of this process and its search path."""

    program: str = "bwrap"
    features: Features = Features()
    prefixes: tuple[Path, ...] | None = None

    @property
    def name(self) -> str:
        """The backend."""
        return "bubblewrap"

    @property
    def level(self) -> Level:
        """It holds files, processes, users and the network."""
        return "full"

    def describe(self) -> str:
        """What it is and what it lacks."""
        lacks = [] if self.features.disable_userns else ["nested user namespaces stay possible"]
        lacks += [] if self.features.sized_tmpfs else ["temp directories are not sized"]
        return "sandbox bubblewrap (full)" + (f"; this version is old: {', '.join(lacks)}" if lacks else "")

    def places(self, scratch: Path) -> Places:
        """Directories that exist inside only."""
        return Places(home=_HOME, tmp=_TMP)

    def wrap(
        self,
        argv: tuple[str, ...],
        *,
        worktree: Path,
        cwd: Path,
        env: Mapping[str, str],
        limits: Limits,
        scratch: Path,
    ) -> LaunchPlan:
        """The plan: bubblewrap itself gets the clean environment too, for `/proc/1/environ` shows it inside.

        Raises:
            CapabilityViolation: the worktree's `.git` is a symbolic link.
        """
        shown = self.prefixes
        if shown is None:
            shown = tuple(readable_prefixes(worktree, os.environ))
        line = [self.program, *self._isolation(), *_root()]
        line += ["--proc", "/proc", "--dev", "/dev", *self._tmpfs(_SHM, limits)]
        line += [*self._tmpfs(_TMP, limits), "--dir", _HOME, *self._tmpfs(_VAR_TMP, limits)]
        # after the temp directories: an interpreter may live below one of them
        line += _readable(shown)
        # mounted last, so that no read-only prefix or temp directory covers it
        line += ["--bind", str(worktree), str(worktree), *_git_guard(worktree)]
        # the root and /dev are memory without a size: what is written there would be bounded by nothing
        line += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(cwd), "--", *argv]
        return LaunchPlan(argv=tuple(line), cwd=Path("/"), env=env, complaint=b"bwrap: ")

    def _isolation(self) -> list[str]:
        line = ["--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--hostname", "handshake"]
        line += ["--cap-drop", "ALL"]
        return [*line, "--disable-userns"] if self.features.disable_userns else line

    def _tmpfs(self, place: str, limits: Limits) -> list[str]:
        size = ["--size", str(limits.tmp_bytes)] if self.features.sized_tmpfs else []
        return [*size, "--tmpfs", place]


def _root() -> list[str]:
    """`/usr`, the links to it, and the few files of `/etc`."""
    line = ["--ro-bind", "/usr", "/usr"]
    for name in _ROOTS:
        place = Path("/", name)
        if place.is_symlink():
            line += ["--symlink", str(place.readlink()), str(place)]
        elif place.is_dir():
            line += ["--ro-bind", str(place), str(place)]
    for name in _ETC:
        place = Path("/etc", name)
        if place.exists():
            line += ["--ro-bind", str(place.resolve()), str(place)]
    return line


def _readable(prefixes: tuple[Path, ...]) -> list[str]:
    line: list[str] = []
    for place in sorted(prefixes, key=lambda p: (len(p.parts), str(p))):
        line += ["--ro-bind-try", str(place.resolve()), str(place)]
    return line


def _git_guard(worktree: Path) -> list[str]:
    """Keep the worktree's `.git` as it is: a file read-only, a whole repository out of sight."""
    git = worktree / ".git"
    try:
        mode = os.lstat(git).st_mode
    except FileNotFoundError:
        return []
    if stat.S_ISLNK(mode):
        raise CapabilityViolation(f"{git} is a symbolic link: something replaced the worktree's .git")
    if stat.S_ISDIR(mode):
        return ["--tmpfs", str(git), "--remount-ro", str(git)]
    return ["--ro-bind", str(git), str(git)]


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


@cache
def probed_bubblewrap() -> tuple[BubblewrapSandbox | None, str]:
    """The backend if its real profile holds on this machine, else why not. Asked once per process."""
    program = shutil.which("bwrap")
    if sys.platform != "linux" or program is None:
        return None, "bubblewrap is not installed" if sys.platform == "linux" else f"{sys.platform} has no bubblewrap"
    reason = ""
    for features in (Features(), Features(disable_userns=False), Features(False, False)):
        backend = BubblewrapSandbox(program=program, features=features)
        failed = probe(backend)
        if failed is None:
            return backend, ""
        reason = reason or failed
    return None, reason


def probe(backend: BubblewrapSandbox) -> str | None:
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
                capture_output=True,
                timeout=_PROBE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"bubblewrap did not answer within {_PROBE_SECONDS} s"
        except OSError as error:
            return f"bubblewrap cannot be started: {error.strerror}"
        return _verdict(done, outside / "w")


def _verdict(done: subprocess.CompletedProcess[bytes], written_outside: Path) -> str | None:
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return f"bubblewrap failed: {said[-1] if said else f'exit {done.returncode}'}"
    try:
        said_inside = json.loads(done.stdout)
    except ValueError:
        return "the probe inside bubblewrap said nothing readable"
    wrong = {name for name, wanted in _WANTED.items() if said_inside.get(name) is not wanted}
    wrong |= {"write_outside"} if written_outside.exists() else set()
    return f"bubblewrap does not hold: {', '.join(sorted(wrong))}" if wrong else None
