"""A worktree, all that must stay out of its reach, and the ways out that are tried.

Each way out is a shell script that ends with 0 if it got out. It is run below a sandbox and, as a control, without.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from handshake.toolbus import confine
from handshake.toolbus.control_groups import control_group
from handshake.toolbus.processes import Finished, run_bounded
from handshake.toolbus.sandbox import LaunchPlan, Limits, Sandbox
from handshake.toolbus.shell import with_limits

SYSTEM_PYTHON = "/usr/bin/python3"
ORDINARY = 64111  # no user of the machine: made up for these tests, with a home of its own in the arena
GIT_POINTER = "gitdir: {main}/.git/worktrees/worktree\n"
LIMITS = Limits(cpu_time_ms=20_000, memory_bytes=1 << 30, processes=48, tmp_bytes=1 << 20)
OUTPUT = 1 << 20


@dataclass
class Arena:
    """What stands around one worktree. `become` turns a command into one of the ordinary user's."""

    base: Path
    become: tuple[str, ...]
    stack: ExitStack
    names: dict[str, str] = field(default_factory=dict)
    sockets: dict[str, socket.socket] = field(default_factory=dict)
    victim: subprocess.Popen[bytes] | None = None
    launches: int = 0

    @property
    def worktree(self) -> Path:
        return self.base / "worktree"

    @property
    def outside(self) -> Path:
        return self.base / "home" / ".ssh"

    def filled(self, script: str) -> str:
        for name, value in self.names.items():
            script = script.replace("{" + name + "}", value)
        return script

    def run(
        self, script: str, backend: Sandbox | None, *, limits: Limits = LIMITS, timeout_s: float = 20
    ) -> Finished:
        """The script below the backend, bounded as the bus bounds it; None: free, with a clock alone."""
        self.launches += 1
        scratch = self.base / "scratch" / str(self.launches)
        scratch.mkdir(parents=True)
        self._hand_over(scratch)
        env = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "TMPDIR": str(scratch), "HANDSHAKE_OP": "arena"}
        command = self.filled(script)
        if backend is None:
            plan = LaunchPlan(argv=("/bin/sh", "-c", command), cwd=self.worktree, env=env)
            return self._bounded(plan, scratch, timeout_s, 4 * OUTPUT)
        places = backend.places(scratch)
        self._hand_over(scratch)
        env |= {"HOME": places.home, "TMPDIR": places.tmp}
        plan = backend.wrap(
            with_limits(command, limits, backend.level),
            worktree=self.worktree,
            cwd=self.worktree,
            env=env,
            limits=limits,
            scratch=scratch,
            repository=self.base / "main" / ".git",
        )
        if self.become:
            # the ordinary user cannot read where this interpreter lies, and may write no control groups
            return self._bounded(self._for_everybody(plan), scratch, timeout_s, OUTPUT)
        with control_group(f"arena-{os.getpid()}-{self.launches}", limits) as group:
            held = plan if group is None else replace(plan, argv=(*group.prefix, *plan.argv))
            return self._bounded(held, scratch, timeout_s, OUTPUT)

    def _bounded(self, plan: LaunchPlan, scratch: Path, timeout_s: float, output: int) -> Finished:
        return run_bounded(
            replace(plan, argv=(*self.become, *plan.argv)),
            scratch=self.base / "scratch",
            timeout_s=timeout_s,
            output_bytes=output,
            marker="HANDSHAKE_OP=nobody carries this",
        )

    def _for_everybody(self, plan: LaunchPlan) -> LaunchPlan:
        if not plan.is_supervised:
            return plan
        copy = self.base / "confine.py"
        shutil.copyfile(confine.__file__, copy)
        return replace(plan, argv=(SYSTEM_PYTHON, *plan.argv[1:3], str(copy), *plan.argv[4:]))

    def _hand_over(self, place: Path) -> None:
        if self.become:
            for each in (place, *place.rglob("*")):
                os.lchown(each, ORDINARY, ORDINARY)

    def is_unharmed(self) -> bool:
        """Whether everything outside is as it was."""
        assert self.victim is not None
        return (
            (self.outside / "id").read_text() == "canary\n"
            and (self.outside / "id").stat().st_mode & 0o777 == 0o640
            and sorted(place.name for place in self.outside.iterdir()) == ["id", "s"]
            and (self.base / "main/.git/hooks/post-checkout").read_text() == "#!/bin/sh\n"
            and (self.base / "main/.git/worktrees/worktree/commondir").read_text() == "../..\n"
            and self.victim.poll() is None
        )

    def mend(self) -> None:
        """Set back what an attack that got out changed."""
        for place in self.outside.iterdir():
            if place.name != "s":
                shutil.rmtree(place) if place.is_dir() else place.unlink()
        _write(self.outside / "id", "canary\n", 0o640)
        _write(self.base / "main/.git/hooks/post-checkout", "#!/bin/sh\n", 0o755)
        _write(self.base / "main/.git/worktrees/worktree/commondir", "../..\n", 0o644)
        for place in self.worktree.iterdir():
            shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()
        _write(self.worktree / ".git", self.filled(GIT_POINTER), 0o644)
        self._hand_over(self.base / "home")
        self._hand_over(self.base / "main")
        self._hand_over(self.worktree)
        if self.victim is None or self.victim.poll() is not None:
            self.victim = subprocess.Popen(
                (*self.become, "sleep", "300"), env={"PATH": "/usr/bin:/bin", "CANARY": "canary"}
            )
            self.stack.callback(self.victim.wait)
            self.stack.callback(self.victim.kill)
            self.names["victim"] = str(self.victim.pid)

    def heard(self) -> bool:
        """Whether the outside's UDP socket was sent something."""
        try:
            return bool(self.sockets["udp"].recv(16))
        except TimeoutError:
            return False

    def grows(self, name: str) -> bool:
        """Whether a file of the worktree is still written to, now that its command has ended."""
        place = self.worktree / name
        if not place.is_file():
            return False
        before = place.stat().st_size
        time.sleep(0.3)
        return place.stat().st_size > before


@contextmanager
def arena_for(base: Path, *, ordinary: bool) -> Iterator[Arena]:
    """An arena below `base` that belongs to this user or, for root, to an ordinary one made up for it."""
    become: tuple[str, ...] = ()
    if ordinary and os.geteuid() == 0:
        become = ("setpriv", "--reuid", str(ORDINARY), "--regid", str(ORDINARY), "--clear-groups")
    with ExitStack() as stack:
        arena = Arena(base, become, stack)
        base.chmod(0o755)
        for place in (arena.outside, arena.worktree, base / "scratch", base / "main/.git/worktrees/worktree"):
            place.mkdir(parents=True)
        _make_repository(base / "main")
        arena.sockets = _listening(arena.outside, stack)
        arena.names = {
            "main": str(base / "main"),
            "outside": str(arena.outside),
            "tcp": str(arena.sockets["tcp"].getsockname()[1]),
            "udp": str(arena.sockets["udp"].getsockname()[1]),
            "abstract": f"handshake-test-{os.getpid()}",
            "datagram": f"handshake-test-{os.getpid()}-d",
            "python": SYSTEM_PYTHON,
        }
        arena.mend()
        arena._hand_over(base)
        yield arena


def _make_repository(main: Path) -> None:
    git = main / ".git"
    for name in ("objects", "refs/heads", "hooks"):
        (git / name).mkdir(parents=True)
    _write(git / "HEAD", "ref: refs/heads/main\n", 0o644)
    _write(
        git / "config",
        '[core]\n\trepositoryformatversion = 0\n[remote "origin"]\n\turl = https://user:token@host/x\n',
        0o644,
    )
    own = git / "worktrees/worktree"
    _write(own / "HEAD", "ref: refs/heads/work\n", 0o644)
    _write(own / "gitdir", f"{main.parent}/worktree/.git\n", 0o644)


def _listening(folder: Path, stack: ExitStack) -> dict[str, socket.socket]:
    kinds = {
        "tcp": (socket.AF_INET, socket.SOCK_STREAM),
        "udp": (socket.AF_INET, socket.SOCK_DGRAM),
        "unix": (socket.AF_UNIX, socket.SOCK_STREAM),
        "abstract": (socket.AF_UNIX, socket.SOCK_STREAM),
        "datagram": (socket.AF_UNIX, socket.SOCK_DGRAM),
    }
    found = {name: stack.enter_context(socket.socket(*kind)) for name, kind in kinds.items()}
    found["tcp"].bind(("127.0.0.1", 0))
    found["udp"].bind(("127.0.0.1", 0))
    found["unix"].bind(str(folder / "s"))
    found["abstract"].bind(f"\0handshake-test-{os.getpid()}")
    found["datagram"].bind(f"\0handshake-test-{os.getpid()}-d")
    for name in ("tcp", "unix", "abstract"):
        found[name].listen(64)
    found["udp"].settimeout(0.3)
    found["datagram"].settimeout(0.3)
    return found


def _write(place: Path, text: str, mode: int) -> None:
    place.write_text(text)
    place.chmod(mode)


@dataclass(frozen=True)
class Attack:
    """One way out. `got_out`: whether it did, if the exit code does not tell; `seen`: the bus notices afterwards."""

    name: str
    script: str
    got_out: Callable[[Arena, Finished], bool] = lambda arena, finished: finished.returncode == 0
    seen: bool = False
    # what no machine must allow its users: there the control proves nothing, and the row says so
    may_be_forbidden: bool = False


def _python(code: str) -> str:
    return "{python} -c '" + code + "'"


def _call(*arguments: object, wanted: str = ">= 0") -> str:
    """A bare system call; out if its result is as wanted."""
    given = ", ".join(map(str, arguments))
    code = "import ctypes, sys; l = ctypes.CDLL(None, use_errno=True); r = l.syscall(" + given + "); "
    return _python(code + f"sys.exit(not (r {wanted}))")


_IS_X86 = os.uname().machine == "x86_64" if sys.platform != "win32" else True
_UNSHARE, _PTRACE, _ADD_KEY, _MOUNT = (272, 101, 248, 165) if _IS_X86 else (97, 117, 217, 40)
_DAEMON = "setsid env -i PATH=/usr/bin:/bin sh -c 'echo $$ > daemon; while sleep 0.05; do echo >> ticks; done'"
_FORKS = "import os, time\nfor i in range(120):\n  if os.fork() == 0:\n    time.sleep(5); os._exit(0)\n"

ATTACKS = (
    Attack("write outside", "echo x > {outside}/new"),
    Attack("write by symbolic link", "ln -sfn {outside} l && echo x > l/new"),
    Attack("write by hard link", "ln {outside}/id h && echo x >> h"),
    Attack("rename outside", "touch m && mv m {outside}/moved"),
    Attack("pull a file in by renaming", "mv {outside}/id ."),
    Attack("delete outside", "rm {outside}/id"),
    Attack("cut short outside", "truncate -s 0 {outside}/id"),
    Attack("chmod outside", "chmod 600 {outside}/id"),
    Attack("read `~/.ssh`", "cat {outside}/id"),
    Attack("read by symbolic link", "ln -sfn {outside}/id s && cat s"),
    Attack("read `/etc/shadow`", "cat /etc/shadow", may_be_forbidden=True),
    Attack("read another process's environment", "cat /proc/*/environ | grep -aq CANARY=canary"),
    Attack("read logs and runtime files", "ls /var/log /run | grep -q ."),
    Attack("write a hook of the main repository", "echo evil > {main}/.git/hooks/post-checkout"),
    Attack("read the main repository's remotes", "grep -q token {main}/.git/config"),
    Attack("write the main repository's config", "echo evil >> {main}/.git/config"),
    Attack("replace the worktree's `commondir`", "echo /evil > {main}/.git/worktrees/worktree/commondir"),
    Attack("rewrite the worktree's `.git`", "echo gitdir: /evil > n && cp -f n .git", seen=True),
    Attack("replace the worktree's `.git`", "mv .git g && mkdir .git", seen=True),
    Attack("TCP", _python('import socket; socket.create_connection(("127.0.0.1", {tcp}), 2)')),
    Attack(
        "TCP without a connect",
        _python('import socket; s = socket.socket(); s.sendto(b"x", socket.MSG_FASTOPEN, ("127.0.0.1", {tcp}))'),
    ),
    Attack(
        "UDP",
        _python(
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
            's.sendto(b"x", ("127.0.0.1", {udp}))'
        ),
        got_out=lambda arena, _: arena.heard(),
    ),
    Attack("Unix socket by path", _python('import socket; socket.socket(socket.AF_UNIX).connect("{outside}/s")')),
    Attack("abstract Unix socket", _python('import socket; socket.socket(socket.AF_UNIX).connect("\\0{abstract}")')),
    Attack(
        "abstract socket from a datagram pair",
        _python(
            "import socket; a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); "
            'a.sendto(b"x", "\\0{datagram}")'
        ),
    ),
    Attack("vsock", _python("import socket; socket.socket(40, socket.SOCK_STREAM)"), may_be_forbidden=True),
    Attack("ptrace", _call(_PTRACE, 16, "{victim}", 0, 0), may_be_forbidden=True),
    Attack("kill", "kill -0 {victim}"),
    Attack("io_uring", _call(425, 8, "ctypes.create_string_buffer(256)"), may_be_forbidden=True),
    Attack("kernel keyring", _call(_ADD_KEY, 'b"user"', 'b"hs"', 'b"x"', 1, -3), may_be_forbidden=True),
    Attack("nested user namespace", _call(_UNSHARE, 0x10000000), may_be_forbidden=True),
    Attack(
        "nested namespace by clone3",
        _python(
            "import ctypes, os, struct, sys; l = ctypes.CDLL(None); "
            'a = ctypes.create_string_buffer(struct.pack("<8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0)); '
            "r = l.syscall(435, a, 64); r or os._exit(0); sys.exit(r < 0)"
        ),
        may_be_forbidden=True,
    ),
    Attack(
        "daemonized child",
        f"{_DAEMON} & sleep 0.4",
        got_out=lambda arena, _: arena.grows("ticks"),
    ),
    Attack("fork bomb (120 at most)", "{python} -c '" + _FORKS + "'"),
    Attack("4 GB of memory", _python("import mmap; mmap.mmap(-1, 4_000_000_000, mmap.MAP_PRIVATE)")),
    Attack(
        "1 GB of output",
        "head -c 1000000000 /dev/zero",
        got_out=lambda _, finished: len(finished.stdout) > OUTPUT,
    ),
    Attack("fill `/dev/shm`", "head -c 2000000 /dev/zero > /dev/shm/hs-{abstract} && rm /dev/shm/hs-{abstract}"),
    Attack("fill `/tmp`", "head -c 2000000 /dev/zero > /tmp/hs-{abstract} && rm /tmp/hs-{abstract}"),
    Attack("fill its own temp directory", 'head -c 2000000 /dev/zero > "$TMPDIR/f"'),
    Attack("fill the disk through the worktree", "head -c 2000000 /dev/zero > f"),
)


def outcome(arena: Arena, attack: Attack, backend: Sandbox | None) -> str:
    """`blocked`, `escaped`, or `partial` where it got out and the bus notices; what it changed is set back."""
    try:
        finished = arena.run(attack.script, backend)
        got_out = attack.got_out(arena, finished) or not arena.is_unharmed()
    finally:
        daemon = arena.worktree / "daemon"
        if daemon.is_file() and backend is None:
            subprocess.run(["kill", "-9", daemon.read_text().strip()], check=False)
        arena.mend()
    if not got_out:
        return "blocked"
    return "partial" if attack.seen else "escaped"
