"""`handshake check`: lint packets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from handshake.cli.options import Json, open_surroundings, write, write_json
from handshake.domain.errors import ExitCode, PacketRefused, UsageError

if TYPE_CHECKING:
    from handshake.domain.packet import Finding


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("check")(check)


def check(
    context: typer.Context,
    what: list[str] = typer.Argument(None, help="WP_IDs or files; all packets when left out."),
    as_json: Json = False,
) -> None:
    """Say all that keeps a packet from running. Example: handshake check WP-1-Faster-Start-v1"""
    from handshake.domain.packet_text import read_packet
    from handshake.gates.activation import activation_findings
    from handshake.gates.plan_commands import command_findings
    from handshake.repo.packet_file import odd_packets, read_packet_file, refuse_odd_revisions

    around = open_surroundings(context.obj)
    folder = around.repo.root / around.settings.paths.packets
    registry_file = around.repo.root / around.settings.paths.registry
    registry = registry_file.read_text(encoding="utf-8", errors="replace") if registry_file.is_file() else None
    findings: list[Finding] = []
    files = _files(around.repo.root, folder, what or [])
    for place in [] if what else odd_packets(folder):
        findings.append(_no_file(_shown(around.repo.root, place), "it is not a regular file", "move it away"))
    for file in files:
        shown = _shown(around.repo.root, file)
        reading = read_packet(read_packet_file(around.repo.root, shown) or b"", shown)
        findings += reading.findings
        if reading.packet is not None:
            findings += command_findings(reading.packet, reading.lines)
        if reading.packet is not None and file.parent == folder:
            known = {(f.code, f.line, f.what) for f in findings}
            try:
                refuse_odd_revisions(around.repo.root, around.settings.paths.packets, reading.packet.base_wp_id)
                more = activation_findings(reading.packet, folder, around.settings, registry)
            except PacketRefused as refused:
                more = [_no_file(shown, refused.what, refused.next_step)]
            findings += [f for f in more if (f.code, f.line, f.what) not in known]
    errors = [f for f in findings if f.severity == "error"]
    if as_json:
        write_json({"ok": not errors, "files": len(files), "findings": findings})
    else:
        for finding in findings:
            write(f"{finding.severity}: {finding.text()}")
        write(f"{len(files)} packets, {len(errors)} errors, {len(findings) - len(errors)} warnings")
    raise typer.Exit(int(ExitCode.USAGE if errors else ExitCode.DONE))


def _files(root: Path, folder: Path, wanted: list[str]) -> list[Path]:
    if not wanted:
        return sorted(path for path in folder.glob("WP-*.md") if path.is_file())
    files = []
    for name in wanted:
        candidates = [folder / f"{name}.md", root / name, Path(name)]
        file = next(
            (path for path in candidates if path.is_file() or (path.exists() and path.parent == folder)), None
        )
        if file is None:
            raise UsageError(f"there is no packet {name}", next_step=f"handshake new {name}")
        files.append(file.resolve())
    return files


def _no_file(shown: str, what: str, mend: str) -> Finding:
    from handshake.domain.packet import Finding

    return Finding(severity="error", code="HSK-ACT-FILE", file=shown, what=what, mend=mend)


def _shown(root: Path, file: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
