"""A packet from the template; in strict mode only over a signed refinement. Contract: `packets-and-gates.md`."""

from __future__ import annotations

from handshake.domain.canonical import utc_text
from handshake.domain.clock import Clock
from handshake.domain.errors import PacketRefused
from handshake.domain.field_edit import with_field
from handshake.domain.refinement import read_refinement
from handshake.domain.settings import Settings
from handshake.domain.signature_audit import read_signature_audit, uses_of
from handshake.gates.new_packet import new_packet
from handshake.gates.strict import working_tree
from handshake.governance.refine import check_refinement, refinement_path, template_text
from handshake.repo.git import Repository


def packet_from_template(
    repo: Repository, settings: Settings, clock: Clock, wp_id: str, requestor: str, **known: str
) -> bytes:
    """The new packet's bytes, signed as its refinement is; nothing is written.

    Raises:
        UsageError: the id is none. PacketRefused: strict mode, and refinement or signature do not stand.
    """
    text = new_packet(
        template_text(repo.root, "packet.md"),
        wp_id=wp_id,
        date=utc_text(clock.now()),
        requestor=requestor,
        **known,
    )
    signature = signature_of_refinement(repo, settings, wp_id)
    if settings.governance.mode == "strict":
        refuse_unsigned(repo, settings, wp_id, signature)
    data = text.encode("utf-8")
    return with_field(data, ("USER_SIGNATURE",), signature) if signature else data


def signature_of_refinement(repo: Repository, settings: Settings, wp_id: str) -> str | None:
    """What the refinement in the working tree is signed with, or None."""
    path = refinement_path(settings, wp_id)
    data = working_tree(repo.root)(path)
    return None if data is None else read_refinement(data, path).refinement.user_signature


def refuse_unsigned(repo: Repository, settings: Settings, wp_id: str, signature: str | None) -> None:
    """Refuse where refinement and signature do not stand yet.

    Raises:
        PacketRefused: each reason is named.
    """
    findings = [
        f for f in check_refinement(repo, settings, wp_id, signature=signature or "") if f.severity == "error"
    ]
    if signature:
        audit = working_tree(repo.root)(settings.paths.signatures) or b""
        uses = uses_of(signature, read_signature_audit(audit))
        if len(uses) != 1 or wp_id not in uses[0].wp_ids:
            raise PacketRefused(
                f"the signature {signature} is not on record once, for {wp_id}",
                findings=tuple(f.text() for f in findings),
                next_step=f"handshake sign {wp_id} <a new signature>",
            )
    if findings:
        mend = f"handshake refine {wp_id}, then: handshake sign {wp_id} <signature>"
        raise PacketRefused(
            f"the refinement of {wp_id} does not stand (governance.mode: strict)",
            findings=tuple(f.text() for f in findings),
            next_step=mend,
        )
