"""A review's log, its report in the packet, and what the merge gate makes of both."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from handshake.cli.main import run_command
from handshake.domain.clock import SteppingClock, SystemClock
from handshake.domain.errors import IllegalTransition, LockHeld, PacketRefused, UsageError
from handshake.domain.packet_report import verdict_said, with_report
from handshake.domain.packet_text import read_packet
from handshake.domain.review import ORDER, Review, ReviewLog, ReviewState, ReviewStep, log_path, read_review_log
from handshake.domain.settings import Governance, Settings
from handshake.gates.hook_checks import check_push
from handshake.gates.merge_gate import merge_findings
from handshake.governance.review import ReviewDesk, walk_review
from handshake.repo.locks import RunLock

WP = "WP-1-Demo-v1"
PACKET = f"docs/task_packets/{WP}.md"
BEGAN = datetime(2026, 1, 22, 9, tzinfo=UTC)
TIP = "1" * 40


def steps(count=4, apart=5.0, order=ORDER):
    return tuple(
        ReviewStep(state=state, at=BEGAN + timedelta(seconds=apart * number), by="Ada")
        for number, state in enumerate(order[:count])
    )


def review(verdict="PASS", count=4, *, commit=TIP, **more):
    return Review(verdict=verdict, reviewed_commit=commit, report_sha256="0" * 64, steps=steps(count, **more))


def log(*reviews, wp_id=WP):
    return ReviewLog(wp_id=wp_id, reviews=reviews).model_dump_json().encode()


# -- the log ---------------------------------------------------------------------------------------


def test_states_follow_each_other_five_seconds_apart():
    one = review(count=1)
    for state in ORDER[1:]:
        at = one.steps[-1].at + timedelta(seconds=5)
        with pytest.raises(IllegalTransition, match="less than 5 s"):
            one.advanced(ReviewStep(state=state, at=at - timedelta(milliseconds=1), by="Ada"))
        one = one.advanced(ReviewStep(state=state, at=at, by="Ada"))
    assert one.state is ReviewState.COMMITTED
    with pytest.raises(IllegalTransition):
        one.advanced(ReviewStep(state=ReviewState.COMMITTED, at=BEGAN + timedelta(hours=1), by="Ada"))


def test_no_state_is_left_out():
    later = ReviewStep(state=ReviewState.COMMITTED, at=BEGAN + timedelta(hours=1), by="Ada")
    with pytest.raises(IllegalTransition, match="cannot become COMMITTED"):
        review(count=1).advanced(later)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (log(review(apart=4.9)), "comes 4.9 s after REPORT_PRESENTED"),
        (log(review(apart=-5)), "comes -5 s after"),
        (log(review(order=tuple(reversed(ORDER)))), "the states are COMMITTED"),
        (log(review(count=2, order=(ORDER[0], ORDER[3]))), "the states are REPORT_PRESENTED, COMMITTED"),
        (log(review(), wp_id="WP-2-Other"), "it is the log of WP-2-Other"),
        (b"{", "(all)"),
        (b'{"wp_id": "WP-1-Demo-v1", "reviews": [{"verdict": "MAYBE"}]}', "reviews.0.verdict"),
        (b'{"wp_id": "WP-1-Demo-v1", "more": 1}', "more"),
        (log(review()).replace(b"Z", b""), "has no zone"),
    ],
)
def test_what_a_hand_may_not_write(data, words):
    _, problems = read_review_log(data, WP)
    assert any(words in problem for problem in problems), problems


def test_what_a_hand_may_write():
    by_hand = {
        "wp_id": WP,
        "reviews": [
            {
                "verdict": "PASS",
                "reviewed_commit": TIP,
                "report_sha256": "0" * 64,
                "steps": [
                    {"state": state, "at": f"2026-01-22T18:0{n}:00+01:00", "by": "Ada"}
                    for n, state in enumerate(ORDER)
                ],
            }
        ],
    }
    found, problems = read_review_log(json.dumps(by_hand).encode(), WP)
    assert problems == () and found.passed


def test_a_fail_is_final_once_it_was_acknowledged():
    assert not ReviewLog(wp_id=WP, reviews=(review("FAIL", 1),)).failed
    assert ReviewLog(wp_id=WP, reviews=(review("FAIL", 2),)).failed
    both = ReviewLog(wp_id=WP, reviews=(review("FAIL"), review()))
    assert both.failed and not both.passed
    assert ReviewLog(wp_id=WP, reviews=(review(),)).passed
    assert not ReviewLog(wp_id=WP, reviews=(review(count=3),)).passed


# -- the report ------------------------------------------------------------------------------------

REPORT = b"# Findings\n\nGood.\n\n## Deep\n```\n## VALIDATION\n```\n- one\n\n"


def test_a_report_is_the_last_thing_and_nothing_above_it_changes(finished, packet):
    for data in (finished, packet.encode(), packet.encode().replace(b"\n", b"\r\n"), packet.encode().rstrip(b"\n")):
        before = read_packet(data, PACKET).packet
        edited = with_report(data, title=f"{WP} (2026-01-22)", verdict="PASS", report=REPORT)
        assert edited.startswith(data)
        after = read_packet(edited, PACKET).packet
        assert [r.verdict for r in after.reports] == [*(r.verdict for r in before.reports), "PASS"]
        assert after.reports[-1].title == f"VALIDATION REPORT - {WP} (2026-01-22)"
        assert after.manifest == before.manifest and after.in_scope_paths == before.in_scope_paths
        assert b"#### Findings" in edited and b"#### Deep" in edited
        fenced = b"```\n## VALIDATION\n```"  # what is quoted stays as it is
        assert fenced in edited.replace(b"\r\n", b"\n")
        assert edited.count(b"\r\n") in (0, edited.count(b"\n"))


def test_a_second_report_follows_the_first(packet):
    once = with_report(packet.encode(), title="one", verdict="FAIL", report=b"Bad.\n")
    twice = with_report(once, title="two", verdict="PASS", report=b"Verdict: PASS\n\nGood.\n")
    assert twice.startswith(once)
    assert [r.verdict for r in read_packet(twice, PACKET).packet.reports] == ["FAIL", "PASS"]


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (b"Verdict: FAIL\n", "the report says FAIL"),
        (b"**Verdict:** fail\n", "the report says FAIL"),
        ("sch\u00f6n\n".encode(), "line 1 is not ASCII"),
        (b"fine\n<!-- and more\n", "comment"),
        (b"## VALIDATION REPORT - x\nVerdict: PASS\n", "change what stands"),
    ],
)
def test_a_report_that_would_change_the_packet_is_refused(packet, report, words):
    with pytest.raises(PacketRefused, match=words):
        with_report(packet.encode(), title=WP, verdict="PASS", report=report)


def test_a_verdict_in_a_fence_is_none():
    assert verdict_said(b"```\nVerdict: FAIL\n```\n- Verdict: PASS\n") == "PASS"
    assert verdict_said(b"The verdict is good.\n") is None


# -- the merge gate --------------------------------------------------------------------------------

STRICT = Settings(governance=Governance(mode="strict"))


def done(project, *, reports=()):
    text = project.read(PACKET).decode().replace("Ready for Dev", "Done")
    data = text.encode()
    for verdict in reports:
        data = with_report(data, title=WP, verdict=verdict, report=b"Read.\n")
    project.write(PACKET, data)


def codes(project, settings=STRICT, old="HEAD~1", new="HEAD"):
    found = merge_findings(project.repo, settings, project.git("rev-parse", old), project.git("rev-parse", new))
    return [finding.code for finding in found]


def test_work_needs_a_review_in_strict_mode_alone(project):
    done(project)
    project.commit()
    assert codes(project) == ["HSK-REVIEW-MISSING"]
    assert codes(project, Settings()) == []


def test_what_only_waits_and_what_was_there_need_none(project):
    project.write(PACKET, project.read(PACKET) + b"\n## STATUS_HANDOFF\n- soon\n")
    project.commit()
    assert codes(project) == []
    done(project)
    project.commit()
    project.write(PACKET, project.read(PACKET) + b"- a word more\n")
    project.commit()
    assert codes(project) == []


def test_a_whole_review_lets_it_pass_and_a_part_does_not(project):
    done(project, reports=["PASS"])
    commit = project.commit()
    for count, expected in ((4, []), (3, ["HSK-REVIEW-STATE"]), (1, ["HSK-REVIEW-STATE"])):
        project.write(log_path(WP), log(review(count=count, commit=commit)))
        project.commit()
        assert codes(project, old=f"{commit}~1") == expected


def test_a_pass_without_a_report_in_the_packet_or_of_an_unknown_commit(project):
    done(project)
    commit = project.commit()
    project.write(log_path(WP), log(review(commit=commit)))
    project.commit()
    assert codes(project, old=f"{commit}~1") == ["HSK-REVIEW-REPORT"]
    done(project, reports=["PASS"])
    project.write(log_path(WP), log(review(commit="2" * 40)))
    project.commit()
    assert codes(project, old=f"{commit}~1") == ["HSK-REVIEW-STALE"]


@pytest.mark.parametrize("settings", [Settings(), STRICT])
def test_a_fail_blocks_in_both_modes(project, settings):
    done(project, reports=["FAIL"])
    commit = project.commit()
    assert codes(project, settings) == ["HSK-REVIEW-FAIL"]
    project.write(log_path(WP), log(review("FAIL", commit=commit), review(commit=commit)))
    done(project, reports=["PASS"])
    project.commit()
    assert codes(project, settings, old=f"{commit}~1") == ["HSK-REVIEW-FAIL"]


def test_a_log_that_nobody_can_have_walked_blocks_in_both_modes(project):
    done(project, reports=["PASS"])
    commit = project.commit()
    project.write(log_path(WP), log(review(commit=commit, apart=1)))
    project.commit()
    assert set(codes(project, Settings(), old=f"{commit}~1")) == {"HSK-REVIEW-LOG"}


def test_a_push_of_the_base_branch_is_judged_unless_the_remote_has_it(project):
    old = project.git("rev-parse", "HEAD")
    done(project, reports=["FAIL"])
    new = project.commit()
    line = f"refs/heads/main {new} refs/heads/main {old}\n"
    assert [f.code for f in check_push(project.repo, [], line)] == ["HSK-REVIEW-FAIL"]
    assert check_push(project.repo, [], f"refs/heads/other {new} refs/heads/other {old}\n") == []
    project.git("update-ref", "refs/remotes/origin/main", new)
    assert check_push(project.repo, [], line) == []


# -- the walk --------------------------------------------------------------------------------------

BRANCH = f"feat/{WP}"
GOOD, BAD = b"Read, and good.\n", b"Read, and bad.\n"


class FailingClock(SteppingClock):
    """A clock at whose n-th wait the process is interrupted."""

    def __init__(self, at: int) -> None:
        super().__init__(BEGAN)
        self.waits_left = at

    def sleep(self, seconds: float) -> None:
        self.waits_left -= 1
        if self.waits_left == 0:
            raise KeyboardInterrupt
        super().sleep(seconds)


@pytest.fixture
def branch(project):
    """A finished packet on its branch; the user is on main, in the middle of something."""
    project.git("switch", "-q", "-c", BRANCH)
    done(project)
    project.commit(f"{WP}: done")
    project.git("switch", "-q", "main")
    project.write("src/app.py", "half of an idea\n")
    project.write("notes.txt", "mine\n")
    project.git("add", "src/app.py")
    return project


def walked(project, verdict="PASS", report=GOOD, *, clock=None, yes=True):
    desk = ReviewDesk(project.repo, Settings(), clock or SteppingClock(BEGAN), "Ada")
    return walk_review(desk, WP, verdict, report, acknowledge=lambda: yes)


def stored(project):
    return read_review_log(project.git("show", f"{BRANCH}:{log_path(WP)}").encode(), WP)


def test_a_review_is_four_commits_and_nothing_of_the_users_moves(branch):
    def of_the_user():
        files = [(branch.root / ".git" / name).read_bytes() for name in ("HEAD", "index", "config")]
        commands = (("stash", "list"), ("rev-parse", "HEAD"), ("--no-optional-locks", "status", "--porcelain"))
        return files, [branch.git(*command) for command in commands]

    before = of_the_user()
    walked(branch)
    assert of_the_user() == before
    subjects = branch.git("log", "-4", "--reverse", "--format=%s", BRANCH).splitlines()
    assert subjects == [f"{WP}: review {state} (PASS)" for state in ORDER]
    found, problems = stored(branch)
    assert problems == () and found.passed and found.newest.steps[0].by == "Ada"
    assert branch.git("diff", "--name-only", f"{BRANCH}~4", BRANCH).splitlines() == [PACKET, log_path(WP)]
    assert branch.git("show", f"{BRANCH}:{PACKET}").endswith("Verdict: PASS\n\nRead, and good.")


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_killed_review_goes_on_from_its_last_state(branch, at):
    with pytest.raises(KeyboardInterrupt):
        walked(branch, clock=FailingClock(at))
    found, _ = stored(branch)
    assert found.newest.state is ORDER[at - 1]
    walked(branch, clock=SteppingClock(BEGAN + timedelta(minutes=1)))
    found, problems = stored(branch)
    assert problems == () and len(found.reviews) == 1 and found.passed
    assert branch.git("show", f"{BRANCH}:{PACKET}").count("Verdict: PASS") == 1


def test_what_nobody_acknowledged_gives_way_and_what_was_acknowledged_does_not(branch):
    assert walked(branch, "FAIL", BAD, yes=False).state is ReviewState.REPORT_PRESENTED
    with pytest.raises(KeyboardInterrupt):
        walked(branch, clock=FailingClock(2))
    found, _ = stored(branch)
    assert [r.verdict for r in found.reviews] == ["PASS"]
    with pytest.raises(UsageError, match="stands at USER_ACKNOWLEDGED with PASS"):
        walked(branch, "FAIL", BAD)
    walked(branch, clock=SteppingClock(BEGAN + timedelta(minutes=1)))
    walked(branch, "FAIL", BAD, clock=SteppingClock(BEGAN + timedelta(minutes=2)))
    found, _ = stored(branch)
    assert [r.verdict for r in found.reviews] == ["PASS", "FAIL"] and found.failed


@pytest.mark.parametrize(("verdict", "report", "tag"), [("PASS", GOOD, "VALIDATED"), ("FAIL", BAD, "FAIL")])
def test_the_board_of_the_branch_says_what_the_review_said(branch, verdict, report, tag):
    branch.git("stash", "-q", "-u")
    branch.git("switch", "-q", BRANCH)
    branch.write("docs/TASK_BOARD.md", f"# Ours\n\n## Done\n- **[{WP}]** - [VALIDATED]\n")
    branch.commit("a board")
    branch.git("switch", "-q", "main")
    walked(branch, verdict, report)
    assert branch.git("show", f"{BRANCH}:docs/TASK_BOARD.md") == f"# Ours\n\n## Done\n- **[{WP}]** - [{tag}]"


def test_a_branch_in_the_users_hands_is_not_moved(branch):
    branch.git("stash", "-q")
    branch.git("switch", "-q", BRANCH)
    tip = branch.git("rev-parse", BRANCH)
    with pytest.raises(UsageError, match="is checked out at"):
        walked(branch)
    assert branch.git("rev-parse", BRANCH) == tip


def test_unfinished_work_and_a_running_packet_are_not_reviewed(branch):
    with RunLock(branch.repo.state_dir / "locks" / f"{WP}.lock", SystemClock()), pytest.raises(LockHeld):
        walked(branch)
    branch.git("update-ref", f"refs/heads/{BRANCH}", "main")
    with pytest.raises(UsageError, match="nothing finished to review"):
        walked(branch)
    branch.git("update-ref", "-d", f"refs/heads/{BRANCH}")
    with pytest.raises(UsageError, match="there is no branch"):
        walked(branch)


def test_a_log_that_somebody_broke_is_not_written_over(branch):
    branch.git("stash", "-q", "-u")
    branch.git("switch", "-q", BRANCH)
    branch.write(log_path(WP), "{")
    tip = branch.commit("oh")
    branch.git("switch", "-q", "main")
    with pytest.raises(PacketRefused, match=log_path(WP)):
        walked(branch)
    assert branch.git("rev-parse", BRANCH) == tip


@pytest.mark.slow  # waits fifteen seconds by the clock on the wall
def test_the_command_waits_between_the_states(branch, capsys):
    report = branch.root / ".git" / "report.md"
    report.write_bytes(GOOD)
    began = time.monotonic()
    arguments = ["review", WP, "pass", "--report", str(report), "--acknowledge"]
    assert run_command(["-C", str(branch.root), *arguments]) == 0
    assert time.monotonic() - began >= 15
    assert "USER_ACKNOWLEDGED in 5 s" in capsys.readouterr().err
