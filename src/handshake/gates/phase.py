"""The phase gate: BOOTSTRAP, SKELETON, approval, implementation, in this order. Contract: `packets-and-gates.md`."""

from __future__ import annotations

import re

from handshake.domain.packet import Finding, PacketStatus
from handshake.domain.packet_fields import Remarks, deciding_status, known_status, status_lines
from handshake.domain.packet_lines import Heading, LineKind, PacketLines
from handshake.domain.packet_manifest import manifest_blocks
from handshake.domain.packet_scope import is_nothing, is_placeholder
from handshake.domain.packet_waivers import read_reports

CODE = "HSK-PHASE"
APPROVAL = "SKELETON APPROVED"

_IMPLEMENTATION = re.compile(r"^[\W_\d]*IMPLEMENTATION(?![A-Z0-9_])", re.IGNORECASE)
_BARE_TITLE = re.compile(r"^[ ]{0,3}\**IMPLEMENTATION\**[ \t]*:?\**[ \t]*$", re.IGNORECASE)


def phase_findings(
    lines: PacketLines, path: str, *, manifest_is_evidence: bool = True, complete: bool = False
) -> list[Finding]:
    """What is wrong with a packet's phases.

    Args:
        lines: the packet.
        path: named in the findings.
        manifest_is_evidence: whether a filled manifest asks for the approval line. A run in standard mode
            says no: there the signature approves the work, and the manifest is written by the executor.
        complete: ask for every phase and the approval before anything was implemented, as strict mode does.
    """
    found = Remarks(path)
    bootstrap, skeleton = lines.heading_of("BOOTSTRAP"), lines.heading_of("SKELETON")
    evidence = _evidence(lines, manifest_is_evidence=manifest_is_evidence)
    if complete and evidence is None:
        evidence = (skeleton.line if skeleton else 0, "governance.mode is strict")
    status = deciding_status(status_lines(lines))
    in_progress = status is not None and known_status(status.value) == PacketStatus.IN_PROGRESS
    if bootstrap is None and (skeleton or evidence or in_progress):
        why = "SKELETON stands" if skeleton else evidence[1] if evidence else "the status is In Progress"
        found.error(CODE, None, f"the phase BOOTSTRAP is missing, and {why}", "add ## BOOTSTRAP before ## SKELETON")
    if bootstrap and skeleton and bootstrap.line > skeleton.line:
        found.error(CODE, skeleton.line, "SKELETON comes before BOOTSTRAP", "put ## BOOTSTRAP first")
    if skeleton is None and evidence:
        found.error(CODE, evidence[0], f"the phase SKELETON is missing, and {evidence[1]}", "add ## SKELETON")
    approvals = [number for number, text in enumerate(lines.live) if text.strip() == APPROVAL]
    if skeleton is None or not approvals:
        if evidence and skeleton:
            found.error(
                CODE,
                evidence[0],
                f"`{APPROVAL}` is missing, and {evidence[1]}",
                "a person approves the skeleton first",
            )
        return found.findings
    stop = _implementation_line(lines, skeleton)
    if not any(skeleton.line < number < stop for number in approvals):
        found.error(
            CODE,
            approvals[0],
            f"`{APPROVAL}` does not stand between SKELETON and IMPLEMENTATION",
            "a person puts the line below ## SKELETON",
        )
    return found.findings


def _implementation_line(lines: PacketLines, skeleton: Heading) -> int:
    return next((line for line in _implementations(lines) if line > skeleton.line), len(lines.live))


def _implementations(lines: PacketLines) -> list[int]:
    """Where an implementation section begins, whatever its heading's form."""
    headings = [h.line for h in lines.headings if _IMPLEMENTATION.match(h.text)]
    bare = [number for number, text in enumerate(lines.live) if _BARE_TITLE.match(text)]
    return sorted({*headings, *bare})


def _evidence(lines: PacketLines, *, manifest_is_evidence: bool) -> tuple[int, str] | None:
    """The first line that says that something was implemented, and what it is."""
    for start in _implementations(lines):
        level = next((h.level for h in lines.headings if h.line == start), 6)
        stop = next((h.line for h in lines.headings if h.line > start and h.level <= level), len(lines.live))
        for number in range(start + 1, stop):
            if _is_filled(lines, number):
                return number, "IMPLEMENTATION is filled"
    filled = [block for block in manifest_blocks(lines) if not block.is_template] if manifest_is_evidence else []
    if filled:
        return filled[0].start, "the manifest is filled"
    reports = read_reports(lines)
    return (reports[0].line - 1, "there is a validation report") if reports else None


def _is_filled(lines: PacketLines, number: int) -> bool:
    if lines.kinds[number] is LineKind.FENCED:
        return bool(lines.texts[number].strip())
    text = lines.live[number].strip()
    if not text or text.startswith("#") or set(text) <= set("=-"):
        return False
    text = re.sub(r"^(?:[-*+]|\d+[.)])\s+", "", text)
    return not (is_nothing(text) or is_placeholder(text) or (text.startswith("(") and text.endswith(")")))
