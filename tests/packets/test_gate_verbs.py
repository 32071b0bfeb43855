"""The gates by hand and in CI, through the command line, over a real repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from handshake.cli.main import run_command
from handshake.cli.verb_ci import annotation
from handshake.domain.packet import Finding
from handshake.domain.packet_text import read_packet
from handshake.gates.changes import changes_to, sha1_forms
from handshake.gates.manifest import manifest_entries
from handshake.gates.work_gate import judge_own_commit

WP = "WP-1-Demo-v1"
PATH = f"docs/task_packets/{WP}.md"


@pytest.fixture(scope="module")
def begun(tmp_path_factory, make_project):
    project = make_project(tmp_path_factory.mktemp("verbs") / "project")
    project.git("checkout", "-q", "-b", f"feat/{WP}")
    return project


@pytest.fixture
def work(begun, tmp_path, monkeypatch):
    """The project on its WP branch, one file changed and staged."""
    shutil.copytree(begun.root, tmp_path / "copy", symlinks=True)
    for name in ("GITHUB_ACTIONS", "GITHUB_BASE_REF", "GITHUB_HEAD_REF"):
        monkeypatch.delenv(name, raising=False)
    project = begun.moved_to(tmp_path / "copy")
    project.write("src/app.py", project.read("src/app.py") + b"more\n")
    project.git("add", "-A")
    return project


@pytest.fixture
def run(work, capsys) -> Callable[..., str]:
    def call(*args: str, code: int = 0) -> str:
        found = run_command(["-C", str(work.root), *args])
        out, err = capsys.readouterr()
        assert found == code, out + err
        assert "Traceback" not in err
        return str(out + err)

    return call


def test_post_work_says_what_is_wrong_numbered_and_passes_once_it_is_mended(work, run) -> None:
    said = run("post-work", code=1)
    assert "error 1: docs/task_packets/" in said
    assert f"C701-G05: src/app.py has no manifest block; handshake manifest write {WP}" in said
    assert said.endswith("post-work fails: 1 errors, 0 warnings\n")
    run("manifest", "write", WP)
    run("post-work", "--staged", code=1)  # the manifest is on disk, and not in what is being committed
    work.git("add", "-A")
    run("post-work", "--staged")
    work.git("commit", "-qm", "work")
    document = json.loads(run("post-work", "--json"))
    assert (document["ok"], document["wp_id"], document["staged"]) == (True, WP, False)
    assert document["errors"] == document["warnings"] == []
    run("post-work", WP, "--range", "main..HEAD")


def test_a_name_that_is_no_text_is_shown_escaped(work) -> None:
    (work.root / os.fsdecode(b"caf\xe9.py")).write_bytes(b"x = 1\n")
    work.git("add", "-A")
    env = {**work.env, "PYTHONIOENCODING": "utf-8:strict"}
    for wanted in ([], ["--json"]):
        command = [sys.executable, "-m", "handshake", "-C", str(work.root), "post-work", *wanted]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (1, "")
        said = done.stdout if not wanted else json.loads(done.stdout)["errors"][0]["what"]
        assert ("caf\udce9.py" if wanted else "caf\\udce9.py") in said


def test_what_cannot_be_judged_leaves_with_2(work, run) -> None:
    assert "no range of commits" in run("post-work", "--range", "main..nowhere", code=2)
    assert "--staged and --range" in run("post-work", "--staged", "--range", "a..b", code=2)
    work.git("reset", "-q", "--hard")
    assert "nothing is staged" in run("post-work", "--staged", code=1)
    assert "nothing changed since main" in run("post-work", code=1)
    assert "nothing changed since main" in run("manifest", "write", WP, code=2)
    work.git("checkout", "-q", "-b", "other")
    work.write("x", "x")
    work.git("add", "x")
    assert "which packet is this change for?" in run("post-work", code=2)
    work.git("branch", "-q", "-m", "main", "trunk")
    assert "base branch main is not here" in run("post-work", WP, code=2)
    assert "there is no packet" in run("pre-work", "WP-9-No-v1", code=2)


def test_pre_work_asks_for_the_signed_commit_that_a_run_asks_for(work, run) -> None:
    run("packet", "fix", WP)
    work.git("commit", "-qm", "the template", "--", PATH)
    assert "pre-work passes" in run("pre-work", WP)
    work.write(".handshake/config.yaml", "governance: {signed_commits: true}\n")
    assert "HSK-ACT-SIGNED" in run("pre-work", WP, code=1)


def test_a_range_up_to_the_head_of_a_wp_branch_is_for_its_packet(work, run) -> None:
    work.git("commit", "-qm", "work")
    assert "src/app.py has no manifest block" in run("post-work", "--range", "main..HEAD", code=1)
    work.git("checkout", "-q", "--detach")
    assert "which packet is this change for?" in run("post-work", "--range", "main..HEAD", code=2)


def test_manifest_write_drops_what_did_not_change_and_touches_nothing_else(work, run) -> None:
    run("manifest", "write", WP)
    first = work.read(PATH)
    assert "kept 1 blocks" in run("manifest", "write", WP)
    assert work.read(PATH) == first
    work.write("lib/new file.txt", "x\n")
    work.git("add", "-A")
    work.git("reset", "-q", "HEAD", "--", "src/app.py")
    document = json.loads(run("manifest", "write", WP, "--json"))
    assert (document["files"], document["dropped"]) == (["lib/new file.txt"], ["src/app.py"])
    packet = read_packet(work.read(PATH), PATH).packet
    assert packet is not None
    assert [entry.target_file for entry in packet.manifest] == ["lib/new file.txt"]


def test_manifest_write_says_what_it_did_not_look_at(work, run) -> None:
    work.git("reset", "-q")
    names = "git add src/app.py"
    assert names in run("manifest", "write", WP, code=2)
    work.git("add", "src")
    assert "not looked at" not in run("manifest", "write", WP)
    work.git("commit", "-qam", "work")
    work.write("src/app.py", work.read("src/app.py") + b"and more\n")
    (work.root / "src/a b.py").write_text("new, and git commit -a leaves it out\n")
    said = run("manifest", "write", WP)
    assert "not looked at, because not staged: src/app.py. If they belong to it: git add them" in said
    assert json.loads(run("manifest", "write", WP, "--json"))["not_staged"] == ["src/app.py"]
    assert "not looked at" not in run("manifest", "write", WP, "--range", "main..HEAD")


def test_packet_fix_adds_the_template_once_and_pre_work_is_content(work, run) -> None:
    before = work.read(PATH)
    assert "HSK-PRE-MANIFEST" in run("pre-work", WP, code=1)
    assert "added the manifest template" in run("packet", "fix", WP)
    assert work.read(PATH).startswith(before.rstrip(b"\n"))
    assert "lacks nothing" in run("packet", "fix", WP)
    assert "pre-work passes" in run("pre-work", WP)
    assert "gate-check passes" in run("gate-check", WP)
    work.write(PATH, work.read(PATH) + b"\n## IMPLEMENTATION\n- done\n")
    assert "the phase BOOTSTRAP is missing" in run("gate-check", WP, code=1)


def test_cor701_sha_shows_base_index_and_disk(work, run) -> None:
    at_base = "".join(f"line {n}\n" for n in range(1, 21)).encode()
    work.write("src/app.py", at_base.replace(b"\n", b"\r\n"))
    said = run("cor701-sha", "src/app.py")
    assert f"base     {sha1_forms(at_base)[0]}" in said
    assert f"index    {sha1_forms(at_base + b'more' + bytes([10]))[0]}" in said
    assert f"worktree {sha1_forms(at_base)[0]}  (as it stands, with CRLF: " in said
    assert json.loads(run("cor701-sha", "src/app.py", "--json"))["base"]["lf"] == sha1_forms(at_base)[0]
    work.git("rm", "-qf", "lib/old.txt")
    assert f"worktree {'0' * 40}  (no file)" in run("cor701-sha", "lib/old.txt")
    assert "is nowhere" in run("cor701-sha", "no.txt", code=2)
    assert "is not in" in run("cor701-sha", "/etc/hostname", code=2)


def test_ci_judges_the_range_and_annotates(work, run, monkeypatch) -> None:
    work.git("commit", "-qm", "work")
    assert "src/app.py has no manifest block" in run("ci", code=1)
    said = run("ci", "--annotations", "github", "--range", "main...HEAD", code=1)
    assert f"::error file={PATH},title=C701-G05::src/app.py has no manifest block; handshake" in said
    run("manifest", "write", WP)
    work.git("commit", "-qam", "manifest")
    document = json.loads(run("ci", "--json"))
    assert (document["ok"], document["packets"]) == (True, [WP])
    # as GitHub checks out a pull request: a merge of its own, on no branch
    work.git("checkout", "-q", "main")
    work.write("elsewhere", "x")
    work.commit("main goes on")
    work.git("merge", "-q", "--no-ff", "--no-edit", f"feat/{WP}")
    work.git("checkout", "-q", "--detach")
    work.git("update-ref", "refs/remotes/origin/main", "main~1")
    work.git("branch", "-q", "-D", "main")
    for name, value in (("GITHUB_ACTIONS", "true"), ("GITHUB_BASE_REF", "main"), ("GITHUB_HEAD_REF", f"feat/{WP}")):
        monkeypatch.setenv(name, value)
    assert "ci passes" in run("ci")
    monkeypatch.setenv("GITHUB_HEAD_REF", "feat/WP-2-None-v1")
    assert "HSK-POST-PACKET" in run("ci", code=1)


def test_a_file_name_starts_no_line_of_its_own(work, run, monkeypatch) -> None:
    name = "evil\n::stop-commands::x\x1b[31m\u2028\u202e"
    work.write(name, "x")
    work.git("add", "-A")
    shown = "evil\\n::stop-commands::x\\033[31m\\342\\200\\250\\342\\200\\256 is not in IN_SCOPE_PATHS"
    assert shown in run("post-work", code=1)
    assert name in "".join(row["what"] for row in json.loads(run("post-work", "--json", code=1))["errors"])
    monkeypatch.chdir(work.root)
    assert shown in run("hook", "pre-commit", code=1)
    work.git("commit", "-qm", "evil")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for said in (run("ci", code=1), run("check", name, code=2)):
        assert not [line for line in said.split("\n") if line.startswith("::stop-commands")]
        assert not {"\x1b", "\u2028", "\u202e"} & set(said)


def test_an_annotation_cannot_carry_a_command() -> None:
    finding = Finding(severity="error", code="X", file="a,b:c%\n::stop", line=3, what="bad\n::set-env x::y", mend="%")
    assert annotation(finding) == ("::error file=a%2Cb%3Ac%25%0A%3A%3Astop,line=3,title=X::bad%0A::set-env x::y; %25")


def test_a_run_does_not_commit_what_the_gates_refuse(work) -> None:
    signed = work.read(PATH)
    tree = work.repo.tree(work.git("rev-parse", "HEAD"))
    files: dict[str, bytes | None] = {"src/app.py": work.read("src/app.py")}
    changed = changes_to(tree, files)
    from handshake.domain.packet_edit import with_manifest

    entries = list(manifest_entries(changed))
    assert judge_own_commit(signed, with_manifest(signed, entries), PATH, changed) == []
    for update, said in (
        ({"end": 4000}, "anchors_present"),
        ({"post_sha1": "1" * 40}, "post_sha1_captured"),
        ({"gates": {}}, "is not ticked"),
        ({"target_file": "lib/old.txt"}, "has no manifest block"),
    ):
        lying = with_manifest(signed, [replace(entries[0], **update)])
        assert any(said in f.what for f in judge_own_commit(signed, lying, PATH, changed))
    narrow = signed.replace(b"  - src/app.py\n", b"")
    assert any(f.code == "C701-G02" for f in judge_own_commit(narrow, with_manifest(signed, entries), PATH, changed))


def test_check_names_a_command_that_no_run_could_read(work, run) -> None:
    assert "1 packets, 0 errors" in run("check", WP)
    text = work.read(PATH).decode()
    hard = "pytest -q\necho $(( && ls\npytest \\\n  -k \"it's\njust post-work 'x"
    work.write(PATH, text.replace("pytest -q", hard))
    said = run("check", WP, code=2)
    lines = work.read(PATH).decode().split("\n")
    for command in ("echo $((", "pytest \\"):
        place = next(n for n, line in enumerate(lines, 1) if line.startswith(command))
        assert f"{PATH}:{place}: HSK-PKT-TEST: the command cannot be parsed" in said
    assert "1 packets, 2 errors" in said
