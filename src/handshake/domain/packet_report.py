"""A report at the end of a packet, and nothing above it changed. Contract: `packets-and-gates.md`, Review."""

from __future__ import annotations

import re
from typing import Literal

from handshake.domain.errors import PacketRefused
from handshake.domain.packet_lines import PacketLines, heading_of_line, read_lines
from handshake.domain.packet_waivers import read_reports

_LEAST_LEVEL = 4
_VERDICT = re.compile(r"^\W*verdict\W*:\W*(PASS|FAIL)\b", re.IGNORECASE)


def verdict_said(report: bytes) -> Literal["PASS", "FAIL"] | None:
    """The first verdict that a report's own text states."""
    found = next((match for text in read_lines(report).live if (match := _VERDICT.match(text))), None)
    if found is None:
        return None
    return "PASS" if found.group(1).upper() == "PASS" else "FAIL"


def with_report(data: bytes, *, title: str, verdict: Literal["PASS", "FAIL"], report: bytes) -> bytes:
    """The packet with this report as the last thing under VALIDATION_REPORTS.

    The report's headings are put below its own, so that none of them opens a section.

    Raises:
        PacketRefused: the report is not ASCII, says another verdict, or would change what stands in the packet.
    """
    before = read_lines(data)
    body = read_lines(report)
    said = verdict_said(report)
    if said not in (None, verdict):
        raise PacketRefused(f"the report says {said}, and the call {verdict}", next_step="let both say the same")
    if body.not_ascii:
        line = body.not_ascii[0] + 1
        raise PacketRefused(
            f"the report's line {line} is not ASCII", next_step="write `-`, straight quotes and `...`"
        )
    newline = before.newline()
    lines = [f"### VALIDATION REPORT - {title}", "", f"Verdict: {verdict}", "", *_lowered(body)]
    text = b"".join(line.rstrip().encode() + newline for line in lines)
    section = before.section("VALIDATION_REPORTS")
    if section is None:
        edited = _ended(data, newline) + newline + b"## VALIDATION_REPORTS" + newline + newline + text
    else:
        stop = section.stop
        head = _ended(b"".join(before.raw[:stop]), newline)
        gap = b"" if head.endswith((b"\n\n", b"\r\n\r\n")) else newline
        tail = b"".join(before.raw[stop:])
        edited = head + gap + text + (newline + tail if tail else b"")
    _refuse_side_effects(before, read_lines(edited), verdict)
    return edited


def _ended(data: bytes, newline: bytes) -> bytes:
    return data if not data or data.endswith(b"\n") else data + newline


def _lowered(body: PacketLines) -> list[str]:
    """The report's lines, its headings no higher than `_LEAST_LEVEL`."""
    own = {heading.line for heading in body.headings}
    lines = []
    for number, text in enumerate(body.texts):
        found = heading_of_line(text) if number in own else None
        lines.append(f"{'#' * max(found[0], _LEAST_LEVEL)} {found[1]}" if found else text)
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _refuse_side_effects(before: PacketLines, after: PacketLines, verdict: str) -> None:
    old, new = read_reports(before), read_reports(after)
    sections = [heading.section for heading in before.headings if heading.section]
    now = [heading.section for heading in after.headings if heading.section]
    if before.section("VALIDATION_REPORTS") is None:
        sections.append("VALIDATION_REPORTS")
    verdicts = [report.verdict for report in old]
    if sections != now or [report.verdict for report in new] != [*verdicts, verdict]:
        raise PacketRefused(
            "the report would change what stands in the packet",
            next_step="take open fences, comment signs and headings that name a report out of it",
        )
    if after.open_comment is not None and before.open_comment is None:
        raise PacketRefused("the report opens a comment and does not close it", next_step="close it")
