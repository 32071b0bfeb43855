"""From a stub to a packet that may run, step by step. Contract: `packets-and-gates.md`, Around a packet.

Each call does what can be done by a program and says what a person must do; it may be called as often as one likes.
"""

from __future__ import annotations

from dataclasses import dataclass

from handshake.domain.clock import Clock
from handshake.domain.errors import PacketRefused, UsageError
from handshake.domain.packet import Finding, Packet, PacketStatus
from handshake.domain.packet_lines import PacketLines, read_lines
from handshake.domain.packet_text import read_packet, set_status
from handshake.domain.settings import Settings
from handshake.gates.activation import activation_findings
from handshake.gates.strict import working_tree
from handshake.governance.create import packet_from_template, refuse_unsigned, signature_of_refinement
from handshake.governance.records import synced_board, with_active
from handshake.governance.refine import check_refinement, refinement_path, template_text
from handshake.repo.atomic import write_durably
from handshake.repo.git import Repository

# these are written or committed after the packet is ready: they do not keep it from being so
_LATER = ("HSK-BOARD", "HSK-REG", "HSK-STRICT-COMMIT", "HSK-ACT-REGISTRY", "HSK-ACT-AMBIGUOUS", "HSK-ACT-SIGNED")


@dataclass(frozen=True)
class ChecklistStep:
    """One line of the checklist: `done`, and what was done or is to do."""

    name: str
    done: bool
    said: str


class _Stop(Exception):
    """The checklist ends here for now."""


class _Checklist:
    def __init__(self, repo: Repository, settings: Settings, clock: Clock, wp_id: str, requestor: str) -> None:
        self.repo, self.settings, self.clock = repo, settings, clock
        self.wp_id, self.requestor = wp_id, requestor
        self.read = working_tree(repo.root)
        self.path = f"{settings.paths.packets}/{wp_id}.md"
        self.steps: list[ChecklistStep] = []

    def done(self, name: str, said: str) -> None:
        self.steps.append(ChecklistStep(name, True, said))

    def stop(self, name: str, said: str) -> _Stop:
        self.steps.append(ChecklistStep(name, False, said))
        return _Stop()

    def write(self, path: str, data: bytes) -> None:
        write_durably(self.repo.root / path, data)


def activate(
    repo: Repository, settings: Settings, clock: Clock, wp_id: str, requestor: str
) -> tuple[ChecklistStep, ...]:
    """Walk a stub's checklist as far as it goes.

    Raises:
        UsageError: there is neither stub nor packet of that id.
    """
    walk = _Checklist(repo, settings, clock, wp_id, requestor)
    stub = _stub(walk)
    try:
        _refined_and_signed(walk)
        _packet_made(walk, stub)
        _packet_ready(walk)
    except _Stop:
        return tuple(walk.steps)
    _registered(walk)
    _on_board(walk)
    return tuple(walk.steps)


def _stub(walk: _Checklist) -> PacketLines | None:
    folder = f"{walk.settings.paths.packets}/stubs"
    for path in (f"{folder}/{walk.wp_id}.md", f"{folder}/{walk.wp_id}.stub.md"):
        data = walk.read(path)
        if data is not None:
            walk.done("stub", path)
            return read_lines(data)
    if walk.read(walk.path) is None:
        raise UsageError(
            f"there is no stub {folder}/{walk.wp_id}.md",
            next_step=f"write one from .handshake/templates/stub.md, or: handshake new {walk.wp_id}",
        )
    walk.done("stub", "none; the packet is there")
    return None


def _refined_and_signed(walk: _Checklist) -> None:
    path = refinement_path(walk.settings, walk.wp_id)
    strict = walk.settings.governance.mode == "strict"
    if not strict and walk.read(path) is None:
        walk.done("refinement", "not asked for (governance.mode: standard)")
        return
    findings = _errors(check_refinement(walk.repo, walk.settings, walk.wp_id))
    if findings:
        mend = "handshake refine" if walk.read(path) is None else "mend it, then: handshake refine"
        raise walk.stop("refinement", f"{findings[0].text()} ({len(findings)} in all). {mend} {walk.wp_id}")
    walk.done("refinement", path)
    signature = signature_of_refinement(walk.repo, walk.settings, walk.wp_id)
    try:
        refuse_unsigned(walk.repo, walk.settings, walk.wp_id, signature)
    except PacketRefused:
        raise walk.stop("signature", f"handshake sign {walk.wp_id} <signature>") from None
    walk.done("signature", f"{signature}, in {walk.settings.paths.signatures}")


def _packet_made(walk: _Checklist, stub: PacketLines | None) -> None:
    if walk.read(walk.path) is None:
        known = {"what": _first_item(stub, "goal"), "why": _first_item(stub, "why this stub exists")} if stub else {}
        given = {name: text for name, text in known.items() if text}
        walk.write(
            walk.path,
            packet_from_template(walk.repo, walk.settings, walk.clock, walk.wp_id, walk.requestor, **given),
        )
        raise walk.stop("packet", f"wrote {walk.path}: fill it in, then: handshake activate {walk.wp_id}")
    walk.done("packet", walk.path)


def _packet_ready(walk: _Checklist) -> None:
    data = walk.read(walk.path) or b""
    ready = data
    reading = read_packet(data, walk.path)
    findings = _errors(list(reading.findings))
    packet = reading.packet
    if packet is not None and packet.status in (PacketStatus.DRAFT, PacketStatus.STUB) and not packet.is_stub:
        ready = set_status(data, PacketStatus.READY_FOR_DEV.value)
        packet = read_packet(ready, walk.path).packet
    if packet is not None and not findings:
        findings = _keeps_from_running(walk, packet)
    if findings:
        raise walk.stop("ready", f"{findings[0].text()} ({len(findings)} in all). handshake check {walk.wp_id}")
    if ready != data:
        walk.write(walk.path, ready)
    walk.done("ready", f"status {packet.status_text}" if packet else "")


def _keeps_from_running(walk: _Checklist, packet: Packet) -> list[Finding]:
    folder = walk.repo.root / walk.settings.paths.packets
    registry = walk.read(walk.settings.paths.registry)
    text = registry.decode("utf-8", "replace") if registry is not None else None
    found = _errors(activation_findings(packet, folder, walk.settings, text))
    return [finding for finding in found if not finding.code.startswith(_LATER)]


def _registered(walk: _Checklist) -> None:
    path = walk.settings.paths.registry
    packet = read_packet(walk.read(walk.path) or b"", walk.path).packet
    assert packet is not None
    before = walk.read(path) or template_text(walk.repo.root, "registry.md").encode()
    after = with_active(before, packet.base_wp_id, walk.wp_id)
    if after != (walk.read(path) or b""):
        walk.write(path, after)
    walk.done("registry", f"{packet.base_wp_id} -> {walk.wp_id} in {path}")


def _on_board(walk: _Checklist) -> None:
    before, after = synced_board(walk.repo, walk.settings)
    if after != before:
        walk.write(walk.settings.paths.board, after)
    walk.done("board", f"in {walk.settings.paths.board}. Next: git add docs && git commit")


def _first_item(stub: PacketLines, heading: str) -> str:
    """The first line of text below a heading, without its bullet."""
    start = next((h.line for h in stub.headings if h.text.strip("* ").casefold() == heading), None)
    if start is None:
        return ""
    for text in stub.live[start + 1 :]:
        if text.lstrip().startswith("#"):
            return ""
        if text.strip(" -*+\t"):
            return text.strip(" -*+\t")
    return ""


def _errors(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == "error"]
