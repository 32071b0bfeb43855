"""Budget, tags and risk of an MT, and what a prompt's fixed sections cost.

Contract: `micro-tasks.md`, Generation 6.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from handshake.domain.microtask import RiskLevel
from handshake.planning.words import vocabulary
from handshake.source.languages import language_of
from handshake.source.project import Project

SMALLEST_BUDGET = 512
LARGEST_BUDGET = 8192
# system rules 300, iteration context 200, definition up to 500, previous output 200 (`context.md`, Budgets),
# and 600 for the edit forms and the criteria that the completion protocol says again
FIXED_SECTIONS = 1800
NEW_FILE_TOKENS = 400
_MOST_READ_TOKENS = 2000
_SMALLEST_REPLY = 256
_MOST_TAGS = 8


def reply_overhead(window: int) -> int:
    """Tokens of a model's window that a prompt must leave free for the reply: a quarter, at least 256."""
    return max(_SMALLEST_REPLY, window // 4)


def largest_budget(window: int) -> int:
    """The largest `token_budget` that fits a window; may be below 512, which rule MT-VAL-006 rejects."""
    return min(LARGEST_BUDGET, window - reply_overhead(window))


def tokens_for_files(window: int) -> int:
    """Tokens of file contents that one MT may hold."""
    return max(256, largest_budget(window) - FIXED_SECTIONS)


def budget_of(
    project: Project, modify: Sequence[str], create: Sequence[str], read: Sequence[str], window: int
) -> int:
    """Estimated tokens of the group plus the fixed sections, clamped to 512..8192 and to the window."""
    own = sum(project.tokens(path) for path in modify) + NEW_FILE_TOKENS * len(create)
    beside = min(_MOST_READ_TOKENS, sum(project.tokens(path) for path in read))
    most = max(SMALLEST_BUDGET, largest_budget(window))
    return max(SMALLEST_BUDGET, min(own + beside + FIXED_SECTIONS, most))


def risk_of(tier: str, files: int, tokens: int) -> RiskLevel:
    """RISK_TIER, one step up for four files or more, one step down for a single small file."""
    step = {"LOW": 0, "MEDIUM": 1, "HIGH": 2}[tier]
    step += 1 if files >= 4 else 0
    step -= 1 if files <= 1 and tokens < LARGEST_BUDGET // 4 else 0
    return (RiskLevel.LOW, RiskLevel.MEDIUM, RiskLevel.HIGH)[max(0, min(2, step))]


def tags_of(project: Project, files: Iterable[str], texts: Iterable[str]) -> tuple[str, ...]:
    """Languages first, then subjects found in imports, paths and criteria; sorted, at most eight."""
    languages: set[str] = set()
    words: set[str] = set()
    for path in files:
        language = language_of(path)
        languages.update(language.tags if language else ())
        words.update(re.findall(r"[a-z0-9-]+", path.lower()))
        for item in project.outline(path).imports:
            words.update(re.findall(r"\w+", item.module.lower()))
        if project.holds_tests(path):
            words.add("test")
    for text in texts:
        words.update(re.findall(r"[a-z0-9-]+", text.lower()))
    subjects = {tag for tag, known in vocabulary()["tags"].items() if words & set(known)}
    return (*sorted(languages), *sorted(subjects - languages))[:_MOST_TAGS]
