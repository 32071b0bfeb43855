"""Secrets in what a person adds to a packet, found as the recorder finds them. Contract: `packets-and-gates.md`."""

from __future__ import annotations

import re

from handshake.domain.packet import Finding
from handshake.domain.packet_fields import Remarks

ALLOWED = "pragma: allowlist secret"

# the lines of a manifest, which a machine writes at each commit, need not wait for the import of a scanner
_MACHINE = re.compile(
    r"^\s*(?:[-*+] \*\*(?:Target File|Start|End|Line Delta|Pre-SHA1|Post-SHA1|Gates Passed|Status:?)\*\*"
    r"|[-*+] \[[ xX]\] [a-z0-9_]+$|#)"
)


def secret_findings(before: bytes | None, after: bytes, path: str) -> list[Finding]:
    """A finding for each line that is new in `after` and holds what looks like a secret; it is not quoted."""
    old = set(_texts(before or b""))
    new = [(n, text) for n, text in enumerate(_texts(after)) if text.strip() and text not in old]
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


def _texts(data: bytes) -> list[str]:
    return [line.rstrip("\r") for line in data.decode("utf-8", "replace").split("\n")]
