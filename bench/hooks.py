"""What the git hooks cost, beside `git commit` without a hook and beside the pre-commit framework with one hook.

    python bench/hooks.py                  a table
    python bench/hooks.py --rounds 30 --json

Each round commits the same staged change with each set of hooks in turn and takes the commit back, so that all
of them meet the same machine. Start-up of every process is in the figures: a commit is timed from outside.
Contract: `packets-and-gates.md`, Hooks: nothing relevant under 60 ms, 20 files of a work packet under 250 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from handshake.gates.hooks import hooks_folder, install_hooks
from handshake.repo.git import find_repository

WP = "WP-1-Bench-v1"
FILES = 20
PACKET = f"""# Task Packet: {WP}

## METADATA
- WP_ID: {WP}
- **Status:** Ready for Dev
- USER_SIGNATURE: bench010120260101

## SCOPE
- IN_SCOPE_PATHS:
  - src/

## QUALITY_GATE
### TEST_PLAN
```bash
pytest -q
```

### DONE_MEANS
- It is so.

## VALIDATION
"""
ONE_LOCAL_HOOK = """repos:
- repo: local
  hooks:
  - {id: nothing, name: nothing, entry: "true", language: system, always_run: true, pass_filenames: false}
"""


class Scratch:
    """A repository to commit in, with folders of hooks to choose from."""

    def __init__(self, root: Path) -> None:
        self.root = root
        home = root.parent / "home"
        home.mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "HANDSHAKE_"))}
        # an installed program has its bytecode; without it each hook would compile 60 modules first
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        identity = {f"GIT_{who}_{what}": "b@e" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        places = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "PRE_COMMIT_HOME": str(root.parent / "cache")}
        own = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        self.env = {**kept, **identity, **places, "PATH": own, "GIT_CONFIG_NOSYSTEM": "1"}
        self.git("init", "-q", "-b", "main", str(root), at=root.parent)
        self.hooks = {"no hook": root.parent / "none"}
        self.hooks["no hook"].mkdir()

    def git(self, *args: str, at: Path | None = None) -> str:
        done = subprocess.run(
            ["git", "-C", str(at or self.root), *args], env=self.env, capture_output=True, check=True
        )
        return done.stdout.decode()

    def write(self, path: str, text: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def prepare(self) -> None:
        """A packet, 200 files, our hooks, and those of the framework where it is installed."""
        self.write(f"docs/task_packets/{WP}.md", PACKET)
        for number in range(200):
            self.write(f"src/part{number % 10}/file{number}.py", "".join(f"line {n}\n" for n in range(100)))
        self.write(".pre-commit-config.yaml", ONE_LOCAL_HOOK)
        self.git("add", "-A")
        self.git("commit", "-qm", "base")
        repo = find_repository(self.root)
        install_hooks(repo)
        self._keep_hooks("Handshake", hooks_folder(repo))
        framework = [sys.executable, "-m", "pre_commit", "install"]
        if subprocess.run(framework, cwd=self.root, env=self.env, capture_output=True, check=False).returncode == 0:
            self._keep_hooks("pre-commit framework", hooks_folder(repo))

    def _keep_hooks(self, name: str, folder: Path) -> None:
        place = self.root.parent / name.replace(" ", "-")
        shutil.copytree(folder, place, ignore=shutil.ignore_patterns("*.sample"))
        shutil.rmtree(folder)
        self.hooks[name] = place

    def commit(self, hooks: str) -> float:
        """Seconds of one commit of what is staged; it is taken back."""
        began = time.perf_counter()
        self.git("-c", f"core.hooksPath={self.hooks[hooks]}", "commit", "-qm", "x")
        took = time.perf_counter() - began
        self.git("-c", f"core.hooksPath={self.hooks['no hook']}", "reset", "-q", "--soft", "HEAD~1")
        return took


def stage_plain(scratch: Scratch) -> None:
    """One file on a branch of nobody's."""
    scratch.write("src/part0/file0.py", "another line\n")
    scratch.git("add", "-A")


def stage_work(scratch: Scratch) -> None:
    """20 files on the branch of the packet, with their manifest."""
    scratch.git("reset", "-q", "--hard")
    scratch.git("checkout", "-q", "-b", f"feat/{WP}")
    for number in range(FILES):
        path = scratch.root / f"src/part{number % 10}/file{number}.py"
        path.write_text(path.read_text().replace("line 50\n", "line fifty\n"))
    scratch.git("add", "-A")
    command = [sys.executable, "-m", "handshake", "-C", str(scratch.root), "manifest", "write", WP]
    subprocess.run(command, env=scratch.env, capture_output=True, check=True)
    scratch.git("add", "-A")


def measure(scratch: Scratch, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each set of hooks, in turn."""
    taken: dict[str, list[float]] = {name: [] for name in scratch.hooks}
    for round_number in range(rounds + 1):
        for name in scratch.hooks:
            seconds = scratch.commit(name)
            if round_number:  # the first warms the disk's cache
                taken[name].append(seconds * 1000)
    return taken


def figures(what: str, aim: float, taken: dict[str, list[float]]) -> list[dict[str, object]]:
    """A row for each set of hooks: whole commits, and what is on top of one without a hook."""
    bare = statistics.median(taken["no hook"])
    return [
        {
            "commit": what,
            "hooks": name,
            "median_ms": round(statistics.median(values), 1),
            "min_ms": round(min(values), 1),
            "on_top_ms": round(statistics.median(values) - bare, 1),
            "ratio": round(statistics.median(values) / bare, 1),
            "aim_ms": aim if name == "Handshake" else None,
        }
        for name, values in taken.items()
    ]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Scratch(Path(folder) / "repo")
        scratch.prepare()
        stage_plain(scratch)
        rows = figures("nothing relevant", 60, measure(scratch, args.rounds))
        stage_work(scratch)
        rows += figures(f"work packet, {FILES} files", 250, measure(scratch, args.rounds))
    if args.json:
        print(json.dumps({"rows": rows}, indent=1))
        return 0
    print("| commit | hooks | median | fastest | on top | ratio | aim |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        aim = f"< {row['aim_ms']} ms" if row["aim_ms"] else ""
        print(
            f"| {row['commit']} | {row['hooks']} | {row['median_ms']} ms | {row['min_ms']} ms |"
            f" {row['on_top_ms']} ms | {row['ratio']} | {aim} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
