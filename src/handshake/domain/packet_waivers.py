"""Waivers and validation reports of a packet. Contract: `packets-and-gates.md`, Post-work gate and Review."""

from __future__ import annotations

import re

from handshake.domain.packet import Finding, ValidationReport, Waiver
from handshake.domain.packet_lines import PacketLines, code_spans
from handshake.domain.packet_lists import Item, items_below
from handshake.domain.packet_scope import UnreadablePath, has_glob, is_nothing, looks_like_path, normal_path

_WAIVER_ID = re.compile(r"(?<![\w-])(?!WP-|MT-|SHA-|UTF-|ISO-)([A-Z][A-Z0-9]*(?:-[A-Z0-9]+)*-[A-Z0-9]*\d[A-Z0-9-]*)")
_DENIED = re.compile(
    r"\bno\s+(?:\w+\s+)?waivers?\b|\bnot\s+(?:granted|waived|approved|given)\b|\bwithout\s+(?:a\s+)?waiver\b"
    r"|\b(?:denied|rejected|revoked|withdrawn|expired|refused)\b|^\W*(?:none|n/a)\b",
    re.IGNORECASE,
)
_UNSURE = re.compile(
    r"~~|\b(?:pending|requested|proposed|declined|awaiting|draft|example|never|withdraw|revoke|unapproved)\b"
    r"|\bnot\s+(?:yet|covered|cover)\b|n't\b|\bexcept\b|\bno\s+approval\b",
    re.IGNORECASE,
)
_REPORT = re.compile(r"\bVALIDATION[ _-]REPORT\b", re.IGNORECASE)
_VERDICT = re.compile(
    r"^[ \t]*+(?:[-*+][ \t]++)?\**(?:VALIDATION[ _]|FINAL[ _])?VERDICT\**[ \t]*:?\**[ \t]*:?[ \t]*[*`]*(PASS|FAIL)\b",
    re.IGNORECASE,
)


def read_waivers(lines: PacketLines, path: str) -> tuple[tuple[Waiver, ...], list[Finding]]:
    """The waivers that count: an entry with an id that names a path. The others are remarks, with a finding."""
    waivers: list[Waiver] = []
    findings: list[Finding] = []
    section = lines.section("WAIVERS GRANTED")
    for item in items_below(lines, section).items if section else []:
        text = item.full_text()
        if is_nothing(text) or (text.startswith("(") and text.endswith(")")):
            continue
        waiver, lacks = _waiver_of(item, text)
        if waiver:
            waivers.append(waiver)
        elif lacks:
            findings.append(
                Finding(
                    severity="warning",
                    code="HSK-PKT-WAIVER",
                    file=path,
                    line=item.line + 1,
                    what=f"this waiver counts for nothing: {lacks}",
                    mend="write `- CX-573F-01: <path in backticks>: reason`",
                )
            )
    return tuple(waivers), findings


def _waiver_of(item: Item, text: str) -> tuple[Waiver | None, str]:
    if _DENIED.search(text):
        return None, ""
    spans = code_spans(text)
    words = [text[start:end].strip() for _, start, end, _ in spans]
    rest, position = "", 0
    for start, _, _, end in spans:
        rest, position = rest + text[position:start] + " ", end
    rest += text[position:]
    words += [word.strip("()[],;:'\"*").rstrip(".") for word in rest.split()]
    paths: list[str] = []
    for word in words:
        if looks_like_path(word):
            try:
                paths.append(normal_path(word))
            except UnreadablePath:
                continue
    without_paths = " ".join(word for word in [*rest.split(), *words] if not looks_like_path(word.strip("()[],;:")))
    found = _WAIVER_ID.search(without_paths)
    if not found or not paths:
        return None, "it has no id" if not found else "it names no path"
    unsure = _UNSURE.search(without_paths)
    if unsure:
        return None, f"`{unsure.group()}` leaves open whether it was granted"
    unique = tuple(dict.fromkeys(paths))
    waiver = Waiver(
        waiver_id=found.group(1).rstrip("-"),
        paths=tuple(path for path in unique if not has_glob(path)),
        patterns=tuple(path for path in unique if has_glob(path)),
        text=text,
        line=item.line + 1,
    )
    return waiver, ""


def read_reports(lines: PacketLines) -> tuple[ValidationReport, ...]:
    """The reports, each with the first verdict below its heading."""
    heads = [
        h for h in lines.headings if h.section is None and _REPORT.search(h.text) and "ADDENDUM" not in h.text.upper()
    ]
    reports = []
    for position, head in enumerate(heads):
        stop = heads[position + 1].line if position + 1 < len(heads) else len(lines.live)
        verdict = next((v for v in map(_VERDICT.match, lines.live[head.line + 1 : stop]) if v), None)
        reports.append(
            ValidationReport(
                title=head.text,
                verdict=None if verdict is None else ("PASS" if verdict.group(1).upper() == "PASS" else "FAIL"),
                line=head.line + 1,
            )
        )
    return tuple(reports)
