"""Make `docs/hard_gate.md`: a liar, a scope breaker and a model that hangs each escalate, and a human ends it.

    python docs/make_hard_gate.py

Three servers on loopback play the models; the commands are run one by one in a scratch repository, and what they say
goes into the page as it was said.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from make_recording import WP, project, serve

TRACK = f"handshake/track/{WP}"
PAGE = Path(__file__).parent / "hard_gate.md"
BREAKS_SCOPE = """
FILE: shop/pricing.py
```python
VAT_PERCENT = 19
```
FILE: tests/test_pricing.py
```python
print("OK")
```
<mt_complete>
MT_ID: MT-001
EVIDENCE:
- "In `shop/pricing.py` the constant `VAT_PERCENT` is 19." -> shop/pricing.py:1
</mt_complete>
"""
MODELS: dict[str, dict[str, str]] = {
    "liar": {"behave": "lie"},
    "breaker": {"reply": BREAKS_SCOPE},
    "sleeper": {"behave": "hang"},
}
TIMEOUT_S = 1
NOTE = "none of the three can do it: I mend the prices myself"

INTRODUCTION = f"""# Three models that cannot be trusted, and a human

The chain of this run: a model that claims what it did not do (`liar`), one that rewrites the tests beside the code
(`breaker`), one that never answers (`sleeper`), a human. Each model gets two tries. Nothing that any of them said
reaches the code branch; each try, with prompt, reply and verdict, is a commit of the run's log.

`python docs/make_hard_gate.py` made this page: three servers on loopback, a scratch repository, the commands and all
that they said. `sleeper` may take {TIMEOUT_S} s; each of its tries asks three times, each half as long again.

"""

REASONS = "SELECT model_id, iteration AS i, failure_category, error_summary FROM iterations ORDER BY timestamp"

# heading or text, and the commands below it
SCENES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("## The run", (f"handshake run {WP}",)),
    ("Exit code 3: a human is wanted. What stands where:", (f"handshake status {WP}",)),
    (
        "## Why nobody was believed",
        (
            "handshake events --type FR-EVT-MT-005",
            "handshake events --type FR-EVT-MT-006",
            f'handshake sql "{REASONS}"',
        ),
    ),
    (
        "The tests are as they were, and so is the worktree:",
        (f"git -C ../shop.worktrees/{WP} status --short", f"git diff --stat main feat/{WP} -- shop tests"),
    ),
    (
        "## The human ends it",
        (f'handshake decide {WP} abort --note "{NOTE}"', f"handshake run {WP}", f"handshake status {WP}"),
    ),
    (
        "Who decided what, and when, is in the log as a file:",
        (f"git show {TRACK}:$(git ls-tree -r --name-only {TRACK} | grep decisions/)",),
    ),
    (
        "## The log of the run, and the code branch",
        (
            f"git log --graph --format='%h %s' {TRACK}",
            f"git log --format='%h %s' main..feat/{WP}",
            "git status --short",
        ),
    ),
)


def main() -> int:
    """Run the scenes and write the page."""
    folder = Path(tempfile.mkdtemp(prefix="handshake-gate-"))
    servers: list[subprocess.Popen[str]] = []
    urls: dict[str, str] = {}
    try:
        for name, behaviour in MODELS.items():
            script = folder / f"{name}.yaml"
            script.write_text(json.dumps({"rules": [behaviour]}), encoding="utf-8")
            server, urls[name] = serve(script)
            servers.append(server)
        policy: dict[str, object] = {"max_iterations_per_mt": 2}
        root = project(folder, urls, entry={"timeout_s": TIMEOUT_S, "context_window": 16384}, policy=policy)
        (root / "docs" / "task_packets").mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / f"{WP}.md", root / "docs" / "task_packets")
        PAGE.write_text(INTRODUCTION + story(root, folder), encoding="utf-8")
    finally:
        for server in servers:
            server.kill()
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(f"wrote {PAGE.name}\n")
    return 0


def story(root: Path, home: Path) -> str:
    """The scenes as Markdown, with what the commands said."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "LOGNAME": "ada",
        "GIT_PAGER": "cat",
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "COLUMNS": "110",
    }
    parts = []
    for text, commands in SCENES:
        lines = []
        for command in commands:
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=root,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            lines += [f"$ {command}", *(line.rstrip() for line in done.stdout.splitlines())]
        parts.append(f"{text}\n\n```console\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(parts).replace(f"ada@{socket.gethostname()}", "ada@desk")


if __name__ == "__main__":
    sys.exit(main())
