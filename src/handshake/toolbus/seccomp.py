"""Which system calls a sandboxed command may not make, as a program for the kernel. Contract: `tool-bus.md`, Sandbox.

The kernel takes a filter as classic BPF. libseccomp would write it, but its Python bindings are built for one
system's Python each and are on no package index in a kept form; the filter needed here is one list of comparisons.
"""

from __future__ import annotations

import errno
import platform
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass

# struct seccomp_data: nr, arch, instruction_pointer, args[6]; the low half of an argument comes first
_NR, _ARCH, _ARGS = 0, 4, 16
_LOAD, _AND, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_X32 = 0x40000000  # x86-64's second set of numbers for the same calls
_AUDIT_ARCH: Mapping[str, int] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET; NEWTIME is for unshare alone
_NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_NEW_TIME = 0x80
_INJECTS_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_STREAM, _SEQPACKET, _KIND_OF_SOCKET = 1, 5, 0xF

# numbers differ between machines for what is older than Linux 5.0
_NUMBERS: Mapping[str, tuple[int, int]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "clone": (56, 220),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "init_module": (175, 105),
    "ioctl": (16, 29),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "open_by_handle_at": (304, 265),
    "perf_event_open": (298, 241),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setns": (308, 268),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
_NUMBERS_OF_ALL: Mapping[str, int] = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "clone3": 435,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "quotactl_fd": 443,
}
# the way around a file system's and a network's rules, or into the kernel; none is needed to build or to test
_NEVER = (
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "add_key", "request_key", "keyctl", "bpf"),
    *("perf_event_open", "userfaultfd", "setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "open_by_handle_at", "acct", "quotactl"),
    *("quotactl_fd", "reboot", "swapon", "swapoff", "syslog", "init_module", "finit_module", "delete_module"),
    *("kexec_load", "kexec_file_load"),
)
# libraries fall back from these where the kernel does not know them; a plain refusal they would report
_UNKNOWN = frozenset({"clone3", "io_uring_setup", "io_uring_enter", "io_uring_register"})
# without a process namespace they reach other processes of the same user
_ACROSS_PROCESSES = ("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd")


@dataclass(frozen=True)
class Rule:
    """One call and when it is refused: always, if `bits` of argument `arg` are set, or by its masked value.

    `refused`: the values that are refused. `allowed`: the only values that are not.
    """

    call: str
    arg: int = 0
    bits: int = 0
    mask: int = 0xFFFFFFFF
    refused: tuple[int, ...] = ()
    allowed: tuple[int, ...] = ()
    error: int = errno.EPERM


def namespace_filter() -> tuple[Rule, ...]:
    """For a sandbox with namespaces of its own: no way deeper, and no kind of socket that no namespace holds.

    vsock, Bluetooth and the kernel's crypto sockets are not bounded by a network namespace.
    """
    families = (_UNIX, _INET, _INET6, _NETLINK)
    return (
        *_common(),
        Rule("socket", arg=0, allowed=families, error=errno.EAFNOSUPPORT),
        Rule("socketpair", arg=0, allowed=families, error=errno.EAFNOSUPPORT),
    )


def landlock_filter() -> tuple[Rule, ...]:
    """For Landlock, which holds neither UDP nor Unix sockets: no socket at all but a connected pair.

    A datagram pair is refused too: it may be sent on to any address.
    """
    return (
        *_common(),
        *(Rule(call) for call in _ACROSS_PROCESSES),
        Rule("socket", error=errno.EACCES),
        Rule("socketpair", arg=0, allowed=(_UNIX,), error=errno.EACCES),
        Rule("socketpair", arg=1, mask=_KIND_OF_SOCKET, allowed=(_STREAM, _SEQPACKET), error=errno.EACCES),
    )


def _common() -> tuple[Rule, ...]:
    return (
        *(Rule(call, error=errno.ENOSYS if call in _UNKNOWN else errno.EPERM) for call in _NEVER),
        Rule("clone3", error=errno.ENOSYS),  # its flags lie in memory, where a filter cannot look
        Rule("clone", arg=0, bits=_NEW_NAMESPACES),
        Rule("unshare", arg=0, bits=_NEW_NAMESPACES | _NEW_TIME),
        Rule("ioctl", arg=1, refused=_INJECTS_INPUT),
    )


def compiled(rules: tuple[Rule, ...], machine: str | None = None) -> bytes | None:
    """The filter as the kernel reads it, or None on a machine whose numbers are not known here.

    Calls of another instruction set (32-bit programs on a 64-bit kernel) do not exist for it.
    """
    machine = machine or platform.machine()
    arch = _AUDIT_ARCH.get(machine)
    if arch is None or sys.byteorder != "little":
        return None
    unknown = _ERRNO | errno.ENOSYS
    code = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, unknown), (_LOAD, 0, 0, _NR)]
    if machine == "x86_64":
        code += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, unknown)]
    for rule in rules:
        judged = _judged(rule)
        code += [(_EQUAL, 0, len(judged), _number(rule.call, machine)), *judged]
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *line) for line in code)


def _judged(rule: Rule) -> list[tuple[int, int, int, int]]:
    """What follows once the call's number fits: it ends in a verdict, or with the number loaded again."""
    refuse, again = (_RETURN, 0, 0, _ERRNO | rule.error), (_LOAD, 0, 0, _NR)
    if not (rule.bits or rule.refused or rule.allowed):
        return [refuse]
    look = [(_LOAD, 0, 0, _ARGS + 8 * rule.arg), (_AND, 0, 0, rule.mask)]
    if rule.bits:
        return [*look, (_ANY_BIT, 0, 1, rule.bits), refuse, again]
    values = rule.refused or rule.allowed
    count = len(values)
    if rule.refused:
        tests = [
            (_EQUAL, count - index - 1, 0 if index < count - 1 else 1, value) for index, value in enumerate(values)
        ]
    else:
        tests = [(_EQUAL, count - index, 0, value) for index, value in enumerate(values)]
    return [*look, *tests, refuse, again]


def _number(call: str, machine: str) -> int:
    if call in _NUMBERS_OF_ALL:
        return _NUMBERS_OF_ALL[call]
    return _NUMBERS[call][0 if machine == "x86_64" else 1]
