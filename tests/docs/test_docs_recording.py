"""The recording is one that asciinema plays, tells the whole story, and its text is what stood there at the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

STORY = (
    "$ handshake daemon &",
    "docs/task_packets/",
    "kill -9",
    "running, 1 of 4 micro-tasks",
    "what was interrupted is put right",
    "completed",
    "log --graph",
)


@pytest.fixture(scope="module")
def docs(root: Path) -> Path:
    return root / "docs"


def test_the_text_tells_the_story_in_its_order(docs: Path) -> None:
    text = (docs / "kill_and_resume.md").read_text(encoding="utf-8")
    places = [text.index(words, text.index("```console")) for words in STORY]
    assert places == sorted(places)
    assert "/home/" not in text and "/tmp" not in text


def test_the_pictures_play_and_end_as_the_text_does(docs: Path) -> None:
    head, *rows = [json.loads(line) for line in (docs / "kill_and_resume.cast").read_text("utf-8").splitlines()]
    assert head["version"] == 2 and head["width"] == 110
    times = [row[0] for row in rows]
    assert times == sorted(times) and {row[1] for row in rows} == {"o"}
    last = [line for line in rows[-1][2].splitlines() if line.strip() not in ("", "$")][-1]
    text = (docs / "kill_and_resume.md").read_text(encoding="utf-8")
    assert text.rstrip().removesuffix("```").rstrip().splitlines()[-1] == last
