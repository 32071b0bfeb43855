"""Data goes into a prompt between fences that the data cannot close."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_RUN = re.compile(r"`{3,}")

_INFO = {
    ".py": "python", ".js": "javascript", ".mjs": "javascript", ".cjs": "javascript", ".jsx": "jsx",
    ".ts": "typescript", ".tsx": "tsx", ".rs": "rust", ".go": "go", ".json": "json", ".yaml": "yaml",
    ".yml": "yaml", ".toml": "toml", ".md": "markdown", ".sh": "bash", ".c": "c", ".h": "c",
    ".cpp": "cpp", ".html": "html", ".css": "css", ".sql": "sql",
}  # fmt: skip


def language_of(path: str) -> str:
    """The info string of a file's fence, e.g. `python`; `text` where nothing is known."""
    return _INFO.get(PurePosixPath(path).suffix.lower(), "text")


def fenced(text: str, info: str = "text") -> str:
    """The text in a fence longer than any run of backticks inside; ends without a line end."""
    longest = max(map(len, _RUN.findall(text)), default=2) if "```" in text else 2
    fence = "`" * (longest + 1)
    body = text if text == "" or text.endswith("\n") else text + "\n"
    return f"{fence}{info}\n{body}{fence}"
