"""`spec-regression`: `docs/SPEC_CURRENT.md` points to exactly one spec, the newest, and nothing required left it."""

from __future__ import annotations

import re

from handshake.domain.packet import Finding
from handshake.domain.packet_fields import Remarks
from handshake.gates.spec import SPEC_CURRENT, find_spec, specs_named
from handshake.gates.validators.view import View

_VERSION = re.compile(r"^(?P<stem>.*?)[-_ ]?v(?P<version>\d+(?:\.\d+)*)\.md$", re.IGNORECASE)


def validate(view: View) -> list[Finding]:
    """Findings on the pointer and on the spec that it names. Without a pointer only strict mode complains."""
    remarks = Remarks(SPEC_CURRENT)
    data = view.read(SPEC_CURRENT)
    if data is None:
        if view.settings.governance.mode == "strict" or view.settings.validators.spec_anchors:
            remarks.error("HSK-VAL-SPEC", None, "there is no pointer to the spec", "write it: it names one spec file")
        return remarks.findings
    names = specs_named(data)
    if len(names) != 1:
        said = f"names {len(names)} specs ({', '.join(names)})" if names else "names no spec"
        remarks.error("HSK-VAL-SPEC", _line_of(data, names[1]) if names else None, said, "let it name exactly one")
        return remarks.findings
    spec = find_spec(names[0], view.read)
    if spec is None:
        remarks.error("HSK-VAL-SPEC", _line_of(data, names[0]), f"{names[0]} is not there", "mend the pointer")
        return remarks.findings
    newer = _newer(spec[0], view.paths)
    if newer:
        remarks.error(
            "HSK-VAL-SPEC", _line_of(data, names[0]), f"{newer} is newer than {names[0]}", f"point to {newer}"
        )
    text = spec[1].decode("utf-8", errors="replace")
    in_spec = Remarks(spec[0])
    for anchor in view.settings.validators.spec_anchors:
        if anchor not in text:
            in_spec.error("HSK-VAL-ANCHOR", None, f"`{anchor}` is gone", "put it back, or take it off spec_anchors")
    return [*remarks.findings, *in_spec.findings]


def _newer(path: str, paths: tuple[str, ...]) -> str | None:
    """A file of the same name with a higher version, wherever it lies."""
    mine = _VERSION.match(path.rpartition("/")[2])
    if mine is None:
        return None
    best, newest = None, _parts(mine["version"])
    for other in paths:
        found = _VERSION.match(other.rpartition("/")[2])
        if found and found["stem"].casefold() == mine["stem"].casefold() and _parts(found["version"]) > newest:
            best, newest = other, _parts(found["version"])
    return best


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _line_of(data: bytes, name: str) -> int | None:
    lines = data.decode("utf-8", errors="replace").splitlines()
    return next((number for number, text in enumerate(lines) if name in text), None)
