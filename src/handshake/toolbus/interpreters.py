"""What `python -c` and `python -m` start, and command lines of another system's shells. Contract: `tool-bus.md`.

A script on the command line is read by its own grammar. What it starts by a fixed text counts as that; a script that
could start anything is refused. This is no prison (the sandbox is): it keeps a list of programs honest.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

from handshake.domain.errors import CapabilityViolation

_PYTHON = re.compile(r"^(python|pypy)[0-9.]*(\.exe)?$")
# programs that are also modules, and that install, serve or start other programs; a runner of the project's own
# code (pytest, unittest, coverage) has no more power than the interpreter itself
_PROGRAM_MODULES = frozenset(
    [
        *("ansible", "build", "cibuildwheel", "conda", "ensurepip", "fabric", "hatch", "invoke", "maturin", "nox"),
        *("pdm", "pip", "pipenv", "pipx", "poetry", "pre_commit", "tox", "twine", "uv", "venv", "virtualenv"),
        *("http", "idlelib", "smtpd", "turtledemo", "webbrowser", "wsgiref", "xmlrpc", "jupyter", "notebook"),
    ]
)
_TAKES_VALUE = "WX"
_STARTS_BY_TEXT = frozenset({"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"})
_STARTS_BY_LIST = frozenset(f"subprocess.{name}" for name in ("run", "call", "check_call", "check_output", "Popen"))
_UNKNOWABLE_MODULES = frozenset(
    {"ctypes", "importlib", "multiprocessing", "pty", "runpy", "subprocess", "_posixsubprocess"}
)
_UNKNOWABLE_NAMES = frozenset({"__import__", "compile", "eval", "exec", "globals", "vars", "__builtins__"})
_OF_OS = re.compile(r"^(exec|spawn|posix_spawn|popen|system|startfile|fork)")

_OTHER_SHELLS = re.compile(
    r"(?i)^(cmd|powershell|pwsh|wscript|cscript|mshta|rundll32|wsl|fish|nu|xonsh|tcsh|csh)(\.exe)?$"
)
_WINDOWS = re.compile(
    r"""(?x) (?:^|[\s;&|(])(?:[A-Za-z]:\\ | \.{1,2}\\\w)  # C:\x, .\x, ..\x
        | (?i:\\scripts\\)                                # .venv\Scripts\pytest
        | %[A-Z_]{3,}%                                    # %USERPROFILE%
        | (?:^|[;&|(]\s*)[\w.-]+\.(?:bat|cmd|ps1)\b       # build.cmd"""
)

Nested = Callable[[str], None]
NestedWords = Callable[[list[str]], list[str]]


def refuse_windows(command: str) -> None:
    """Refuse a command line written for Windows: here it would mean something else.

    Raises:
        CapabilityViolation: it is one.
    """
    found = _WINDOWS.search(command)
    if found is not None:
        raise CapabilityViolation(
            f"{found[0].strip()!r} is of a Windows command line: write it for sh, e.g. .venv/bin/pytest"
        )


def refuse_other_shell(name: str) -> None:
    """Refuse a shell whose grammar is not judged here.

    Raises:
        CapabilityViolation: it is one.
    """
    if _OTHER_SHELLS.match(name):
        raise CapabilityViolation(f"what {name} runs is written in a grammar that is not judged")


def is_python(name: str) -> bool:
    """Whether a program's name is a Python interpreter's."""
    return _PYTHON.match(name) is not None


def programs_of_python(
    words: list[tuple[str, bool]], nested: Nested, of_words: NestedWords, *, open_ended: bool = False
) -> list[str]:
    """What an interpreter starts beside itself, from its arguments: texts, and whether each means itself.

    Args:
        nested: called with the text of a shell command that a script starts.
        of_words: gives the programs of an argument list that a script starts.
        open_ended: more arguments come from elsewhere when it runs (`xargs`).

    Raises:
        CapabilityViolation: it is not known before it runs.
    """
    index = 0
    while index < len(words):
        text, literal = words[index]
        if not text.startswith("-") or text == "-" or text.startswith("--"):
            break
        for position, letter in enumerate(text[1:], 1):
            if letter in "cm":
                rest = (text[position + 1 :], literal) if text[position + 1 :] else _at(words, index + 1)
                return _module(rest) if letter == "m" else _script(rest, nested, of_words)
            if letter in _TAKES_VALUE:
                index += 0 if text[position + 1 :] else 1
                break
        index += 1
    if open_ended and index >= len(words):
        raise CapabilityViolation("xargs gives python its script: what it runs is not known before it runs")
    return []


def _at(words: list[tuple[str, bool]], index: int) -> tuple[str, bool]:
    return words[index] if index < len(words) else ("", False)


def _module(word: tuple[str, bool]) -> list[str]:
    text, literal = word
    if not literal or not text:
        raise CapabilityViolation(f"which module python -m {text} runs is not known before it runs")
    first = text.partition(".")[0]
    return [first] if first in _PROGRAM_MODULES else []


def _script(word: tuple[str, bool], nested: Nested, of_words: NestedWords) -> list[str]:
    text, literal = word
    if not literal or not text:
        raise CapabilityViolation("what python -c runs is not known before it runs")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CapabilityViolation(f"python -c: the script cannot be parsed: {type(error).__name__}") from None
    found: list[str] = []
    judged: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (started := _started(node, nested, of_words)) is not None:
            found += started
            judged.update(ast.walk(node.func))
    plain_imports = _plain_imports(tree)
    for node in ast.walk(tree):
        if node not in judged and (what := _unknowable(node, plain_imports)):
            raise CapabilityViolation(f"python -c: what the script does with {what} is not known before it runs")
    return found


def _plain_imports(tree: ast.AST) -> set[str]:
    """Modules imported under their own names, so that `subprocess.run` is what it says."""
    aliases = [alias for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    return {alias.name for alias in aliases if alias.asname is None}


def _started(node: ast.Call, nested: Nested, of_words: NestedWords) -> list[str] | None:
    """The programs of a call that starts some by a fixed text; None for any other call."""
    name = ast.unparse(node.func)
    if name not in _STARTS_BY_TEXT | _STARTS_BY_LIST or not node.args:
        return None
    # an own executable or environment would make the text mean something else
    if any(keyword.arg in (None, "executable", "env", "preexec_fn") for keyword in node.keywords):
        return None
    try:
        given = ast.literal_eval(node.args[0])
    except ValueError:
        return None
    if isinstance(given, str) and (name in _STARTS_BY_TEXT or _is_by_shell(node)):
        nested(given)
        return []
    if isinstance(given, (list, tuple)) and given and all(isinstance(item, str) for item in given):
        return None if name in _STARTS_BY_TEXT or _is_by_shell(node) else of_words(list(given))
    return None


def _is_by_shell(node: ast.Call) -> bool:
    return any(keyword.arg == "shell" for keyword in node.keywords)


def _unknowable(node: ast.AST, plain_imports: set[str]) -> str | None:
    """What in a script could start anything, or None."""
    if isinstance(node, ast.Import):
        hidden = [a.name for a in node.names if a.name.partition(".")[0] in _UNKNOWABLE_MODULES]
        return next((name for name in hidden if name not in plain_imports or name != "subprocess"), None)
    if isinstance(node, ast.ImportFrom):
        module = (node.module or "").partition(".")[0]
        return module if module in _UNKNOWABLE_MODULES | {"os", "posix"} else None
    if isinstance(node, ast.Name) and node.id in _UNKNOWABLE_NAMES | _UNKNOWABLE_MODULES:
        return node.id
    if isinstance(node, ast.Attribute) and (node.attr in _UNKNOWABLE_MODULES or _OF_OS.match(node.attr)):
        return ast.unparse(node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
        return "getattr"
    return None
