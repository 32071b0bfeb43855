"""A signature: used once, on record, never in the minute of the refinement. Contract: `packets-and-gates.md`.

The audit is written first: a call that is killed after it is finished by the same call again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from handshake.domain.canonical import utc_text
from handshake.domain.clock import Clock
from handshake.domain.errors import PacketRefused, UsageError
from handshake.domain.field_edit import with_field
from handshake.domain.packet_fields import is_unsigned
from handshake.domain.packet_lines import read_lines
from handshake.domain.packet_text import read_packet
from handshake.domain.refinement import read_refinement
from handshake.domain.settings import Settings
from handshake.domain.signature_audit import read_signature_audit, uses_of
from handshake.gates.strict import is_committed, working_tree
from handshake.governance.refine import check_refinement, refinement_path, template_text
from handshake.repo.atomic import write_durably
from handshake.repo.git import Repository

_MINUTE = len("2026-01-22T09:30")
_SIGNATURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{3,79}")


@dataclass(frozen=True)
class Signed:
    """What was written, by path; empty where all of it stood already."""

    written: tuple[str, ...]


def sign(repo: Repository, settings: Settings, clock: Clock, wp_id: str, signature: str) -> Signed:
    """Record a signature in the audit, the refinement and the packet, as far as they are there.

    Raises:
        UsageError: it is no signature, it was used, it comes too early, or there is nothing to sign.
        PacketRefused: the refinement does not stand.
    """
    if not _SIGNATURE.fullmatch(signature) or is_unsigned(signature) or signature.startswith("WP-"):
        raise UsageError(
            f"`{signature}` is no signature: 4 to 80 letters, digits and `._@+-`",
            next_step=f"handshake sign {wp_id} {_example(clock)}",
        )
    read = working_tree(repo.root)
    refinement, packet = refinement_path(settings, wp_id), f"{settings.paths.packets}/{wp_id}.md"
    there = [path for path in (refinement, packet) if read(path) is not None]
    if not there:
        raise UsageError(f"{wp_id} has neither refinement nor packet", next_step=f"handshake refine {wp_id}")
    _refuse_unrefined(repo, settings, wp_id)
    audit = read(settings.paths.signatures) or template_text(repo.root, "signatures.md").encode()
    uses = uses_of(signature, read_signature_audit(audit))
    if len(uses) > 1 or any(wp_id not in use.wp_ids for use in uses):
        places = ", ".join(f"{settings.paths.signatures}:{use.line}" for use in uses)
        raise UsageError(f"the signature {signature} was used ({places})", next_step="sign with a new one")
    changes: dict[str, bytes] = {}
    if not uses:
        if refinement in there:
            _refuse_same_minute(repo, clock, refinement, wp_id, signature)
        changes[settings.paths.signatures] = _with_use(audit, signature, wp_id, utc_text(clock.now()))
    for path in there:
        changes[path] = _signed(path, read(path) or b"", signature, approve=path == refinement)
    written = [path for path, data in changes.items() if data != read(path)]
    for path in written:
        write_durably(repo.root / path, changes[path])
    return Signed(tuple(written))


def _refuse_unrefined(repo: Repository, settings: Settings, wp_id: str) -> None:
    path = refinement_path(settings, wp_id)
    if settings.governance.mode != "strict" and not (repo.root / path).is_file():
        return
    findings = [f for f in check_refinement(repo, settings, wp_id) if f.severity == "error"]
    if findings:
        raise PacketRefused(
            f"the refinement of {wp_id} does not stand",
            findings=tuple(f.text() for f in findings),
            next_step=f"handshake refine {wp_id}",
        )


def _refuse_same_minute(repo: Repository, clock: Clock, path: str, wp_id: str, signature: str) -> None:
    """Who signs in the minute in which a refinement was last changed has not read it."""
    data = (repo.root / path).read_bytes()
    begun = read_refinement(data, path).refinement.date[:_MINUTE]
    changed = utc_text(_changed_at(repo, path))[:_MINUTE]
    now = utc_text(clock.now())[:_MINUTE]
    if now in (begun, changed):
        raise UsageError(
            f"{path} was changed in this minute ({now} UTC): read it before you sign",
            next_step=f"in the next minute: handshake sign {wp_id} {signature}",
        )


def _changed_at(repo: Repository, path: str) -> datetime:
    """When a file got its content: its last commit's time, or where it is not committed that of the file."""
    if is_committed(repo, path):
        commit = repo.git.text("log", "-1", "--format=%H", "HEAD", "--", f":(top,literal){path}")
        return repo.commit_time(commit)
    return datetime.fromtimestamp((repo.root / path).stat().st_mtime, UTC)


def _signed(path: str, data: bytes, signature: str, *, approve: bool) -> bytes:
    if approve:
        earlier = read_refinement(data, path).refinement.user_signature
    else:
        reading = read_packet(data, path).packet
        earlier = reading.user_signature if reading else None
    if earlier not in (None, signature):
        raise PacketRefused(f"{path} is signed {earlier} already", next_step="a new revision is signed anew")
    signed = with_field(data, ("USER_SIGNATURE",), signature)
    return with_field(signed, ("REVIEW_STATUS", "USER_REVIEW_STATUS"), "APPROVED") if approve else signed


def _with_use(audit: bytes, signature: str, wp_id: str, when: str) -> bytes:
    """The log with one more row at its end, or an item where it has no table."""
    lines = read_lines(audit)
    newline = lines.newline()
    rows = [number for number, text in enumerate(lines.live) if text.lstrip().startswith("|")]
    if not rows:
        head = audit if not audit or audit.endswith(b"\n") else audit + newline
        return head + f"- {signature}: {wp_id} ({when})".encode() + newline
    row = f"| {signature} | {wp_id} | {when} |".encode() + newline
    place = rows[-1] + 1
    head = b"".join(lines.raw[:place])
    return (head if head.endswith(b"\n") else head + newline) + row + b"".join(lines.raw[place:])


def _example(clock: Clock) -> str:
    return f"yourname{clock.now():%d%m%Y%H%M}"
