"""The command starts without what it does not need: a git hook runs it at each commit."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("pydantic", "yaml", "git", "pygit2", "httpx", "rich", "duckdb", "jinja2", "bashlex", "tree_sitter", "numpy")


def test_the_command_line_loads_no_heavy_library():
    code = f"import sys, handshake.cli.main; print([n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
