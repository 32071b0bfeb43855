"""One git hook, run and answered: the way in that git takes at each commit, so it loads no command line library.

Contract: `packets-and-gates.md`, Hooks: a hook that cannot judge refuses, with the mend and the way around.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from handshake.domain.errors import ExitCode, HandshakeError, UsageError

if TYPE_CHECKING:
    from handshake.domain.packet import Finding
    from handshake.repo.git import Repository

SKIP = "HANDSHAKE_SKIP"
_GIT = {"pre-commit": "commit", "pre-push": "push", "pre-merge-commit": "merge"}
_READ_INPUT = ("pre-push", "reference-transaction")

# where pydantic is needed, none of its plugins is, and looking for some reads every installed package's metadata
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def run_hook(name: str, arguments: Sequence[str], directory: Path) -> int:
    """Run the checks of one hook, say what they found, and give the exit code; 0 lets git go on."""
    try:
        return _run(name, arguments, directory)
    except HandshakeError as problem:
        if os.environ.get("HANDSHAKE_DEBUG"):
            raise
        _say(f"{name} cannot judge: {problem.line()}")
        _say(f"or go round it, recorded: {_way_around(name)}")
        return int(problem.exit_code)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    except OSError as problem:
        if os.environ.get("HANDSHAKE_DEBUG"):
            raise
        _say(f"{name} cannot judge: {problem.strerror or problem}: {problem.filename or directory}")
        return int(ExitCode.ENVIRONMENT)


def _run(name: str, arguments: Sequence[str], directory: Path) -> int:
    from handshake.gates.hook_checks import CHECKS
    from handshake.repo.git import find_repository

    if name not in CHECKS:
        raise UsageError(f"there is no hook {name}", next_step=f"use one of: {', '.join(CHECKS)}")
    given = os.fsdecode(sys.stdin.buffer.read()) if name in _READ_INPUT and not sys.stdin.isatty() else ""
    repo = find_repository(directory, libgit2=False)
    if os.environ.get(SKIP) == "1":
        if name != "reference-transaction" or arguments[:1] == ["prepared"]:
            _skip(repo, name)
        return int(ExitCode.DONE)
    with repo.git.one_reader():
        findings = CHECKS[name](repo, arguments, given)
    for finding in findings:
        _say(f"{finding.severity}: {finding.text()}")
    if not any(finding.severity == "error" for finding in findings):
        return int(ExitCode.DONE)
    _record_refusal(repo, name, findings)
    _say(f"{name} refuses. Next: mend the above, or go round it, recorded: {_way_around(name)}")
    return int(ExitCode.FAILED)


def _skip(repo: Repository, name: str) -> None:
    from handshake.domain.clock import SystemClock
    from handshake.gates.hook_skips import record_skip

    record_skip(repo, name, SystemClock())
    _say(f"{name} skipped because {SKIP}=1; that is recorded (handshake events)")


def _record_refusal(repo: Repository, name: str, findings: list[Finding]) -> None:
    """What a hook refused is on record. FR-EVT-GOV-GATES-001.

    What it let through is a commit or a push, and git's record of that needs no second one: loading the recorder
    would cost a tenth of the hook.
    """
    if name not in _GIT:
        return
    from handshake.domain.clock import SystemClock
    from handshake.gates.hook_skips import record_verdict

    codes = [finding.code for finding in findings if finding.severity == "error"]
    record_verdict(repo, name, codes, SystemClock(), failed=True)


def _way_around(name: str) -> str:
    return f"{SKIP}=1 git {_GIT.get(name, '…')}"


def _say(text: str) -> None:
    sys.stderr.write(f"handshake: {text}\n")
