"""Secrets in what a person adds to a packet, found as the recorder finds them. Contract: `packets-and-gates.md`."""

from __future__ import annotations

import re

from handshake.domain.packet import Finding
from handshake.domain.packet_fields import Remarks
from handshake.domain.packet_lines import read_lines

ALLOWED = "pragma: allowlist secret"

# the lines of a manifest, which a machine writes at each commit, need not wait for the import of a scanner
_MACHINE = re.compile(
    r"^\s*(?:[-*+] \*\*(?:Target File|Start|End|Line Delta|Pre-SHA1|Post-SHA1|Gates Passed|Status:?)\*\*"
    r"|[-*+] \[[ xX]\] [a-z0-9_]+$|#)"
)


def secret_findings(before: bytes | None, after: bytes, path: str) -> list[Finding]:
    """A finding for each line that is new in `after` and holds what looks like a secret; it is not quoted."""
    old = set(read_lines(before).texts) if before else set()
    new = [(n, text) for n, text in enumerate(read_lines(after).texts) if text.strip() and text not in old]
    asked = [(n, text) for n, text in new if not _MACHINE.match(text) and ALLOWED not in text]
    remarks = Remarks(path)
    if not asked:
        return []
    from handshake.recorder.secrets import found_secrets

    for number, text in asked:
        for _, kind in dict.fromkeys(found_secrets(text)):
            remarks.error(
                "HSK-PKT-SECRET",
                number,
                f"this line holds what looks like a secret ({kind})",
                f"take it out and name it by a variable; if it is none, write <!-- {ALLOWED} --> on the line",
            )
    return remarks.findings
