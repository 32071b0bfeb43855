"""`handshake gate-check`, `pre-work`, `post-work`: the gates by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from handshake.cli.findings import show_verdict
from handshake.cli.options import Json, open_surroundings
from handshake.domain.errors import EnvironmentProblem, HandshakeError, UsageError

if TYPE_CHECKING:
    from handshake.domain.packet import Finding
    from handshake.loop.surroundings import Surroundings


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("gate-check")(gate_check)
    app.command("pre-work")(pre_work)
    app.command("post-work")(post_work)


def gate_check(
    context: typer.Context,
    wp_id: str = typer.Argument(help="The packet."),
    as_json: Json = False,
) -> None:
    """Are the packet's phases in order? Example: handshake gate-check WP-1-Faster-Start-v1"""
    from handshake.domain.packet_text import read_packet
    from handshake.gates.phase import phase_findings

    around = open_surroundings(context.obj)
    path, data = _packet(around, wp_id)
    strict = around.settings.governance.mode == "strict"
    findings = phase_findings(read_packet(data, path).lines, path, manifest_is_evidence=strict, complete=strict)
    _record(around, wp_id, "phase", findings)
    show_verdict("gate-check", findings, as_json=as_json, wp_id=wp_id)


def pre_work(
    context: typer.Context,
    wp_id: str = typer.Argument(help="The packet."),
    as_json: Json = False,
) -> None:
    """May work on the packet begin? Example: handshake pre-work WP-1-Faster-Start-v1"""
    from handshake.gates.pre_work import pre_work as judge
    from handshake.gates.strict import committed_findings, working_tree

    around = open_surroundings(context.obj)
    path, data = _packet(around, wp_id)
    settings = around.settings
    strict = settings.governance.mode == "strict"
    read = working_tree(around.repo.root) if strict else None
    findings = judge(data, path, strict=read, paths=settings.paths)
    if strict:
        refinement = f"{settings.paths.refinements}/{wp_id}.md"
        findings += committed_findings(around.repo, (path, refinement))
    if settings.governance.signed_commits:
        from handshake.gates.activation import commit_findings

        findings += commit_findings(path, around.repo.root / path)
    _record(around, wp_id, "pre_work", findings)
    show_verdict("pre-work", findings, as_json=as_json, wp_id=wp_id)


def post_work(
    context: typer.Context,
    wp_id: str | None = typer.Argument(None, help="The packet; else that of the branch, or the one that changed."),
    staged: bool = typer.Option(False, "--staged", help="What is staged, and nothing else."),
    asked: str | None = typer.Option(None, "--range", help="These commits: A..B, or A...B.", metavar="A..B"),
    as_json: Json = False,
) -> None:
    """Does the change keep to its packet? Example: handshake post-work --range main..HEAD"""
    from handshake.domain.packet import Finding
    from handshake.gates.judged_range import judged_range, packet_of_change, packet_path
    from handshake.gates.work_gate import judge_work

    if staged and asked:
        raise UsageError("--staged and --range ask for different things", next_step="give one of them")
    around = open_surroundings(context.obj)
    repo, settings = around.repo, around.settings
    try:
        chosen = judged_range(repo, settings.base_branch, asked, only_staged=staged)
        if chosen is None:
            nothing = Finding(
                severity="error",
                code="HSK-POST-NOTHING",
                file=".",
                what="nothing is staged" if staged else f"nothing changed since {settings.base_branch}",
                mend="git add what belongs to the work",
            )
            show_verdict("post-work", [nothing], as_json=as_json, wp_id=wp_id)
        on_branch = asked is None or chosen.head == repo.resolve("HEAD")
        name = wp_id or packet_of_change(repo, settings, chosen, branch=repo.head_branch() if on_branch else None)
        findings = judge_work(repo, settings, chosen.base, chosen.head, packet_path(settings, name))
    except UsageError:
        raise
    except (EnvironmentProblem, HandshakeError) as problem:
        # 1 means judged and refused: what was not judged says so
        raise UsageError(f"the change could not be judged: {problem.what}", next_step=problem.next_step) from problem
    shown: dict[str, Any] = {"wp_id": name, "base": chosen.base, "head": chosen.head, "staged": chosen.staged}
    _record(around, name, "post_work", findings)
    show_verdict("post-work", findings, as_json=as_json, **shown)


def _record(around: Surroundings, wp_id: str, gate: str, findings: list[Finding]) -> None:
    """A gate by hand is on record like any other. FR-EVT-GOV-GATES-001."""
    from handshake.recorder.packets import PacketJournal

    failed = any(finding.severity == "error" for finding in findings)
    codes = [finding.code for finding in findings]
    PacketJournal(around.repo.state_dir, around.clock).gate(wp_id, gate, codes, failed=failed)


def _packet(around: Surroundings, wp_id: str) -> tuple[str, bytes]:
    from handshake.repo.packet_file import read_packet_file

    path = f"{around.settings.paths.packets}/{wp_id}.md"
    data = read_packet_file(around.repo.root, path)
    if data is None:
        raise UsageError(f"there is no packet {path}", next_step=f"handshake new {wp_id}")
    return path, data
