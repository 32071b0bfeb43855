"""Is a refinement true of the spec, complete, approved and signed? Contract: `packets-and-gates.md`, Activation."""

from __future__ import annotations

from handshake.domain.packet import Finding
from handshake.domain.packet_fields import Remarks
from handshake.domain.refinement import COVERS_POINTS, Refinement, SpecAnchor, read_refinement
from handshake.gates.changes import sha1_forms
from handshake.gates.spec import SPEC_CURRENT, ReadFile, find_spec, specs_named


def refinement_findings(wp_id: str, folder: str, read: ReadFile, *, signature: str | None = None) -> list[Finding]:
    """Everything that keeps the refinement of a packet from standing.

    Args:
        folder: where refinements lie, e.g. `docs/refinements`.
        signature: the packet's; the refinement must carry the same. None where the packet has none yet:
            then approval and signature are not asked for.
    """
    path = f"{folder}/{wp_id}.md"
    remarks = Remarks(path)
    data = read(path)
    if data is None:
        remarks.error("HSK-REF-MISSING", None, f"{wp_id} has no refinement", f"handshake refine {wp_id}")
        return remarks.findings
    reading = read_refinement(data, path)
    refinement = reading.refinement
    remarks.findings += reading.findings
    if refinement.wp_id != wp_id:
        remarks.error("HSK-REF-ID", None, f"WP_ID is `{refinement.wp_id or 'missing'}`", f"write `- WP_ID: {wp_id}`")
    _remark_on_spec(refinement, read, remarks)
    _remark_on_completeness(refinement, remarks)
    if signature is not None:
        _remark_on_approval(refinement, signature, remarks)
    return remarks.findings


def _remark_on_spec(refinement: Refinement, read: ReadFile, remarks: Remarks) -> None:
    found = _spec_of(refinement, read, remarks)
    if found is None:
        return
    path, data = found
    forms = sha1_forms(data)
    if refinement.spec_sha1 not in forms:
        remarks.error(
            "HSK-REF-SHA1",
            refinement.spec_line - 1 if refinement.spec_line else None,
            f"SPEC_SHA1 is {refinement.spec_sha1 or 'missing'}, and {path} has {forms[0]}",
            "read what changed in the spec, then write its SHA-1",
        )
    for anchor in refinement.anchors:
        other = anchor.spec_file and find_spec(anchor.spec_file, read)
        if anchor.spec_file and not other:
            remarks.error("HSK-REF-ANCHOR", anchor.line - 1, f"{anchor.spec_file} is not there", "name the spec file")
            continue
        _remark_on_anchor(anchor, *(other or (path, data)), remarks)


def _spec_of(refinement: Refinement, read: ReadFile, remarks: Remarks) -> tuple[str, bytes] | None:
    """The spec that the refinement speaks of; it must be the one that is current."""
    pointer = refinement.spec_target or SPEC_CURRENT
    named = find_spec(pointer, read)
    if named is None:
        remarks.error("HSK-REF-SPEC", None, f"SPEC_TARGET {pointer} is not there", f"make {pointer} name the spec")
        return None
    if pointer.rpartition("/")[2] != SPEC_CURRENT.rpartition("/")[2]:
        return named
    specs = specs_named(named[1])
    if len(specs) != 1:
        what = f"names {len(specs)} specs ({', '.join(specs)})" if specs else "names no spec"
        remarks.error("HSK-REF-SPEC", None, f"{pointer} {what}", "let it name exactly one")
        return None
    if refinement.spec_file and refinement.spec_file.rpartition("/")[2] != specs[0].rpartition("/")[2]:
        remarks.error(
            "HSK-REF-SPEC",
            None,
            f"the refinement is for {refinement.spec_file}, and {pointer} names {specs[0]}",
            "refine against the current spec",
        )
    found = find_spec(specs[0], read)
    if found is None:
        remarks.error("HSK-REF-SPEC", None, f"{pointer} names {specs[0]}, which is not there", "mend the pointer")
    return found


def _remark_on_anchor(anchor: SpecAnchor, path: str, data: bytes, remarks: Remarks) -> None:
    lines = data.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    last = len(lines) - 1 if lines[-1] == "" else len(lines)
    if not 1 <= anchor.start <= anchor.end <= last:
        remarks.error(
            "HSK-REF-ANCHOR",
            anchor.line - 1,
            f"lines {anchor.start} to {anchor.end} are no window of {path} ({last} lines)",
            "give the lines where the token stands",
        )
    elif anchor.token not in "\n".join(lines[anchor.start - 1 : anchor.end]):
        at = next((number for number, text in enumerate(lines, 1) if anchor.token in text), None)
        where = f"it stands on line {at}" if at else f"it stands nowhere in {path}"
        remarks.error(
            "HSK-REF-TOKEN",
            anchor.line - 1,
            f"`{anchor.token}` is not in lines {anchor.start} to {anchor.end} of {path}; {where}",
            "give the lines where the token stands",
        )


def _remark_on_completeness(refinement: Refinement, remarks: Remarks) -> None:
    if not refinement.anchors:
        remarks.error("HSK-REF-ANCHOR", None, "there is no anchor into the spec", "add one under ## ANCHORS")
    ticked = sum(refinement.covers)
    if len(refinement.covers) < COVERS_POINTS or not all(refinement.covers):
        remarks.error(
            "HSK-REF-COVERS",
            None,
            f"{ticked} of the {max(COVERS_POINTS, len(refinement.covers))} points of CLEARLY_COVERS are ticked",
            "make each of them true, then tick it",
        )
    if refinement.enrichment_needed is None:
        remarks.error("HSK-REF-ENRICHMENT", None, "ENRICHMENT_NEEDED is neither YES nor NO", "decide it")
    elif not refinement.enrichment_needed and not refinement.enrichment_reason:
        remarks.error("HSK-REF-ENRICHMENT", None, "why no enrichment is needed is not said", "add `- REASON: ...`")


def _remark_on_approval(refinement: Refinement, signature: str, remarks: Remarks) -> None:
    if not refinement.is_approved:
        remarks.error(
            "HSK-REF-APPROVAL",
            refinement.review_line - 1 if refinement.review_line else None,
            "the refinement is not approved",
            f"read it, then: handshake sign {refinement.wp_id} <signature>",
        )
    if refinement.user_signature != signature:
        remarks.error(
            "HSK-REF-SIGNATURE",
            refinement.signature_line - 1 if refinement.signature_line else None,
            f"the refinement is signed `{refinement.user_signature or 'by nobody'}`, the packet `{signature}`",
            "one signature is for both",
        )
