"""Reading a task packet: everything it says, and every problem at once. Contract: `packets-and-gates.md`, The packet.

Reading never fails: what cannot be read is a finding with its line and its mend. `packet` is None where
a list or field that decides what may be done is missing: there is nothing to run half.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from handshake.domain.packet import WP_ID_PATTERN, Finding, Packet, PacketStatus
from handshake.domain.packet_fields import Remarks, read_fields, read_parts
from handshake.domain.packet_lines import PacketLines, read_lines, without_code_spans
from handshake.domain.packet_manifest import read_manifest
from handshake.domain.packet_waivers import read_reports, read_waivers

MOST_LINES = 1_000_000
_SMALL = 1 << 20
_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_TEMPLATE_NAMES = frozenset(
    ("wp_id", "base_wp_id", "date", "requestor", "signature", "what", "why", "path", "criterion", "command")
)
_MACHINE_WRITES = ("IMPLEMENTATION", "VALIDATION", "STATUS_HANDOFF", "EVIDENCE", "VALIDATION_REPORTS")
_DATE = re.compile(r"(?<!\d)(?:19|20)\d{2}[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])(?!\d)")


@dataclass(frozen=True)
class PacketReading:
    """What reading gave. `lines` is what the edits and gates work on."""

    packet: Packet | None
    findings: tuple[Finding, ...]
    lines: PacketLines

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stand in the way of a run."""
        return tuple(finding for finding in self.findings if finding.severity == "error")


def read_packet(data: bytes, path: str) -> PacketReading:
    """Read a packet from its bytes; `path` is repo-relative and only named in findings.

    Whatever the bytes are, it answers: see `PacketReading.findings`. The last few readings are kept: the gates of
    one commit ask for the same packet several times.
    """
    return _read_again(data, path) if len(data) <= _SMALL else _read(data, path)


@lru_cache(maxsize=4)
def _read_again(data: bytes, path: str) -> PacketReading:
    return _read(data, path)


def _read(data: bytes, path: str) -> PacketReading:
    remarks = Remarks(path)
    if data.count(b"\n") > MOST_LINES:
        remarks.error("HSK-PKT-SIZE", None, f"more than {MOST_LINES} lines", "a packet is a page or ten: cut it")
        return PacketReading(None, tuple(remarks.findings), read_lines(b""))
    lines = read_lines(data)
    _remark_on_bytes(lines, remarks, empty=not data.strip())
    fields = read_fields(lines, path, remarks)
    parts = read_parts(lines, remarks, is_stub=fields.is_stub)
    waivers, waiver_findings = read_waivers(lines, path)
    manifest, manifest_findings = read_manifest(lines, path)
    remarks.findings += [*waiver_findings, *manifest_findings]
    packet = None
    if fields.wp_id and fields.status_line:
        packet = Packet(
            wp_id=fields.wp_id,
            base_wp_id=fields.base_wp_id,
            path=path,
            status_text=fields.status_text,
            status_line=fields.status_line,
            user_signature=fields.user_signature,
            metadata=fields.metadata,
            risk_tier=fields.risk_tier,
            is_stub=fields.is_stub,
            in_scope_paths=parts.in_scope_paths,
            out_of_scope=parts.out_of_scope,
            what=parts.what,
            why=parts.why,
            done_means=parts.done_means,
            test_plan=parts.test_plan,
            execution_policy=parts.execution_policy,
            waivers=waivers,
            manifest=manifest,
            reports=read_reports(lines),
            headings=tuple((heading.text, heading.line + 1) for heading in lines.headings),
        )
    if packet is not None and not (parts.complete or fields.is_stub):
        # it is refused already: then everything that would be refused next is said now
        remarks.findings += [finding for finding in is_runnable(packet) if finding.code != "HSK-ACT-STATUS"]
        packet = None
    if not fields.is_stub:
        _remark_on_placeholders(lines, remarks)
    ordered = sorted(remarks.findings, key=lambda f: (f.line or 0, f.severity, f.code, f.what))
    return PacketReading(packet, tuple(ordered), lines)


def _remark_on_bytes(lines: PacketLines, remarks: Remarks, *, empty: bool) -> None:
    if empty:
        remarks.error("HSK-PKT-EMPTY", None, "the file is empty", "make it with `handshake new <WP_ID>`")
    if lines.not_utf8:
        places = ", ".join(str(number + 1) for number in lines.not_utf8[:5])
        remarks.warning(
            "HSK-PKT-ENCODING",
            lines.not_utf8[0],
            f"bytes that are not UTF-8, read as CP1252, in {len(lines.not_utf8)} lines ({places})",
            "write plain ASCII: `-` for dashes, straight quotes",
        )
    for fence in lines.fences:
        if not fence.closed:
            remarks.error(
                "HSK-PKT-FENCE", fence.opened, "the code fence that opens here is never closed", "close it with ```"
            )
    if lines.open_comment is not None:
        remarks.error(
            "HSK-PKT-COMMENT", lines.open_comment, "the comment that opens here is never closed", "close it with -->"
        )


def _remark_on_placeholders(lines: PacketLines, remarks: Remarks) -> None:
    """`{lower_case}` left from a template, in what a person fills in; inline code may hold such words."""
    named = {finding.line for finding in remarks.findings}
    machine = next((h.line for h in lines.headings if h.section in _MACHINE_WRITES), len(lines.live))
    for number in range(machine):
        text = lines.live[number]
        found = _PLACEHOLDER.search(without_code_spans(text)) if "{" in text else None
        if found and number + 1 not in named:
            say = remarks.error if found.group(1) in _TEMPLATE_NAMES else remarks.warning
            say("HSK-PKT-PLACEHOLDER", number, f"the placeholder {found.group(0)} is still there", "fill it in")


def is_runnable(packet: Packet) -> list[Finding]:
    """What stands between a packet that reads well and its run: stub, status, signature, id and file name."""
    found = Remarks(packet.path)
    status_line = packet.status_line - 1
    if packet.is_stub:
        found.error(
            "HSK-ACT-STUB", status_line, "a stub is never run", f"make the packet: handshake new {packet.wp_id}"
        )
    elif packet.status not in (PacketStatus.READY_FOR_DEV, PacketStatus.IN_PROGRESS):
        found.error(
            "HSK-ACT-STATUS",
            status_line,
            f"the status is `{packet.status_text}`",
            "set it to `Ready for Dev` when the packet may run",
        )
    if not packet.user_signature and not packet.is_stub:
        found.error(
            "HSK-ACT-SIGNATURE", None, "USER_SIGNATURE is missing or pending", "sign it: USER_SIGNATURE: <yours>"
        )
    if not re.match(WP_ID_PATTERN, packet.wp_id):
        found.error("HSK-ACT-ID", None, f"WP_ID `{packet.wp_id}` is not of the form WP-…", "e.g. WP-1-Demo-v1")
    stem = packet.path.replace("\\", "/").rpartition("/")[2].removesuffix(".md").removesuffix(".stub")
    if stem != packet.wp_id:
        found.error(
            "HSK-ACT-STEM",
            None,
            f"WP_ID `{packet.wp_id}` is not the file's name `{stem}`",
            f"name the file {packet.wp_id}.md",
        )
    if _DATE.search(packet.wp_id):
        found.error("HSK-ACT-DATE", None, f"WP_ID `{packet.wp_id}` holds a date", "count revisions with -v1, -v2, …")
    return found.findings
