"""A repository with a packet of many small micro-tasks: what a bench runs. Nothing of it outlives the bench."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from handshake.domain.clock import SystemClock, SystemIds
from handshake.domain.errors import EnvironmentProblem
from handshake.domain.settings import Settings
from handshake.loop.surroundings import Surroundings
from handshake.models.scripted.script import load_script
from handshake.models.scripted.server import ScriptedServer
from handshake.repo.git import find_repository
from handshake.toolbus.sandbox import choose_sandbox

WP_ID = "WP-1-Many-Small-v1"
_LINES = 40


def make_project(folder: Path, steps: int) -> Path:
    """The repository: `steps` modules, each with a wrong constant, and the packet that asks to mend them."""
    root = folder / "project"
    names = [f"work/part_{number:03d}.py" for number in range(steps)]
    for top, value in ((root, 0), (folder / "solution", 1)):
        (top / "work").mkdir(parents=True)
        for name in names:
            (top / name).write_text(_module(value), encoding="utf-8")
    (folder / "script.yaml").write_text("rules:\n  - solve: solution\n", encoding="utf-8")
    (root / ".gitignore").write_text("__pycache__/\n", encoding="utf-8")
    packet = root / "docs" / "task_packets" / f"{WP_ID}.md"
    packet.parent.mkdir(parents=True)
    packet.write_text(packet_of(WP_ID, names), encoding="utf-8")
    for arguments in (
        ("init", "--quiet", "--initial-branch=main"),
        ("config", "user.name", "Bench"),
        ("config", "user.email", "bench@localhost"),
        ("add", "--all"),
        ("commit", "--quiet", "--message=parts with a wrong value"),
    ):
        subprocess.run(["git", "-C", str(root), *arguments], check=True, env=_without_git_variables())
    return root


def serve_solution(folder: Path) -> ScriptedServer:
    """The scripted model that answers at once; call its `serve_forever` in a thread."""
    return ScriptedServer(load_script(folder / "script.yaml"))


def surroundings(root: Path, address: str, steps: int) -> Surroundings:
    """Settings that name the served model, a packet's worth of iterations, and `python` as the one program."""
    model = {"provider": "openai", "base_url": f"{address}/v1", "model": "m", "profile": "tiny"}
    settings = Settings.model_validate(
        {
            "models": {"m": {**model, "samples": 1, "grammar": False, "context_window": 16384}},
            "commands": {"allow": ["python"]},
            "sandbox": sandbox(),
            "policy": {
                "max_total_iterations": min(500, steps + 20),
                "escalation_chain": [
                    {"level": 0, "model_id": "m"},
                    {"level": 1, "model_id": "HARD_GATE", "is_hard_gate": True},
                ],
            },
        }
    )
    return Surroundings(find_repository(root), settings, SystemClock(), SystemIds())


def sandbox() -> str:
    """The sandbox of this machine, or none where none works."""
    try:
        choose_sandbox("auto")
    except EnvironmentProblem:
        return "off"  # the command that runs is ours: `python -c pass`
    return "auto"


def _without_git_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def _module(value: int) -> str:
    functions = [f"def times_{number}(x):\n    return x * {number}\n" for number in range(_LINES // 4)]
    return "\n\n".join([f'"""A part."""\n\nVALUE = {value}\n', *functions])


def packet_of(wp_id: str, names: list[str]) -> str:
    """A packet that asks to mend these modules."""
    scope = "\n".join(f"  - {name}" for name in names)
    done = "\n".join(f"- In `{name}` the constant `VALUE` is 1." for name in names)
    return _PACKET.format(wp_id=wp_id, scope=scope, done=done)


def remove(folder: Path) -> None:
    """Take the bench's folder away, read-only files of git's objects included."""
    shutil.rmtree(folder, ignore_errors=True)


_PACKET = """# Task Packet: {wp_id}

## METADATA
- WP_ID: {wp_id}
- DATE: 2026-01-01
- REQUESTOR: Bench
- **Status:** Ready for Dev
- RISK_TIER: LOW
- USER_SIGNATURE: bench-signed-this

## SCOPE
- What: Set the value of each part.
- Why: So that steps can be timed.
- IN_SCOPE_PATHS:
{scope}
- OUT_OF_SCOPE:
  - Everything else.

## WAIVERS GRANTED
- NONE

## QUALITY_GATE
### TEST_PLAN
```bash
python -c pass
```

### DONE_MEANS
{done}

### ROLLBACK_HINT
```bash
git revert <commit>
```

## BOOTSTRAP
- FILES_TO_OPEN:
{scope}
- RISK_MAP:
  - "none" -> "none"

## SKELETON
SKELETON APPROVED
- No interface changes.

## IMPLEMENTATION
- (The executor fills this in.)

## VALIDATION
- (The manifest.)

## STATUS_HANDOFF
- (The executor.)

## EVIDENCE
- (The executor.)

## VALIDATION_REPORTS
- (Reviews.)
"""
