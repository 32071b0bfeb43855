"""The commands page is complete, and every command line in the documents exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from handshake.domain.errors import ExitCode

SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def is_group(command: Any) -> bool:
    """Whether it has verbs below it. Asked by shape: typer may bring click's classes under another name."""
    return hasattr(command, "commands")


def is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every verb that does something, with its words."""
    if is_group(command):
        for name, sub in command.commands.items():
            yield from verbs(sub, (*path, name))
    else:
        yield path, command


def sections(text: str) -> dict[str, str]:
    """The text below each heading of level 3, by the heading's words in backticks."""
    parts = re.split(r"^###? ", text, flags=re.MULTILINE)
    return {found.group(1): part for part in parts if (found := re.match(r"`handshake ([^`]+)`", part))}


def section_of(text: str, path: tuple[str, ...]) -> str:
    words = " ".join(path)
    return next((body for head, body in sections(text).items() if head == words or head.startswith(words + " ")), "")


def test_every_verb_has_a_section(documents: dict[str, str], command_tree: Any) -> None:
    text = documents["docs/commands.md"]
    missing = [" ".join(path) for path, _ in verbs(command_tree) if not section_of(text, path)]
    assert missing == []


def test_every_option_is_in_the_section_of_its_verb(documents: dict[str, str], command_tree: Any) -> None:
    text = documents["docs/commands.md"]
    missing = [
        f"{' '.join(path)} {name}"
        for path, command in verbs(command_tree)
        for parameter in command.params
        if is_option(parameter)
        for name in (*parameter.opts, *parameter.secondary_opts)
        if not re.search(rf"`{re.escape(name)}[ `]", section_of(text, path))
    ]
    assert missing == []


def test_options_before_the_verb_are_in_their_table(documents: dict[str, str], command_tree: Any) -> None:
    text = documents["docs/commands.md"]
    body = text[text.index("## Options of every verb") : text.index("## Exit codes")]
    names = [name for parameter in command_tree.params for name in parameter.opts if name.startswith("-")]
    assert [name for name in names if not re.search(rf"`{re.escape(name)}[ `]", body)] == []


def test_no_section_speaks_of_a_verb_or_option_that_is_gone(documents: dict[str, str], command_tree: Any) -> None:
    text = documents["docs/commands.md"]
    known = dict(verbs(command_tree))
    for head, body in sections(text).items():
        words = [word for word in head.split() if re.fullmatch(r"[a-z][a-z0-9-]*", word)]
        path = next((tuple(words[:n]) for n in range(len(words), 0, -1) if tuple(words[:n]) in known), None)
        assert path is not None, head
        rows = re.findall(r"^\| (.*?) \|", body, flags=re.MULTILINE)
        options = {name for row in rows for name in re.findall(r"`(--?[a-z][a-z-]*)", row)}
        has = {name for p in known[path].params for name in (*p.opts, *p.secondary_opts)}
        assert options <= has, f"{head}: {sorted(options - has)}"


def test_every_exit_code_is_told(documents: dict[str, str]) -> None:
    text = documents["docs/commands.md"]
    told = re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE)
    assert [int(code) for code in told] == sorted(code.value for code in ExitCode)


def command_lines(text: str) -> Iterator[str]:
    """What stands in the documents as a command line that begins with `handshake`."""
    outside = FENCE.sub("", text)
    for match in SPAN.finditer(outside):
        span = " ".join(match.group(1).split())
        if span.startswith("handshake "):
            yield span
    for language, body in FENCE.findall(text):
        if language in ("bash", "sh", ""):
            for line in body.splitlines():
                if re.match(r"(?:\$ )?(?:\S*/)?handshake ", line):
                    yield re.sub(r"^(?:\$ )?(?:\S*/)?handshake ", "handshake ", line)
                for part in line.split(" && ")[1:]:
                    if re.match(r"(?:\S*/)?handshake ", part):
                        yield re.sub(r"^(?:\S*/)?handshake ", "handshake ", part)


def problem_of(tree: Any, line: str) -> str | None:
    """Why a command line is none, or None. Words such as WP_ID and `continue|skip|abort` stand for values."""
    words = shlex.split(re.sub(r"[\[\]]", "", line.replace("…", "")), comments=True)[1:]
    command, path = tree, []
    while words and is_group(command):
        word = words[0]
        if word.startswith("-"):
            option = _option(command, word)
            if option is None:
                return f"{word} is no option"
            words = words[1 if option.is_flag else 2 :]
            continue
        if word not in command.commands:
            return None if word in ("VERB", "options") else f"{' '.join([*path, word])} is no verb"
        path.append(word)
        command, words = command.commands[word], words[1:]
    unknown = [word for word in words if word.startswith("-") and _option(command, word) is None]
    if unknown:
        return f"{' '.join(path)} has no {unknown[0]}"
    given = []
    while words:
        option = _option(command, words[0]) if words[0].startswith("-") else None
        given += [words[0]] if option is None else []
        words = words[1 if option is None or option.is_flag else 2 :]
    arguments = [p for p in command.params if not is_option(p)]
    most = 99 if any(a.nargs == -1 for a in arguments) else len(arguments)
    too_many = len(given) > most and not is_group(command)
    return f"{' '.join(path)} takes {most} arguments" if too_many else None


def _option(command: Any, word: str) -> Any:
    name = word.split("=", maxsplit=1)[0]
    if name in ("--help", "-h"):
        return SimpleNamespace(is_flag=True)
    return next((p for p in command.params if is_option(p) and name in p.opts), None)


def test_every_command_line_in_the_documents_exists(documents: dict[str, str], command_tree: Any) -> None:
    wrong = [
        f"{path}: {line}: {problem}"
        for path, text in documents.items()
        for line in command_lines(text)
        if (problem := problem_of(command_tree, line))
    ]
    assert wrong == []


def test_the_documents_do_hold_command_lines(documents: dict[str, str]) -> None:
    counts = {path: len(list(command_lines(text))) for path, text in documents.items()}
    assert counts["README.md"] >= 10
    assert counts["docs/commands.md"] >= 20


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("handshake dance", "no verb"),
        ("handshake model dance", "no verb"),
        ("handshake run WP-1 --faster", "has no --faster"),
        ("handshake --faster run WP-1", "no option"),
        ("handshake run WP-1 WP-2", "takes 1"),
    ],
)
def test_a_wrong_command_line_is_found(command_tree: Any, line: str, said: str) -> None:
    assert said in (problem_of(command_tree, line) or "")


@pytest.mark.parametrize(
    "line",
    [
        "handshake -C ../shop status",
        'handshake decide WP-1 continue --note "use UTC" --level 1',
        "handshake check [WP_ID or FILE …]",
        "handshake model install",
    ],
)
def test_a_right_command_line_is_none_of_them(command_tree: Any, line: str) -> None:
    assert problem_of(command_tree, line) is None


def test_examples_in_help_texts_exist(command_tree: Any) -> None:
    for path, command in verbs(command_tree):
        help_text = " ".join((command.help or "").split())
        if "Example: " in help_text:
            assert problem_of(command_tree, help_text.partition("Example: ")[2]) is None, path
