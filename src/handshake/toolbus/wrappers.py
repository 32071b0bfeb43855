"""Programs that run other programs: they count as what they run. Contract: `tool-bus.md`, Capabilities."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from handshake.domain.errors import CapabilityViolation
from handshake.toolbus.interpreters import is_python, programs_of_python, refuse_other_shell


class Word(NamedTuple):
    """A word of a command. `literal`: it stands for itself whatever the state of the machine."""

    text: str
    literal: bool


class _Options(NamedTuple):
    """How a wrapper's command line reads: flags that take a value, and how many operands come first."""

    with_value: frozenset[str]
    operands: int = 0
    refused: frozenset[str] = frozenset()


# they change the shell's own state or print: no program is started
_BUILTINS = frozenset(
    {
        ":",
        "true",
        "false",
        "cd",
        "echo",
        "printf",
        "test",
        "[",
        "exit",
        "set",
        "unset",
        "export",
        "readonly",
        "local",
        "pwd",
        "shift",
        "return",
        "break",
        "continue",
        "wait",
        "umask",
        "getopts",
        "times",
        "jobs",
    }
)
_SHELLS = frozenset({"sh", "bash", "dash"})
_ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*\+?=")

_WRAPPERS: Mapping[str, _Options] = {
    "env": _Options(frozenset({"-u", "--unset", "-C", "--chdir"}), refused=frozenset({"-S", "--split-string"})),
    "xargs": _Options(
        frozenset(
            {"-I", "-n", "-P", "-L", "-d", "-s", "-a", "-E", "--max-args", "--max-procs", "--delimiter", "--arg-file"}
        )
    ),
    "timeout": _Options(frozenset({"-s", "--signal", "-k", "--kill-after"}), operands=1),
    "nice": _Options(frozenset({"-n", "--adjustment"})),
    "ionice": _Options(frozenset({"-c", "-n", "--class", "--classdata"})),
    "stdbuf": _Options(frozenset({"-i", "-o", "-e", "--input", "--output", "--error"})),
    "nohup": _Options(frozenset()),
    "setsid": _Options(frozenset()),
    "time": _Options(frozenset({"-f", "-o", "--format", "--output"})),
    "command": _Options(frozenset()),
    "builtin": _Options(frozenset()),
    "exec": _Options(frozenset({"-a"})),
}
_SILENT_ALONE = frozenset({"env", "nice", "exec", "xargs"})

Nested = Callable[[str], None]
Refuse = Callable[[str], None]


def programs_of_words(
    words: list[Word], nested: Nested, refuse_assignment: Refuse, *, open_ended: bool = False
) -> list[str]:
    """The programs that one simple command starts.

    Args:
        words: the command's words, without assignments and redirects.
        nested: called with the text of a shell script that the command would run.
        refuse_assignment: called with each `NAME=value` that a wrapper sets.
        open_ended: more words come from elsewhere when it runs (`xargs`).

    Raises:
        CapabilityViolation: a program that is not known before it runs.
    """
    if not words:
        return []
    program = words[0]
    if not program.literal or not program.text:
        raise CapabilityViolation(f"which program {program.text!r} stands for is not known before it runs")
    name, rest = program.text.rpartition("/")[2], words[1:]
    if program.text in _BUILTINS:
        for word in rest if name in ("export", "readonly", "local") else ():
            refuse_assignment(word.text)
        _only(name, rest, refused=("-v",) if name == "printf" else ())
        return []
    if program.text in ("eval", "trap"):
        return _evaluated(name, rest, nested)
    refuse_other_shell(name)
    if is_python(name):
        # an interpreter of the project's own environment is one, too
        def of_words(argv: list[str]) -> list[str]:
            return programs_of_words([Word(text, True) for text in argv], nested, refuse_assignment)

        pairs = [(word.text, word.literal) for word in rest]
        return [program.text, *programs_of_python(pairs, nested, of_words, open_ended=open_ended)]
    if not _is_plain(program.text):
        return [program.text]
    if name in _SHELLS:
        return _shell(program.text, rest, nested, open_ended=open_ended)
    if name == "find":
        return [program.text, *_find(rest, nested, refuse_assignment, open_ended=open_ended)]
    if name in _WRAPPERS:
        return _wrapped(name, rest, nested, refuse_assignment, open_ended=open_ended)
    return [program.text]


def _is_plain(program: str) -> bool:
    """Whether the name means the machine's own program: a file of the project named `env` is that file."""
    return "/" not in program or program.rpartition("/")[0] in ("/bin", "/usr/bin", "/usr/local/bin")


def _only(name: str, words: list[Word], refused: tuple[str, ...]) -> None:
    if words and words[0].text.startswith(refused) and refused:
        raise CapabilityViolation(f"{name} {words[0].text} is not judged")


def _evaluated(name: str, words: list[Word], nested: Nested) -> list[str]:
    """`eval TEXT…` and `trap TEXT SIGNAL…` run their text."""
    text = words if name == "eval" else words[:1]
    if not all(word.literal for word in text):
        raise CapabilityViolation(f"what {name} runs is not known before it runs")
    script = " ".join(word.text for word in text)
    if script.strip() and script != "-":
        nested(script)
    return []


def _shell(program: str, words: list[Word], nested: Nested, *, open_ended: bool) -> list[str]:
    """`sh -c TEXT` counts as what TEXT starts; a shell that reads a file or its input counts as itself."""
    has_script, index = False, 0
    while index < len(words) and words[index].text[:1] in ("-", "+") and len(words[index].text) > 1:
        option = words[index]
        if not option.literal or option.text.startswith("--"):
            raise CapabilityViolation(f"{program} {option.text} is not judged")
        has_script = has_script or (option.text.startswith("-") and "c" in option.text)
        index += 2 if option.text.endswith(("o", "O")) else 1
    if not has_script:
        return [program]
    if index >= len(words) or not words[index].literal:
        raise CapabilityViolation(f"what {program} -c runs is not known before it runs")
    nested(words[index].text)
    if open_ended and re.search(r"\$[@*0-9{]", words[index].text):
        return [program]
    return []


def _find(words: list[Word], nested: Nested, refuse: Refuse, *, open_ended: bool) -> list[str]:
    if open_ended:
        raise CapabilityViolation("xargs gives find its arguments: what it runs is not known before it runs")
    found: list[str] = []
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if not word.literal and not word.text.startswith(("*", "?", "[")) and word.text[:1] in "$`":
            raise CapabilityViolation(f"what find does with {word.text} is not known before it runs")
        if word.text not in ("-exec", "-execdir", "-ok", "-okdir"):
            continue
        argv: list[Word] = []
        while index < len(words) and words[index].text not in (";", "+"):
            argv.append(words[index])
            index += 1
        found += programs_of_words(argv, nested, refuse)
    return found


def _wrapped(name: str, words: list[Word], nested: Nested, refuse: Refuse, *, open_ended: bool) -> list[str]:
    """Step over the wrapper's own options and operands to the command it runs."""
    options = _WRAPPERS[name]
    index = _after_options(name, words, options)
    if name == "command" and any(word.text in ("-v", "-V") for word in words[:index]):
        return []
    if name == "env":
        while index < len(words) and _ASSIGNMENT.match(words[index].text):
            refuse(words[index].text)
            index += 1
    for word in words[: index + options.operands]:
        if not word.literal and not _ASSIGNMENT.match(word.text):
            raise CapabilityViolation(f"how {name} reads {word.text} is not known before it runs")
    inner = words[index + options.operands :]
    if not inner:
        if open_ended or name not in _SILENT_ALONE:
            raise CapabilityViolation(f"what {name} runs is not known before it runs")
        return []
    return programs_of_words(inner, nested, refuse, open_ended=open_ended or name == "xargs")


def _after_options(name: str, words: list[Word], options: _Options) -> int:
    index = 0
    while index < len(words) and words[index].text.startswith("-") and words[index].text != "-":
        text = words[index].text
        if text == "--":
            return index + 1
        if any(text.startswith(flag) for flag in options.refused):
            raise CapabilityViolation(f"{name} {text} is not judged")
        index += 2 if text in options.with_value else 1
    return index
