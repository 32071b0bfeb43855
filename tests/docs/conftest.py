"""The documents, and the command line they speak of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def documents() -> dict[str, str]:
    """Every Markdown document of the project that people read, by its path."""
    files = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files}


@pytest.fixture(scope="session")
def command_tree() -> Any:
    from handshake.cli.main import app

    return typer.main.get_command(app)
