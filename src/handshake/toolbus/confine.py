"""A launcher that outlives nothing of what it starts. Run as a script by the bus; imports nothing of Handshake.

    python -I -S confine.py '<JSON>' PROGRAM ARGUMENT...

It stays as the parent of the program and as subreaper of all that descends from it: a process that made itself a
daemon comes back here and is killed. On SIGTERM, and when the one who started it dies, it kills them all. With
`landlock` in the JSON the program is first held by Landlock, a seccomp filter, and without capabilities; without it
the program is only watched over. Contract: `tool-bus.md`, Sandbox 2.

JSON keys: `landlock` null or {`abi`, `read`: [paths], `write`: [paths], `devices`: [paths]}; `seccomp`: the filter
in base 64; `processes`: null or how many more than run already for this user.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
import time

TYPE_CHECKING = False  # the typing module would cost a third of this script's start
if TYPE_CHECKING:
    from typing import Any

COMPLAINT = "handshake-confine: "
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_PR_SET_CHILD_SUBREAPER, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 36, 47, 4
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_CAPABILITY_VERSION_3 = 0x20080522
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # one number on every machine
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91}

# linux/landlock.h, in the order of its bits
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_CHAR, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = (1 << bit for bit in range(6, 13))
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO
_WRITE |= _MAKE_SYM | _REFER | _TRUNCATE
_ALL = _WRITE | _MAKE_CHAR | _MAKE_BLOCK
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_DEVICE = _READ_FILE | _WRITE_FILE | _IOCTL_DEV
_NET_BIND_AND_CONNECT_TCP, _SCOPE_ABSTRACT_AND_SIGNAL = 3, 3
_PATH_BENEATH = 1

_libc = ctypes.CDLL(None, use_errno=True)


def main(text: str, argv: list[str]) -> None:
    """Start, watch, clean up; leaves with the program's exit code, 128 and more for a signal, as a shell does."""
    spec = json.loads(text)
    parent = os.getppid()
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "become a subreaper")
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0), "follow the parent")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end_all)
    if os.getppid() != parent:
        os._exit(1)  # it died before the death signal was set
    child = os.fork()
    if child == 0:
        _become(spec, argv)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)  # else the reader would wait for us too
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            break
    kill_descendants()
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _end_all(number: int, _frame: object) -> None:
    kill_descendants()
    os._exit(128 + number)


def kill_descendants(give_up_after: float = 10.0) -> None:
    """Kill all that descends from this process, until nothing is left: orphans come to it, being the subreaper."""
    until = time.monotonic() + give_up_after
    while time.monotonic() < until:
        found = descendants(os.getpid())
        for number in (signal.SIGSTOP, signal.SIGKILL):  # what stands still starts nothing new meanwhile
            for pid in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def descendants(root: int) -> list[int]:
    """The ids of every process below `root`."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _become(spec: dict[str, Any], argv: list[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.setsid()
        if spec["landlock"] is not None:
            _limit_processes(spec["processes"])
            _drop_capabilities()
            _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "give up new privileges")
            _restrict_files(spec["landlock"])
            _filter_calls(base64.b64decode(spec["seccomp"]))
        os.execve(argv[0], argv, os.environ)  # noqa: S606 - this is what the script is for
    except OSError as error:
        os.write(2, f"{COMPLAINT}{error.strerror or error}: {error.filename or argv[0]}\n".encode())
    os._exit(1)


def _limit_processes(more: int | None) -> None:
    if more is None:
        return
    running = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{name}").st_uid == os.getuid():
                    running += len(os.listdir(f"/proc/{name}/task"))
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    wanted = running + more if hard == resource.RLIM_INFINITY else min(running + more, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (wanted, wanted))


def _drop_capabilities() -> None:
    number = 0
    while _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _checked(_libc.syscall(_SYS_CAPSET[os.uname().machine], header, nothing), "drop capabilities")


def _restrict_files(rules: dict[str, Any]) -> None:
    abi = rules["abi"]
    handled = _ALL & ~(0 if abi >= 2 else _REFER) & ~(0 if abi >= 3 else _TRUNCATE)
    handled |= _IOCTL_DEV if abi >= 5 else 0
    words = [handled]
    words += [_NET_BIND_AND_CONNECT_TCP] if abi >= 4 else []
    words += [_SCOPE_ABSTRACT_AND_SIGNAL] if abi >= 6 else []
    attributes = (ctypes.c_uint64 * len(words))(*words)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    ruleset = _checked(_libc.syscall(_CREATE_RULESET, attributes, size, 0), "make a Landlock ruleset")
    for paths, access in ((rules["read"], _READ), (rules["write"], _WRITE), (rules["devices"], _DEVICE)):
        for path in paths:
            _allow(ruleset, path, access & handled)
    _checked(_libc.syscall(_RESTRICT_SELF, ruleset, 0), "be held by Landlock")
    os.close(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    is_folder = os.path.isdir(path)
    rule = (access if is_folder else access & _OF_FILES).to_bytes(8, sys.byteorder)
    rule += place.to_bytes(4, sys.byteorder, signed=True)
    result = _libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.c_char_p(rule), 0)
    os.close(place)
    _checked(result, f"allow {path}")


def _filter_calls(program: bytes) -> None:
    buffer = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    told = Program(len(program) // 8, ctypes.addressof(buffer))
    _checked(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(told), 0, 0), "be filtered by seccomp")


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"cannot {what}")
    return result


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
