"""Phases, pre-work, activation, new packets and the shipped hook scripts."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from handshake.config.shipped import shipped
from handshake.domain.errors import UsageError
from handshake.domain.packet_lines import read_lines
from handshake.domain.packet_text import is_runnable, read_packet
from handshake.domain.settings import Governance, Settings
from handshake.gates.activation import activation_findings, find_active_packets
from handshake.gates.new_packet import new_packet
from handshake.gates.packet_fix import fix_packet
from handshake.gates.phase import phase_findings
from handshake.gates.pre_work import pre_work

PATH = "docs/task_packets/WP-1-Demo-v1.md"
REPORT = "\n## VALIDATION_REPORTS\n### VALIDATION REPORT - x\nVerdict: PASS\n"


def phases(text: str, **more: bool) -> list[str]:
    return [finding.what for finding in phase_findings(read_lines(text.encode()), PATH, **more)]


def test_a_finished_packet_has_its_phases(finished: bytes) -> None:
    assert phases(finished.decode()) == []


def test_a_packet_without_evidence_needs_no_phases(packet: str) -> None:
    assert phases(packet) == []


@pytest.mark.parametrize(
    "heading",
    [
        "## IMPLEMENTATION",
        "### Implementation (done)",
        "## 4. IMPLEMENTATION:",
        "**IMPLEMENTATION**",
        "Implementation\n---",
    ],
)
def test_a_filled_implementation_asks_for_approval(packet: str, heading: str) -> None:
    text = packet + f"\n## BOOTSTRAP\n- x\n\n## SKELETON\n- y\n\n{heading}\n- Wrote it.\n"
    assert any("`SKELETON APPROVED` is missing, and IMPLEMENTATION is filled" in what for what in phases(text))
    assert phases(text.replace("## SKELETON\n", "## SKELETON\nSKELETON APPROVED\n")) == []


def test_a_report_or_a_manifest_asks_for_approval(packet: str, finished: bytes) -> None:
    text = packet + "\n## BOOTSTRAP\n## SKELETON\n"
    assert "there is a validation report" in phases(text + REPORT)[0]
    filled = (
        finished.decode()
        .replace("SKELETON APPROVED\n-", "-")
        .replace("- Wrote `print_table` in `tides/table.py`.", "")
    )
    filled = filled[: filled.index("## VALIDATION_REPORTS")]
    assert "the manifest is filled" in phases(filled)[0]
    assert phases(filled, manifest_is_evidence=False) == []


@pytest.mark.parametrize(
    "marker",
    [
        "```\nSKELETON APPROVED\n```",
        "~~~~\n```\nSKELETON APPROVED\n```\n~~~~",
        "<!-- SKELETON APPROVED -->",
        "<!--\nSKELETON APPROVED\n-->",
        "- `SKELETON APPROVED`",
        "> SKELETON APPROVED",
        "Not yet SKELETON APPROVED",
        "SKELETON APPROVED by me",
    ],
)
def test_a_marker_that_is_hidden_or_not_alone_does_not_count(packet: str, marker: str) -> None:
    text = packet + f"\n## BOOTSTRAP\n- x\n\n## SKELETON\n{marker}\n\n## IMPLEMENTATION\n- Wrote it.\n"
    assert any("is missing" in what for what in phases(text))


def test_approval_stands_between_skeleton_and_implementation(packet: str) -> None:
    before = packet + "\n## BOOTSTRAP\nSKELETON APPROVED\n\n## SKELETON\n- y\n\n## IMPLEMENTATION\n- z\n"
    after = packet + "\n## BOOTSTRAP\n- x\n\n## SKELETON\n- y\n\n## IMPLEMENTATION\nSKELETON APPROVED\n- z\n"
    for text in (before, after):
        assert any("does not stand between" in what for what in phases(text))


def test_missing_and_swapped_phases_are_named(packet: str) -> None:
    assert any("BOOTSTRAP is missing" in what for what in phases(packet.replace("Ready for Dev", "In Progress")))
    assert any("comes before BOOTSTRAP" in what for what in phases(packet + "\n## SKELETON\n## BOOTSTRAP\n"))
    missing = phases(packet + "\n## IMPLEMENTATION\n- z\n")
    assert any("BOOTSTRAP" in what for what in missing)
    assert any("SKELETON is missing" in what for what in missing)


def test_pre_work_wants_a_file_a_signature_and_a_manifest_form(packet: str) -> None:
    assert [f.code for f in pre_work(None, PATH)] == ["HSK-PRE-FILE"]
    assert [f.code for f in pre_work(packet.encode(), PATH)] == ["HSK-PRE-MANIFEST"]
    fixed, added = fix_packet(packet.encode())
    assert added
    assert pre_work(fixed, PATH) == []
    assert fix_packet(fixed) == (fixed, ())
    unsigned = fixed.replace(b"demo010120260101", b"<pending>")
    assert [f.code for f in pre_work(unsigned, PATH)] == ["HSK-PRE-SIGNATURE"]
    assert "HSK-PRE-STUB" in [f.code for f in pre_work(fixed.replace(b"Ready for Dev", b"STUB"), PATH)]


def template(name: str = "packet.md") -> str:
    return shipped("templates", name).read_text(encoding="utf-8")


def test_a_new_packet_lacks_only_what_a_person_must_fill() -> None:
    text = new_packet(template(), wp_id="WP-1-Demo-v1", date="2026-01-22T08:43:59.016Z", requestor="Zo\u00eb X")
    assert text.isascii()
    findings = read_packet(text.encode(), PATH).findings
    assert {f.code for f in findings} == {
        "HSK-ACT-SIGNATURE", "HSK-PKT-PLACEHOLDER", "HSK-PKT-SCOPE", "HSK-PKT-TEST", "HSK-PKT-DONE",
    }  # fmt: skip
    for name, value in {
        "{what}": "w", "{why}": "y", "{path}": "src/", "{command}": "pytest", "{criterion}": "It is so.",
        "<pending>": "me1", "Draft": "Ready for Dev",
    }.items():  # fmt: skip
        text = text.replace(name, value)
    assert pre_work(text.encode(), PATH) == []
    packet = read_packet(text.encode(), PATH).packet
    assert packet is not None
    assert is_runnable(packet) == []
    assert (packet.base_wp_id, packet.manifest, packet.waivers) == ("WP-1-Demo", (), ())


@pytest.mark.parametrize("wp_id", ["DEMO", "WP-", "WP-1 x", "../WP-1", "WP-1-2026-01-02", "WP-1-20260102"])
def test_an_id_of_another_form_is_refused(wp_id: str) -> None:
    with pytest.raises(UsageError, match="no packet id"):
        new_packet(template(), wp_id=wp_id, date="x", requestor="y")


@pytest.mark.parametrize("name", ["packet.md", "stub.md", "refinement.md", "board.md", "registry.md"])
def test_every_template_ships_in_ascii(name: str) -> None:
    assert template(name).isascii()


def test_the_stub_template_is_a_stub() -> None:
    text = new_packet(template("stub.md"), wp_id="WP-2-Later-v1", date="2026-01-22", requestor="me")
    packet = read_packet(text.encode(), "docs/task_packets/stubs/WP-2-Later-v1.md").packet
    assert packet is not None
    assert packet.is_stub


class Folder:
    """A working tree with packets."""

    def __init__(self, root: Path, text: str) -> None:
        self.root = root
        self.text = text
        (root / "docs/task_packets/stubs").mkdir(parents=True)

    def drop(self, name: str, **changes: str) -> None:
        text = self.text.replace("WP-1-Demo-v1", name)
        for old, new in changes.items():
            text = text.replace(old.replace("_", " "), new)
        (self.root / f"docs/task_packets/{name}.md").write_text(text)

    def codes(self, name: str, registry: str | None = None, settings: Settings | None = None) -> list[str]:
        path = f"docs/task_packets/{name}.md"
        packet = read_packet((self.root / path).read_bytes(), path).packet
        assert packet is not None
        found = activation_findings(packet, self.root / "docs/task_packets", settings or Settings(), registry)
        return [f.code for f in found]


@pytest.fixture
def folder(tmp_path: Path, packet: str) -> Folder:
    return Folder(tmp_path, packet)


def test_a_dropped_packet_may_run(folder: Folder) -> None:
    folder.drop("WP-1-Demo-v1")
    assert folder.codes("WP-1-Demo-v1") == []


def test_several_revisions_need_the_registry(folder: Folder) -> None:
    folder.drop("WP-1-Demo-v1")
    folder.drop("WP-1-Demo-v2", BASE_WP_ID="x")
    folder.drop("WP-1-Demo-vX")
    assert folder.codes("WP-1-Demo-v2") == ["HSK-ACT-AMBIGUOUS"]
    registry = shipped("templates", "registry.md").read_text() + "| WP-1-Demo | WP-1-Demo-v2 |\n"
    assert folder.codes("WP-1-Demo-v2", registry) == []
    assert folder.codes("WP-1-Demo-v1", registry) == ["HSK-ACT-REGISTRY"]
    assert folder.codes("WP-1-Demo-v2", registry + "- WP-1-Demo -> WP-1-Demo-v1\n") == ["HSK-ACT-REGISTRY"]


def test_a_broken_phase_order_stops_activation(folder: Folder) -> None:
    folder.drop("WP-1-Demo-v1", **{"### DONE_MEANS": "### X"})
    folder.text += "\n## SKELETON\n## BOOTSTRAP\n"
    folder.drop("WP-1-Demo-v1")
    assert folder.codes("WP-1-Demo-v1") == ["HSK-PHASE"]


def test_signed_commits_are_asked_of_git(project) -> None:
    settings = Settings(governance=Governance(signed_commits=True))
    path = project.root / project.packet_path
    packet = read_packet(path.read_bytes(), project.packet_path).packet
    assert packet is not None
    found = activation_findings(packet, path.parent, settings, None)
    assert [f.code for f in found] == ["HSK-ACT-SIGNED"]
    assert "has no signature" in found[0].what
    path.write_bytes(path.read_bytes() + b"\n")
    assert "is not committed" in activation_findings(packet, path.parent, settings, None)[0].what
    path.write_bytes(path.read_bytes()[:-1])
    with_a_key_of_ssh(project)
    path.write_bytes(path.read_bytes() + b"\n")
    project.git("commit", "-q", "-a", "-S", "-m", "signed")
    assert activation_findings(packet, path.parent, settings, None) == []


def with_a_key_of_ssh(project) -> None:
    key = project.root.parent / "key"
    made = subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=False)
    if made.returncode != 0:
        pytest.skip("ssh-keygen is not here")
    allowed = project.root.parent / "allowed"
    allowed.write_text("t@e " + key.with_suffix(".pub").read_text())
    for name, value in (
        ("gpg.format", "ssh"),
        ("user.signingkey", str(key)),
        ("gpg.ssh.allowedSignersFile", str(allowed)),
    ):
        project.git("config", name, value)


@pytest.fixture
def keyring(tmp_path_factory, monkeypatch):
    """A GnuPG home of our own, and what is asked of it; its agent ends with the test."""
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not here")
    home = tmp_path_factory.mktemp("g")  # short: the agent's socket lies in it
    home.chmod(0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))

    def gpg(*args: str) -> str:
        command = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    yield gpg
    subprocess.run(["gpgconf", "--kill", "all"], check=False)


def test_commits_signed_with_gpg_are_asked_of_git_too(project, keyring, monkeypatch, tmp_path_factory) -> None:
    settings = Settings(governance=Governance(signed_commits=True))
    path = project.root / project.packet_path
    packet = read_packet(path.read_bytes(), project.packet_path).packet
    assert packet is not None

    def codes() -> list[str]:
        return [finding.code for finding in activation_findings(packet, path.parent, settings, None)]

    keyring("--quick-generate-key", "T <t@e>", "ed25519", "sign", "never")
    project.env["GNUPGHOME"] = os.environ["GNUPGHOME"]
    for name, value in (("gpg.format", "openpgp"), ("user.signingkey", "t@e")):
        project.git("config", name, value)
    path.write_bytes(path.read_bytes() + b"\n")
    project.git("commit", "-q", "-a", "-S", "-m", "signed")
    assert codes() == []
    # whoever does not have the key cannot tell whose signature it is
    elsewhere = tmp_path_factory.mktemp("n")
    elsewhere.chmod(0o700)
    monkeypatch.setenv("GNUPGHOME", str(elsewhere))
    assert codes() == ["HSK-ACT-SIGNED"]
    monkeypatch.setenv("GNUPGHOME", project.env["GNUPGHOME"])
    forged = project.git("cat-file", "commit", "HEAD").replace("\n\nsigned", "\n\nother words") + "\n"
    project.git("reset", "-q", project.git("hash-object", "-t", "commit", "-w", "--stdin", data=forged.encode()))
    assert codes() == ["HSK-ACT-SIGNED"]


def test_active_packets_are_found_and_the_others_left_alone(folder: Folder) -> None:
    folder.drop("WP-1-Demo-v1")
    folder.drop("WP-2-Draft-v1", Ready_for_Dev="Draft")
    folder.drop("WP-3-Done-v1", Ready_for_Dev="Done")
    (folder.root / "docs/task_packets/WP-4-Broken-v1.md").write_text("nothing")
    (folder.root / "docs/task_packets/stubs/WP-5-Stub-v1.md").write_text("nothing")
    found = find_active_packets(folder.root, Settings())
    assert [(p.path.rpartition("/")[2], p.may_run) for p in found] == [
        ("WP-1-Demo-v1.md", True),
        ("WP-4-Broken-v1.md", False),
    ]


HOOKS = ["pre-commit", "pre-push", "pre-merge-commit", "reference-transaction"]


def run_hook(name: str, folder: Path, path: str, *args: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = ["/bin/sh", str(shipped("hooks", name)), *args]
    return subprocess.run(command, cwd=folder, env={"PATH": path}, input=data, capture_output=True, check=False)


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_calls_handshake_or_says_what_to_do(tmp_path: Path, name: str) -> None:
    script = shipped("hooks", name)
    assert script.stat().st_mode & stat.S_IXUSR
    assert b"\r" not in script.read_bytes()
    args = ["prepared"] if name == "reference-transaction" else ["one", "two words"]
    data = (
        b"refs/heads/feat/WP-1 1 refs/heads/feat/WP-1 0\n"
        if name == "pre-push"
        else b"0 1 refs/heads/handshake/track/WP-1\n"
    )
    system = "/usr/bin:/bin"
    missing = run_hook(name, tmp_path, system, *args, data=data)
    assert missing.returncode == 1
    assert b"not on PATH" in missing.stderr
    fake = tmp_path / "handshake"
    fake.write_text('#!/bin/sh\nfor a in "$@"; do echo "[$a]"; done\ncat\nexit 7\n')
    fake.chmod(0o755)
    called = run_hook(name, tmp_path, f"{tmp_path}:{system}", *args, data=data)
    assert called.returncode == 7
    assert called.stdout.startswith(
        b"[hook]\n[" + name.encode() + b"]\n" + b"".join(b"[%s]\n" % a.encode() for a in args)
    )
    assert data in called.stdout


def test_other_refs_move_without_handshake(tmp_path: Path) -> None:
    for args, data in (
        (["committed"], b"0 1 refs/heads/handshake/track/x\n"),
        (["prepared"], b"0 1 refs/heads/main\n"),
    ):
        assert run_hook("reference-transaction", tmp_path, "/usr/bin:/bin", *args, data=data).returncode == 0
