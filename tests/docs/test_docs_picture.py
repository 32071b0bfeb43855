"""The picture's script: what stays on a terminal, and which lines are telling."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")


@pytest.fixture(scope="module")
def script(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_picture", root / "docs" / "make_picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_moving_lines_leave_nothing(script: ModuleType) -> None:
    spinner = "\x1b[?25l⠋ asking\r\x1b[2K⠙ asking\n\r\x1b[1A\x1b[2K\x1b[?25h"
    assert script.screen(f"first\r\n{spinner}\x1b[32mdone\x1b[0m\r\n") == ["first", "\x1b[32mdone\x1b[0m", ""]


def test_a_carriage_return_begins_the_line_anew(script: ModuleType) -> None:
    assert script.screen("one\rtwo\n") == ["two", ""]


def test_the_false_claim_is_shown_and_prompts_are_not(script: ModuleType) -> None:
    excerpt = [
        "07:00:00  MT-003 iter 1: asking small (level 0)",
        "          prompt:",
        "          | # YOUR TASK",
        "          reply 1 of 1:",
        "          | <mt_complete>",
        "          | MT_ID: MT-003",
        "07:00:00  MT-003 iter 1: 10 tokens in, 5 out, 0.0 s",
        "07:00:01  MT-003 iter 1: not true: no such line",
    ]
    chosen = script.choose(excerpt)
    assert chosen[2] == script.CUT
    assert chosen[3:5] == excerpt[4:6]
    assert chosen[-1].endswith("not true: no such line")
    assert not any("YOUR TASK" in line or "tokens in" in line for line in chosen)


def test_lines_are_as_wide_as_the_terminal(script: ModuleType) -> None:
    rows = script.choose(["\x1b[33m" + "x" * 200 + "\x1b[0m", "* " + "y" * 200])
    assert [len(script._COLOUR.sub("", row)) for row in rows[1:]] == [
        script.COLUMNS,
        200 - script.COLUMNS,
        script.COLUMNS,
    ]
    assert rows[2].startswith("\x1b[33m")
    assert rows[3].endswith("…\x1b[0m")
