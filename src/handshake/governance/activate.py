"""From a stub to a packet that may run, step by step. Contract: `packets-and-gates.md`, Around a packet.

Each call does what can be done by a program and says what a person must do; it may be called as often as one likes.
"""

from __future__ import annotations

from dataclasses import dataclass

from handshake.domain.clock import Clock
from handshake.domain.errors import PacketRefused, UsageError
from handshake.domain.packet import Finding, Packet, PacketStatus
from handshake.domain.packet_edit import set_status
from handshake.domain.packet_lines import PacketLines, read_lines
from handshake.domain.packet_text import read_packet
from handshake.domain.settings import Settings
from handshake.gates.activation import activation_findings
from handshake.gates.spec import ReadFile
from handshake.gates.strict import working_tree
from handshake.governance.create import packet_from_template, refuse_unsigned, signature_of_refinement
from handshake.governance.records import synced_board, with_active
from handshake.governance.refine import check_refinement, refinement_path, template_text
from handshake.repo.atomic import write_durably
from handshake.repo.git import Repository
from handshake.repo.packet_file import refuse_odd_revisions

# these are written or committed after the packet is ready: they do not keep it from being so
_LATER = ("HSK-BOARD", "HSK-REG", "HSK-STRICT-COMMIT", "HSK-ACT-REGISTRY", "HSK-ACT-AMBIGUOUS", "HSK-ACT-SIGNED")


@dataclass(frozen=True)
class ChecklistStep:
    """One line of the checklist: `done`, and what was done or is to do."""

    name: str
    done: bool
    said: str


@dataclass(frozen=True)
class _Desk:
    """What the steps work with: `path` is the packet's, `read` reads the working tree."""

    repo: Repository
    settings: Settings
    clock: Clock
    wp_id: str
    requestor: str
    path: str
    read: ReadFile

    def write(self, path: str, data: bytes) -> None:
        """Write a file of the working tree, if it is not so already."""
        if self.read(path) != data:
            write_durably(self.repo.root / path, data)


def activate(
    repo: Repository, settings: Settings, clock: Clock, wp_id: str, requestor: str
) -> tuple[ChecklistStep, ...]:
    """Walk a stub's checklist to its end, or to the first step that is a person's to do.

    Raises:
        UsageError: there is neither stub nor packet of that id.
    """
    path = f"{settings.paths.packets}/{wp_id}.md"
    desk = _Desk(repo, settings, clock, wp_id, requestor, path, working_tree(repo.root))
    steps: list[ChecklistStep] = []
    for take in (_stub, _refinement, _signature, _packet, _ready, _registry, _board):
        steps.append(take(desk))
        if not steps[-1].done:
            break
    return tuple(steps)


def _stub(desk: _Desk) -> ChecklistStep:
    place = _stub_path(desk)
    if place is None and desk.read(desk.path) is None:
        raise UsageError(
            f"there is no stub {desk.settings.paths.packets}/stubs/{desk.wp_id}.md",
            next_step=f"write one from .handshake/templates/stub.md, or: handshake new {desk.wp_id}",
        )
    return ChecklistStep("stub", True, place or "none; the packet is there")


def _stub_path(desk: _Desk) -> str | None:
    folder = f"{desk.settings.paths.packets}/stubs"
    places = (f"{folder}/{desk.wp_id}.md", f"{folder}/{desk.wp_id}.stub.md")
    return next((place for place in places if desk.read(place) is not None), None)


def _refinement(desk: _Desk) -> ChecklistStep:
    path = refinement_path(desk.settings, desk.wp_id)
    if not _is_refined(desk):
        return ChecklistStep("refinement", True, "not asked for (governance.mode: standard)")
    findings = _errors(check_refinement(desk.repo, desk.settings, desk.wp_id))
    if findings:
        mend = "handshake refine" if desk.read(path) is None else "mend it, then: handshake refine"
        said = f"{findings[0].text()} ({len(findings)} in all). {mend} {desk.wp_id}"
        return ChecklistStep("refinement", False, said)
    return ChecklistStep("refinement", True, path)


def _signature(desk: _Desk) -> ChecklistStep:
    if not _is_refined(desk):
        return ChecklistStep("signature", True, "your line USER_SIGNATURE in the packet")
    signature = signature_of_refinement(desk.repo, desk.settings, desk.wp_id)
    try:
        refuse_unsigned(desk.repo, desk.settings, desk.wp_id, signature)
    except PacketRefused:
        return ChecklistStep("signature", False, f"handshake sign {desk.wp_id} <signature>")
    return ChecklistStep("signature", True, f"{signature}, in {desk.settings.paths.signatures}")


def _is_refined(desk: _Desk) -> bool:
    """Whether a refinement counts: strict mode asks for one, standard mode takes one that is there."""
    there = desk.read(refinement_path(desk.settings, desk.wp_id)) is not None
    return there or desk.settings.governance.mode == "strict"


def _packet(desk: _Desk) -> ChecklistStep:
    if desk.read(desk.path) is not None:
        return ChecklistStep("packet", True, desk.path)
    place = _stub_path(desk)
    stub = read_lines(desk.read(place) or b"") if place else None
    known = {"what": _first_item(stub, "goal"), "why": _first_item(stub, "why this stub exists")} if stub else {}
    given = {name: text for name, text in known.items() if text}
    desk.write(
        desk.path,
        packet_from_template(desk.repo, desk.settings, desk.clock, desk.wp_id, desk.requestor, **given),
    )
    said = f"wrote {desk.path}: fill it in, then: handshake activate {desk.wp_id}"
    return ChecklistStep("packet", False, said)


def _ready(desk: _Desk) -> ChecklistStep:
    ready = desk.read(desk.path) or b""
    reading = read_packet(ready, desk.path)
    findings, packet = _errors(list(reading.findings)), reading.packet
    if packet is not None and packet.status is PacketStatus.DRAFT:
        ready = set_status(ready, PacketStatus.READY_FOR_DEV.value)
        packet = read_packet(ready, desk.path).packet
    if packet is not None and not findings:
        findings = _keeps_from_running(desk, packet)
    if findings or packet is None:
        first = findings[0].text() if findings else f"{desk.path} cannot be read"
        return ChecklistStep("ready", False, f"{first} ({len(findings)} in all). handshake check {desk.wp_id}")
    desk.write(desk.path, ready)
    return ChecklistStep("ready", True, f"status {packet.status_text}")


def _keeps_from_running(desk: _Desk, packet: Packet) -> list[Finding]:
    folder = desk.repo.root / desk.settings.paths.packets
    refuse_odd_revisions(desk.repo.root, desk.settings.paths.packets, packet.base_wp_id)
    registry = desk.read(desk.settings.paths.registry)
    text = registry.decode("utf-8", "replace") if registry is not None else None
    found = _errors(activation_findings(packet, folder, desk.settings, text))
    return [finding for finding in found if not finding.code.startswith(_LATER)]


def _registry(desk: _Desk) -> ChecklistStep:
    path = desk.settings.paths.registry
    packet = read_packet(desk.read(desk.path) or b"", desk.path).packet
    assert packet is not None  # it was ready
    before = desk.read(path) or template_text(desk.repo.root, "registry.md").encode()
    desk.write(path, with_active(before, packet.base_wp_id, desk.wp_id))
    return ChecklistStep("registry", True, f"{packet.base_wp_id} -> {desk.wp_id} in {path}")


def _board(desk: _Desk) -> ChecklistStep:
    path = desk.settings.paths.board
    _, board = synced_board(desk.repo, desk.settings)
    desk.write(path, board)
    return ChecklistStep("board", True, f"in {path}. Next: git add docs && git commit")


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
