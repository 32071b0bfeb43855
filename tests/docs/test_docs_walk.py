"""The README's walk-through is done, and says what really happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

WALK = re.compile(r"<!-- walk: [^>]+ -->\n```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
WP = "WP-1-Faster-Start-v1"


class Shell:
    """Runs lines in a scratch repository as a person would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "HANDSHAKE_"))}
        identity = {f"GIT_{who}_{what}": "t@e" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        home = {"HOME": str(root.parent), "XDG_CONFIG_HOME": str(root.parent), "GIT_CONFIG_NOSYSTEM": "1"}
        self.env = {**kept, **identity, **home, "PATH": path}

    def run(self, line: str) -> str:
        """Its output, standard error included."""
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.root,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout


@pytest.mark.skipif(os.name == "nt", reason="bash")
def test_a_commit_is_refused_and_mended_as_the_readme_says(documents: dict[str, str], tmp_path: Path) -> None:
    [walk] = WALK.findall(documents["README.md"])
    root = tmp_path / "project"
    (root / "app").mkdir(parents=True)
    (root / "app" / "start.py").write_text("def load_settings():\n    return {}\n")
    shell = Shell(root)
    shell.run(f"git init --quiet --initial-branch main && handshake init && handshake new {WP}")
    packet = root / "docs" / "task_packets" / f"{WP}.md"
    filled = packet.read_text()
    for old, new in (
        ("{what}", "Read the settings once."),
        ("{why}", "It is slow."),
        ("{path}", "`app/`"),
        ("{command}", "python -m pytest tests"),
        ("{criterion}", "It is read once."),
        ("<pending>", "ada-2026-11-22"),
        ("Status:** Draft", "Status:** Ready for Dev"),
    ):
        assert old in filled
        filled = filled.replace(old, new)
    packet.write_text(filled)
    assert "error" not in shell.run("git add --all && git commit --quiet --message 'the packet as signed'")
    said = ""
    for line in walk.splitlines():
        if line.startswith("$ "):
            said += f"{line}\n{shell.run(line.removeprefix('$ '))}"
    assert said == walk
    assert shell.run("git status --short") == ""
