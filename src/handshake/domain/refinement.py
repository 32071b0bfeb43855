"""The refinement of a work packet: what it says about the spec, and who approved it.

Contract: `packets-and-gates.md`, Around a packet. Reading never fails; whether what it says is true of the
spec is asked in `handshake.gates.refinement`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from handshake.domain.packet import Finding
from handshake.domain.packet_fields import Remarks, is_unsigned, plain_value
from handshake.domain.packet_lines import PacketLines, read_lines
from handshake.domain.packet_lists import KeyValue, key_of_line
from handshake.domain.packet_scope import is_nothing, is_placeholder

COVERS_POINTS = 5
_SPEC_NAME = re.compile(r"[^\s`*()\[\]]+\.md\b")
_BOX = re.compile(r"\[([ xX])\]")


@dataclass(frozen=True, kw_only=True)
class SpecAnchor:
    """A place in the spec: `token` must stand in lines `start` to `end` (1-based) of `spec_file`.

    `spec_file` is None where the anchor names none: then the refinement's own spec is meant.
    """

    spec_file: str | None
    start: int
    end: int
    token: str
    line: int


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """Everything that is read from a refinement. Lines are 1-based, 0 where the field is missing."""

    wp_id: str
    path: str
    date: str
    spec_target: str | None
    spec_file: str | None
    spec_sha1: str | None
    spec_line: int
    is_approved: bool
    review_line: int
    user_signature: str | None
    signature_line: int
    anchors: tuple[SpecAnchor, ...]
    covers: tuple[bool, ...]
    enrichment_needed: bool | None
    enrichment_reason: str


@dataclass(frozen=True)
class RefinementReading:
    """What reading gave."""

    refinement: Refinement
    findings: tuple[Finding, ...]
    lines: PacketLines


def read_refinement(data: bytes, path: str) -> RefinementReading:
    """Read a refinement; `path` is only named in findings. Both forms of field names are read:

    `START` or `CONTEXT_START_LINE`, `REVIEW_STATUS` or `USER_REVIEW_STATUS`, and so on.
    """
    lines = read_lines(data)
    remarks = Remarks(path)
    fields = _Fields(lines)
    target, spec = _target(fields)
    status, signature = fields.first("REVIEW_STATUS"), fields.first("USER_SIGNATURE")
    sha1 = fields.value("SPEC_SHA1")
    signed = plain_value(signature.value) if signature else ""
    reason = fields.value("REASON") or ""
    needed = (fields.value("ENRICHMENT_NEEDED") or "").upper()
    refinement = Refinement(
        wp_id=_first_word(fields.value("WP_ID") or ""),
        path=path,
        date=fields.value("DATE") or "",
        spec_target=target,
        spec_file=spec,
        spec_sha1=sha1.lower() if sha1 and re.fullmatch(r"[0-9a-fA-F]{40}", sha1) else None,
        spec_line=fields.line("SPEC_SHA1"),
        is_approved=bool(status and plain_value(status.value).upper() == "APPROVED"),
        review_line=fields.line("REVIEW_STATUS"),
        user_signature=None if is_unsigned(signed) else signed,
        signature_line=fields.line("USER_SIGNATURE"),
        anchors=tuple(_anchors(fields, remarks)),
        covers=tuple(_covers(lines)),
        enrichment_needed={"YES": True, "NO": False}.get(needed),
        enrichment_reason="" if is_placeholder(reason) else reason,
    )
    return RefinementReading(refinement, tuple(remarks.findings), lines)


# the name asked for -> the names that mean it
_NAMES = {
    "SPEC_TARGET": ("SPEC_TARGET", "SPEC_TARGET_RESOLVED"),
    "SPEC_SHA1": ("SPEC_SHA1", "SPEC_TARGET_SHA1"),
    "REVIEW_STATUS": ("REVIEW_STATUS", "USER_REVIEW_STATUS"),
    "REASON": ("REASON", "REASON_NO_ENRICHMENT", "ENRICHMENT_REASON"),
    "SPEC_FILE": ("SPEC_FILE", "SPEC_ANCHOR"),
    "START": ("START", "CONTEXT_START_LINE"),
    "END": ("END", "CONTEXT_END_LINE"),
    "TOKEN": ("TOKEN", "CONTEXT_TOKEN"),
}


class _Fields:
    """The `KEY: value` lines that count, in order."""

    def __init__(self, lines: PacketLines) -> None:
        pairs = (key_of_line(text, number) for number, text in enumerate(lines.live))
        self.pairs = [pair for pair in pairs if pair]

    def first(self, name: str) -> KeyValue | None:
        names = _NAMES.get(name, (name,))
        return next((pair for pair in self.pairs if pair.key in names), None)

    def value(self, name: str) -> str | None:
        found = self.first(name)
        return plain_value(found.value) if found else None

    def line(self, name: str) -> int:
        found = self.first(name)
        return found.line + 1 if found else 0


def _first_word(text: str) -> str:
    words = text.split()
    return words[0].strip("`*") if words else ""


def _target(fields: _Fields) -> tuple[str | None, str | None]:
    """The pointer file, and the spec where `pointer -> spec` names it."""
    text = fields.value("SPEC_TARGET") or ""
    pointer, arrow, spec = text.partition("->")
    named = _SPEC_NAME.search(spec)
    first = _SPEC_NAME.search(pointer)
    return (first.group(0) if first else None), (named.group(0) if arrow and named else None)


def _anchors(fields: _Fields, remarks: Remarks) -> list[SpecAnchor]:
    """Each `SPEC_FILE` (or `SPEC_ANCHOR`) opens one; a second START opens one too."""
    groups: list[dict[str, KeyValue]] = []
    for pair in fields.pairs:
        name = next((n for n in ("SPEC_FILE", "START", "END", "TOKEN") if pair.key in _NAMES[n]), None)
        if name is None:
            continue
        opens = name == "SPEC_FILE" or (name == "START" and (not groups or "START" in groups[-1]))
        if opens or not groups:
            groups.append({})
        groups[-1].setdefault(name, pair)
    return [anchor for anchor in (_anchor(group, remarks) for group in groups) if anchor]


def _anchor(group: dict[str, KeyValue], remarks: Remarks) -> SpecAnchor | None:
    line = next(iter(group.values())).line
    values = {name: plain_value(pair.value) for name, pair in group.items()}
    wrong = [name for name in ("START", "END") if not re.fullmatch(r"\d{1,9}", values.get(name, ""))]
    if not values.get("TOKEN") or is_placeholder(values["TOKEN"]) or is_nothing(values["TOKEN"]):
        wrong.append("TOKEN")
    if wrong:
        remarks.error(
            "HSK-REF-ANCHOR",
            line,
            f"this anchor has no readable {', '.join(wrong)}",
            "give START and END as line numbers and TOKEN as words that stand between them",
        )
        return None
    spec = _SPEC_NAME.search(values.get("SPEC_FILE", ""))
    return SpecAnchor(
        spec_file=spec.group(0) if spec else None,
        start=int(values["START"]),
        end=int(values["END"]),
        token=values["TOKEN"],
        line=line + 1,
    )


def _covers(lines: PacketLines) -> list[bool]:
    """The points of CLEARLY_COVERS: ticked, and not called a failure."""
    headings = lines.headings
    found: list[bool] = []
    for position, heading in enumerate(headings):
        if not re.match(r"\W*CLEARLY[_ ]COVERS\b", heading.text, re.IGNORECASE):
            continue
        stop = next((h.line for h in headings[position + 1 :] if h.level <= heading.level), len(lines.live))
        for text in lines.live[heading.line + 1 : stop]:
            box = _BOX.search(text)
            if box:
                found.append(box.group(1) != " " and not re.search(r"\bFAIL\b", text))
    return found
