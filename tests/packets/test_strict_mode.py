"""Strict mode in a real repository: what is whole may run, and each thing that is missing is named alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from handshake.domain.packet_text import read_packet
from handshake.domain.settings import Governance, Settings
from handshake.gates.activation import activation_findings
from handshake.gates.changes import sha1_forms

STRICT = Settings(governance=Governance(mode="strict"))
WP = "WP-1-Demo-v1"
REFINEMENT = f"docs/refinements/{WP}.md"
BOARD, REGISTRY, AUDIT = Settings().paths.board, Settings().paths.registry, Settings().paths.signatures
SPEC = "# Spec\n\nThe tide table shows heights.\nIn metres.\n"


def refinement(spec: str = SPEC) -> str:
    points = "".join(f"- [x] point {number}\n" for number in range(5))
    return f"""# Refinement
- WP_ID: {WP}
- SPEC_TARGET: docs/SPEC_CURRENT.md
- SPEC_SHA1: {sha1_forms(spec.encode())[0]}
- REVIEW_STATUS: APPROVED
- USER_SIGNATURE: demo010120260101

## ANCHORS
- SPEC_FILE: docs/spec_v1.md
- START: 3
- END: 4
- TOKEN: shows heights

## CLEARLY_COVERS
{points}
## ENRICHMENT
- ENRICHMENT_NEEDED: NO
- REASON: all is there
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory, make_project):
    """A project with everything strict mode asks for, committed; made once and copied."""
    project = make_project(tmp_path_factory.mktemp("strict") / "whole")
    text = project.read(project.packet_path).decode()
    project.write(project.packet_path, text + "\n## BOOTSTRAP\n- x\n\n## SKELETON\nSKELETON APPROVED\n")
    project.write("docs/spec_v1.md", SPEC)
    project.write("docs/SPEC_CURRENT.md", "The spec: **docs/spec_v1.md**\n")
    project.write(REFINEMENT, refinement())
    project.write(AUDIT, f"| Signature | Used for |\n| --- | --- |\n| demo010120260101 | {WP} |\n")
    project.write(BOARD, f"# Board\n\n## Ready\n- **[{WP}]** - [READY_FOR_DEV]\n")
    project.write(REGISTRY, f"| Base | Active |\n| --- | --- |\n| WP-1-Demo | docs/task_packets/{WP}.md |\n")
    project.commit("all of it")
    return project


@pytest.fixture
def strict(whole, tmp_path):
    """A copy of that project to spoil."""
    shutil.copytree(whole.root, tmp_path / "copy", symlinks=True)
    return whole.moved_to(tmp_path / "copy")


def codes(project) -> list[str]:
    file = project.root / project.packet_path
    packet = read_packet(file.read_bytes(), project.packet_path).packet
    assert packet is not None
    registry = (project.root / REGISTRY).read_text() if (project.root / REGISTRY).is_file() else None
    found = activation_findings(packet, file.parent, STRICT, registry)
    assert all(f.mend for f in found)
    return [f.code for f in found if f.severity == "error"]


def replaced(path: str, old: str, new: str) -> Callable:
    def change(project) -> None:
        text = project.read(path).decode()
        assert old in text
        project.write(path, text.replace(old, new))

    return change


def removed(path: str) -> Callable:
    return lambda project: (project.root / path).unlink()


def test_a_packet_with_everything_may_run(strict) -> None:
    assert codes(strict) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (removed(REFINEMENT), "HSK-REF-MISSING"),
        (replaced(REFINEMENT, f"WP_ID: {WP}", "WP_ID: WP-2"), "HSK-REF-ID"),
        (replaced(REFINEMENT, "APPROVED", "PENDING"), "HSK-REF-APPROVAL"),
        (replaced(REFINEMENT, "demo010120260101", "<pending>"), "HSK-REF-SIGNATURE"),
        (replaced(REFINEMENT, "demo010120260101", "demo020220260202"), "HSK-REF-SIGNATURE"),
        (replaced(REFINEMENT, "TOKEN: shows heights", "TOKEN: shows depths"), "HSK-REF-TOKEN"),
        (replaced(REFINEMENT, "START: 3", "START: 4"), "HSK-REF-TOKEN"),
        (replaced(REFINEMENT, "END: 4", "END: 99999999"), "HSK-REF-ANCHOR"),
        (replaced(REFINEMENT, "START: 3", "START: 0"), "HSK-REF-ANCHOR"),
        (replaced(REFINEMENT, "docs/spec_v1.md", "../spec_v1.md"), "HSK-REF-ANCHOR"),
        (replaced(REFINEMENT, "- [x] point 3", "- [ ] point 3"), "HSK-REF-COVERS"),
        (replaced(REFINEMENT, "- [x] point 3\n", ""), "HSK-REF-COVERS"),
        (replaced(REFINEMENT, "NEEDED: NO", "NEEDED: maybe"), "HSK-REF-ENRICHMENT"),
        (replaced(REFINEMENT, "REASON: all is there", "REASON:"), "HSK-REF-ENRICHMENT"),
        (replaced("docs/spec_v1.md", "In metres", "In feet"), "HSK-REF-SHA1"),
        (replaced("docs/SPEC_CURRENT.md", "**docs", "**docs/spec_v0.md**, **docs"), "HSK-REF-SPEC"),
        (replaced("docs/SPEC_CURRENT.md", "spec_v1", "spec_v2"), "HSK-REF-SPEC"),
        (removed("docs/SPEC_CURRENT.md"), "HSK-REF-SPEC"),
        (replaced(AUDIT, "demo010120260101", "demo010120260102"), "HSK-SIG-AUDIT"),
        (replaced(AUDIT, f"| {WP} |\n", f"| {WP} |\n| demo010120260101 | WP-2 |\n"), "HSK-SIG-AUDIT"),
        (replaced(AUDIT, WP, "WP-2"), "HSK-SIG-AUDIT"),
        (removed(AUDIT), "HSK-SIG-AUDIT"),
        (replaced("docs/task_packets/WP-1-Demo-v1.md", "SKELETON APPROVED\n", ""), "HSK-PHASE"),
        (replaced("docs/task_packets/WP-1-Demo-v1.md", "SKELETON APPROVED\n", "`SKELETON APPROVED`\n"), "HSK-PHASE"),
        (removed(BOARD), "HSK-BOARD-MISSING"),
        (replaced(BOARD, WP, "WP-2"), "HSK-BOARD-PACKET"),
        (replaced(BOARD, "READY_FOR_DEV", "IN_PROGRESS"), "HSK-BOARD-TAG"),
        (replaced(BOARD, "READY_FOR_DEV", "SOON"), "HSK-BOARD-TAG"),
        (replaced(BOARD, "## Ready\n", f"## Done\n- **[{WP}]** - [FAIL]\n## Ready\n"), "HSK-BOARD-TWICE"),
        (replaced(BOARD, "## Ready\n", "## In Progress\n"), "HSK-BOARD-TAG"),
        (removed(REGISTRY), "HSK-REG-MISSING"),
        (replaced(REGISTRY, WP, "WP-1-Demo-v2"), "HSK-REG-ACTIVE"),
        (replaced(REGISTRY, "task_packets/", "task_packets/stubs/"), "HSK-REG-STUB"),
    ],
)
def test_each_thing_that_strict_mode_asks_for_is_missed_by_name(strict, change: Callable, code: str) -> None:
    change(strict)
    found = [code for code in codes(strict) if code != "HSK-STRICT-COMMIT"]
    assert code in found
    if code == "HSK-BOARD-TWICE":
        found.remove("HSK-BOARD-STATUS")  # of two lines one disagrees
    assert set(found) == {code}


@pytest.mark.parametrize(("signed", "expected"), [("09:30:59", ["HSK-SIG-MINUTE"]), ("09:31:00", [])])
def test_a_signature_by_hand_is_not_of_the_minute_of_the_refinement_either(strict, signed, expected) -> None:
    replaced(REFINEMENT, "# Refinement\n", "# Refinement\n- DATE: 2026-01-22T09:30:01.000Z\n")(strict)
    replaced(AUDIT, f"| {WP} |", f"| {WP} | 2026-01-22T{signed}Z |")(strict)
    assert [code for code in codes(strict) if code != "HSK-STRICT-COMMIT"] == expected


def test_the_board_must_agree_with_the_packets_status(strict) -> None:
    replaced(BOARD, f"## Ready\n- **[{WP}]** - [READY_FOR_DEV]", f"## In Progress\n- **[{WP}]** - [IN_PROGRESS]")(
        strict
    )
    strict.commit()
    assert codes(strict) == ["HSK-BOARD-STATUS"]


@pytest.mark.parametrize("path", ["docs/task_packets/WP-1-Demo-v1.md", REFINEMENT])
def test_packet_and_refinement_must_be_committed_as_they_stand(strict, path: str) -> None:
    strict.write(path, strict.read(path) + b"\n")
    assert codes(strict) == ["HSK-STRICT-COMMIT"]
    strict.git("add", path)
    assert codes(strict) == ["HSK-STRICT-COMMIT"]
    strict.git("commit", "-q", "-m", "now")
    assert codes(strict) == []
    # what git was told not to look at is looked at
    strict.git("update-index", "--assume-unchanged", path)
    strict.write(path, strict.read(path) + b"\n")
    assert codes(strict) == ["HSK-STRICT-COMMIT"]


def test_line_endings_that_git_converts_are_no_change(strict) -> None:
    strict.git("config", "core.autocrlf", "true")
    strict.write(REFINEMENT, strict.read(REFINEMENT).replace(b"\n", b"\r\n"))
    assert codes(strict) == []


def test_in_standard_mode_none_of_it_is_asked(strict) -> None:
    (strict.root / REFINEMENT).unlink()
    packet = read_packet(strict.read(strict.packet_path), strict.packet_path).packet
    assert packet is not None
    assert activation_findings(packet, (strict.root / strict.packet_path).parent, Settings(), None) == []
