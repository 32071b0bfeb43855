"""Refine, sign, activate, board and registry: what a program writes, a hand may have written too."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from handshake.cli.main import run_command
from handshake.domain.clock import SteppingClock
from handshake.domain.errors import PacketRefused, UsageError
from handshake.domain.field_edit import with_field
from handshake.domain.packet_text import read_packet
from handshake.domain.registry import active_packets, read_registry
from handshake.domain.settings import Governance, Settings
from handshake.domain.signature_audit import read_signature_audit, uses_of
from handshake.governance.activate import activate
from handshake.governance.create import packet_from_template
from handshake.governance.records import synced_board, with_active
from handshake.governance.refine import check_refinement, make_refinement
from handshake.governance.sign import sign

WP, OTHER = "WP-2-Tide-v1", "WP-3-Moon-v1"
SIGNATURE = "ada220120261804"
STANDARD, STRICT = Settings(), Settings(governance=Governance(mode="strict"))
EARLIER = SteppingClock(datetime(2026, 1, 2, tzinfo=UTC))
NOW = SteppingClock(datetime.now(UTC) + timedelta(hours=1))


def refined(project, wp_id=WP):
    """A refinement that stands, last changed an hour ago."""
    project.write("docs/SPEC_CURRENT.md", "**SPEC_v1.md**\n")
    project.write("docs/SPEC_v1.md", "# Spec\n\nTides come twice.\n")
    assert make_refinement(project.repo, STRICT, EARLIER, wp_id, "Ada")
    path = f"docs/refinements/{wp_id}.md"
    text = project.read(path).decode()
    known = {"start": "1", "end": "3", "token": "Tides", "gap": "NONE", "risk": "NONE", "enrichment": "NO"}
    for name, value in {**known, "reason": "It is all there."}.items():
        text = text.replace("{" + name + "}", value)
    project.write(path, text.replace("- [ ]", "- [x]"))
    return path


def packet_of(project, wp_id):
    path = f"docs/task_packets/{wp_id}.md"
    text = project.read(project.packet_path).replace(b"WP-1-Demo-v1", wp_id.encode())
    project.write(path, text.replace(b"demo010120260101", b"<pending>"))
    return path


# -- one line of a file ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("- USER_SIGNATURE: <pending>\n", "- USER_SIGNATURE: x\n"),
        ("USER_SIGNATURE: old\r\n", "USER_SIGNATURE: x\r\n"),
        ("- **USER_SIGNATURE:** <pending>\n", "- **USER_SIGNATURE:** x\n"),
        ("**USER_SIGNATURE: <pending>**\n", "**USER_SIGNATURE: x**\n"),
        ("- USER_SIGNATURE:\n", "- USER_SIGNATURE: x\n"),
        ("- USER_SIGNATURE: old", "- USER_SIGNATURE: x"),
        (
            "```\nUSER_SIGNATURE: in a fence\n```\n- USER_SIGNATURE: y\n",
            "```\nUSER_SIGNATURE: in a fence\n```\n- USER_SIGNATURE: x\n",
        ),
    ],
)
def test_a_field_changes_and_no_other_byte(before, after):
    frame = "# Head\n\n{}", "\n## Tail\n"
    assert (
        with_field((frame[0].format(before) + frame[1]).encode(), ("USER_SIGNATURE",), "x")
        == (frame[0].format(after) + frame[1]).encode()
    )


def test_a_field_that_is_not_there_is_said():
    with pytest.raises(PacketRefused, match="no line USER_SIGNATURE"):
        with_field(b"# Head\n", ("USER_SIGNATURE",), "x")


# -- refinement and signature ----------------------------------------------------------------------


def test_a_refinement_knows_the_current_spec_and_is_never_overwritten(project):
    path = refined(project)
    assert check_refinement(project.repo, STRICT, WP) == []
    text = project.read(path)
    assert b"- SPEC_FILE: docs/SPEC_v1.md" in text
    assert not make_refinement(project.repo, STRICT, EARLIER, WP, "Ada")
    assert project.read(path) == text


def test_a_signature_is_written_in_all_three_and_the_same_call_again_changes_nothing(project):
    refined(project)
    packet_of(project, WP)
    done = sign(project.repo, STRICT, NOW, WP, SIGNATURE)
    assert done.written == ("docs/SIGNATURE_AUDIT.md", f"docs/refinements/{WP}.md", f"docs/task_packets/{WP}.md")
    assert b"- REVIEW_STATUS: APPROVED" in project.read(f"docs/refinements/{WP}.md")
    assert read_packet(project.read(f"docs/task_packets/{WP}.md"), "x").packet.user_signature == SIGNATURE
    assert sign(project.repo, STRICT, NOW, WP, SIGNATURE).written == ()


def test_a_call_that_was_killed_after_the_audit_is_finished_by_the_same_call(project):
    refined(project)
    sign(project.repo, STRICT, NOW, WP, SIGNATURE)
    path = f"docs/refinements/{WP}.md"
    project.write(path, with_field(project.read(path), ("USER_SIGNATURE",), "<pending>"))
    assert sign(project.repo, STRICT, NOW, WP, SIGNATURE).written == (path,)
    uses = uses_of(SIGNATURE, read_signature_audit(project.read("docs/SIGNATURE_AUDIT.md")))
    assert [use.wp_ids for use in uses] == [(WP,)]


def test_a_used_signature_is_refused_wherever_it_was_written(project):
    refined(project)
    refined(project, OTHER)
    sign(project.repo, STRICT, NOW, WP, SIGNATURE)
    with pytest.raises(UsageError, match=r"was used \(docs/SIGNATURE_AUDIT.md:7\)"):
        sign(project.repo, STRICT, NOW, OTHER, SIGNATURE)
    project.write("docs/SIGNATURE_AUDIT.md", f"# By hand\n\n- mine01: {WP}\n")
    with pytest.raises(UsageError, match="was used"):
        sign(project.repo, STRICT, NOW, OTHER, "mine01")
    sign(project.repo, STRICT, NOW, OTHER, "mine02")
    assert project.read("docs/SIGNATURE_AUDIT.md").startswith(
        f"# By hand\n\n- mine01: {WP}\n- mine02: {OTHER} (".encode()
    )


def test_who_signs_in_the_minute_of_the_last_change_has_not_read(project):
    path = refined(project)
    minute = datetime(2026, 1, 22, 9, 30, 10, tzinfo=UTC)
    os.utime(project.root / path, (minute.timestamp(), minute.timestamp()))
    for too_early in (minute.replace(second=59), datetime(2026, 1, 2, 0, 0, 30, tzinfo=UTC)):  # changed; begun
        with pytest.raises(UsageError, match="changed in this minute"):
            sign(project.repo, STRICT, SteppingClock(too_early), WP, SIGNATURE)
    assert not (project.root / "docs/SIGNATURE_AUDIT.md").exists()
    sign(project.repo, STRICT, SteppingClock(minute + timedelta(seconds=50)), WP, SIGNATURE)


def test_of_a_committed_refinement_the_time_of_its_commit_counts(project):
    path = refined(project)
    project.commit()
    long_ago = time.time() - 86_400
    os.utime(project.root / path, (long_ago, long_ago))
    with pytest.raises(UsageError, match="changed in this minute"):
        sign(
            project.repo,
            STRICT,
            SteppingClock(project.repo.commit_time(project.git("rev-parse", "HEAD"))),
            WP,
            SIGNATURE,
        )


@pytest.mark.parametrize(
    "signature", ["", "abc", "two words", "pending", "<pending>", "a|b|c", "WP-1-Demo-v1", "x" * 81]
)
def test_what_is_no_signature(project, signature):
    refined(project)
    with pytest.raises(UsageError, match="is no signature"):
        sign(project.repo, STRICT, NOW, WP, signature)


def test_what_is_signed_already_is_not_signed_over(project):
    refined(project)
    sign(project.repo, STRICT, NOW, WP, SIGNATURE)
    with pytest.raises(PacketRefused, match=f"is signed {SIGNATURE} already"):
        sign(project.repo, STRICT, NOW, WP, "another-one")
    assert b"another-one" not in project.read("docs/SIGNATURE_AUDIT.md")


def test_in_standard_mode_a_packet_alone_may_be_signed(project):
    path = packet_of(project, WP)
    with pytest.raises(PacketRefused, match="does not stand"):
        sign(project.repo, STRICT, NOW, WP, SIGNATURE)
    assert sign(project.repo, STANDARD, NOW, WP, SIGNATURE).written == ("docs/SIGNATURE_AUDIT.md", path)
    with pytest.raises(UsageError, match="neither refinement nor packet"):
        sign(project.repo, STANDARD, NOW, OTHER, "fresh-one")


def test_a_strict_packet_is_made_over_a_signed_refinement_alone(project):
    with pytest.raises(PacketRefused, match="does not stand"):
        packet_from_template(project.repo, STRICT, NOW, WP, "Ada")
    refined(project)
    with pytest.raises(PacketRefused, match="does not stand"):
        packet_from_template(project.repo, STRICT, NOW, WP, "Ada")
    path = f"docs/refinements/{WP}.md"
    forged = with_field(with_field(project.read(path), ("USER_SIGNATURE",), "forged"), ("REVIEW_STATUS",), "APPROVED")
    project.write(path, forged)
    with pytest.raises(PacketRefused, match="not on record"):
        packet_from_template(project.repo, STRICT, NOW, WP, "Ada")
    project.write("docs/SIGNATURE_AUDIT.md", f"- forged: {WP}\n")  # by hand, and that is a signature
    assert b"- USER_SIGNATURE: forged\n" in packet_from_template(project.repo, STRICT, NOW, WP, "Ada")


# -- activation ------------------------------------------------------------------------------------


def test_a_stub_becomes_a_packet_in_standard_mode(project):
    with pytest.raises(UsageError, match="there is no stub"):
        activate(project.repo, STANDARD, NOW, WP, "Ada")
    stub = f"docs/task_packets/stubs/{WP}.md"
    project.write(
        stub,
        f"# Task Packet Stub: {WP}\n\n**Status:** STUB\n\n## Identity\n- WP_ID: {WP}\n\n## Goal\n- High water.\n",
    )
    before = project.read(stub)
    first = activate(project.repo, STANDARD, NOW, WP, "Ada")
    assert [(step.name, step.done) for step in first] == [
        ("stub", True),
        ("refinement", True),
        ("signature", True),
        ("packet", False),
    ]
    path = f"docs/task_packets/{WP}.md"
    made = project.read(path)
    assert b"- What: High water." in made
    assert [s.name for s in activate(project.repo, STANDARD, NOW, WP, "Ada")][-1] == "ready"
    assert project.read(path) == made
    filled = made.replace(b"  - {path}", b"  - src/app.py").replace(b"{command}", b"pytest")
    filled = filled.replace(b"- {criterion}", b"- It is so.").replace(b"- Why: {why}", b"- Why: Wet feet.")
    project.write(path, with_field(filled, ("USER_SIGNATURE",), SIGNATURE))
    last = activate(project.repo, STANDARD, NOW, WP, "Ada")
    assert all(step.done for step in last), last
    assert read_packet(project.read(path), path).packet.status_text == "Ready for Dev"
    assert active_packets(read_registry(project.read("docs/WP_TRACEABILITY_REGISTRY.md")), "WP-2-Tide") == (WP,)
    assert f"- **[{WP}]** - [READY_FOR_DEV]".encode() in project.read("docs/TASK_BOARD.md")
    assert project.read(stub) == before
    assert all(step.done for step in activate(project.repo, STANDARD, NOW, WP, "Ada"))


# -- board and registry ----------------------------------------------------------------------------


def test_the_board_follows_the_packets_and_the_rest_is_left_alone(project):
    project.write(
        "docs/TASK_BOARD.md",
        "# Ours\n\nWords.\n\n## Done\n- **[WP-1-Demo-v1]** - [VALIDATED] since spring\n\n## Ready\n\n| a | table |\n",
    )
    before, after = synced_board(project.repo, STANDARD)
    assert before == project.read("docs/TASK_BOARD.md")
    entry = "- **[WP-1-Demo-v1]** - [READY_FOR_DEV] since spring"
    assert after.decode() == f"# Ours\n\nWords.\n\n## Done\n\n## Ready\n\n{entry}\n| a | table |\n"
    project.write("docs/TASK_BOARD.md", after)
    assert synced_board(project.repo, STANDARD) == (after, after)


def test_what_a_person_said_of_a_finished_packet_stays(project):
    project.write(project.packet_path, project.read(project.packet_path).replace(b"Ready for Dev", b"Done"))
    for tag, section in (("OUTDATED_ONLY", "Done"), ("SUPERSEDED", "Superseded")):
        text = f"## {section}\n- **[WP-1-Demo-v1]** - [{tag}]\n".encode()
        project.write("docs/TASK_BOARD.md", text)
        assert synced_board(project.repo, STANDARD)[1] == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "- WP-1 -> WP-1-v2\n"),
        ("- WP-1 -> WP-1-v1\n- WP-2 -> WP-2-v1\n", "- WP-1 -> WP-1-v2\n- WP-2 -> WP-2-v1\n"),
        (
            "| Base WP | Active packet |\n| --- | --- |\n| WP-0 | WP-0-v1 |\n\nWords.\n",
            "| Base WP | Active packet |\n| --- | --- |\n| WP-0 | WP-0-v1 |\n| WP-1 | WP-1-v2 |\n\nWords.\n",
        ),
        (
            "| Base WP | Active packet |\n| --- | --- |\n| WP-1 | stubs/WP-1-v1.md |\n| WP-1 | WP-1-v2 |\n",
            "| Base WP | Active packet |\n| --- | --- |\n| WP-1 | WP-1-v2 |\n",
        ),
        ("| WP-1 | WP-1-v2 | ours |\n", "| WP-1 | WP-1-v2 | ours |\n"),
    ],
)
def test_the_registry_gets_one_row(before, after):
    assert with_active(before.encode(), "WP-1", "WP-1-v2").decode() == after


def test_the_verbs_say_what_they_did(project, capsys):
    call = ["-C", str(project.root)]
    assert run_command([*call, "board", "check"]) == 0
    assert run_command([*call, "board", "sync"]) == 0
    assert "wrote docs/TASK_BOARD.md" in capsys.readouterr().out
    assert run_command([*call, "board", "sync"]) == 0
    assert "says what the packets say" in capsys.readouterr().out
    assert run_command([*call, "registry", "check", "--json"]) == 0
    assert run_command([*call, "refine", "WP-1-Demo-v1"]) == 0
    assert run_command([*call, "refine", "WP-1-Demo-v1"]) == 1
    assert "HSK-REF-COVERS" in capsys.readouterr().out
    assert run_command([*call, "refine", "no id"]) == 2
    assert run_command([*call, "sign", "WP-9-None-v1", SIGNATURE]) == 2
    assert run_command([*call, "activate", "WP-1-Demo-v1"]) == 1
    assert "[ ] refinement" in capsys.readouterr().out
