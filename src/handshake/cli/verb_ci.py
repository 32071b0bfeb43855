"""`handshake ci`: the gates over a pull request, as annotations."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import typer

from handshake.cli.findings import show_verdict
from handshake.cli.options import Json, open_surroundings, write
from handshake.domain.packet_names import on_one_line

if TYPE_CHECKING:
    from handshake.domain.packet import Finding


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("ci")(ci)


def ci(
    context: typer.Context,
    asked: str | None = typer.Option(None, "--range", help="These commits: A..B, or A...B.", metavar="A..B"),
    annotations: Literal["auto", "github", "none"] = typer.Option(
        "auto", "--annotations", help="auto: for GitHub where it runs there."
    ),
    as_json: Json = False,
) -> None:
    """Judge a pull request as the hooks would. Example: handshake ci --range origin/main...HEAD"""
    from handshake.gates.ci_checks import ci_findings, pull_request

    around = open_surroundings(context.obj)
    request = pull_request(around.repo, around.settings, os.environ, asked)
    findings, packets = ci_findings(around.repo, around.settings, request)
    on_github = annotations == "github" or (annotations == "auto" and os.environ.get("GITHUB_ACTIONS") == "true")
    if on_github and not as_json:
        for finding in findings:
            write(annotation(finding))
    show_verdict("ci", findings, as_json=as_json, packets=list(packets), base=request.base, head=request.head)


def annotation(finding: Finding) -> str:
    """A finding as GitHub's workflow command. What it quotes from a packet can start no command of its own."""
    place = f"file={_property(finding.file)}" + (f",line={finding.line}" if finding.line else "")
    text = f"{finding.what}" + (f"; {finding.mend}" if finding.mend else "")
    return f"::{finding.severity} {place},title={_property(finding.code)}::{_data(text)}"


def _data(text: str) -> str:
    return on_one_line(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
