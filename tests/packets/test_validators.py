"""Each validator passes on a clean repository, and finds what it is for, with file and line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from handshake.cli.main import run_command
from handshake.domain.canonical import sha256_hex
from handshake.domain.clock import SteppingClock
from handshake.domain.errors import ConfigError, UsageError
from handshake.domain.settings import Commands, ErrorCodes, ForbiddenPattern, Governance, Scan, Settings, Validators
from handshake.gates.validators.table import VALIDATORS, gate_findings, run_validators
from handshake.gates.validators.view import tree_view, working_view

PACKET = "docs/task_packets/WP-1-Demo-v1.md"


def found(project, name, settings=None, view=None):
    """`code file:line words` of each finding of one validator."""
    view = view or working_view(project.repo, settings or Settings())
    findings = run_validators(view, [name], SteppingClock())[name]
    return [f"{f.code} {f.file}:{f.line or 0} {f.what}" for f in findings]


def said(rows, *parts):
    """Whether one of the rows holds all these words."""
    return any(all(part in row for part in parts) for row in rows)


def validators(**more):
    return Settings(validators=Validators(**more))


def strict(**more):
    return Settings(governance=Governance(mode="strict"), **more)


def test_a_clean_repository_passes_them_all(project):
    project.write(".gitignore", "__pycache__/\n")
    view = working_view(project.repo, Settings())
    assert run_validators(view, [], SteppingClock()) == {name: [] for name in VALIDATORS}


def test_a_name_that_is_none_is_refused_with_those_that_are(project):
    with pytest.raises(UsageError, match="scann") as refused:
        run_validators(working_view(project.repo, Settings()), ["scan", "scann"], SteppingClock())
    assert "git-hygiene" in refused.value.next_step


# -- scan ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "line", "what"),
    [
        ("src/a.py", "    breakpoint()", "a debugger"),
        ("src/a.py", 'print("DEBUG", x)', "a debug print"),
        ("src/a.py", "    except:", "a bare except"),
        ("src/a.py", "from unittest.mock import Mock", "a mock in product code"),
        ("src/a.py", "x = 1  # TODO: more", "the word TODO"),
        ("src/a.js", "  debugger;", "a debugger"),
        ("src/a.ts", "console.log(x)", "a debug print"),
        ("src/a.tsx", "try { f() } catch (e) {}", "a catch that swallows"),
        ("src/a.rs", "    todo!()", "unfinished work"),
        ("src/a.rs", "    dbg!(x);", "a debug print"),
        ("src/a.go", '\tfmt.Println("DEBUG", x)', "a debug print"),
        ("src/a.go", "// FIXME soon", "the word FIXME"),
    ],
)
def test_scan_finds_what_is_left_over(project, path, line, what):
    project.write(path, f"first\n{line}\n")
    assert said(found(project, "scan"), f"HSK-VAL-SCAN {path}:2", what)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("src/a.py", "print(total)"),
        ("src/a.py", "except ValueError:"),
        ("tests/test_a.py", "from unittest.mock import Mock"),
        ("tests/conftest.py", "def fixture(monkeypatch):"),
        ("src/a.py", "todos = []"),
        ("docs/notes.md", "TODO: write more"),
        ("vendor/a.py", "breakpoint()"),
    ],
)
def test_scan_leaves_the_rest_alone(project, path, line):
    project.write(path, f"{line}\n")
    assert found(project, "scan") == []


def test_scan_reads_what_the_configuration_says(project):
    project.write("src/a.py", "url = 'http://example.org'\nbreakpoint()\n")
    project.write("docs/a.md", "http://example.org\n")
    rule = ForbiddenPattern(pattern="http://", what="plain HTTP")
    assert said(found(project, "scan", validators(scan=Scan(forbid=(rule,)))), "src/a.py:1", "plain HTTP")
    everywhere = rule.model_copy(update={"include": ("docs/",)})
    rows = found(project, "scan", validators(scan=Scan(include=("lib/",), forbid=(everywhere,))))
    assert [row.split()[1] for row in rows] == ["docs/a.md:1"]
    assert found(project, "scan", validators(scan=Scan(exclude=("src/",)))) == []
    with pytest.raises(ConfigError, match="is no pattern"):
        found(project, "scan", validators(scan=Scan(forbid=(ForbiddenPattern(pattern="("),))))


def test_a_change_is_judged_by_its_own_files(project):
    project.write("src/old.py", "breakpoint()\n")
    base = project.commit("old sins")
    project.write("src/new.py", "breakpoint()\n")
    head = project.commit("new ones")
    rows = found(project, "scan", view=tree_view(project.repo, Settings(), base, head))
    assert [row.split()[1] for row in rows] == ["src/new.py:1"]
    assert gate_findings(project.repo, Settings(), base, head) == []
    [finding] = gate_findings(project.repo, validators(post_work=("scan", "board")), base, head)
    assert finding.file == "src/new.py"


# -- git-hygiene -----------------------------------------------------------------------------------


def test_git_hygiene_finds_artifacts_and_what_does_not_ignore_them(project):
    rows = found(project, "git-hygiene")
    assert said(rows, "HSK-VAL-IGNORE .gitignore", "__pycache__/ is not ignored")
    project.write("web/a.ts", "x\n")
    project.write("web/a.rs", "x\n")
    project.write(".gitignore", "__pycache__/\n")
    project.write("lib/__pycache__/a.pyc", b"\0")
    project.git("add", "-f", ".")
    rows = found(project, "git-hygiene")
    assert said(rows, "node_modules/ is not ignored") and said(rows, "target/ is not ignored")
    assert said(rows, "HSK-VAL-ARTIFACT lib/__pycache__/a.pyc:0")
    assert not said(rows, "__pycache__/ is not ignored")


def test_git_hygiene_finds_large_files_that_git_does_not_know(project):
    project.write(".gitignore", "__pycache__/\nignored.bin\n")
    for name, size in (("large.bin", 10_000_001), ("small.bin", 10), ("ignored.bin", 10_000_001)):
        with (project.root / name).open("wb") as file:
            file.truncate(size)
    assert [row.split()[1] for row in found(project, "git-hygiene")] == ["large.bin:0"]


def test_git_hygiene_finds_secrets_and_does_not_show_them(project):
    project.write(".gitignore", "__pycache__/\n")
    key = "AK" + "IA" + "Q3EGRFYXZ7HWNMPL"
    project.write("conf/a.ini", f"[cloud]\nid = {key}\n")
    project.write("conf/b.py", "db_pass" + 'word = "s3cr3t-h0rse-9"\n')
    project.write("conf/c.py", "SEC" + 'RET_KIND = "client_secret"\n')
    project.write("tests/test_b.py", "pass" + 'word = "s3cr3t-h0rse-9"\n')
    rows = found(project, "git-hygiene")
    assert not said(rows, "conf/c.py") and not said(rows, "tests/test_b.py")
    assert said(rows, "HSK-VAL-SECRET conf/a.ini:2", "AWS") and said(rows, "HSK-VAL-SECRET conf/b.py:1")
    assert not said(rows, key)


# -- spec-regression -------------------------------------------------------------------------------


def test_spec_regression(project):
    assert found(project, "spec-regression") == []
    assert said(found(project, "spec-regression", strict()), "there is no pointer")
    project.write("docs/SPEC_CURRENT.md", "# Spec\n\n**Spec_v01.2.md**\n")
    assert said(found(project, "spec-regression"), "docs/SPEC_CURRENT.md:3", "is not there")
    project.write("docs/Spec_v01.2.md", "One.\n")
    assert found(project, "spec-regression") == []
    assert said(found(project, "spec-regression", validators(spec_anchors=("One.", "Two."))), "`Two.` is gone")
    project.write("old/Spec_v01.1.md", "")
    assert found(project, "spec-regression") == []
    project.write("docs/Spec_v01.10.md", "Ten.\n")
    assert said(found(project, "spec-regression"), "docs/SPEC_CURRENT.md:3", "Spec_v01.10.md is newer")
    project.write("docs/SPEC_CURRENT.md", "**Spec_v01.2.md**\n**Spec_v01.10.md**\n")
    assert said(found(project, "spec-regression"), "docs/SPEC_CURRENT.md:2", "names 2 specs")
    project.write("docs/SPEC_CURRENT.md", "Nothing.\n")
    assert said(found(project, "spec-regression"), "names no spec")


# -- packet-claim, board, registry, traceability ---------------------------------------------------


def with_status(project, status, *lines):
    text = project.read(PACKET).decode()
    before = text.partition("**Status:** ")[2].partition("\n")[0]
    more = "".join(f"- {line}\n" for line in lines)
    project.write(PACKET, text.replace(f"- **Status:** {before}\n", f"- **Status:** {status}\n{more}"))


def test_packet_claim(project):
    with_status(project, "In Progress", "CODER_MODEL: <unclaimed>", "AGENT_ID: {agent}", "CODER: Ada")
    rows = found(project, "packet-claim")
    assert said(rows, f"HSK-VAL-CLAIM {PACKET}:6", "CODER_MODEL is `<unclaimed>`") and said(rows, "AGENT_ID")
    assert len(rows) == 2
    with_status(project, "Ready for Dev")
    assert found(project, "packet-claim") == []


BOARD = "docs/TASK_BOARD.md"


def board(project, section, entry, path=BOARD):
    project.write(
        path,
        "# Task Board\n\n## In Progress\n\n## Ready\n\n## Done\n\n## Superseded\n".replace(
            f"## {section}\n", f"## {section}\n{entry}\n"
        ),
    )


@pytest.mark.parametrize(
    ("status", "section", "entry", "what"),
    [
        ("Ready for Dev", "Ready", "- **[WP-1-Demo-v1]** - [READY_FOR_DEV]", None),
        ("In Progress", "In Progress", "- **[WP-1-Demo-v1]** - [IN_PROGRESS]", None),
        ("Done", "Done", "- **[WP-1-Demo-v1]** - [VALIDATED]", None),
        ("Done", "In Progress", "- **[WP-1-Demo-v1]** - [IN_PROGRESS]", None),  # no review said what it is yet
        ("Done", "Ready", "- **[WP-1-Demo-v1]** - [READY_FOR_DEV]", "HSK-BOARD-STATUS"),
        ("Done", "Superseded", "- **[WP-1-Demo-v1]** - [SUPERSEDED]", None),
        ("Done", "Done", "- **[WP-1-Demo-v1]** - [OUTDATED_ONLY]", None),
        ("Ready for Dev", "Done", "- **[WP-1-Demo-v1]** - [VALIDATED]", "HSK-BOARD-STATUS"),
        ("Ready for Dev", "Superseded", "- **[WP-1-Demo-v1]** - [SUPERSEDED]", "HSK-BOARD-STATUS"),
        ("Ready for Dev", "In Progress", "- **[WP-1-Demo-v1]** - [READY_FOR_DEV]", "HSK-BOARD-TAG"),
        ("Ready for Dev", "Ready", "", "HSK-BOARD-PACKET"),
        ("Draft", "Ready", "", None),
    ],
)
def test_board(project, status, section, entry, what):
    with_status(project, status)
    board(project, section, entry)
    rows = found(project, "board")
    assert said(rows, what, BOARD) if what else rows == []


def test_a_board_entry_without_a_packet(project):
    board(project, "Ready", "- **[WP-1-Demo-v1]** - [READY_FOR_DEV]\n- **[WP-9-Gone-v1]** - [READY_FOR_DEV]")
    assert said(found(project, "board"), f"HSK-BOARD-UNKNOWN {BOARD}:7", "WP-9-Gone-v1")
    assert said(found(project, "traceability"), f"HSK-VAL-TRACE {BOARD}:7", "WP-9-Gone-v1")


def test_no_board_is_missed_in_strict_mode_alone(project):
    assert found(project, "board") == []
    assert said(found(project, "board", strict()), "HSK-BOARD-MISSING")


REGISTRY = "docs/WP_TRACEABILITY_REGISTRY.md"


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ("| WP-1-Demo | WP-1-Demo-v1 |", None),
        ("| WP-1-Demo | WP-1-Demo-v1 |\n| WP-1-Demo | WP-1-Demo-v1 |", "HSK-REG-TWICE"),
        ("| WP-1-Demo | WP-1-Demo-v2 |", "HSK-REG-UNKNOWN"),
        ("| WP-2-Other | WP-1-Demo-v1 |", "HSK-REG-BASE"),
        ("| WP-1-Demo | docs/task_packets/stubs/WP-1-Demo-v1.md |", "HSK-REG-STUB"),
        ("| WP-1-Demo | WP-1-Demo-v1 |\n| WP-1-Demo | WP-1-Demo-v2 |", "HSK-REG-ACTIVE"),
    ],
)
def test_registry(project, rows, what):
    project.write(REGISTRY, f"| Base WP | Active packet |\n| --- | --- |\n{rows}\n")
    got = found(project, "registry")
    assert said(got, what, f"{REGISTRY}:") if what else got == []


def test_a_base_that_the_registry_does_not_name(project):
    assert found(project, "registry") == []
    assert said(found(project, "registry", strict()), "HSK-REG-MISSING")
    second = project.read(PACKET).replace(b"WP-1-Demo-v1", b"WP-1-Demo-v2")
    project.write(PACKET.replace("-v1", "-v2"), second)
    assert said(found(project, "registry"), "HSK-REG-MISSING", "WP-1-Demo")


def test_traceability_of_commits(project):
    project.write("a.txt", "a\n")
    project.commit("WP-3-Nobody-v1: something")
    project.write("b.txt", "b\n")
    project.commit("more\n\nHandshake-WP: WP-4-Nobody-v1\n")
    project.write("c.txt", "c\n")
    project.commit("say WP-5-Mentioned-v1 in passing")
    rows = found(project, "traceability")
    assert said(rows, "WP-3-Nobody-v1") and said(rows, "WP-4-Nobody-v1")
    assert not said(rows, "WP-5")


def test_a_finished_packet_that_no_commit_names(project, finished):
    path = "docs/task_packets/WP-7-Tide-Table-v1.md"
    project.write(path, finished)
    project.commit("a packet")
    assert said(found(project, "traceability"), path, "no commit names it")
    project.write("x.txt", "x\n")
    project.commit("WP-7-Tide-Table-v1: done")
    assert found(project, "traceability") == []


# -- mailbox-export --------------------------------------------------------------------------------

MESSAGE = {
    "message_id": "m1",
    "thread_id": "t1",
    "created_at": "2026-01-22T09:00:00Z",
    "from_role": "Coder",
    "to_roles": ["Validator", "advisory:lint"],
    "message_type": "Handoff",
    "body_ref": "artifact:1",
    "body_sha256": "0" * 64,
    "attachments": [],
    "relates_to_message_id": None,
    "transcription_links": [],
    "idempotency_key": "k1",
}


def mailbox(project, message=None, *, index=None, manifest=None, thread=None):
    folder = "docs/ROLE_MAILBOX"
    line = thread if thread is not None else json.dumps({**MESSAGE, **(message or {})}).encode() + b"\n"
    default = {"schema_version": "role_mailbox_export_v1", "generated_at": "2026-01-22T09:00:00Z"}
    threads = [{"thread_id": "t1", "participants": ["Coder"], "thread_file": "threads/t1.jsonl"}]
    body = json.dumps({**default, "threads": threads, **(index or {})}).encode()
    row = {"path": "threads/t1.jsonl", "sha256": sha256_hex(line), "message_count": len(line.splitlines())}
    named = {**default, "export_root": f"{folder}/", "index_sha256": sha256_hex(body), "thread_files": [row]}
    project.write(f"{folder}/threads/t1.jsonl", line)
    project.write(f"{folder}/index.json", body)
    project.write(f"{folder}/export_manifest.json", json.dumps({**named, **(manifest or {})}))
    return found(project, "mailbox-export")


def test_a_mailbox_in_sync_passes(project):
    assert mailbox(project) == []
    assert mailbox(project, {"message_type": "scope_risk", "from_role": "operator"}) == []
    link = {"target_kind": "waiver", "target_ref": "x", "target_sha256": "0" * 64}
    assert mailbox(project, {"message_type": "WaiverApproval", "transcription_links": [link]}) == []


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({"manifest": {"index_sha256": "1" * 64}}, "HSK-VAL-MAILBOX-HASH", "index.json"),
        ({"manifest": {"thread_files": []}}, "HSK-VAL-MAILBOX", "not in the manifest"),
        ({"manifest": {"schema_version": "role_mailbox_export_v2"}}, "HSK-VAL-MAILBOX", "schema_version"),
        ({"index": {"threads": [{"participants": ["Boss"]}]}}, "HSK-VAL-MAILBOX-ROLE", "`Boss`"),
        ({"message": {"from_role": "Boss"}}, "HSK-VAL-MAILBOX-ROLE", "`Boss`"),
        ({"message": {"message_type": "Gossip"}}, "HSK-VAL-MAILBOX-TYPE", "`Gossip`"),
        ({"message": {"body": "psst"}}, "HSK-VAL-MAILBOX-BODY", "`body`"),
        ({"message": {"attachments": [{"raw_body": "psst"}]}}, "HSK-VAL-MAILBOX-BODY", "`raw_body`"),
        ({"message": {"body_sha256": None}}, "HSK-VAL-MAILBOX", "body_sha256"),
        ({"message": {"message_type": "WaiverApproval"}}, "HSK-VAL-MAILBOX-LINK", "transcription link"),
        ({"thread": '{"message_id": "\u00e4"}\n'.encode()}, "HSK-VAL-MAILBOX", "not ASCII"),
        ({"thread": b"no json\n"}, "HSK-VAL-MAILBOX", "no JSON"),
        ({"thread": b"[]\n"}, "HSK-VAL-MAILBOX", "no message"),
    ],
)
def test_a_mailbox_out_of_order_is_found(project, given, code, words):
    assert said(mailbox(project, **given), code, words)


def test_a_mailbox_without_its_manifest(project):
    mailbox(project)
    (project.root / "docs/ROLE_MAILBOX/export_manifest.json").unlink()
    assert said(found(project, "mailbox-export"), "export_manifest.json", "it is missing")


def test_json_without_end_is_a_finding(project):
    mailbox(project)
    for name in ("export_manifest.json", "index.json"):
        project.write(f"docs/ROLE_MAILBOX/{name}", "[" * 100_000)
    assert said(found(project, "mailbox-export"), "export_manifest.json", "it is no JSON")
    deep = '{"a": ' * 400 + '{"body": "x"}' + "}" * 400
    project.write("docs/ROLE_MAILBOX/export_manifest.json", deep)
    assert said(found(project, "mailbox-export"), "HSK-VAL-MAILBOX-BODY", "it holds `body`")


def test_a_loop_of_links_stops_no_validator(project):
    (project.root / "src/loop").symlink_to("loop")
    project.git("add", "-A")
    assert said(found(project, "git-hygiene"), "HSK-VAL-IGNORE")
    assert found(project, "scan") == []


# -- error-codes, own ones -------------------------------------------------------------------------


def test_error_codes(project):
    project.write("src/a.py", "one = 'HSK-400-KNOWN'\ntwo = 'HSK-401-NEW'\ntwo = 'HSK-401-NEW'\n")
    project.write("tests/test_a.py", "x = 'HSK-999'\n")
    assert found(project, "error-codes") == []
    project.write("docs/ERROR_CODES.md", "- HSK-400-KNOWN: bad call\n")
    assert [row.split()[1:3] for row in found(project, "error-codes")] == [["src/a.py:2", "HSK-401-NEW"]]
    other = ErrorCodes(pattern=r"one", declared_in=("docs/ERROR_CODES.md",))
    assert said(found(project, "error-codes", validators(error_codes=other)), "src/a.py:1", "one is not declared")
    with pytest.raises(ConfigError, match="is no pattern"):
        found(project, "error-codes", validators(error_codes=ErrorCodes(pattern="(")))


def own(command):
    return Settings(
        sandbox="off", commands=Commands(allow=("python",)), validators=Validators(own={"headers": command})
    )


def test_a_project_adds_its_own_as_a_command(project, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    project.write(
        "tools/headers.py",
        "import pathlib\n"
        "for file in sorted(pathlib.Path('src').glob('*.py')):\n"
        "    if not file.read_text().startswith('#'):\n"
        "        print(f'{file.as_posix()}:1: no header')\n"
        "pathlib.Path('src/app.py').write_text('harm')\n",
    )
    before = project.read("src/app.py")
    rows = found(project, "headers", own("python tools/headers.py"))
    assert rows == ["HSK-OWN-HEADERS src/app.py:1 no header"]
    assert project.read("src/app.py") == before
    assert said(found(project, "headers", own('python -c "raise SystemExit(3)"')), "it left with 3")
    assert said(found(project, "headers", own("rm -rf .")), "could not run")


def test_a_command_of_a_clone_needs_trust(project, monkeypatch, capsys, tmp_path_factory):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    project.write(".handshake/config.yaml", 'version: 1\nvalidators: {own: {harm: "python -c 1"}}\n')
    project.write(".gitignore", "__pycache__/\n")
    assert run_command(["-C", str(project.root), "validate", "scan"]) == 0
    capsys.readouterr()
    for arguments in (["validate"], ["validate", "harm"]):
        assert run_command(["-C", str(project.root), *arguments]) == 2
        assert "validators.own" in capsys.readouterr().err


def test_the_verb_says_what_failed_and_leaves_with_one(project, capsys):
    project.write("src/a.py", "breakpoint()\n")
    assert run_command(["-C", str(project.root), "validate", "scan", "registry"]) == 1
    out = capsys.readouterr().out
    assert "error: src/a.py:1: HSK-VAL-SCAN: a debugger" in out and "registry: passed" in out
    assert run_command(["-C", str(project.root), "validate", "scan", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False and document["validators"][0]["findings"][0]["line"] == 1
    project.commit("one")
    assert run_command(["-C", str(project.root), "validate", "scan", "--range", "HEAD~1..HEAD"]) == 1
    assert run_command(["-C", str(project.root), "validate", "--range", "nothing..here"]) == 2
    subprocess.run(["git", "-C", str(project.root), "diff", "--quiet"], check=True)
