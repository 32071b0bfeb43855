"""A project's own validators: commands of the configuration, run on a copy of the files, through the tool bus.

A line `path:line: words` on standard output is a finding; any other exit code than 0 is one too.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from handshake.domain.clock import Clock, uuid_from
from handshake.domain.operation import EngineResult
from handshake.domain.packet import Finding
from handshake.domain.packet_fields import Remarks
from handshake.gates.validators.view import View

TIMEOUT_MS = 120_000
_LINE = re.compile(r"^(?P<path>[^:\s][^:]*):(?P<line>\d+):(?:\d+:)?\s*(?P<what>.+)$")


def validate_own(view: View, name: str, command: str, clock: Clock) -> list[Finding]:
    """Run one command and read its findings. The user's files are copied: a command can change none of them.

    Raises:
        EnvironmentProblem: no sandbox works, and none was switched off.
    """
    from handshake.toolbus.bus import ToolBus
    from handshake.toolbus.capabilities import profile_for
    from handshake.toolbus.operations import shell_operation
    from handshake.toolbus.sandbox import choose_sandbox

    settings = view.settings
    with tempfile.TemporaryDirectory(prefix="handshake-validate-") as folder:
        root = Path(folder).resolve()
        _copy(view, root)
        bus = ToolBus(
            worktree=root,
            clock=clock,
            sandbox=choose_sandbox(settings.sandbox),
            profiles={"Coder": profile_for(settings.commands.allow)},
            record=lambda _type, _payload, _key: None,
            artifact_prefix="validate",
        )
        operation = shell_operation(uuid_from(f"validate:{name}:{command}"), command, timeout_ms=TIMEOUT_MS)
        result = bus.run(operation, stage="validation")
    return _findings(name, result)


def _copy(view: View, root: Path) -> None:
    for path in view.paths:
        data = view.read(path)
        if data is None:
            continue
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def _findings(name: str, result: EngineResult) -> list[Finding]:
    output = result.outputs[0].data.decode("utf-8", errors="replace") if result.outputs else ""
    code = f"HSK-OWN-{re.sub(r'[^A-Z0-9]+', '-', name.upper()).strip('-')}"
    found = [
        Finding(severity="error", code=code, file=match["path"], line=int(match["line"]), what=match["what"].strip())
        for line in output.splitlines()
        if (match := _LINE.match(line))
    ]
    if result.status != "succeeded":
        why = "; ".join(error.message for error in result.errors) or str(result.status)
        return [*found, _whole(code, name, f"it could not run: {why}")]
    if result.facts.get("exit_code") != 0 and not found:
        last = output.strip().splitlines()[-1:] or ["no output"]
        return [_whole(code, name, f"it left with {result.facts.get('exit_code')}: {last[0][:120]}")]
    return found


def _whole(code: str, name: str, what: str) -> Finding:
    remarks = Remarks(f"validators.own.{name}")
    remarks.error(code, None, what, f"handshake validate {name}")
    return remarks.findings[0]
