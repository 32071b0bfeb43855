"""Strict mode from a stub to a merged work packet, with real git and hooks, and every shortcut refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from run_records import BRANCH, TRACK, WP, tiny_packet

from handshake.config.loading import load_settings
from handshake.config.shipped import shipped
from handshake.domain.canonical import utc_text
from handshake.domain.clock import SteppingClock
from handshake.domain.review import ReviewState
from handshake.governance.review import ReviewDesk, walk_review
from handshake.repo.git import find_repository

pytestmark = pytest.mark.skipif(os.name == "nt", reason="hooks are shell scripts")

SIGNATURE = "ada220120261804"
PACKET = f"docs/task_packets/{WP}.md"
REFINEMENT = f"docs/refinements/{WP}.md"
STUB = f"docs/task_packets/stubs/{WP}.md"
LOG = f"docs/validator_gates/{WP}.json"
SPEC = "# The shop\n\nValue added tax is VAT_PERCENT, 19.\nStock lasts whole days.\n"
REPORT = b"The price is right.\n\n## Checked\n\n- shop/pricing.py:3 says 19.\n"


class Life:
    """A strict repository in the hands of a person."""

    def __init__(self, shop):
        self.shop, self.root = shop, shop.root

    def git(self, *args: str, at: Path | None = None, code: int | None = 0) -> str:
        """Git with its hooks: standard output and error of a call that must leave with `code` (None: not 0)."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {**self.shop.environment, "PATH": path}
        done = subprocess.run(
            ["git", "-C", str(at or self.root), *args], env=env, capture_output=True, text=True, check=False
        )
        said = done.stdout + done.stderr
        assert (done.returncode != 0) if code is None else (done.returncode == code), said
        return said

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def edit(self, path: str, *changes: tuple[str, str]) -> None:
        text = self.read(path)
        for before, after in changes:
            assert before in text, before
            text = text.replace(before, after, 1)
        self.write(path, text)

    def refused(self, *args: str, words: str, code: int = 2) -> None:
        done = self.shop.handshake(*args, code=code)
        assert words in done.stdout + done.stderr, done.stdout + done.stderr

    def walk(self, verdict: str, report: bytes = REPORT):
        """The review as the command walks it, by a clock that does not keep the test waiting."""
        repo = find_repository(self.root)
        settings = load_settings(self.root, env=self.shop.environment, require_trust=False).settings
        clock = SteppingClock(datetime.now(UTC))
        found = walk_review(ReviewDesk(repo, settings, clock, "Ada"), WP, verdict, report, acknowledge=lambda: True)
        moments = [step.at for step in found.steps]
        assert all(after - before >= timedelta(seconds=5) for before, after in pairwise(moments))
        return found


@pytest.fixture
def life(shop, solver) -> Life:
    """A strict repository with hooks, a spec, and a stub."""
    shop.borrow(solver)
    shop.configure(governance={"mode": "strict"})
    life = Life(shop)
    shop.handshake("init")
    life.write("docs/SPEC_CURRENT.md", "The current spec is **SHOP_SPEC_v01.md**.\n")
    life.write("docs/SHOP_SPEC_v01.md", SPEC)
    stub = shipped("templates", "stub.md").read_text()
    known = {"wp_id": WP, "base_wp_id": "WP-1-Shop-Prices", "date": "2026-01-22", "requestor": "Ada"}
    known |= {"what": "The right tax.", "why": "It is wrong.", "path": "shop/pricing.py", "criterion": "It is 19."}
    for name, value in known.items():
        stub = stub.replace("{" + name + "}", value)
    life.write(STUB, stub)
    life.git("add", "-A")
    life.git("commit", "-qm", "strict from now on")
    return life


def refine(life: Life) -> None:
    life.edit(
        REFINEMENT,
        ("- START: {start}", "- START: 2"),
        ("- END: {end}", "- END: 4"),
        ("- TOKEN: {token}", "- TOKEN: VAT_PERCENT"),
        ("- {gap}", "- NONE"),
        ("- {risk}", "- NONE"),
        ("{enrichment}", "NO"),
        ("{reason}", "The spec says it all."),
    )
    life.write(REFINEMENT, life.read(REFINEMENT).replace("- [ ]", "- [x]"))


def fill(life: Life) -> None:
    life.edit(
        PACKET,
        ("  - {path}", "  - shop/pricing.py"),
        ("{command}", "python -m unittest tests.test_pricing"),
        ("- {criterion}", "- In `shop/pricing.py` the constant `VAT_PERCENT` is 19."),
    )


def early_in_a_minute() -> None:
    """Ten seconds for what is to happen within one minute, as the clock on the wall counts them."""
    left = 60 - time.time() % 60
    if left < 10:
        time.sleep(left)


def aged(path: Path) -> None:
    """Its last change lies two minutes back."""
    past = time.time() - 120
    os.utime(path, (past, past))


def test_from_a_stub_to_a_merge_with_every_shortcut_refused(life):
    shop, root = life.shop, life.root

    # a packet before its refinement, a signature under nothing
    life.refused("new", WP, words="handshake refine")
    life.refused("sign", WP, SIGNATURE, words="handshake refine")
    life.refused("activate", WP, words="[ ] refinement", code=1)

    # a refinement that says nothing, then one that the spec does not bear out
    assert REFINEMENT in shop.handshake("refine", WP).stdout
    life.refused("refine", WP, words="CLEARLY_COVERS", code=1)
    life.refused("sign", WP, SIGNATURE, words="does not stand")
    refine(life)
    life.edit(REFINEMENT, ("TOKEN: VAT_PERCENT", "TOKEN: SALES_TAX"))
    life.refused("refine", WP, words="HSK-REF-TOKEN", code=1)
    life.edit(REFINEMENT, ("TOKEN: SALES_TAX", "TOKEN: VAT_PERCENT"))
    shop.handshake("refine", WP)

    # a packet before the signature, a signature in the same minute
    life.refused("new", WP, words="handshake sign")
    life.refused("activate", WP, words="[ ] signature", code=1)
    begun = life.read(REFINEMENT).partition("- DATE: ")[2].partition("\n")[0]
    early_in_a_minute()
    life.edit(REFINEMENT, (begun, "2026-01-22T09:30:00.000Z"))
    life.refused("sign", WP, SIGNATURE, words="in this minute")
    early_in_a_minute()
    now = utc_text(datetime.now(UTC))
    life.edit(REFINEMENT, ("2026-01-22T09:30:00.000Z", now))
    aged(root / REFINEMENT)
    life.refused("sign", WP, SIGNATURE, words="in this minute")
    life.edit(REFINEMENT, (now, "2026-01-22T09:30:00.000Z"))
    aged(root / REFINEMENT)
    shop.handshake("sign", WP, SIGNATURE)
    assert life.read("docs/SIGNATURE_AUDIT.md").count(SIGNATURE) == 1
    assert f"- USER_SIGNATURE: {SIGNATURE}" in life.read(REFINEMENT)

    # the packet, which nobody may run before its skeleton is approved
    life.refused("activate", WP, words="fill it in", code=1)
    assert f"- USER_SIGNATURE: {SIGNATURE}" in life.read(PACKET) and "The right tax." in life.read(PACKET)
    fill(life)
    life.refused("activate", WP, words="SKELETON APPROVED", code=1)
    assert "**Status:** Draft" in life.read(PACKET)
    life.edit(PACKET, ("## SKELETON\n", "## SKELETON\nSKELETON APPROVED\n"))
    assert "[ ]" not in shop.handshake("activate", WP).stdout
    assert "**Status:** Ready for Dev" in life.read(PACKET)
    assert f"| WP-1-Shop-Prices | {WP} |" in life.read("docs/WP_TRACEABILITY_REGISTRY.md")
    assert f"- **[{WP}]** - [READY_FOR_DEV]" in life.read("docs/TASK_BOARD.md")

    # a run of what is not committed, or of a spec that moved
    life.refused("run", WP, words="HSK-STRICT-COMMIT")
    life.git("add", "-A")
    life.git("commit", "-qm", f"{WP}: activated")
    life.write("docs/SHOP_SPEC_v01.md", SPEC + "More.\n")
    life.refused("run", WP, words="HSK-REF-SHA1")
    life.write("docs/SHOP_SPEC_v01.md", SPEC)
    shop.handshake("run", WP)
    before = shop.user_state()

    # a merge, a fast-forward, a squash without a review; a hand on the log; work outside the scope
    assert "HSK-REVIEW-MISSING" in life.git("merge", "--no-ff", "--no-edit", BRANCH, code=None)
    assert "HSK-REVIEW-MISSING" in life.git("commit", "--no-edit", code=None)  # as git says then
    life.git("merge", "--abort")
    said = life.git("merge", "--ff-only", BRANCH, code=None)
    assert "HSK-REVIEW-MISSING" in said and "HSK-REVIEW-FF" in said
    life.git(*said.partition("take them back: git ")[2].split("\n")[0].split())
    assert shop.user_state() == before
    life.git("merge", "--squash", BRANCH)
    assert "HSK-REVIEW-MISSING" in life.git("commit", "-qm", "squashed", code=None)
    life.git("reset", "-q", "--hard", "main")
    assert "HSK-TRACK" in life.git("update-ref", f"refs/heads/{TRACK}", "main", code=None)
    readme = shop.worktree / "README.md"
    readme.write_text("more\n")
    assert "C701-G02" in life.git("commit", "-qam", "on the way", at=shop.worktree, code=None)
    life.git("reset", "-q", "--hard", at=shop.worktree)
    assert shop.user_state() == before

    # a pull request of it
    life.refused("ci", "--range", f"main..{BRANCH}", words="HSK-REVIEW-MISSING", code=1)

    # a log that was written by hand, in no time
    tip = shop.git("rev-parse", BRANCH)
    write_log_by_hand(life, tip, apart=1)
    said = life.git("merge", "--no-ff", "--no-edit", BRANCH, code=None)
    assert "HSK-REVIEW-LOG" in said and "comes 1 s after REPORT_PRESENTED" in said
    life.git("merge", "--abort")
    life.git("reset", "-q", "--hard", tip, at=shop.worktree)

    # a review that nobody acknowledged
    report = root.parent / "report.md"
    report.write_bytes(REPORT)
    assert "VAT_PERCENT" in shop.handshake("review", WP).stdout
    life.refused("review", WP, "pass", words="no report")
    done = shop.handshake("review", WP, "pass", "--report", str(report), code=3)
    assert "REPORT_PRESENTED" in done.stdout
    assert "HSK-REVIEW-STATE" in life.git("merge", "--no-ff", "--no-edit", BRANCH, code=None)
    life.git("merge", "--abort")
    assert shop.user_state() == before

    # the review, and a change that comes after it
    assert f"- **[{WP}]** - [IN_PROGRESS]" in shop.git(
        "show", f"{BRANCH}:docs/TASK_BOARD.md"
    )  # nobody reviewed it yet
    assert life.walk("PASS").state is ReviewState.COMMITTED
    reviewed = shop.git("rev-parse", BRANCH)
    assert shop.git("status", "--porcelain", at=shop.worktree) == ""
    pricing = shop.worktree / "shop" / "pricing.py"
    pricing.write_text(pricing.read_text() + "# one more word\n")
    assert "C701-G05" in life.git("commit", "-qam", "a word", at=shop.worktree, code=None)
    life.git("commit", "-q", "--no-verify", "-am", "a word", at=shop.worktree)
    assert "HSK-REVIEW-STALE" in life.git("merge", "--no-ff", "--no-edit", BRANCH, code=None)
    life.git("merge", "--abort")
    life.git("reset", "-q", "--hard", reviewed, at=shop.worktree)

    # the pull request, the merge, and the board after it
    shop.handshake("ci", "--range", f"main..{BRANCH}")
    life.git("merge", "--no-ff", "--no-edit", BRANCH)
    packet = life.read(PACKET)
    assert "**Status:** Done" in packet and packet.count("Verdict: PASS") == 1
    assert packet.rstrip().endswith("- shop/pricing.py:3 says 19.")
    assert f"- **[{WP}]** - [VALIDATED]" in life.read("docs/TASK_BOARD.md")
    assert "says what the packets say" in shop.handshake("board", "sync").stdout
    names = ("scan", "git-hygiene", "spec-regression", "packet-claim", "board", "registry", "traceability")
    found = shop.json("validate", *names)
    assert [(row["name"], row["findings"]) for row in found["validators"]] == [(name, []) for name in names]


def write_log_by_hand(life: Life, tip: str, apart: int) -> None:
    began = datetime(2026, 1, 22, 9, tzinfo=UTC)
    steps = [
        {"state": state.value, "at": (began + timedelta(seconds=apart * number)).isoformat(), "by": "me"}
        for number, state in enumerate(ReviewState)
    ]
    review = {"verdict": "PASS", "reviewed_commit": tip, "report_sha256": "0" * 64, "steps": steps}
    place = life.shop.worktree / LOG
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"wp_id": WP, "reviews": [review]}))
    life.git("add", "-A", at=life.shop.worktree)
    life.git("commit", "-q", "--no-verify", "-m", f"{WP}: reviewed", at=life.shop.worktree)


def test_a_fail_is_final_for_the_id_also_in_standard_mode(shop, solver):
    shop.borrow(solver)
    shop.configure()
    shop.drop(
        lambda text: text.replace("python -m unittest discover -s tests -t .", "python -m unittest tests.test_stock")
    )
    life = Life(shop)
    shop.handshake("init")
    life.git("add", "-A")
    life.git("commit", "-qm", "a packet")
    shop.handshake("run", WP)
    assert life.walk("FAIL", b"Verdict: FAIL\n\nThe stock is not counted.\n").state is ReviewState.COMMITTED
    assert "HSK-REVIEW-FAIL" in life.git("merge", "--no-ff", "--no-edit", BRANCH, code=None)
    life.git("merge", "--abort")
    assert "HSK-REVIEW-FAIL" in life.git("merge", "--ff-only", BRANCH, code=None)
    life.git("reset", "-q", "--hard", "main")
    report = shop.root.parent / "report.md"
    report.write_bytes(REPORT)
    life.refused("review", WP, "pass", "--report", str(report), words="that is final")
    # a PASS written over it by hand does not take it back
    log = json.loads((shop.worktree / LOG).read_text())
    second = {**log["reviews"][0], "verdict": "PASS"}
    (shop.worktree / LOG).write_text(json.dumps({**log, "reviews": [*log["reviews"], second]}))
    life.git("commit", "-q", "--no-verify", "-am", "better", at=shop.worktree)
    assert "HSK-REVIEW-FAIL" in life.git("merge", "--no-ff", "--no-edit", BRANCH, code=None)
    (shop.worktree / LOG).unlink()
    life.git("commit", "-q", "--no-verify", "-am", "no log", at=shop.worktree)
    life.git("merge", "--abort")
    assert "the newest report" in life.git("merge", "--no-ff", "--no-edit", BRANCH, code=None)
    life.git("merge", "--abort")
    # nor does taking away both the log and the report
    packet = shop.worktree / "docs" / "task_packets" / f"{WP}.md"
    packet.write_bytes(packet.read_bytes().replace(b"Verdict: FAIL", b"Verdict: PASS"))
    life.git("commit", "-q", "--no-verify", "-am", "all is well", at=shop.worktree)
    assert "its log was taken away" in life.git("merge", "--no-ff", "--no-edit", BRANCH, code=None)
    life.git("merge", "--abort")
    life.git("merge", "-q", "--squash", BRANCH)
    assert "its log was taken away" in life.git("commit", "-m", "squashed", code=None)


def test_what_a_review_refuses_changes_nothing(shop, solver):
    shop.borrow(solver)
    shop.configure()
    report = shop.root.parent / "report.md"
    report.write_bytes(REPORT)
    life = Life(shop)
    life.refused("review", WP, words="there is no branch")
    shop.drop()
    shop.handshake("run", WP)
    tip = shop.git("rev-parse", BRANCH)
    life.refused("review", WP, "maybe", "--report", str(report), words="no verdict")
    report.write_bytes(b"Verdict: FAIL\n")
    life.refused("review", WP, "pass", "--report", str(report), words="the report says FAIL")
    report.write_bytes("Pr\u00fcfung\n".encode())
    life.refused("review", WP, "pass", "--report", str(report), words="not ASCII")
    report.write_bytes(b"<!-- open\n")
    life.refused("review", WP, "pass", "--report", str(report), words="report")
    report.write_bytes(b"# VALIDATION REPORT - another\n\nVerdict: PASS\n")
    life.refused("review", WP, "pass", "--report", str(report), words="name a report")
    report.write_bytes(REPORT)
    (shop.worktree / "notes.txt").write_text("mine\n")
    life.refused("review", WP, "pass", "--report", str(report), words="notes.txt", code=1)
    (shop.worktree / "notes.txt").unlink()
    assert shop.git("rev-parse", BRANCH) == tip
    config = yaml.safe_load((shop.root / ".handshake" / "config.yaml").read_text())
    assert config["version"] == 1


def test_the_validators_that_are_configured_belong_to_the_gate(shop, solver):
    shop.borrow(solver)
    rule = {"pattern": "VAT_PERCENT = 19", "what": "a number of the law in code"}
    shop.configure(validators={"post_work": ["scan"], "scan": {"forbid": [rule]}})
    shop.drop(tiny_packet)
    done = shop.handshake("run", WP, code=1)
    assert "a number of the law in code" in done.stderr
    assert "shop/pricing.py:3" in shop.json("status", WP)["runs"][0]["error"]
    found = shop.json("validate", "scan", "--range", f"main..{BRANCH}", code=1)
    assert [f["line"] for f in found["validators"][0]["findings"]] == [3]
