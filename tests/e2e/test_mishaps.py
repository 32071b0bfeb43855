"""What befalls a run from outside: damaged records, a worktree in other hands, a user who works meanwhile.

For each the end equals an undisturbed run's, no reply is paid for twice, nothing of the user's is lost; or the run
stops and says what to do. Contract: `state.md`, Recovery.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from datetime import UTC, datetime

import pytest
from run_records import BRANCH, TRACK, WP, end_state, tiny_packet

from handshake.repo.git import find_repository
from handshake.repo.packs import PREFIX
from handshake.repo.store import ObjectStore

RECORDS = ("job.json", "progress_artifact.json", "run_ledger.json", "mt_definitions.json")


@pytest.fixture
def small(shop, solver):
    """The smallest packet, its server shared by all tests here."""
    shop.borrow(solver)
    shop.configure(levels=1)
    shop.drop(tiny_packet)
    return shop


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, warm, solver, make_shop):
    """The end state and the number of calls of a run that nobody disturbs."""
    shop = make_shop(tmp_path_factory.mktemp("undisturbed") / "shop")
    shop.borrow(solver)
    shop.configure(levels=1)
    shop.drop(tiny_packet)
    before = len(solver.calls())
    shop.handshake("run", WP)
    return end_state(shop), len(solver.calls()) - before


def stop_at(shop, place):
    """Run until that place, where the process is killed."""
    child = shop.start("run", WP, HANDSHAKE_FAILPOINT=f"{place}:kill")
    _, err = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, err
    return shop.user_state()


def commit_on_track(shop, changes):
    """A commit of somebody's on the tracking branch, by plain git."""
    job = shop.git("ls-tree", "--name-only", f"{TRACK}:jobs").splitlines()[-1]
    index = {"GIT_INDEX_FILE": str(shop.root.parent / "index-of-a-hand")}

    def git(*args, data=None):
        done = subprocess.run(
            ["git", "-C", str(shop.root), *args],
            input=data,
            capture_output=True,
            check=True,
            env={**shop.environment, **index},
        )
        return done.stdout.decode().strip()

    git("read-tree", TRACK)
    for name, data in changes.items():
        path = f"jobs/{job}/{name}"
        if data is None:
            git("rm", "-q", "--cached", path)
        else:
            blob = git("hash-object", "-w", "--stdin", data=data)
            git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
    commit = git("commit-tree", "-p", TRACK, "-m", "a slip of the hand", git("write-tree"))
    git("update-ref", f"refs/heads/{TRACK}", commit)


# -- records that do not hold together ---------------------------------------------------------------


def every_damage():
    quick = {("job.json", "garbage"), ("progress_artifact.json", "truncated"), ("mt_definitions.json", "gone")}
    for record in RECORDS:
        for damage in ("garbage", "truncated", "gone"):
            marks = () if (record, damage) in quick else (pytest.mark.slow,)
            yield pytest.param(record, damage, marks=marks)


@pytest.mark.parametrize(("record", "damage"), list(every_damage()))
def test_a_damaged_record_is_passed_over_for_the_last_that_holds(small, solver, undisturbed, record, damage):
    expected, calls = undisturbed
    before = len(solver.calls())
    user = stop_at(small, "verify.end@2")
    job = small.git("ls-tree", "--name-only", f"{TRACK}:jobs").splitlines()[-1]
    whole = small.git("show", f"{TRACK}:jobs/{job}/{record}").encode()
    commit_on_track(
        small, {record: {"garbage": b"\0\1 no record", "truncated": whole[: len(whole) // 2], "gone": None}[damage]}
    )
    small.handshake("run", WP)
    assert_equal_but_the_slip(end_state(small), expected)
    assert len(solver.calls()) - before == calls
    assert small.user_state() == user


def assert_equal_but_the_slip(ended, expected):
    ended = {**ended, "transitions": [said for said in ended["transitions"] if said != "a slip of the hand"]}
    assert ended == expected


def test_where_nothing_holds_together_it_says_how_to_look(small):
    stop_at(small, "verify.end@2")
    job = small.git("ls-tree", "--name-only", f"{TRACK}:jobs").splitlines()[-1]
    tree = small.git("rev-parse", f"{TRACK}^{{tree}}")
    alone = small.git("commit-tree", "-m", "all history gone", tree)
    small.git("update-ref", f"refs/heads/{TRACK}", alone)
    commit_on_track(small, {"job.json": b"{}"})
    second = small.git("rev-parse", f"{TRACK}^{{tree}}")
    small.git("update-ref", f"refs/heads/{TRACK}", small.git("commit-tree", "-m", "and damaged", second))
    done = small.handshake("run", WP, code=1)
    [line] = [line for line in done.stderr.splitlines() if line.startswith("handshake: ")]
    assert "holds together" in line and "Next: git log --stat" in line
    assert job in small.git("ls-tree", "--name-only", f"{TRACK}:jobs")


def rot(shop):
    """Spoil what the newest commit of the log is made of."""
    newest = max((shop.root / ".git/objects/pack").glob("*.pack"), key=lambda file: file.stat().st_mtime_ns)
    newest.chmod(0o644)
    newest.write_bytes(newest.read_bytes()[:100])


def test_a_tip_that_rotted_on_the_disk_is_left_for_the_last_commit_of_the_reflog(small, solver, undisturbed):
    expected, calls = undisturbed
    before = len(solver.calls())
    user = stop_at(small, "verify.end@2")
    lost, good = small.git("rev-parse", TRACK), small.git("rev-parse", f"{TRACK}^")
    rot(small)
    looked = small.handshake("status", WP)
    assert small.git("rev-parse", TRACK) == lost and "running" in looked.stdout  # a look moves nothing
    done = small.handshake("run", WP)
    [said] = [line for line in done.stderr.splitlines() if "cannot be read" in line]
    assert lost[:12] in said and f"gone on from {good[:12]}" in said and "git fsck" in said
    assert end_state(small) == expected
    assert len(solver.calls()) - before == calls
    assert small.user_state() == user


def test_a_rotten_tip_without_a_reflog_is_a_clear_stop(small):
    stop_at(small, "verify.end@2")
    rot(small)
    (small.root / ".git" / "logs" / "refs" / "heads" / TRACK).unlink()
    user = (small.root / ".git" / "HEAD").read_bytes()
    done = small.handshake("run", WP, code=1)
    [line] = [line for line in done.stderr.splitlines() if line.startswith("handshake: ")]
    assert "no commit of" in line and "Next: " in line
    assert (small.root / ".git" / "HEAD").read_bytes() == user


def test_a_file_of_the_tip_that_rotted_names_the_last_commit_that_can_be_read(small, solver, undisturbed):
    expected, calls = undisturbed
    before = len(solver.calls())
    stop_at(small, "verify.end@2")
    good = small.git("rev-parse", TRACK)
    job = small.git("ls-tree", "--name-only", f"{TRACK}:jobs")
    chunk = small.git("ls-tree", "--name-only", f"{TRACK}:jobs/{job}/events").splitlines()[-1]
    whole = small.bytes_of(f"{TRACK}:jobs/{job}/events/{chunk}")
    commit_on_track(small, {f"events/{chunk}": whole + b"\n"})
    lost = small.git("rev-parse", TRACK)
    blob = small.git("rev-parse", f"{TRACK}:jobs/{job}/events/{chunk}")
    loose = small.root / ".git" / "objects" / blob[:2] / blob[2:]
    loose.chmod(0o644)
    loose.write_bytes(loose.read_bytes()[:-5] + b"12345")
    advice = f"git update-ref refs/heads/{TRACK} {good} {lost[:12]}"
    for verb in ("run", "recover"):
        line = small.handshake(verb, WP, code=1).stderr.splitlines()[-1]
        assert f"can be read whole up to {good}" in line and advice in line, line
    assert small.git("rev-parse", TRACK) == lost  # nothing is moved unasked
    small.git(*advice.split()[1:])
    small.handshake("run", WP)
    assert end_state(small) == expected
    assert len(solver.calls()) - before == calls


def rotted_packs(shop):
    """Two packs as another packet's run left them, a bit of one flipped since."""
    objects = ObjectStore(find_repository(shop.root))
    for number in (1, 2):
        content = {"x": str(number).encode() * 3000}
        objects.write_commit(parent=None, base_tree=None, changes=content, message="m", when=datetime.now(UTC))
    objects.close()
    pack = min((shop.root / ".git/objects/pack").glob(f"{PREFIX}*.pack"))
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 0xFF
    pack.chmod(0o644)
    pack.write_bytes(data)
    return pack


def test_a_pack_that_rotted_is_a_warning_and_no_end_of_another_run(small, undisturbed):
    pack = rotted_packs(small)
    for _ in range(2):
        done = small.handshake("run", WP)
        [said] = [line for line in done.stderr.splitlines() if "packs are not gathered" in line]
        assert "bad packed object CRC" in said and "Next: git fsck" in said
        assert pack.exists()
    assert end_state(small) == undisturbed[0]


def test_a_stored_reply_that_was_cut_short_says_which(small):
    stop_at(small, "reply.store:after")
    [reply] = (small.root / ".git/handshake/replies").glob("*/*.json")
    reply.write_bytes(reply.read_bytes()[:50])
    done = small.handshake("run", WP, code=1)
    assert reply.name in done.stderr and "Next: move" in done.stderr
    reply.unlink()
    small.handshake("run", WP)


def test_a_torn_journal_line_is_dropped(small, undisturbed):
    expected, _ = undisturbed
    stop_at(small, "verify.end@2")
    [journal] = (small.root / ".git/handshake/journal").glob("*/*.jsonl")
    with journal.open("ab") as file:
        file.write(b'{"event_id": "torn')
    small.handshake("run", WP)
    assert end_state(small) == expected


# -- the worktree and the WP branch in other hands -----------------------------------------------------


def delete(shop):
    shutil.rmtree(shop.worktree)


def empty(shop):
    for entry in shop.worktree.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def prune(shop):
    shutil.rmtree(shop.worktree)
    shop.git("worktree", "prune")


def detach(shop):
    shop.git("checkout", "-q", "--detach", at=shop.worktree)


def stage(shop):
    (shop.worktree / "shop" / "pricing.py").write_text("staged = True\n")
    shop.git("add", "-A", at=shop.worktree)


@pytest.mark.parametrize("mishap", [delete, empty, prune, detach, stage])
def test_a_worktree_in_other_hands(small, solver, undisturbed, mishap):
    expected, calls = undisturbed
    before = len(solver.calls())
    user = stop_at(small, "verify.end@2")
    mishap(small)
    small.handshake("run", WP)
    assert end_state(small) == expected
    assert len(solver.calls()) - before == calls
    assert small.user_state() == user


def test_a_worktree_edited_while_the_run_goes(small, undisturbed):
    """What a person does to the worktree between two looks is set back and kept, and costs the model nothing."""
    expected, calls = undisturbed
    before = len(small.server.calls())
    child = small.start("run", WP, HANDSHAKE_FAILPOINT="model.call:before@1:delay=1500")
    child.until_said("asking m0")
    (small.worktree / "shop" / "stock.py").write_text("mine = 1\n")
    (small.worktree / "left-here.txt").write_text("mine\n")
    _, err = child.communicate()
    assert child.returncode == 0, err
    assert "found in the worktree: left-here.txt, shop/stock.py; saved as" in err
    assert small.git("show", f"refs/handshake/salvage/{WP}/1:left-here.txt") == "mine"
    assert small.git("show", f"refs/handshake/salvage/{WP}/1:shop/stock.py") == "mine = 1"
    assert len(small.server.calls()) - before == calls
    assert small.tree() == expected["tree"], err
    assert "left-here" not in small.tree() and "mine" not in small.git("show", f"{BRANCH}:shop/stock.py")


def test_the_log_deleted_while_the_run_goes_is_put_back_and_gone_on_with(small, solver, undisturbed):
    expected, calls = undisturbed
    before = len(solver.calls())
    child = small.start("run", WP, HANDSHAKE_FAILPOINT="edit.file:before@1:delay=1500")
    small.until_reply_stored()
    lost = small.git("rev-parse", TRACK)
    small.git("branch", "-D", TRACK)
    _, err = child.communicate()
    line = err.splitlines()[-1]
    assert child.returncode == 1, err
    assert line.endswith(
        f"refs/heads/{TRACK} is gone: it was deleted at {lost[:12]}. Next: put it back: git branch {TRACK} {lost}"
    )
    refused = small.handshake("run", WP, code=2).stderr.splitlines()[-1]
    assert f"{BRANCH} holds commits of a run whose log {TRACK} is gone" in refused
    assert f"git branch {TRACK} COMMIT" in refused and f"handshake run {WP} --again" in refused
    [dangling] = [row.split()[-1] for row in small.git("fsck", "--no-reflogs").splitlines() if "commit" in row]
    assert lost in small.git("rev-list", dangling)
    assert len(solver.calls()) - before == 1
    small.git("branch", TRACK, lost)
    small.handshake("run", WP)
    assert end_state(small) == expected
    assert len(solver.calls()) - before == calls


def test_commits_of_a_run_without_its_log_are_built_on_when_asked_for(small):
    small.handshake("run", WP)
    small.git("branch", "-D", TRACK)
    small.handshake("run", WP, code=2)
    small.handshake("run", WP, "--again")
    small.git("rev-parse", "--verify", TRACK)


def test_commits_pushed_to_the_wp_branch_from_a_clone(small, tmp_path):
    stop_at(small, "verify.end@2")
    clone = tmp_path / "clone"
    small.git("clone", "-q", "-b", BRANCH, str(small.root), str(clone))
    (clone / "theirs.txt").write_text("from another machine\n")
    small.git("config", "receive.denyCurrentBranch", "ignore")  # by default git itself refuses: it is checked out
    for args in (["add", "-A"], ["commit", "-qm", "theirs"], ["push", "-q", "origin", BRANCH]):
        small.git("-c", "user.name=T", "-c", "user.email=t@example.org", *args, at=clone)
    theirs = small.git("rev-parse", BRANCH)
    done = small.handshake("run", WP, code=1)
    assert f"{BRANCH} holds {theirs[:12]}, which this run did not make" in done.stderr
    command = done.stderr.split("Next: keep it with: ")[1].split(", then:")[0]
    for part in command.split(" && "):
        small.git(*part.split()[1:])
    small.handshake("run", WP)
    assert small.git("show", f"{BRANCH}-kept:theirs.txt") == "from another machine"


# -- the user works meanwhile ------------------------------------------------------------------------


def test_the_user_stashes_checks_out_rebases_and_collects_meanwhile(small, solver, undisturbed):
    expected, calls = undisturbed
    before = len(solver.calls())
    child = small.start("run", WP, HANDSHAKE_FAILPOINT="verify.start:delay=500")
    child.until_said("micro-tasks in")
    turns = 0
    while child.poll() is None or turns == 0:
        turns += 1
        (small.root / "notes.md").write_text(f"mine {turns}\n")
        small.git("add", "notes.md")
        small.git("stash", "push", "-q")
        small.git("switch", "-q", "-c", f"topic-{turns}")
        small.git("commit", "-q", "--allow-empty", "-m", f"work {turns}")
        small.git("rebase", "-q", "--force-rebase", "HEAD~1")
        small.git("stash", "pop", "-q")
        small.git("rm", "-q", "--cached", "notes.md")
        small.git("switch", "-q", "main")
        subprocess.run(["git", "-C", str(small.root), "gc", "-q", "--prune=now"], capture_output=True, check=False)
    _, err = child.communicate()
    assert child.returncode == 0, err
    assert end_state(small) == expected
    assert len(solver.calls()) - before == calls
    assert (small.root / "notes.md").read_text() == f"mine {turns}\n"
    small.git("fsck", "--strict")


def test_the_base_branch_moves_on_and_is_rewritten_meanwhile(small, undisturbed):
    expected, _ = undisturbed
    stop_at(small, "verify.end@2")
    small.git("commit", "-q", "--allow-empty", "-m", "on")
    small.git("commit", "-q", "--amend", "--allow-empty", "-m", "on, in other words")
    small.git("reflog", "expire", "--expire=now", "--all")
    small.git("gc", "-q", "--prune=now")
    small.handshake("run", WP)
    assert small.tree() == expected["tree"]


# -- other forms of repositories -----------------------------------------------------------------------


def as_repository(shop, *options):
    """The same project in a repository of another form; None where this git cannot make one."""
    shutil.rmtree(shop.root / ".git", ignore_errors=True)
    made = subprocess.run(
        ["git", "init", "-q", "-b", "main", *options, str(shop.root)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        return False
    shop.git("config", "user.name", "User")
    shop.git("config", "user.email", "user@example.org")
    shop.git("add", "shop", "tests", ".gitignore", "README.md")
    shop.git("commit", "-qm", "a shop with three bugs")
    return True


def test_a_sha256_repository_runs_is_killed_and_goes_on(small, solver):
    assert as_repository(small, "--object-format=sha256")
    before = len(solver.calls())
    user = stop_at(small, "wp.commit:after")
    small.handshake("run", WP)
    assert len(solver.calls()) - before == 1
    assert len(small.git("rev-parse", BRANCH)) == 64
    assert small.user_state() == user
    small.git("fsck", "--strict")


def test_a_reftable_repository_runs_or_is_refused_with_the_reason(small, solver):
    """Git knows the format since 2.45; an older one refuses the repository, and so do we, in its words."""
    if as_repository(small, "--ref-format=reftable"):
        before = len(solver.calls())
        user = stop_at(small, "wp.commit:after")
        (small.root / ".git" / "reftable" / "tables.list.lock").touch()  # as a git that was killed too would leave it
        small.handshake("run", WP)
        assert len(solver.calls()) - before == 1
        assert small.user_state() == user
        small.git("fsck")
        return
    assert as_repository(small)
    small.git("config", "core.repositoryFormatVersion", "1")
    small.git("config", "extensions.refStorage", "reftable")
    done = small.handshake("run", WP, code=7)
    [line] = done.stderr.splitlines()
    assert "extension" in line and "refstorage" in line.lower() and "Next: " in line
