"""How verdicts are shown: errors and warnings, numbered, with their codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from handshake.cli.options import write, write_json
from handshake.domain.errors import ExitCode

if TYPE_CHECKING:
    from handshake.domain.packet import Finding


def show_verdict(
    gate: str, findings: Sequence[Finding], *, as_json: bool, failed: ExitCode = ExitCode.FAILED, **more: Any
) -> NoReturn:
    """Write the findings and leave with the verdict's exit code.

    Args:
        gate: named in the last line.
        failed: what to leave with where there is an error.
        more: further fields of the document.

    Raises:
        typer.Exit: always.
    """
    errors = [finding for finding in findings if finding.severity == "error"]
    warnings = [finding for finding in findings if finding.severity == "warning"]
    if as_json:
        write_json({"gate": gate, "ok": not errors, **more, "errors": errors, "warnings": warnings})
    else:
        for kind, rows in (("error", errors), ("warning", warnings)):
            for number, finding in enumerate(rows, 1):
                write(f"{kind} {number}: {finding.text()}")
        verdict = "fails" if errors else "passes"
        write(f"{gate} {verdict}: {len(errors)} errors, {len(warnings)} warnings")
    raise typer.Exit(int(failed if errors else ExitCode.DONE))
