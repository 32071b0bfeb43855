"""Which programs a shell command would start. Contract: `tool-bus.md`, Capabilities.

The text is parsed by a real shell parser (bashlex). What cannot be parsed, or whose program is only
known once it runs, is refused: a guess here would be a hole.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

from handshake.domain.errors import CapabilityViolation
from handshake.toolbus.interpreters import refuse_windows
from handshake.toolbus.wrappers import Word, programs_of_words

# in these directories of a project a file is what its name says; a path anywhere else is itself
_TOOL_DIRECTORIES = (".venv/bin", "venv/bin", ".venv/Scripts", "venv/Scripts", "node_modules/.bin")
_HIDDEN_COMMAND = re.compile(r"\$\(|`|[<>]\(")
_UNQUOTED_EXPANSION = re.compile(r"[*?~$`]|\[[^\]]+\]|\{[^}]*(?:,|\.\.)")
_RESOLVES_PROGRAMS = re.compile(
    r"^(PATH|ENV|BASH_ENV|IFS|SHELLOPTS|BASHOPTS|CDPATH|PS4|LD_\w+|DYLD_\w+|BASH_FUNC\w*)$"
)
# words of these signs alone mean themselves in every shell, unless the first is a reserved word
_PLAIN_COMMAND = re.compile(r"[ \t]*[A-Za-z0-9_./:,@%+-]+(?:[ \t]+[A-Za-z0-9_./:,@%+-]+)*[ \t]*")
_RESERVED = frozenset(
    [
        "if",
        "then",
        "else",
        "elif",
        "fi",
        "for",
        "case",
        "esac",
        "while",
        "until",
        "do",
        "done",
        "in",
        "function",
        "time",
        "select",
        "coproc",
    ],
)
_MAX_DEPTH = 8


def programs_of(command: str) -> tuple[str, ...]:
    """Every program that `command` would start, each once, in a stable order.

    A program is named as it is looked up (`pytest`), a file of a project's tool directory by its base
    name (`.venv/bin/pytest` is `pytest`), any other path by itself (`./run.sh`, `/opt/x`). Shell
    built-ins that start nothing are left out. Wrappers (`env`, `sh -c`, `xargs`, `timeout`, …) count as what
    they run; `find` counts as itself and what `-exec` runs.

    Raises:
        CapabilityViolation: empty, not parsable, or a program that is not known before it runs.
    """
    return tuple(dict.fromkeys(_programs(command, 0)))


def _programs(command: str, depth: int) -> list[str]:
    if depth > _MAX_DEPTH:
        raise CapabilityViolation("the command nests shells too deep")
    if not command.strip() or "\0" in command or "\r" in command:
        raise CapabilityViolation(f"{command!r} is no command")
    refuse_windows(command)
    words = plain_words(command)
    walk = _Walk(command, depth)
    if words is None:
        return _parsed(command, walk)
    walk.simple([Word(word, True) for word in words])
    return walk.found


def plain_words(command: str) -> list[str] | None:
    """The words of one simple command without any sign that a shell reads, or None where the parser must judge.

    The parser builds its tables anew in each process; most commands never need it.
    """
    if not _PLAIN_COMMAND.fullmatch(command):
        return None
    words = command.split()
    return None if words[0] in _RESERVED else words


def _parsed(command: str, walk: _Walk) -> list[str]:
    import bashlex
    from bashlex.errors import ParsingError

    try:
        trees = bashlex.parse(command)
    except (ParsingError, NotImplementedError) as error:
        raise CapabilityViolation(f"the command cannot be parsed: {error}: {_short(command)}") from None
    except (AttributeError, AssertionError, IndexError, RecursionError, TypeError, KeyError) as error:
        # bashlex trips over some input (a lone comment, deep nesting) instead of naming it
        raise CapabilityViolation(
            f"the command cannot be parsed ({type(error).__name__}): {_short(command)}"
        ) from None
    for tree in trees:
        walk.node(tree)
    return walk.found


class _Walk:
    """One pass over a parsed command; `found` are the programs in order."""

    def __init__(self, source: str, depth: int) -> None:
        self.source = source
        self.depth = depth
        self.found: list[str] = []

    def node(self, node: Any) -> None:
        """Visit one node and all below it."""
        kind = node.kind
        if kind == "command":
            self._command(node)
        elif kind == "for":
            self._for(node)
        elif kind in ("word", "assignment"):
            self._word(node)
        elif kind == "redirect":
            self._redirect(node)
        elif kind in ("commandsubstitution", "processsubstitution"):
            self.node(node.command)
        elif kind in ("list", "pipeline", "if", "while", "until", "compound", "function"):
            for part in (*getattr(node, "list", ()), *getattr(node, "parts", ()), *getattr(node, "redirects", ())):
                self.node(part)
        elif kind not in ("operator", "pipe", "reservedword", "parameter", "tilde", "heredoc"):
            raise CapabilityViolation(f"the command uses {kind}, which is not judged: {_short(self.source)}")

    def _command(self, node: Any) -> None:
        words: list[Word] = []
        for part in node.parts:
            if part.kind == "assignment":
                refuse_assignment(part.word)
            elif part.kind == "word":
                words.append(self._as_word(part))
        self.simple(words)
        for part in node.parts:
            self.node(part)

    def simple(self, words: list[Word]) -> None:
        """Add what the words of one simple command start."""
        self.found += [named(word) for word in programs_of_words(words, self._nested, refuse_assignment)]

    def _for(self, node: Any) -> None:
        variable = next((part.word for part in node.parts if part.kind == "word"), "")
        refuse_assignment(f"{variable}=")
        for part in node.parts:
            self.node(part)

    def _nested(self, script: str) -> None:
        self.found += _programs(script, self.depth + 1)

    def _as_word(self, node: Any) -> Word:
        raw = self.source[node.pos[0] : node.pos[1]]
        quoted = raw[:1] in "'\"" and raw[-1:] == raw[:1]
        literal = not node.parts and (quoted or not _UNQUOTED_EXPANSION.search(raw))
        return Word(node.word, literal)

    def _word(self, node: Any) -> None:
        for part in node.parts:
            # bashlex does not look into ${x:-$(…)}
            if part.kind == "parameter":
                value = str(getattr(part, "value", ""))
                if _HIDDEN_COMMAND.search(value):
                    raise CapabilityViolation(f"a substitution hides in ${{{value}}}")
                name, equals, _ = value.partition("=")
                if equals:
                    refuse_assignment(f"{name.removesuffix(':')}=")
            self.node(part)

    def _redirect(self, node: Any) -> None:
        body = getattr(node, "heredoc", None)
        if body is not None and _HIDDEN_COMMAND.search(body.value):
            raise CapabilityViolation("a substitution stands in a here-document")
        if hasattr(node.output, "kind"):
            self.node(node.output)


def named(program: str) -> str:
    """The name a program is judged by."""
    if "/" not in program:
        return program
    path = posixpath.normpath(program)
    folder, _, base = path.rpartition("/")
    if folder in _TOOL_DIRECTORIES:
        return base.removesuffix(".exe")
    return path if path.startswith(("/", "../")) else f"./{path}"


def refuse_assignment(assignment: str) -> None:
    """Refuse a variable that decides which program a name stands for.

    Raises:
        CapabilityViolation: it is one.
    """
    name = assignment.partition("=")[0].removesuffix("+")
    if _RESOLVES_PROGRAMS.match(name):
        raise CapabilityViolation(f"the command sets {name}, which decides what a program's name stands for")


def _short(command: str) -> str:
    line = " ".join(command.split())
    return line if len(line) <= 80 else line[:77] + "..."
