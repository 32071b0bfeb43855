"""The sandboxes: what works inside, how one is chosen, and what is said where none works."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from escape_arena import SYSTEM_PYTHON, Arena, arena_for

from handshake.domain.errors import EnvironmentProblem
from handshake.toolbus import bubblewrap, landlock
from handshake.toolbus.bubblewrap import BubblewrapSandbox
from handshake.toolbus.environment import clean_environment, readable_prefixes
from handshake.toolbus.probing import probe
from handshake.toolbus.sandbox import (
    ExternalSandbox,
    OffSandbox,
    Sandbox,
    choose_sandbox,
)

needs_system_python = pytest.mark.skipif(not Path(SYSTEM_PYTHON).exists(), reason="no python of the system's own")


BACKENDS = {"bubblewrap": bubblewrap.probed_bubblewrap, "landlock": landlock.probed_landlock}


@pytest.fixture(scope="module", params=["this user", "an ordinary user"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    ordinary = request.param != "this user"
    if ordinary and (os.geteuid() != 0 or shutil.which("setpriv") is None):
        pytest.skip("only root can become an ordinary user")
    with (
        tempfile.TemporaryDirectory(prefix="arena-") as folder,
        arena_for(Path(folder).resolve(), ordinary=ordinary) as arena,
    ):
        yield arena


@pytest.fixture
def arena(place: Arena) -> Iterator[Arena]:
    yield place
    place.mend()


@pytest.fixture(params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Sandbox:
    found, reason = BACKENDS[request.param]()
    if found is None:
        pytest.skip(reason)
    return replace(found, prefixes=())


@pytest.fixture
def bwrap() -> BubblewrapSandbox:
    backend, reason = bubblewrap.probed_bubblewrap()
    if backend is None:
        pytest.skip(reason)
    return replace(backend, prefixes=())


def test_work_inside_the_worktree_is_free(arena: Arena, backend: Sandbox) -> None:
    done = arena.run("mkdir d && echo x > d/f && mv d/f g && ln g h && rm -r d h && cat g && cat .git", backend)
    assert done.returncode == 0, done.stderr
    assert (arena.worktree / "g").read_text() == "x\n"
    assert (arena.worktree / "g").stat().st_uid == arena.worktree.stat().st_uid


def test_a_repository_of_its_own_is_out_of_sight(arena: Arena, bwrap: BubblewrapSandbox) -> None:
    (arena.worktree / ".git").unlink()
    (arena.worktree / ".git").mkdir()
    (arena.worktree / ".git" / "config").write_text("url = https://token@host\n")
    (arena.worktree / ".git").chmod(0o755)
    assert arena.run("cat .git/config", bwrap).returncode != 0
    assert arena.run("echo x > .git/config", bwrap).returncode != 0
    assert arena.run("cat .git/config", None).returncode == 0


@pytest.mark.parametrize("where", ["/x", "/dev/x", "/var/x", "/etc/x", "/proc/x", "/usr/x"])
def test_nothing_is_written_where_no_size_bounds_it(arena: Arena, backend: Sandbox, where: str) -> None:
    assert arena.run(f"touch {where}", backend).returncode != 0


def test_temp_directories_and_devices_work(arena: Arena, backend: Sandbox) -> None:
    folders = "/tmp /var/tmp /dev/shm" if backend.level == "full" else "$TMPDIR $HOME"
    done = arena.run(
        f"for d in {folders}; do echo x > $d/t && cat $d/t || exit 1; done; "
        "head -c 4 /dev/urandom > /dev/null && test -r /dev/zero",
        backend,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@needs_system_python
def test_loopback_works_inside(arena: Arena, bwrap: BubblewrapSandbox) -> None:
    script = (
        '{python} -c \'import socket; s = socket.create_server(("127.0.0.1", 0)); '
        "socket.create_connection(s.getsockname(), 2)'"
    )
    assert arena.run(script, bwrap).returncode == 0


@needs_system_python
def test_pairs_of_sockets_work_where_no_other_does(arena: Arena, backend: Sandbox) -> None:
    script = "{python} -c 'import socket; a, b = socket.socketpair(); a.send(b\"x\"); assert b.recv(1)'"
    done = arena.run(script, backend)
    assert done.returncode == 0, done.stderr


def test_no_capabilities_no_new_privileges_and_a_filter(arena: Arena, backend: Sandbox) -> None:
    status = arena.run("cat /proc/self/status", backend).stdout.decode()
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(lines["CapEff"], 16) == int(lines["CapPrm"], 16) == 0
    if backend.level == "full" or not arena.become:  # only who has capabilities can give up more
        assert int(lines["CapBnd"], 16) == 0
    assert lines["NoNewPrivs"].strip() == "1"
    assert lines["Seccomp"].strip() == "2"


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
def no_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    bubblewrap.probed_bubblewrap.cache_clear()
    monkeypatch.setenv("PATH", "/nonexistent")
    yield
    bubblewrap.probed_bubblewrap.cache_clear()


@pytest.fixture
def no_landlock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    landlock.probed_landlock.cache_clear()
    monkeypatch.setattr(landlock, "landlock_abi", lambda: 1)
    yield
    landlock.probed_landlock.cache_clear()


@pytest.mark.usefixtures("no_bubblewrap", "no_landlock")
@pytest.mark.parametrize("mode", ["auto", "require"])
def test_without_a_sandbox_it_refuses_with_the_mend(mode: str) -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        choose_sandbox(mode)  # type: ignore[arg-type]
    assert caught.value.exit_code == 7
    assert "bubblewrap is not installed; the kernel has no Landlock of ABI 3" in caught.value.line()
    assert "apt install bubblewrap" in caught.value.line()
    assert "sandbox: off" in caught.value.line()


@pytest.mark.usefixtures("no_bubblewrap")
def test_the_partial_one_is_taken_after_the_full_one_and_never_where_full_is_required() -> None:
    if landlock.probed_landlock()[0] is None:
        pytest.skip("this kernel has no Landlock")
    chosen = choose_sandbox("auto")
    assert (chosen.name, chosen.level) == ("landlock", "partial")
    assert "partial" in chosen.describe()
    with pytest.raises(EnvironmentProblem, match="landlock is only partial"):
        choose_sandbox("require")


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
