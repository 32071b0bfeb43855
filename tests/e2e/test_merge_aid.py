"""After a run: the board, the merge as status tells it, the clean-up, and what each step changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from run_records import BRANCH, TRACK, WP, tiny_packet

from handshake.domain.board import read_board
from handshake.repo.git import git_version

BOARD = f"""# Our board

Keep it short.

## In Progress

## Ready
- **[WP-0-Other-v1]** - [READY_FOR_DEV]\t
- **[{WP}]** - [READY_FOR_DEV] asked for by Ada

## Done
"""


@pytest.fixture
def finished(shop, solver):
    """A run that ended well, in a project with a board; the packet is committed."""
    shop.borrow(solver)
    shop.configure(levels=1)
    (shop.root / "docs").mkdir()
    (shop.root / "docs" / "TASK_BOARD.md").write_text(BOARD)
    shop.drop(tiny_packet)
    shop.git("add", "docs", ".handshake")
    shop.git("commit", "-qm", "a board and a packet")
    shop.handshake("run", WP)
    return shop


def next_lines(shop):
    return shop.json("status", WP)["runs"][0]["next"]


def follow(shop):
    """Type what status says, up to the merge."""
    for line in next_lines(shop):
        word, _, command = line.partition(":")
        if word in ("first", "merge"):
            command = command.partition("  (")[0]
            name = ["-c", "user.name=U", "-c", "user.email=u@example.org"]
            words = command.split()
            words[1:1] = name if words[0] == "git" else []
            subprocess.run(words, cwd=shop.root, check=True, capture_output=True)


def test_the_board_is_moved_by_one_line_on_the_wp_branch(finished):
    assert finished.on_track("job.json")["status"] == "completed"
    line = f"- **[{WP}]** - [READY_FOR_DEV] asked for by Ada\n"
    there = finished.git("show", f"{BRANCH}:docs/TASK_BOARD.md") + "\n"
    assert there == BOARD.replace(line, "") + line.replace("READY_FOR_DEV", "VALIDATED")
    assert (finished.root / "docs" / "TASK_BOARD.md").read_text() == BOARD
    packet = finished.git("show", f"{BRANCH}:docs/task_packets/{WP}.md")
    assert "**Status:** Done" in packet and "Log of the run" in packet and ": exit 0" in packet


def test_from_ready_to_merged_to_clean(finished):
    user = finished.git("stash", "list"), (finished.root / ".git" / "config").read_text()
    row = finished.json("status", WP)["runs"][0]
    assert row["merge"] == "ready"
    assert row["conflicts"] == ([] if git_version() >= (2, 38, 0) else None)
    assert "ready to merge" in finished.handshake("status").stdout
    refused = finished.handshake("clean", WP, code=2)
    assert "is in no kept ref" in refused.stderr and "--keep" in refused.stderr
    assert "left as it is" in finished.handshake("clean").stdout
    finished.git("switch", "-qc", "elsewhere")
    assert "first:  git switch main" in next_lines(finished)
    follow(finished)
    row = finished.json("status", WP)["runs"][0]
    assert row["merge"] == "merged" and f"clean:  handshake clean {WP}" in row["next"]
    (finished.worktree / "note.txt").write_text("by hand\n")
    would = finished.handshake("clean", "--dry-run")
    assert "would remove" in would.stdout and finished.worktree.is_dir()
    done = finished.json("clean", WP)["cleaned"][0]
    assert done["removed"] == [str(finished.worktree), BRANCH]
    assert done["kept"] == ["refs/heads/main", f"refs/handshake/salvage/{WP}/1"]
    assert finished.git("show", f"refs/handshake/salvage/{WP}/1:note.txt") == "by hand"
    assert not finished.worktree.exists()
    refs = finished.git("for-each-ref", "--format=%(refname)").splitlines()
    assert f"refs/heads/{BRANCH}" not in refs and f"refs/handshake/held/{WP}" not in refs
    assert f"refs/heads/{TRACK}" in refs
    assert str(finished.worktree) not in finished.git("worktree", "list")
    assert "nothing left to clean" in finished.handshake("clean", WP).stdout
    assert finished.handshake("status").stdout.count("handshake clean") == 0
    assert (finished.git("stash", "list"), (finished.root / ".git" / "config").read_text()) == user
    assert [(e.wp_id, e.tag) for e in read_board((finished.root / "docs" / "TASK_BOARD.md").read_bytes())] == [
        ("WP-0-Other-v1", "READY_FOR_DEV"),
        (WP, "VALIDATED"),
    ]


def test_ignored_files_that_no_tool_makes_again_are_set_aside_and_named(finished):
    follow(finished)
    (finished.worktree / ".git").read_text()
    exclude = finished.root / ".git" / "info" / "exclude"
    exclude.parent.mkdir(exist_ok=True)
    exclude.write_text(".env\nnotes/\n")
    (finished.worktree / ".env").write_text("mine\n")
    (finished.worktree / "notes").mkdir()
    (finished.worktree / "notes" / "thought").write_text("mine too\n")
    (finished.worktree / "shop" / "__pycache__").mkdir(exist_ok=True)
    (finished.worktree / "shop" / "__pycache__" / "x.pyc").write_text("made again\n")
    would = finished.handshake("clean", WP, "--dry-run").stdout
    assert "would be set aside: .env, notes/" in would and (finished.worktree / ".env").is_file()
    done = finished.json("clean", WP)["cleaned"][0]
    assert done["ignored"] == [".env", "notes/"] and not finished.worktree.exists()
    aside = Path(done["set_aside"])
    assert (aside / ".env").read_text() == "mine\n" and (aside / "notes" / "thought").read_text() == "mine too\n"
    assert not (aside / "shop").exists()


def test_what_is_merged_by_squash_or_not_at_all_is_held_before_it_goes(finished):
    tip = finished.git("rev-parse", BRANCH)
    finished.git("merge", "-q", "--squash", BRANCH)
    finished.git("commit", "-qm", "squashed")
    finished.handshake("clean", WP, code=2)
    finished.handshake("clean", "--keep", code=2)
    done = finished.json("clean", WP, "--keep")["cleaned"][0]
    assert done["kept"] == [f"refs/handshake/kept/{WP}/1"]
    assert finished.git("rev-parse", f"refs/handshake/kept/{WP}/1") == tip
    finished.git("gc", "-q", "--prune=now")
    assert finished.git("cat-file", "-t", tip) == "commit"


def test_a_branch_in_use_stays(finished):
    other = finished.root.parent / "mine"
    finished.git("worktree", "remove", "--force", str(finished.worktree))
    finished.git("worktree", "add", "-q", str(other), BRANCH)
    refused = finished.handshake("clean", WP, "--keep", code=2)
    assert f"is checked out at {other}" in refused.stderr
    assert finished.git("rev-parse", BRANCH)


def test_a_repository_inside_the_worktree_stops_the_clean_up(finished):
    follow(finished)
    inner = finished.worktree / "inner"
    subprocess.run(["git", "init", "-q", str(inner)], check=True)
    (inner / "a").write_text("a\n")
    assert "is a repository of its own" in finished.handshake("clean", WP, code=2).stderr
    assert inner.is_dir()


@pytest.mark.skipif(git_version() < (2, 38, 0), reason="git merges without a checkout from 2.38 on")
def test_a_merge_that_would_conflict_is_said_before(finished):
    place = finished.root / "shop" / "pricing.py"
    place.write_text(place.read_text().replace("VAT_PERCENT = ", "VAT_PERCENT = 4 + "))
    finished.git("commit", "-qam", "meanwhile")
    row = finished.json("status", WP)["runs"][0]
    assert row["conflicts"] == ["shop/pricing.py"]
    assert "beware: merging conflicts in shop/pricing.py" in row["next"]
    assert finished.git("status", "--porcelain") == "?? .handshake/" or finished.git("status", "--porcelain") == ""


def test_an_open_change_that_stops_the_merge_is_said_before(finished):
    (finished.root / "elsewhere.txt").write_text("does not matter\n")
    assert finished.json("status", WP)["runs"][0]["in_the_way"] == []
    place = finished.root / "docs" / "task_packets" / f"{WP}.md"
    before = place.read_bytes()
    place.write_bytes(before + b"\nA thought of mine.\n")
    row = finished.json("status", WP)["runs"][0]
    assert row["in_the_way"] == [f"docs/task_packets/{WP}.md"]
    assert row["next"][0].startswith("beware: commit or stash first") and WP in row["next"][0]
    with pytest.raises(subprocess.CalledProcessError):
        follow(finished)  # so it is
    place.write_bytes(before)
    follow(finished)
    assert finished.json("status", WP)["runs"][0]["merge"] == "merged"


def test_a_staged_file_that_the_branch_does_not_touch_stops_the_merge_too(finished):
    (finished.root / "elsewhere.txt").write_text("does not matter\n")
    finished.git("add", "elsewhere.txt")
    row = finished.json("status", WP)["runs"][0]
    assert row["in_the_way"] == ["elsewhere.txt"]
    assert row["next"][0].startswith("beware: commit or stash first") and "elsewhere.txt" in row["next"][0]
    with pytest.raises(subprocess.CalledProcessError):
        follow(finished)  # so it is
    finished.git("reset", "-q")
    follow(finished)


def test_a_packet_that_is_not_the_one_that_was_run_is_said(shop, solver):
    shop.borrow(solver)
    shop.configure(levels=1)
    packet = shop.drop(tiny_packet)
    whole = packet.read_text()
    shop.handshake("run", WP)
    assert shop.json("status", WP)["runs"][0]["packet_changed"] == []
    packet.write_text(whole.replace("Ready for Dev", "Done"))  # asks for no other work
    assert shop.json("status", WP)["runs"][0]["packet_changed"] == []
    packet.write_text(whole.replace("### DONE_MEANS\n", "### DONE_MEANS\n- The shop is never closed.\n"))
    for command in (("status",), ("status", WP), ("run", WP)):
        [said] = [line for line in shop.handshake(*command).stdout.splitlines() if "is not what was run" in line]
        assert said.endswith(f"DONE_MEANS changed since. To run it as it is now: handshake run {WP} --again")


def test_what_goes_on_is_not_cleaned(shop, solver):
    shop.borrow(solver)
    shop.configure(levels=1, policy={"pause_points": ["MT-001"]})
    shop.drop(tiny_packet)
    shop.handshake("run", WP, code=3)
    assert "its worktree and branch are in use" in shop.handshake("clean", WP, "--keep", code=2).stderr
    assert "there is nothing to clean" in shop.handshake("clean").stdout


def test_diff_shows_run_task_and_step_as_patches_that_apply(finished, tmp_path):
    whole = finished.handshake("diff", WP).stdout
    task = finished.handshake("diff", f"{WP}/MT-001").stdout
    step = finished.handshake("diff", f"{WP}/MT-001/1").stdout
    assert "+VAT_PERCENT = 19" in whole and "docs/TASK_BOARD.md" in whole
    assert "+VAT_PERCENT = 19" in task and "docs/TASK_BOARD.md" not in task
    assert "+VAT_PERCENT = 19" in step and "docs/task_packets" not in step
    for patch in (whole, step):
        subprocess.run(["git", "apply", "--check", "-"], cwd=finished.root, input=patch, text=True, check=True)
    assert "shop/pricing.py" in finished.handshake("diff", f"{WP}/MT-001", "--stat").stdout
    assert "shop/pricing.py" in finished.handshake("diff", f"{WP}/MT-001/1", "--stat").stdout
    assert "has no MT-009" in finished.handshake("diff", f"{WP}/MT-009", code=2).stderr
    assert finished.json("diff", WP)["patch"] == whole
