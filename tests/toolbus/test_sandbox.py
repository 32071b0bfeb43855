"""Ways out, each tried in the sandbox and, as a control, without it; as this user and as an ordinary one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from handshake.domain.errors import EnvironmentProblem
from handshake.toolbus import bubblewrap
from handshake.toolbus.bubblewrap import BubblewrapSandbox, probe
from handshake.toolbus.environment import clean_environment, readable_prefixes
from handshake.toolbus.sandbox import (
    ExternalSandbox,
    LaunchPlan,
    Limits,
    OffSandbox,
    choose_sandbox,
)

SYSTEM_PYTHON = "/usr/bin/python3"
ORDINARY = 65534
needs_system_python = pytest.mark.skipif(not Path(SYSTEM_PYTHON).exists(), reason="no python of the system's own")


@pytest.fixture(scope="module")
def bwrap() -> BubblewrapSandbox:
    backend, reason = bubblewrap.probed_bubblewrap()
    if backend is None:
        pytest.skip(reason)
    return BubblewrapSandbox(program=backend.program, features=backend.features, prefixes=())


@dataclass
class Arena:
    """A worktree, and around it all that must stay out of reach."""

    base: Path
    become: tuple[str, ...]
    victim: subprocess.Popen[bytes]
    tcp: socket.socket
    udp: socket.socket
    unix: socket.socket
    abstract: socket.socket
    backend: BubblewrapSandbox
    names: dict[str, str] = field(default_factory=dict)

    @property
    def worktree(self) -> Path:
        return self.base / "worktree"

    def fill(self, script: str) -> str:
        for name, value in self.names.items():
            script = script.replace("{" + name + "}", value)
        return script

    def attack(self, script: str, *, held: bool) -> subprocess.CompletedProcess[bytes]:
        argv: tuple[str, ...] = ("/bin/sh", "-c", self.fill(script))
        env = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
        plan = LaunchPlan(argv=argv, cwd=self.worktree, env=env)
        if held:
            scratch = self.base
            plan = self.backend.wrap(
                argv,
                worktree=self.worktree,
                cwd=self.worktree,
                env=env,
                limits=Limits(tmp_bytes=1024 * 1024),
                scratch=scratch,
            )
        return subprocess.run(
            (*self.become, *plan.argv), cwd=plan.cwd, env=dict(plan.env), capture_output=True, timeout=30, check=False
        )


@pytest.fixture(params=["this user", "an ordinary user"])
def arena(request: pytest.FixtureRequest, bwrap: BubblewrapSandbox) -> Iterator[Arena]:
    become: tuple[str, ...] = ()
    if request.param != "this user":
        if os.geteuid() != 0 or shutil.which("setpriv") is None:
            pytest.skip("only root can become an ordinary user")
        become = ("setpriv", "--reuid", str(ORDINARY), "--regid", str(ORDINARY), "--clear-groups")
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arena-"))).resolve()
        base.chmod(0o755)
        outside, worktree = base / "home" / ".ssh", base / "worktree"
        outside.mkdir(parents=True)
        worktree.mkdir()
        (outside / "id").write_text("canary\n")
        (worktree / ".git").write_text("gitdir: /main/.git/worktrees/x\n")
        sockets = [
            stack.enter_context(socket.socket(*kind))
            for kind in (
                (socket.AF_INET, socket.SOCK_STREAM),
                (socket.AF_INET, socket.SOCK_DGRAM),
                (socket.AF_UNIX, socket.SOCK_STREAM),
                (socket.AF_UNIX, socket.SOCK_STREAM),
            )
        ]
        tcp, udp, unix, abstract = sockets
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(outside / "s"))
        abstract.bind(f"\0handshake-test-{os.getpid()}")
        for server in (tcp, unix, abstract):
            server.listen(8)
        udp.settimeout(0.3)
        if become:
            for place in (base, *base.rglob("*")):
                os.chown(place, ORDINARY, ORDINARY)
        victim = subprocess.Popen((*become, "sleep", "60"), env={"PATH": "/usr/bin:/bin", "CANARY": "canary"})
        stack.callback(victim.wait)
        stack.callback(victim.kill)
        arena = Arena(base, become, victim, tcp, udp, unix, abstract, bwrap)
        arena.names = {
            "outside": str(outside),
            "victim": str(victim.pid),
            "tcp": str(tcp.getsockname()[1]),
            "udp": str(udp.getsockname()[1]),
            "abstract": f"handshake-test-{os.getpid()}",
            "python": SYSTEM_PYTHON,
        }
        yield arena


# exit code 0 means: got out
ATTACKS = {
    "write outside": "echo x > {outside}/new",
    "write by symbolic link": "ln -sfn {outside} l && echo x > l/new",
    "write by hard link": "rm -f h; ln {outside}/id h && echo x >> h",
    "rename outside": "touch m && mv m {outside}/moved",
    "delete outside": "touch {outside}/new 2>/dev/null; rm {outside}/new",
    "chmod outside": "chmod 600 {outside}/id",
    "read a secret": "cat {outside}/id",
    "read by symbolic link": "ln -sfn {outside}/id s && cat s",
    "read another's environment": "grep -q canary /proc/{victim}/environ",
    "read the machine's logs and runtime": "ls /var/log /run | grep -q .",
    "replace the worktree's .git": "echo gitdir: /evil > .git.new && cp -f .git.new .git",
    "move the worktree's .git away": "mv .git g && mv g .git",
    "kill a process": "kill -0 {victim}",
    "a nested user namespace": "unshare -Ur true",
    "tcp": "{python} -c 'import socket; socket.create_connection((\"127.0.0.1\", {tcp}), 2)'",
    "unix socket by path": "{python} -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"{outside}/s\")'",
    "abstract unix socket": "{python} -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"\\0{abstract}\")'",
    "ptrace": "{python} -c 'import ctypes, sys; l = ctypes.CDLL(None); sys.exit(l.ptrace(16, {victim}, 0, 0))'",
    "fill /dev/shm": "d=$(mktemp -d /dev/shm/hs-XXXXXX); head -c 2000000 /dev/zero > $d/f; r=$?; rm -r $d; exit $r",
    "fill /tmp": "d=$(mktemp -d /tmp/hs-XXXXXX); head -c 2000000 /dev/zero > $d/f; r=$?; rm -r $d; exit $r",
}


@needs_system_python
@pytest.mark.parametrize("name", list(ATTACKS))
def test_a_way_out_is_closed(arena: Arena, name: str) -> None:
    held = arena.attack(ATTACKS[name], held=True)
    assert held.returncode != 0, held.stdout
    assert b"bwrap:" not in held.stderr
    assert (arena.base / "home/.ssh/id").read_text() == "canary\n"
    assert sorted(p.name for p in (arena.base / "home/.ssh").iterdir()) == ["id", "s"]
    assert (arena.worktree / ".git").read_text() == "gitdir: /main/.git/worktrees/x\n"
    assert arena.victim.poll() is None
    free = arena.attack(ATTACKS[name], held=False)
    if free.returncode != 0 and name in ("a nested user namespace", "ptrace", "read the machine's logs and runtime"):
        pytest.skip(f"this machine forbids it to everybody: {free.stderr.decode()}")
    assert free.returncode == 0, free.stderr


@needs_system_python
def test_udp_does_not_get_out(arena: Arena) -> None:
    script = (
        "{python} -c 'import socket; "
        'socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", {udp}))\''
    )
    arena.attack(script, held=True)
    with pytest.raises(TimeoutError):
        arena.udp.recv(1)
    arena.attack(script, held=False)
    assert arena.udp.recv(1) == b"x"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can read it at all")
def test_root_does_not_read_etc_shadow(arena: Arena) -> None:
    assert arena.attack("cat /etc/shadow", held=True).returncode != 0
    if not arena.become:
        assert arena.attack("cat /etc/shadow", held=False).returncode == 0


def test_work_inside_the_worktree_is_free(arena: Arena) -> None:
    done = arena.attack("mkdir d && echo x > d/f && mv d/f g && rm -r d && cat g && cat .git", held=True)
    assert done.returncode == 0, done.stderr
    assert (arena.worktree / "g").read_text() == "x\n"
    assert (arena.worktree / "g").stat().st_uid == arena.worktree.stat().st_uid


def test_a_repository_of_its_own_is_out_of_sight(arena: Arena) -> None:
    (arena.worktree / ".git").unlink()
    (arena.worktree / ".git").mkdir()
    (arena.worktree / ".git" / "config").write_text("url = https://token@host\n")
    assert arena.attack("cat .git/config", held=True).returncode != 0
    assert arena.attack("echo x > .git/config", held=True).returncode != 0
    assert arena.attack("cat .git/config", held=False).returncode == 0


@pytest.mark.parametrize("place", ["/x", "/dev/x", "/var/x", "/etc/x", "/proc/x", "/usr/x"])
def test_nothing_is_written_where_no_size_bounds_it(arena: Arena, place: str) -> None:
    assert arena.attack(f"touch {place}", held=True).returncode != 0


def test_temp_directories_and_devices_work(arena: Arena) -> None:
    done = arena.attack(
        "for d in /tmp /var/tmp /dev/shm; do echo x > $d/t && cat $d/t || exit 1; done; "
        "head -c 4 /dev/urandom > /dev/null && test -r /dev/zero",
        held=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@needs_system_python
def test_loopback_works_inside(arena: Arena) -> None:
    script = (
        '{python} -c \'import socket; s = socket.create_server(("127.0.0.1", 0)); '
        "socket.create_connection(s.getsockname(), 2)'"
    )
    assert arena.attack(script, held=True).returncode == 0


def test_no_capabilities_and_no_new_privileges(arena: Arena) -> None:
    status = arena.attack("cat /proc/self/status", held=True).stdout.decode()
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(lines["CapEff"], 16) == int(lines["CapBnd"], 16) == 0
    assert lines["NoNewPrivs"].strip() == "1"


def test_the_probe_says_what_does_not_hold(bwrap: BubblewrapSandbox, tmp_path: Path) -> None:
    assert probe(BubblewrapSandbox(program=bwrap.program, features=bwrap.features)) is None
    leaky = tmp_path / "bwrap"
    leaky.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"\n')
    leaky.chmod(0o755)
    said = probe(BubblewrapSandbox(program=str(leaky)))
    assert said == "bubblewrap does not hold: connect, read_secret, write_outside"
    leaky.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1\n")
    assert "No permissions" in (probe(BubblewrapSandbox(program=str(leaky))) or "")
    assert "cannot be started" in (probe(BubblewrapSandbox(program=str(tmp_path / "none"))) or "")


@pytest.fixture
def no_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    bubblewrap.probed_bubblewrap.cache_clear()
    monkeypatch.setenv("PATH", "/nonexistent")
    yield lambda: None
    bubblewrap.probed_bubblewrap.cache_clear()


@pytest.mark.usefixtures("no_bubblewrap")
@pytest.mark.parametrize("mode", ["auto", "require"])
def test_without_a_sandbox_it_refuses_with_the_mend(mode: str) -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        choose_sandbox(mode)  # type: ignore[arg-type]
    assert caught.value.exit_code == 7
    assert "bubblewrap" in caught.value.line()
    assert "apt install bubblewrap" in caught.value.line()
    assert "sandbox: off" in caught.value.line()


def test_windows_is_refused_with_wsl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(EnvironmentProblem, match="Windows") as caught:
        choose_sandbox("auto")
    assert "WSL" in caught.value.next_step


def test_off_and_external_say_so() -> None:
    off, external = choose_sandbox("off"), choose_sandbox("external")
    assert isinstance(off, OffSandbox)
    assert isinstance(external, ExternalSandbox)
    assert (off.level, external.level) == ("none", "none")
    assert "bare" in off.describe()
    assert "vouched" in external.describe()


def test_the_probe_runs_once(bwrap: BubblewrapSandbox) -> None:
    assert choose_sandbox("auto") is choose_sandbox("require")
    assert "full" in choose_sandbox("auto").describe()


def test_a_search_path_shows_no_home_and_no_root(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for folder in ("bin", ".local/bin", ".ssh", ".cargo/bin", ".pyenv/shims", "venv/bin"):
        (home / folder).mkdir(parents=True)
    (home / "venv" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    worktree = tmp_path / "worktree"
    (worktree / "bin").mkdir(parents=True)
    entries = [home / "bin", home / ".local/bin", home / "venv/bin", home, "/", "/etc", "bin", worktree / "bin"]
    inherited = {"HOME": str(home), "PATH": os.pathsep.join(map(str, entries))}
    shown = set(readable_prefixes(worktree, inherited))
    assert {home / "bin", home / ".local/bin", home / "venv", home / ".cargo/bin", home / ".pyenv"} <= shown
    assert not shown & {
        home,
        home / ".ssh",
        home / ".cargo",
        home / ".local",
        Path("/"),
        Path("/etc"),
        worktree / "bin",
    }


def test_the_search_path_holds_no_relative_entries(tmp_path: Path) -> None:
    inherited = {"PATH": os.pathsep.join(["", ".", "tools", "/usr/bin"])}
    path = clean_environment(tmp_path, inherited, home="/h", tmp="/t")["PATH"].split(os.pathsep)
    assert path == ["/usr/bin", str(Path(sys.executable).parent)]
