"""The short way past the shell parser gives what the parser gives."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handshake.domain.errors import CapabilityViolation
from handshake.toolbus import commands
from handshake.toolbus.commands import plain_words, programs_of

WORDS = [
    "a",
    "python",
    "-m",
    "pytest",
    "sh",
    "bash",
    "-c",
    "-x",
    "env",
    "-u",
    "nice",
    "-n",
    "5",
    "timeout",
    "10",
    "xargs",
    "find",
    ".",
    "-exec",
    "-name",
    "time",
    "command",
    "exec",
    "nohup",
    "if",
    "then",
    "fi",
    "do",
    "done",
    "in",
    "for",
    "case",
    "esac",
    "function",
    "select",
    "coproc",
    "while",
    "until",
    "else",
    "elif",
    "eval",
    "source",
    ":",
    "true",
    "echo",
    "-",
    "--",
    "cd",
    "./run.sh",
    "../x",
    "/opt/x",
    ".venv/bin/pytest",
    "@",
    "%",
    "+",
    ",",
    "git",
    "A:b",
    "a,b",
    "-e",
    "setsid",
]


def judged(command: str) -> tuple[str, ...] | str:
    try:
        return programs_of(command)
    except CapabilityViolation as refused:
        return refused.what


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join))
def test_plain_words_are_judged_as_the_parser_judges_them(command):
    short = judged(command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "plain_words", lambda _command: None)
        assert judged(command) == short


@pytest.mark.parametrize(
    "command",
    ["a=1 b", "a;b", "a|b", "a&b", "$a", "`a`", "a*", "a?", "[a]", "{a,b}", "~/a", "a>b", "'a'", '"a"', "a\\ b",
     "a\nb", "a #b", "! a", "if a", "time a", "(a)", "a\x0bb", "ä"],
)  # fmt: skip
def test_any_sign_a_shell_reads_goes_to_the_parser(command):
    assert plain_words(command) is None


def test_a_plain_command_does_not_load_the_parser():
    code = (
        "import sys; from handshake.toolbus.commands import programs_of;"
        " assert programs_of('python -m pytest tests') == ('python',); sys.exit('bashlex' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
