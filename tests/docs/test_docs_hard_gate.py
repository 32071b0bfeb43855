"""The page of the run in which nobody was believed tells the whole story, and nothing of the machine it ran on."""

from __future__ import annotations

from pathlib import Path

STORY = (
    "asking liar (level 0)",
    "not true: evidence",
    "escalates from liar to breaker",
    "tests/test_pricing.py: not among the files",
    "escalates from breaker to sleeper",
    "gave no text within",
    "hard gate: escalation_exhausted",
    "awaiting_user (escalation_exhausted)",
    "FR-EVT-MT-005",
    "decide WP-1-Shop-Prices-v1 abort",
    "decision: abort",
    "git log --graph",
    "Gate 1: abort",
    "the packet as signed",
)


def test_it_tells_the_story_in_its_order(root: Path) -> None:
    text = (root / "docs" / "hard_gate.md").read_text(encoding="utf-8")
    at = text.index("```console")
    for words in STORY:
        assert words in text[at:], f"{words!r} does not stand in its place"
        at = text.index(words, at)
    assert "/home/" not in text and "/tmp" not in text and "Traceback" not in text
