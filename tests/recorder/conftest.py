"""A repository with journals in it, for each test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from recorded_clone import Clone, ended, iteration, skipped, started


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "it's [a] *clone")


@pytest.fixture
def two_jobs(clone: Clone) -> Clone:
    """Two jobs, the later one written first; one ended."""
    for wp, hours in (("WP-2", 1.0), ("WP-1", 0.0)):
        journal = clone.journal(wp, hours=hours)
        started(journal)
        for number in (1, 2):
            iteration(journal, "MT-001", number)
        iteration(journal, "MT-002", 1, "SUCCESS")
        skipped(journal)
        if wp == "WP-1":
            ended(journal)
        journal.close()
    return clone


@pytest.fixture(scope="session")
def make_clone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Clone]:
    return lambda: Clone(tmp_path_factory.mktemp("clone") / "clone")
