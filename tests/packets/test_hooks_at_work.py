"""Hooks as git runs them: real commits, pushes, merges and ref moves, refused and let through."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from handshake.gates.hooks import install_hooks, uninstall_hooks

WP = "WP-1-Demo-v1"
BRANCH = f"feat/{WP}"
TRACK = f"refs/heads/handshake/track/{WP}"
SOURCE = Path(__file__).parents[2]


def handshake(project, *args: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "handshake", "-C", str(project.root), *args]
    done = subprocess.run(command, env=project.env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def hooked_once(tmp_path_factory, make_project):
    project = make_project(tmp_path_factory.mktemp("hooked") / "project")
    handshake(project, "packet", "fix", WP)
    project.commit("the manifest template")
    install_hooks(project.repo)
    project.git("checkout", "-q", "-b", BRANCH)
    return project


@pytest.fixture
def hooked(hooked_once, tmp_path):
    """The project on its WP branch, with the hooks."""
    shutil.copytree(hooked_once.root, tmp_path / "copy", symlinks=True)
    return hooked_once.moved_to(tmp_path / "copy")


def refused(done: subprocess.CompletedProcess[bytes], *words: str) -> None:
    said = (done.stdout + done.stderr).decode()
    assert done.returncode != 0, said
    assert "Traceback" not in said
    for word in words:
        assert word in said, said


def work(project) -> None:
    project.write("src/app.py", project.read("src/app.py") + b"more\n")


def test_a_commit_without_its_manifest_is_refused_and_mended(hooked) -> None:
    work(hooked)
    hooked.git("add", "-A")
    refused(hooked.try_git("commit", "-qm", "work"), "C701-G05", f"handshake manifest write {WP}", "HANDSHAKE_SKIP=1")
    said = handshake(hooked, "manifest", "write", WP)
    assert f"Next: git add {hooked.packet_path}" in said
    hooked.git("add", "-A")
    assert handshake(hooked, "post-work", "--staged").endswith("post-work passes: 0 errors, 0 warnings\n")
    assert hooked.try_git("commit", "-qm", "work").returncode == 0


def test_the_index_of_the_commit_in_hand_is_judged(hooked) -> None:
    work(hooked)
    hooked.git("add", "src/app.py")
    handshake(hooked, "manifest", "write", WP)
    # the packet with its manifest is only on disk: `commit -a` and `commit FILE...` bring it
    refused(hooked.try_git("commit", "-qm", "work"), "src/app.py has no manifest block")
    assert hooked.try_git("commit", "-qam", "all").returncode == 0
    work(hooked)
    refused(hooked.try_git("commit", "-qm", "one file", "src/app.py"), "post_sha1_captured is ticked but false")
    hooked.git("add", "src/app.py")
    handshake(hooked, "manifest", "write", WP)
    assert hooked.try_git("commit", "-qm", "both", "src/app.py", hooked.packet_path).returncode == 0
    assert hooked.try_git("commit", "-q", "--amend", "-m", "other words").returncode == 0


HEAVY = (
    "pydantic",
    "yaml",
    "git",
    "pygit2",
    "typer",
    "detect_secrets",
    "platformdirs",
    "filelock",
    "email",
    "handshake.domain.record",
)


@pytest.mark.parametrize("config", ["", "governance: {ascii: error}\ncontext: {index: false}\n"])
def test_a_commit_that_passes_loads_no_heavy_library(hooked, config) -> None:
    if config:
        hooked.write(".handshake/config.yaml", config)
    work(hooked)
    hooked.git("add", "src")
    handshake(hooked, "manifest", "write", WP)
    hooked.git("add", "docs")
    code = (
        "import os, sys, pathlib; from handshake.cli.hook_run import run_hook\n"
        "print(run_hook('pre-commit', [], pathlib.Path()), [n for n in sys.argv[1:] if n in sys.modules])"
    )
    env = {**hooked.env, "GIT_INDEX_FILE": ".git/index"}
    command = [sys.executable, "-c", code, *HEAVY]
    for _ in range(2):  # the first checks the configuration, whole
        done = subprocess.run(command, cwd=hooked.root, env=env, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0 []\n", "")


def test_going_round_is_possible_and_recorded(hooked) -> None:
    work(hooked)
    hooked.git("add", "-A")
    done = hooked.try_git("commit", "-qm", "work", HANDSHAKE_SKIP="1")
    assert done.returncode == 0
    assert b"recorded" in done.stderr
    [event] = [json.loads(line) for line in handshake(hooked, "events", "--json").splitlines()]
    assert event["payload"] == {"gate": "pre_commit", "outcome": "fail", "error_codes": ["HSK-HOOK-SKIPPED"]}
    assert (event["wp_id"], event["actor"]) == (WP, "human")
    assert "skipped 1 times" in handshake(hooked, "hooks", "status")


def test_on_other_branches_packets_must_read(hooked) -> None:
    hooked.git("checkout", "-q", "main")
    hooked.write("src/app.py", "anything\n")
    hooked.git("add", "-A")
    assert hooked.try_git("commit", "-qm", "no packet").returncode == 0
    text = hooked.read(hooked.packet_path).decode()
    hooked.write(
        hooked.packet_path, text.replace("- What: Make it so.", "- What: {what}\n- TOKEN: ghp_" + "a1B2" * 9)
    )
    hooked.git("add", "-A")
    done = hooked.try_git("commit", "-qm", "packet")
    refused(done, "HSK-PKT-PLACEHOLDER", "HSK-PKT-SECRET", "GitHub Token")
    assert b"a1B2a1B2" not in done.stderr
    hooked.write(hooked.packet_path, text.replace("Make it so.", "Make it so, soon."))
    hooked.git("add", "-A")
    assert hooked.try_git("commit", "-qm", "packet").returncode == 0
    hooked.git("rm", "-q", hooked.packet_path)
    assert hooked.try_git("commit", "-qm", "gone").returncode == 0


@pytest.mark.parametrize(
    ("config", "folder"),
    [
        ("paths: {packets: docs/task_packets, board: x.md}\n", "docs/task_packets"),
        ("paths:\n  packets: docs/task_packets2\n", "docs/task_packets2"),
        ("paths:\n  packets:\n    work\n", "work"),
    ],
)
def test_packets_are_found_where_the_configuration_puts_them(hooked, config: str, folder: str) -> None:
    hooked.git("checkout", "-q", "main")
    hooked.write(".handshake/config.yaml", config)
    hooked.write(f"{folder}/WP-2-New-v1.md", "# nothing of a packet\n")
    hooked.git("add", "-A")
    refused(hooked.try_git("commit", "-qm", "x"), "HSK-PKT-ID")
    hooked.git("rm", "-qf", f"{folder}/WP-2-New-v1.md")
    assert hooked.try_git("commit", "-qm", "x").returncode == 0


def test_what_cannot_be_judged_is_refused_with_the_mend(hooked) -> None:
    work(hooked)
    hooked.git("add", "-A")
    hooked.git("branch", "-q", "-m", "main", "trunk")
    refused(hooked.try_git("commit", "-qm", "x"), "base branch main is not here", "HANDSHAKE_SKIP=1 git commit")
    hooked.git("branch", "-q", "-m", "trunk", "main")
    hooked.write(".handshake/config.yaml", "base_branch: [\n")
    refused(hooked.try_git("commit", "-qm", "x"), "config.yaml", "HANDSHAKE_SKIP=1 git commit")
    hooked.write(".handshake/config.yaml", "base_branch: main\n")
    hooked.git("checkout", "-q", "-b", "feat/WP-9-None-v1")
    refused(hooked.try_git("commit", "-qm", "x"), "HSK-POST-PACKET", "HANDSHAKE_SKIP=1 git commit")


def test_the_hook_before_runs_first_with_its_arguments_and_input(hooked, tmp_path) -> None:
    uninstall_hooks(hooked.repo)
    folder = hooked.root / ".git" / "hooks"
    for name in ("pre-commit", "pre-push", "reference-transaction"):
        (folder / name).write_text(f'#!/bin/sh\n{{ echo {name} "$@"; cat; }} >> "{tmp_path}/ran"\n[ ! -f stop ]\n')
        (folder / name).chmod(0o755)
    install_hooks(hooked.repo)
    hooked.git("checkout", "-q", "-b", "other")
    hooked.write("x", "x")
    hooked.git("add", "-A")
    assert hooked.try_git("commit", "-qm", "x").returncode == 0
    hooked.git("init", "-q", "--bare", str(tmp_path / "far"))
    assert hooked.try_git("push", "-q", str(tmp_path / "far"), "other").returncode == 0
    ran = (tmp_path / "ran").read_text()
    assert "pre-commit\n" in ran
    assert "reference-transaction committed\n" in ran
    assert f"pre-push {tmp_path}/far {tmp_path}/far\nrefs/heads/other " in ran
    hooked.write("stop", "")
    assert hooked.try_git("commit", "-qm", "y", "--allow-empty").returncode != 0


def test_push_and_merge_of_a_wp_branch_are_judged(hooked, tmp_path) -> None:
    work(hooked)
    hooked.git("add", "-A")
    assert hooked.try_git("commit", "-qm", "work", "--no-verify").returncode == 0
    hooked.git("init", "-q", "--bare", str(tmp_path / "far"))
    refused(hooked.try_git("push", "-q", str(tmp_path / "far"), BRANCH), "has no manifest block", "git push")
    refused(hooked.try_git("push", "-q", str(tmp_path / "far"), f"HEAD:refs/heads/{BRANCH}"), "has no manifest block")
    hooked.git("checkout", "-q", "main")
    refused(hooked.try_git("merge", "--no-ff", "--no-edit", BRANCH), "has no manifest block", "git merge")
    hooked.git("merge", "--abort")
    hooked.git("checkout", "-q", BRANCH)
    handshake(hooked, "manifest", "write", WP)
    hooked.git("commit", "-qam", "manifest")
    assert hooked.try_git("push", "-q", str(tmp_path / "far"), BRANCH).returncode == 0
    hooked.git("checkout", "-q", "main")
    assert hooked.try_git("merge", "--no-ff", "--no-edit", BRANCH).returncode == 0


CONFIG = ".handshake/config.yaml"
LOOSER = {
    "mode": "governance: {mode: standard}\n",
    "none": "",
    "base-branch": "governance: {mode: strict}\nbase_branch: other\n",
    "folder": "governance: {mode: strict}\npaths: {packets: docs/elsewhere}\n",
}


@pytest.fixture
def strict(hooked):
    """On a branch that left `main` after its configuration asked for reviews."""
    hooked.git("checkout", "-q", "main")
    hooked.write(CONFIG, "governance: {mode: strict}\n")
    hooked.commit("reviews are asked for")
    hooked.git("checkout", "-q", "-b", "topic")
    return hooked


@pytest.mark.parametrize("text", LOOSER.values(), ids=LOOSER)
def test_what_arrives_does_not_loosen_the_rules_it_is_judged_by(strict, tmp_path, text) -> None:
    path = f"docs/task_packets/{WP}.md"
    strict.write(path, strict.read(path).replace(b"Ready for Dev", b"Done"))
    strict.write(CONFIG, text)
    strict.git("add", "-A")
    strict.git("commit", "-q", "--no-verify", "-m", "done, and nobody looked")
    said = handshake(strict, "ci", "--range", "main..topic", code=1)
    assert f"{WP} was not reviewed" in said
    strict.git("init", "-q", "--bare", str(tmp_path / "far"))
    strict.git("push", "-q", "--no-verify", str(tmp_path / "far"), "main")
    refused(strict.try_git("push", "-q", str(tmp_path / "far"), "topic:main"), "was not reviewed")
    strict.git("checkout", "-q", "main")
    refused(strict.try_git("merge", "--no-ff", "--no-edit", "topic"), "was not reviewed")
    strict.git("merge", "--abort")
    strict.git("merge", "-q", "--squash", "topic")
    refused(strict.try_git("commit", "-qm", "squashed"), "was not reviewed")
    strict.git("reset", "-q", "--hard")
    refused(strict.try_git("merge", "--ff-only", "topic"), "was not reviewed", "git read-tree -m -u")


@pytest.mark.parametrize("text", LOOSER.values(), ids=LOOSER)
def test_the_rules_alone_may_change(strict, text) -> None:
    strict.write(CONFIG, text)
    strict.commit("other rules")
    assert "ci passes" in handshake(strict, "ci", "--range", "main..topic")
    strict.git("checkout", "-q", "main")
    assert strict.try_git("merge", "--no-ff", "--no-edit", "topic").returncode == 0


def test_a_push_by_another_name_is_judged(hooked, tmp_path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "remote.git")], check=True)
    hooked.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    work(hooked)
    hooked.git("add", "-A")
    hooked.git("commit", "-q", "--no-verify", "-m", "work without a manifest")
    refused(hooked.try_git("push", "-q", "origin", f"HEAD^{{/work without}}:refs/heads/{BRANCH}"), "C701-G05")
    for head in ("HEAD", "@"):
        refused(hooked.try_git("push", "-q", "origin", f"{head}:refs/for/main"), "C701-G05")
    latin = os.fsdecode(b"caf\xe9")
    assert hooked.try_git("push", "-q", "origin", f"main:refs/heads/{latin}").returncode == 0
    refused(hooked.try_git("push", "-q", "origin", f"HEAD:refs/heads/{BRANCH}", f"main:{latin}2"), "C701-G05")


def test_a_forced_push_over_what_is_not_here_cannot_be_judged(hooked, tmp_path) -> None:
    subprocess.run(["git", "clone", "-q", "--bare", str(hooked.root), str(tmp_path / "remote.git")], check=True)
    hooked.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    command = ["git", "clone", "-q", "-b", "main", str(tmp_path / "remote.git"), str(tmp_path / "other")]
    subprocess.run(command, check=True)
    other = hooked.moved_to(tmp_path / "other")
    other.commit("what only the remote has")
    other.git("push", "-q", "origin", "main")
    refused(hooked.try_git("push", "-qf", "origin", f"{BRANCH}:main"), "HSK-REVIEW-UNKNOWN", "git fetch")


def unfinished(project, *, before: str | None = None) -> str:
    """Work without a manifest on the WP branch, `before` on main meanwhile; then on main. The tip."""
    work(project)
    project.git("commit", "-qam", "work", "--no-verify")
    tip = project.git("rev-parse", "HEAD")
    project.git("checkout", "-q", "main")
    if before is not None:
        project.write("src/app.py", before)
        project.git("commit", "-qam", "meanwhile", "--no-verify")
    return tip


def test_a_refused_merge_is_not_completed_by_a_commit(hooked) -> None:
    unfinished(hooked)
    refused(hooked.try_git("merge", "--no-ff", "--no-edit", BRANCH), "has no manifest block")
    refused(hooked.try_git("commit", "-qm", "as git says"), "has no manifest block")
    refused(hooked.try_git("merge", "--continue", GIT_EDITOR="true"), "has no manifest block")


def test_a_merge_with_conflicts_is_judged_when_it_is_committed(hooked) -> None:
    unfinished(hooked, before="others\n")
    assert b"CONFLICT" in hooked.try_git("merge", "--no-edit", BRANCH).stdout
    hooked.write("src/app.py", "both\n")
    hooked.git("add", "src/app.py")
    refused(hooked.try_git("commit", "-qm", "resolved"), "has no manifest block")


def test_an_older_commit_of_a_wp_branch_is_judged_by_the_name_it_is_merged_by(hooked) -> None:
    unfinished(hooked)
    hooked.git("checkout", "-q", BRANCH)
    hooked.git("commit", "-qm", "more", "--allow-empty", "--no-verify")
    hooked.git("checkout", "-q", "main")
    refused(hooked.try_git("merge", "--no-ff", "--no-edit", f"{BRANCH}~1"), "has no manifest block")


def test_a_push_by_a_revision_of_a_branch_is_that_branchs(hooked, tmp_path) -> None:
    hooked.git("init", "-q", "--bare", str(tmp_path / "far"))
    work(hooked)
    hooked.git("add", "-A")
    handshake(hooked, "manifest", "write", WP)
    hooked.git("commit", "-qam", "work")
    assert hooked.try_git("push", "-q", str(tmp_path / "far"), f"{BRANCH}~0:refs/heads/{BRANCH}").returncode == 0
    hooked.write("src/app.py", "elsewhere\n")
    hooked.git("commit", "-qam", "work", "--no-verify")
    refused(hooked.try_git("push", "-q", str(tmp_path / "far"), f"{BRANCH}~0:refs/heads/{BRANCH}"), "C701-")


@pytest.mark.parametrize("command", [("gc", "-q"), ("pack-refs", "--all")], ids=" ".join)
def test_git_may_pack_a_log_and_nobody_may_delete_one(hooked, command) -> None:
    hooked.git("branch", f"handshake/track/{WP}")
    for _ in range(2):
        assert hooked.try_git(*command).returncode == 0
        assert f"handshake/track/{WP}" in (hooked.root / ".git" / "packed-refs").read_text()
        for delete in (("branch", "-D", f"handshake/track/{WP}"), ("update-ref", "-d", TRACK)):
            refused(hooked.try_git(*delete), "HSK-TRACK")
    # loose again, and packed with the same value: a deletion is one all the same
    (hooked.root / ".git" / TRACK).parent.mkdir(parents=True, exist_ok=True)
    (hooked.root / ".git" / TRACK).write_text(hooked.git("rev-parse", "main") + "\n")
    refused(hooked.try_git("update-ref", "-d", TRACK), "HSK-TRACK")
    assert hooked.try_git(*command).returncode == 0


def test_the_base_branch_may_be_merged_into_a_wp_branch(hooked) -> None:
    work(hooked)
    hooked.git("add", "-A")
    handshake(hooked, "manifest", "write", WP)
    hooked.git("commit", "-qam", "work")
    hooked.git("checkout", "-q", "main")
    hooked.write("elsewhere.txt", "not in scope, and not of this packet\n")
    hooked.write("src/app.py", b"first\n" + hooked.read("src/app.py"))
    hooked.git("add", "-A")
    hooked.git("commit", "-qm", "main goes on")
    hooked.git("checkout", "-q", BRANCH)
    hooked.git("merge", "-q", "--no-commit", "main")
    refused(hooked.try_git("commit", "-qm", "merge"), "pre_sha1_captured is ticked but false")
    handshake(hooked, "manifest", "write", WP)
    hooked.git("add", "-A")
    assert hooked.try_git("commit", "-qm", "merge").returncode == 0


@pytest.mark.parametrize("namespace", ["handshake/track", "runs/log"])
def test_a_log_may_be_pushed_into_a_clone_that_has_the_hooks(hooked, tmp_path, namespace: str) -> None:
    if namespace != "handshake/track":
        hooked.write(".handshake/config.yaml", f"tracking: {{namespace: {namespace}}}\n")
    subprocess.run(["git", "clone", "-q", str(hooked.root), str(tmp_path / "other")], check=True)
    there = hooked.moved_to(tmp_path / "other")
    there.git("commit", "-q", "--allow-empty", "-m", "more")
    log = f"refs/heads/{namespace}/{WP}"
    first = there.try_git("push", "-q", "origin", f"HEAD^:{log}")
    assert first.returncode == 0, first.stderr
    refused(there.try_git("push", "-q", "origin", f"HEAD:{log}"), "HSK-TRACK", "handshake decide")


@pytest.mark.parametrize("namespace", ["handshake/track", "runs/log"])
def test_a_tracking_branch_is_not_moved_by_hand(hooked, namespace: str) -> None:
    if namespace != "handshake/track":
        hooked.write(".handshake/config.yaml", f"tracking: {{namespace: {namespace}}}\n")
    hooked.git("checkout", "-q", "main")
    assert hooked.try_git("branch", f"{namespace}/{WP}", "main").returncode == 0
    hooked.write("x", "x")
    hooked.git("add", "x")
    hooked.git("commit", "-q", "-m", "more")
    for command in (["branch", "-f", f"{namespace}/{WP}", "main"], ["branch", "-D", f"{namespace}/{WP}"]):
        refused(hooked.try_git(*command), "HSK-TRACK", "handshake decide")


def test_beside_the_pre_commit_framework_both_run(hooked, tmp_path) -> None:
    hooked.env["PRE_COMMIT_HOME"] = str(tmp_path / "cache")
    hooked.git("checkout", "-q", "-b", "plain")
    local = {"id": "no-stop", "name": "no stop", "entry": "sh -c '[ ! -f stop ]'", "language": "system"}
    local |= {"pass_filenames": False, "always_run": True}
    hooked.write(".pre-commit-config.yaml", yaml.safe_dump({"repos": [{"repo": "local", "hooks": [local]}]}))
    hooked.git("add", "-A")

    def framework(*args: str) -> None:
        command = [sys.executable, "-m", "pre_commit", *args]
        subprocess.run(command, cwd=hooked.root, env=hooked.env, check=True, capture_output=True)

    def both_run() -> None:
        hooked.git("checkout", "-q", BRANCH)
        hooked.write("stop", "")
        refused(hooked.try_git("commit", "-qm", "x", "--allow-empty"), "no stop")
        (hooked.root / "stop").unlink()
        hooked.write("lib/new.txt", "x\n")
        hooked.git("add", "-A")
        refused(hooked.try_git("commit", "-qm", "x"), "lib/new.txt has no manifest block")
        hooked.git("rm", "-qf", "lib/new.txt")
        hooked.git("checkout", "-q", "plain")
        assert hooked.try_git("commit", "-qm", "x", "--allow-empty").returncode == 0

    folder = hooked.root / ".git" / "hooks"
    ours = (folder / "pre-commit").read_bytes()
    framework("install")  # it moves ours aside, and runs it
    assert (folder / "pre-commit.legacy").read_bytes() == ours
    hooked.git("commit", "-qm", "the framework's configuration")
    hooked.git("checkout", "-q", BRANCH)
    hooked.git("merge", "-q", "--ff-only", "plain")
    hooked.git("branch", "-qf", "main", "plain")
    both_run()
    assert ("hooks/pre-commit (the pre-commit framework runs it)", "kept") in install_hooks(hooked.repo)
    uninstall_hooks(hooked.repo)
    assert not (folder / "pre-commit.legacy").exists()
    theirs = (folder / "pre-commit").read_bytes()
    install_hooks(hooked.repo)  # now we move theirs aside, and run it
    both_run()
    framework("install")  # and once more theirs on top: neither runs in circles
    both_run()
    uninstall_hooks(hooked.repo)
    assert (folder / "pre-commit").read_bytes() == theirs
    assert sorted(path.name for path in folder.glob("pre-commit*") if path.suffix != ".sample") == ["pre-commit"]


def test_the_framework_can_run_our_hooks_from_this_repository(hooked, tmp_path) -> None:
    uninstall_hooks(hooked.repo)
    hooked.env["PRE_COMMIT_HOME"] = str(tmp_path / "cache")
    manifest = SOURCE / ".pre-commit-hooks.yaml"
    checked = [sys.executable, "-m", "pre_commit", "validate-manifest", str(manifest)]
    assert subprocess.run(checked, capture_output=True, check=False).returncode == 0
    hooks = yaml.safe_load(manifest.read_text())
    own = Path(sys.executable).parent
    # as the framework would run them, but for the environment it would build
    local = [{**hook, "language": "system", "entry": f"{own}/{hook['entry']}"} for hook in hooks]
    hooked.write(".pre-commit-config.yaml", yaml.safe_dump({"repos": [{"repo": "local", "hooks": local}]}))
    hooked.git("add", "-A")
    hooked.git("commit", "-qm", "configuration")
    hooked.git("branch", "-qf", "main", "HEAD")
    command = [sys.executable, "-m", "pre_commit", "install", "-t", "pre-commit", "-t", "pre-push"]
    subprocess.run(command, cwd=hooked.root, env=hooked.env, check=True, capture_output=True)
    work(hooked)
    hooked.git("add", "-A")
    refused(hooked.try_git("commit", "-qm", "work"), "src/app.py has no manifest block")
    hooked.git("commit", "-q", "--no-verify", "-m", "work")
    hooked.git("init", "-q", "--bare", str(tmp_path / "far"))
    hooked.git("remote", "add", "far", str(tmp_path / "far"))
    refused(hooked.try_git("push", "-q", "far", BRANCH), "src/app.py has no manifest block")
