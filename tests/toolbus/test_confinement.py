"""The parts that hold a command: the filter of system calls, the launcher, control groups, the macOS profile."""

from __future__ import annotations

import errno
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from handshake.toolbus import confine
from handshake.toolbus.control_groups import can_limit, clear_left_groups, control_group
from handshake.toolbus.sandbox import Limits
from handshake.toolbus.seatbelt import SeatbeltSandbox, profile
from handshake.toolbus.seccomp import Rule, compiled, landlock_filter, namespace_filter

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own interfaces")
ALLOW = 0x7FFF0000
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def verdict(program: bytes, number: int, *arguments: int, arch: int = ARCH["x86_64"]) -> int:
    """What the kernel would answer: the filter run by an interpreter of the few instructions it uses."""
    data = struct.pack("<IIQ6Q", number, arch, 0, *(*arguments, *[0] * (6 - len(arguments))))
    code = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    at = accumulator = 0
    while True:
        what, yes, no, value = code[at]
        at += 1
        if what == 0x20:
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif what == 0x54:
            accumulator &= value
        elif what == 0x06:
            return int(value)
        else:
            fits = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[what]
            at += yes if fits else no


def error(number: int) -> int:
    return 0x00050000 | number


@pytest.mark.parametrize("machine", list(ARCH))
def test_the_filter_refuses_what_it_names_and_nothing_else(machine: str) -> None:
    x86 = machine == "x86_64"
    program = compiled(namespace_filter(), machine)
    assert program is not None

    def asked(number: int, *arguments: int) -> int:
        assert program is not None
        return verdict(program, number, *arguments, arch=ARCH[machine])

    clone, unshare, socket, ioctl, read = (56, 272, 41, 16, 0) if x86 else (220, 97, 198, 29, 63)
    assert asked(read) == ALLOW
    assert asked(clone, 17) == ALLOW
    assert asked(clone, 0x10000000 | 17) == error(errno.EPERM)
    assert asked(435) == error(errno.ENOSYS)
    assert asked(425) == error(errno.ENOSYS)
    assert asked(unshare, 0x80) == error(errno.EPERM)
    assert asked(unshare, 0x400) == ALLOW  # files of its own, no namespace
    assert [asked(socket, family) == ALLOW for family in (1, 2, 10, 16)] == [True] * 4
    assert asked(socket, 40) == error(errno.EAFNOSUPPORT)
    assert asked(ioctl, 1, 0x5412) == error(errno.EPERM)
    assert asked(ioctl, 1, 0xFFFFFFFF00005412) == error(errno.EPERM)  # the kernel looks at the low half alone
    assert asked(ioctl, 1, 0x5413) == ALLOW


def test_without_a_network_namespace_only_connected_pairs_are_left() -> None:
    program = compiled(landlock_filter(), "x86_64")
    assert program is not None
    assert verdict(program, 41, 2, 1) == error(errno.EACCES)
    assert verdict(program, 53, 1, 1 | 0o2000000) == ALLOW
    assert verdict(program, 53, 1, 2) == error(errno.EACCES)
    assert verdict(program, 53, 2, 1) == error(errno.EACCES)
    assert verdict(program, 101) == error(errno.EPERM)


def test_calls_of_another_kind_do_not_exist() -> None:
    program = compiled(namespace_filter(), "x86_64")
    assert program is not None
    assert verdict(program, 0, arch=0x40000003) == error(errno.ENOSYS)  # i386
    assert verdict(program, 0x40000000 | 41) == error(errno.ENOSYS)  # x32
    assert compiled(namespace_filter(), "riscv64") is None


def test_a_list_of_refused_values_refuses_each() -> None:
    program = compiled((Rule("ioctl", arg=1, refused=(1, 2, 3)),), "x86_64")
    assert program is not None
    assert [verdict(program, 16, 0, value) == ALLOW for value in range(5)] == [True, False, False, False, True]


def launched(script: str, **more: object) -> subprocess.Popen[bytes]:
    spec = '{"landlock": null}'
    return subprocess.Popen(
        [sys.executable, "-I", "-S", confine.__file__, spec, "/bin/sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **more,  # type: ignore[call-overload]
    )


def grows(place: Path) -> bool:
    before = place.stat().st_size
    time.sleep(0.25)
    return place.stat().st_size > before


DAEMON = "setsid env -i /bin/sh -c 'while /bin/sleep 0.02; do echo >> ticks; done' & sleep 0.3"


@linux
def test_the_launcher_gives_the_programs_end(tmp_path: Path) -> None:
    for script, code in (("exit 3", 3), ("kill -9 $$", 137), ("true", 0)):
        assert launched(script, cwd=tmp_path).wait(20) == code
    done = subprocess.run(
        [sys.executable, "-I", "-S", confine.__file__, '{"landlock": null}', "/not/there"],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr.decode()) == (
        1,
        "handshake-confine: No such file or directory: /not/there\n",
    )


@linux
@pytest.mark.parametrize("end", ["of its own", "told to", "killed from above"])
def test_the_launchers_end_is_its_descendants_end(tmp_path: Path, end: str) -> None:
    if end == "killed from above":
        # the one who started it dies: nobody is left to tell it anything
        spec = '{\\"landlock\\": null}'
        outer = (
            f'exec 2>&1; "{sys.executable}" -I -S "{confine.__file__}" "{spec}" /bin/sh -c "$SCRIPT; sleep 30"; true'
        )
        parent = subprocess.Popen(
            ["/bin/sh", "-c", outer], cwd=tmp_path, env={"SCRIPT": DAEMON, "PATH": os.environ["PATH"]}
        )
    else:
        parent = launched(DAEMON + ("; sleep 30" if end == "told to" else ""), cwd=tmp_path)
    ticks = tmp_path / "ticks"
    for _ in range(200):
        if ticks.exists():
            break
        time.sleep(0.05)
    if end == "told to":
        parent.terminate()
        assert parent.wait(20) == 128 + signal.SIGTERM
    elif end == "killed from above":
        parent.kill()
        parent.wait(20)
        time.sleep(0.5)
    else:
        assert parent.wait(20) == 0
    assert not grows(ticks)


@linux
def test_a_control_group_holds_all_processes_together_and_ends_them(tmp_path: Path) -> None:
    if not can_limit():
        pytest.skip("control groups cannot be written here")
    limits = Limits(memory_bytes=64 << 20, processes=8)
    with control_group(f"test-{os.getpid()}", limits) as group:
        assert group is not None
        many = "import os,time\nfor i in range(20):\n  if os.fork() == 0: time.sleep(9); os._exit(0)"
        with (tmp_path / "said").open("wb") as said:  # a pipe would be held open by what is left over
            subprocess.run([*group.prefix, sys.executable, "-c", many], stderr=said, check=False)
        assert "BlockingIOError" in (tmp_path / "said").read_text()
        assert any((place / "cgroup.procs").read_text().split() for place in group.folders)
        group.end()
        assert not any(place.exists() for place in group.folders)
    with control_group(f"test-{os.getpid()}", limits) as group:
        assert group is not None
        big = "x = bytearray(200 << 20)"
        done = subprocess.run([*group.prefix, sys.executable, "-c", big], capture_output=True, check=False)
        assert done.returncode != 0
        assert group.ran_out_of_memory()
        folders = group.folders
    assert not any(place.exists() for place in folders)


@linux
def test_groups_of_killed_processes_are_taken_away_and_no_others(tmp_path: Path) -> None:
    if not can_limit():
        pytest.skip("control groups cannot be written here")
    with control_group("mine", Limits(memory_bytes=64 << 20, processes=8)) as group:
        assert group is not None
        gone = subprocess.run(["/bin/sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
        left = group.folders[0].with_name(f"handshake-{gone}-left")
        left.mkdir()
        assert clear_left_groups() >= 1
        assert not left.exists()
        assert all(place.exists() for place in group.folders)


@linux
def test_where_no_control_group_can_be_made_there_is_none(tmp_path: Path) -> None:
    assert not can_limit(root=tmp_path)
    with control_group("x", Limits(memory_bytes=1, processes=1), root=tmp_path) as group:
        assert group is None


@linux
def test_version_2_is_used_where_its_files_take_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree of files in the place of the kernel's: what is written where."""
    from handshake.toolbus import control_groups

    (tmp_path / "cgroup.controllers").write_text("memory pids\n")
    (tmp_path / "user/session").mkdir(parents=True)
    monkeypatch.setattr(control_groups, "_own_groups", lambda: ["0::/user/session"])
    made = Path.mkdir

    def with_files(place: Path, *args: object, **kwargs: object) -> None:
        made(place, *args, **kwargs)  # type: ignore[arg-type]
        for name in ("memory.max", "pids.max", "cgroup.procs", "cgroup.kill"):
            (place / name).write_text("")

    monkeypatch.setattr(Path, "mkdir", with_files)
    with control_group("x", Limits(memory_bytes=1000, processes=7), root=tmp_path) as group:
        assert group is not None
        assert group.folders == (tmp_path / f"user/handshake-{os.getpid()}-x",)
        assert (group.folders[0] / "memory.max").read_text() == "1000"
        assert (group.folders[0] / "pids.max").read_text() == "7"
        assert group.prefix[-2:] == (str(group.folders[0] / "cgroup.procs"), "--")


def test_the_macos_profile_denies_all_then_allows_by_list(tmp_path: Path) -> None:
    tree, home = tmp_path / 'tr"ee', tmp_path / "home"
    tree.mkdir()
    text = profile(tree, (home,), (tmp_path / "tool",))
    lines = text.splitlines()
    assert lines[:2] == ["(version 1)", "(deny default)"]
    quoted = str(tree.resolve()).replace('"', '\\"')
    writable = text.partition("(allow file-write*")[2].partition("\n)")[0]
    assert f'(subpath "{quoted}")' in writable
    assert f'(subpath "{home.resolve()}")' in writable
    assert "tool" not in writable
    # the last rule that fits counts: what denies stands after what allows
    assert text.index(f'(deny file-write* (literal "{quoted}/.git")') > text.index("(allow file-write*")
    assert text.index("(deny network*)") > text.rindex("(allow")
    assert not re.search(r'\(subpath "(/|/Users|/private|/private/etc|/private/var|/etc)"\)', text)
    assert text.count("(") - text.count(")") == 0
    plan = SeatbeltSandbox(prefixes=()).wrap(
        ("/bin/echo", "x"), worktree=tree, cwd=tree, env={}, limits=Limits(), scratch=tmp_path
    )
    assert plan.argv[:2] == ("/usr/bin/sandbox-exec", "-p")
    assert plan.argv[3:] == ("/bin/echo", "x")
