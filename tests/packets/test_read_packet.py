"""Reading packets: whole ones, messy ones, hostile ones."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handshake.domain.packet_commands import is_governance_command
from handshake.domain.packet_text import is_runnable, read_packet

PATH = "docs/task_packets/WP-1-Demo-v1.md"


def codes(data: str | bytes) -> list[str]:
    reading = read_packet(data.encode() if isinstance(data, str) else data, PATH)
    return [finding.code for finding in reading.findings]


def read(text: str):
    reading = read_packet(text.encode(), PATH)
    assert reading.packet is not None, [finding.text() for finding in reading.findings]
    return reading.packet


def test_a_finished_packet_reads_whole(finished: bytes) -> None:
    reading = read_packet(finished, "docs/task_packets/WP-7-Tide-Table-v1.md")
    assert reading.findings == ()
    packet = reading.packet
    assert packet is not None
    assert (packet.wp_id, packet.base_wp_id, packet.status_text) == ("WP-7-Tide-Table-v1", "WP-7-Tide-Table", "Done")
    assert packet.user_signature == "harbour040320260506"
    assert packet.risk_tier == "HIGH"
    assert packet.what == "Print the tides of one harbour for one day, as a table."
    assert packet.in_scope_paths == ("docs/tides.md", "tides/table.py", "tides/data.csv", "tests/test_table.py")
    assert packet.out_of_scope == ("Forecasts for more than one day.",)
    assert packet.done_means[1] == "Heights are in metres with two decimals."
    assert packet.test_plan == (
        "just pre-work WP-7-Tide-Table-v1",
        "pytest -q tests/test_table.py --maxfail=1",
        "just post-work WP-7-Tide-Table-v1",
    )
    assert [(e.target_file, e.line_delta, all(e.gates.values())) for e in packet.manifest] == [
        ("tides/table.py", 12, True),
        ("tides/data.csv", 4, True),
        ("tests/test_table.py", -2, True),
    ]
    assert [report.verdict for report in packet.reports] == ["FAIL", "PASS"]
    assert packet.waivers == ()
    assert ("SKELETON", 63) in packet.headings


def test_the_real_packet_reads_whole(seed: Callable[[str], bytes]) -> None:
    name = "WP-1-Micro-Task-Executor-v1.md"
    reading = read_packet(seed(name), f"docs/task_packets/{name}")
    assert reading.findings == ()
    packet = reading.packet
    assert packet is not None
    assert len(packet.in_scope_paths) == 24
    assert len(packet.done_means) == 7
    assert packet.test_plan == (
        "just pre-work WP-1-Micro-Task-Executor-v1",
        "cargo test --manifest-path src/backend/handshake_core/Cargo.toml",
        "just validator-scan",
        "just validator-spec-regression",
        "just cargo-clean",
        "just post-work WP-1-Micro-Task-Executor-v1",
    )
    assert len(packet.manifest) == 18
    assert all(len(entry.gates) == 10 and all(entry.gates.values()) for entry in packet.manifest)
    assert [report.verdict for report in packet.reports] == ["FAIL", "FAIL", "PASS", "PASS"]
    assert packet.user_signature == "ilja220120260926"


def test_the_real_stub_is_a_stub(seed: Callable[[str], bytes]) -> None:
    packet = read_packet(seed("WP-1-Micro-Task-Executor-v1.stub.md"), "docs/task_packets/stubs/x.md").packet
    assert packet is not None
    assert packet.is_stub
    assert "HSK-ACT-STUB" in [finding.code for finding in is_runnable(packet)]


@pytest.mark.parametrize(
    "line",
    [
        "**Status:** In Progress",
        "- **Status:** In Progress",
        "Status: In Progress",
        "* Status: `In Progress`",
        "**Status**: in-progress (since Monday)",
        "- **Status: IN_PROGRESS**",
        "- **Status:** In Progress <!-- Draft | Done -->",
    ],
)
def test_a_status_line_may_be_written_in_many_ways(packet: str, line: str) -> None:
    assert read(packet.replace("- **Status:** Ready for Dev", line)).status_text == "In Progress"


def test_of_several_status_lines_the_bold_one_wins_else_the_first(packet: str) -> None:
    plain = packet.replace("- **Status:** Ready for Dev", "- Status: Draft\n- Status: Done")
    assert read(plain).status_text == "Draft"
    bold = packet.replace("- **Status:** Ready for Dev", "- Status: Draft\n- **Status:** Done")
    assert read(bold).status_text == "Done"
    assert "HSK-PKT-STATUS" in codes(bold)


@pytest.mark.parametrize(
    ("item", "paths"),
    [
        ("`src/a.py`", ["src/a.py"]),
        ("`src/a.py` (note)", ["src/a.py"]),
        ("`src/a.py`: what it is", ["src/a.py"]),
        ("src/a.py # the loader", ["src/a.py"]),
        ("src/a.py -- the loader", ["src/a.py"]),
        ("src/a.py (new)", ["src/a.py"]),
        ("(new) src/a.py", ["src/a.py"]),
        ("src\\win\\a.py", ["src/win/a.py"]),
        ("`.\\src\\a.py`", ["src/a.py"]),
        ("./src/a.py", ["src/a.py"]),
        ("**src/a.py**", ["src/a.py"]),
        ("**`src/a.py`**", ["src/a.py"]),
        ("src/folder/", ["src/folder/"]),
        ("src/**/*.py", ["src/**/*.py"]),
        ("`app/(shop)/[id]/page (1).tsx`", ["app/(shop)/[id]/page (1).tsx"]),
        ("app/(shop)/page.tsx", ["app/(shop)/page.tsx"]),
        ("notes (1).txt", ["notes (1).txt"]),
        ("`a.py`, `b.py` and `c.py`", ["a.py", "b.py", "c.py"]),
        ("src/a.py, b.py", ["src/a.py", "b.py"]),
        ("src/a.py; lib/ and b/*.py (all new)", ["src/a.py", "lib/", "b/*.py"]),
        ("`a.py`, read/write, e.g. v1.2", ["a.py"]),
        ("my notes, old.txt", ["my notes, old.txt"]),
        ("the loader: `src/a.py`", ["src/a.py"]),
        ("Makefile", ["Makefile"]),
        ('`"caf\\303\\251.txt"`', ["caf\u00e9.txt"]),
        ("src/a.py\n    (a note that wraps)", ["src/a.py"]),
        ("Backend:\n    - src/a.py\n    - src/b.py", ["src/a.py", "src/b.py"]),
        ("src/a.py\n    - only the loader", ["src/a.py"]),
    ],
)
def test_scope_items_vary(packet: str, item: str, paths: list[str]) -> None:
    text = packet.replace("  - src/app.py\n  - lib/\n", f"  - {item}\n")
    assert list(read(text).in_scope_paths) == paths


@pytest.mark.parametrize(
    "label",
    ["- IN_SCOPE_PATHS:", "- **IN_SCOPE_PATHS:**", "**IN_SCOPE_PATHS**:", "### IN_SCOPE_PATHS", "* In-scope paths:"],
)
@pytest.mark.parametrize("bullet", ["-", "*", "+", "1."])
def test_scope_labels_vary(packet: str, label: str, bullet: str) -> None:
    text = packet.replace("- IN_SCOPE_PATHS:", label).replace("  - src/app.py", f"  {bullet} src/app.py")
    text = text.replace("  - lib/", f"  {bullet} lib/")
    assert read(text).in_scope_paths == ("src/app.py", "lib/")
    assert read(text).out_of_scope == ("the rest",)


def test_a_scope_at_the_margin_below_a_bold_label(packet: str) -> None:
    text = packet.replace(
        "- IN_SCOPE_PATHS:\n  - src/app.py\n  - lib/\n- OUT_OF_SCOPE:\n  - the rest",
        "**IN_SCOPE_PATHS:**\n- src/app.py\n- lib/\n\n**OUT_OF_SCOPE:**\n- the rest",
    )
    assert read(text).in_scope_paths == ("src/app.py", "lib/")
    assert read(text).out_of_scope == ("the rest",)


@pytest.mark.parametrize(
    "item",
    ["/etc/passwd", "C:\\Windows", "../up.py", "a/../../b", "~/x", "{path}", "<path>", ".git/config", "all of it"],
)
def test_a_scope_item_that_is_no_path_is_an_error_and_never_an_empty_list(packet: str, item: str) -> None:
    reading = read_packet(packet.replace("src/app.py", item).encode(), PATH)
    assert reading.packet is None
    found = next(finding for finding in reading.errors if finding.code == "HSK-PKT-SCOPE")
    assert found.line == 12
    assert found.mend


@pytest.mark.parametrize("item", ["`a.py`, b.py", "`a.py` and src/", "`a.py`, `b.py`; c.py too", "`a.py` or `b.py`"])
def test_a_path_beside_those_in_backticks_is_not_dropped_in_silence(packet: str, item: str) -> None:
    reading = read_packet(packet.replace("src/app.py", item).encode(), PATH)
    assert reading.packet is None
    [found] = [finding for finding in reading.errors if finding.code == "HSK-PKT-SCOPE"]
    assert (found.line, "as well" in found.what) == (12, True)


@pytest.mark.parametrize(
    ("items", "line", "said"),
    [
        ("  - app/a.py\n- OUT_OF_SCOPE:\n  - b\n- IN_SCOPE_PATHS:\n  - app/c.py", 15, "stands twice"),
        ("  - app/a.py\n\nThe tests as well:\n\n  - app/c.py\n", 16, "cut off from the list"),
        ("  - app/a.py\n  -app/c.py", 12, "`-app/c.py` reads as part of"),
        ("  - app/a.py\n  *app/c.py", 12, "`*app/c.py` reads as part of"),
        ("  - app/a.py\n    app/c.py", 12, "`app/c.py` reads as part of"),
        ("  -app/c.py\n  - app/a.py", 12, "`-app/c.py` is no list item"),
        ("  - app/a.py,app/b.py", 12, "several paths"),
        ("  - `app/a.py;app/b.py`", 12, "several paths"),
        ("  - app/{a,b}.py", 12, "several paths"),
        ("  - not app/a.py", 12, "takes a path out"),
        ("  - !app/a.py", 12, "takes a path out"),
        ("  - `!app/a.py`", 12, "takes a path out"),
        ("  - everything but `app/a.py`", 12, "takes a path out"),
        ("  - [app/b.py](app/b.py)", 12, "is a link"),
        ("  - `app/a.py`:\n    - `app/helper.py` stays", 13, "stands below a path"),
        ("  - `app/a.py`\n    - app/helper.py: stays", 13, "stands below a path"),
    ],
)
def test_a_scope_that_would_be_misread_is_an_error(packet: str, items: str, line: int, said: str) -> None:
    reading = read_packet(packet.replace("  - src/app.py\n  - lib/\n", f"{items}\n").encode(), PATH)
    assert reading.packet is None
    [found] = [finding for finding in reading.errors if finding.code == "HSK-PKT-SCOPE"]
    assert (found.line, said in found.what, bool(found.mend)) == (line, True, True), found


@pytest.mark.parametrize(
    ("items", "paths"),
    [
        ("  - `app/a.py`:\n    - the loader alone", ["app/a.py"]),
        ("  - lib/\n    - lib/a.py\n    - `lib/b.py`", ["lib/", "lib/a.py", "lib/b.py"]),
        ("  - app/a.py (a note\n    - with a dash)", ["app/a.py"]),
        ("  - app/a,b.py", ["app/a,b.py"]),
        ("  - `{{cookiecutter.name}}/a.py`", ["{{cookiecutter.name}}/a.py"]),
        ('  - `"a.py,b.py"`', ["a.py,b.py"]),
        ("  - app/nothing.py", ["app/nothing.py"]),
        ("  - notes/a.md", ["notes/a.md"]),
        ("  - app/a.py\n\nNothing else.\n", ["app/a.py"]),
    ],
)
def test_a_scope_that_reads_in_one_way_is_read(packet: str, items: str, paths: list[str]) -> None:
    assert list(read(packet.replace("  - src/app.py\n  - lib/\n", f"{items}\n")).in_scope_paths) == paths


@pytest.mark.parametrize("items", ["", "  - NONE\n", "  - (to be filled)\n"])
def test_an_empty_scope_is_an_error(packet: str, items: str) -> None:
    assert "HSK-PKT-SCOPE" in codes(packet.replace("  - src/app.py\n  - lib/\n", items))


def test_every_problem_is_reported_at_once() -> None:
    text = "# Task Packet\n\n## METADATA\n- RISK_TIER: EXTREME\n\n## QUALITY_GATE\n"
    wanted = ("ID", "STATUS", "SIGNATURE", "RISK", "SCOPE", "DONE", "TEST")
    assert {f"HSK-PKT-{name}" for name in wanted} <= set(codes(text))


def test_lists_that_stand_twice_are_refused(packet: str) -> None:
    assert "HSK-PKT-TWICE" in codes(packet + "\n## SCOPE\n- IN_SCOPE_PATHS:\n  - other/\n")


def test_what_stands_in_fences_and_comments_does_not_count(packet: str) -> None:
    hidden = "- IN_SCOPE_PATHS:\n  - secret/\n- **Status:** Done\n"
    for form in (f"```\n{hidden}```\n", f"~~~~md\n{hidden}~~~\n~~~~\n", f"<!--\n{hidden}-->\n"):
        found = read(packet.replace("## SCOPE\n", f"{form}\n## SCOPE\n{form}"))
        assert found.in_scope_paths == ("src/app.py", "lib/")
        assert found.status_text == "Ready for Dev"


@pytest.mark.parametrize("language", ["", "sh", "powershell", "text", "console"])
def test_a_test_plan_may_be_a_fence_of_any_language(packet: str, language: str) -> None:
    prompt = "$ " if language == "console" else ""
    plan = f"```{language}\n# why\n\n{prompt}pytest -q  # quick\n{prompt}go test \\\n  ./...\n```"
    assert read(packet.replace("```bash\npytest -q\n```", plan)).test_plan == ("pytest -q", "go test ./...")


@pytest.mark.parametrize(
    "plan",
    [
        "`\npytest -q\n`",
        "`bash\npytest -q\n`",
        "```bash\npytest -q\n`",
        "`\npytest -q\n```",
        "- `pytest -q`",
        "- pytest -q",
    ],
)
def test_a_mangled_fence_or_a_list_still_gives_the_commands(packet: str, plan: str) -> None:
    found = read(packet.replace("```bash\npytest -q\n```", plan))
    assert found.test_plan == ("pytest -q",)
    assert found.done_means == ("It is so.",)


def test_prose_in_the_test_plan_is_an_error(packet: str) -> None:
    assert "HSK-PKT-TEST" in codes(packet.replace("```bash\npytest -q\n```", "- Run all the tests by hand"))


def test_nested_criteria_belong_to_their_bullet(packet: str) -> None:
    text = packet.replace("- It is so.", "* First,\n  which wraps\n  * with a part\n* [ ] Second")
    assert read(text).done_means == ("First, which wraps - with a part", "Second")


@pytest.mark.parametrize(
    "name", ["## SCOPE (draft) [CX-1]", "## scope", "## **Scope**", "## 3. SCOPE", "## Scope: all"]
)
def test_headings_vary(packet: str, name: str) -> None:
    assert read(packet.replace("## SCOPE", name)).in_scope_paths == ("src/app.py", "lib/")


def test_bom_crlf_and_cp1252_are_read(packet: str) -> None:
    data = b"\xef\xbb\xbf" + packet.replace("It is so.", "It is so @ last.").encode().replace(b"\n", b"\r\n")
    reading = read_packet(data.replace(b"@", b"\x97"), PATH)
    assert reading.packet is not None
    assert reading.packet.wp_id == "WP-1-Demo-v1"
    assert reading.packet.done_means == ("It is so \u2014 last.",)
    assert [(f.code, f.severity) for f in reading.findings] == [("HSK-PKT-ENCODING", "warning")]


@pytest.mark.parametrize("value", ["pending", "<pending>", "", "TBD", "{signature}", "____", "PENDING (ask)", "none"])
def test_a_pending_signature_is_none(packet: str, value: str) -> None:
    found = read(packet.replace("demo010120260101", value))
    assert found.user_signature is None
    assert "HSK-ACT-SIGNATURE" in [finding.code for finding in is_runnable(found)]


def test_a_runnable_packet_has_no_finding(packet: str) -> None:
    assert is_runnable(read(packet)) == []


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("Ready for Dev", "Draft", "HSK-ACT-STATUS"),
        ("WP-1-Demo-v1", "WP-1-Other-v1", "HSK-ACT-STEM"),
        ("- WP_ID: WP-1-Demo-v1", "- WP_ID: DEMO", "HSK-ACT-ID"),
        ("WP-1-Demo-v1", "WP-1-Demo-20260101", "HSK-ACT-DATE"),
    ],
)
def test_each_reason_not_to_run_fires(packet: str, old: str, new: str, code: str) -> None:
    assert code in [finding.code for finding in is_runnable(read(packet.replace(old, new)))]


def test_a_policy_block_is_read_and_checked(packet: str) -> None:
    good = packet + "\n## EXECUTION_POLICY\n```yaml\nmax_iterations_per_mt: 2\npause_points: [MT-001]\n```\n"
    assert read(good).execution_policy == {"max_iterations_per_mt": 2, "pause_points": ["MT-001"]}
    for bad in ("max_iterations_per_mt: 99", "nope: 1", "- a", "a: [", "a: &x [1]\nb: *x"):
        assert "HSK-PKT-POLICY" in codes(packet + f"\n## EXECUTION_POLICY\n```yaml\n{bad}\n```\n")


@pytest.mark.parametrize(
    ("entry", "paths"),
    [
        ("CX-573F-01: `src/other.py`: the loader too, 2026-01-02", ("src/other.py",)),
        ("Waiver ID: CX-573F\n  - Scope: src/other.py\n  - Reason: needed", ("src/other.py",)),
        ("NONE", None),
        ("no waiver was granted for src/other.py under CX-573F", None),
        ("CX-573F-02: `src/other.py` was denied", None),
        ("CX-573F-03: everything", None),
        ("src/other.py without an id", None),
        ("(Record waivers here per [CX-573F], e.g. `src/x.py`.)", None),
    ],
)
def test_a_waiver_needs_an_id_and_a_path(packet: str, entry: str, paths: tuple[str, ...] | None) -> None:
    found = read(packet.replace("## QUALITY_GATE", f"## WAIVERS GRANTED\n- {entry}\n\n## QUALITY_GATE"))
    assert [waiver.paths for waiver in found.waivers] == ([] if paths is None else [paths])


@pytest.mark.parametrize(
    ("field", "value"),
    [("Start", "1abc"), ("Line Delta", "five"), ("Pre-SHA1", "`abc`"), ("End", "")],
)
def test_a_manifest_field_that_cannot_be_read_is_an_error(finished: bytes, field: str, value: str) -> None:
    lines = finished.decode().split("\n")
    at = next(number for number, line in enumerate(lines) if line.startswith(f"- **{field}**"))
    lines[at] = f"- **{field}**: {value}"
    findings = read_packet("\n".join(lines).encode(), "docs/task_packets/WP-7-Tide-Table-v1.md").errors
    assert [(f.code, f.line) for f in findings] == [("C701-G05", at + 1)]


@pytest.mark.parametrize("tick", ["x", " "])
def test_a_box_that_stands_twice_in_a_block_is_an_error(finished: bytes, tick: str) -> None:
    lines = finished.decode().split("\n")
    at = next(number for number, line in enumerate(lines) if line.strip() == "- [x] anchors_present")
    lines.insert(at + 1, f"  - [{tick}] Anchors_Present")
    findings = read_packet("\n".join(lines).encode(), "docs/task_packets/WP-7-Tide-Table-v1.md").errors
    assert [(f.code, f.line) for f in findings] == [("C701-G05", at + 2)]
    assert "anchors_present stands twice" in findings[0].what


def test_manifest_fields_vary(finished: bytes) -> None:
    text = finished.decode().replace("- **Target File**: `tides/table.py`", "**Target File:** tides/table.py")
    text = text.replace("- **Line Delta**: 12", "- Line Delta: `+12`").replace("`" + "b" * 40 + "`", "B" * 40)
    packet = read_packet(text.encode(), "x/WP-7-Tide-Table-v1.md").packet
    assert packet is not None
    entry = packet.manifest[0]
    assert (entry.target_file, entry.line_delta, entry.post_sha1) == ("tides/table.py", 12, "b" * 40)


def test_governance_commands_are_known() -> None:
    for command in ("just pre-work WP-1", "just validator-scan", "just cargo-clean", "handshake post-work WP-1"):
        assert is_governance_command(command)
    for command in ("just test", "pytest -q", "cargo test", "handshaker", "make check"):
        assert not is_governance_command(command)


@pytest.mark.parametrize(
    "data",
    [
        b"```\n" * 2_500_000,
        b"- a `b` c\n" * 1_000_001,
        (b"word " * 16 + b"\n") * 125_000,
        b"# " + b" " * 10_000_000 + b"x",
        b"` `` ``` " * 1_000_000,
        b"```x\n`\n" * 60_000,
        b"<!-- " * 2_000_000,
        b"- " * 300_000,
        b"".join(b" " * n + b"- a\n" for n in range(2_000)),
        b"\0" * 1_000_000,
        b"## SCOPE\n" * 150_000,
        b"### DONE_MEANS\n" + b"".join(b"- c %d\n" % n for n in range(150_000)),
        b"### TEST_PLAN\n```\n" + b"pytest \\\n" * 500_000 + b"```\n",
    ],
    ids=[
        *("fences", "lists", "prose", "blanks", "backticks", "mangled", "comments", "bullets", "deep", "nul"),
        *("sections", "criteria", "continued"),
    ],
)
def test_a_huge_or_hostile_packet_is_answered_in_seconds(data: bytes) -> None:
    start = time.process_time()
    assert read_packet(data, PATH).packet is None
    assert time.process_time() - start < 10


LINES = """## SCOPE|- IN_SCOPE_PATHS:|  - a.py|```|`|<!--|-->|~~~||\r|- **Target File**: `x`|- **Start**: 1
  - [x] anchors_present|**Status:** Done|- WP_ID: WP-1|### TEST_PLAN|### DONE_MEANS|- x|\u2014|## EXECUTION_POLICY
a: {|## WAIVERS GRANTED|- CX-1 `a`""".replace("\n", "|").split("|")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=40), st.binary(max_size=30))
def test_reading_never_fails(lines: list[str], tail: bytes) -> None:
    reading = read_packet("\n".join(lines).encode() + tail, PATH)
    assert all(finding.what and finding.file == PATH for finding in reading.findings)
    if reading.packet is not None and not reading.packet.is_stub:
        assert reading.packet.in_scope_paths
        assert reading.packet.done_means
        assert reading.packet.test_plan


def test_a_criterion_that_begins_with_a_capital_word_does_not_end_the_list(packet: str) -> None:
    done = "- BREAKING: the old name is gone\n- CLI: `--all` takes a folder now\n- DATE: 2026-01-01\n"
    found = read(packet + done).done_means
    assert found == ("It is so.", "BREAKING: the old name is gone", "CLI: `--all` takes a folder now")


@pytest.mark.parametrize(
    ("text", "criteria"),
    [
        ("- REQ-1: it is logged\n- REQ-2: it is counted\n- AC3: seen", 3),
        ("- **Speed:** as before\n- **Memory**: less\n- the rest", 3),
        ("- API: fast\n- CLI: small", 2),
        ("- one\nNOTE: of it\n- two", 2),
        ("- one\n\nSome words between.\nAnd more.\n\n- two", 2),
        ("#### First\n- one\n\n#### Second\n- two", 2),
        ("- one\n- ROLLBACK_HINT: git revert it or so\n- two", 1),
    ],
)
def test_no_criterion_is_lost_behind_a_name_or_a_title(packet: str, text: str, criteria: int) -> None:
    assert len(read(packet.replace("- It is so.", text)).done_means) == criteria


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- one\n- NOTES: the rest is old\n- two", "end at the field NOTES: 2 items"),
        ("- one\n- **EVIDENCE:** a log\n  - more", "end at the field EVIDENCE: 2 items"),
        ("- one\n\n**Status:** as above\n\n- two", "end at the field Status: 1 items"),
        ("- one\nSTATUS: open", ""),
        ("- one\n- two", ""),
    ],
)
def test_criteria_behind_a_field_are_not_left_out_in_silence(packet: str, text: str, said: str) -> None:
    reading = read_packet(packet.replace("- It is so.", text).encode(), PATH)
    found = [finding for finding in reading.findings if finding.code == "HSK-PKT-DONE"]
    assert [(finding.severity, said in finding.what) for finding in found] == ([("warning", True)] if said else [])


def test_each_waiver_of_a_list_counts_below_the_templates_remark_too(packet: str) -> None:
    entries = (
        "- (One entry a waiver. Example of an id: CX-573F-01.)\n- CX-573F-01: `a.py`: so\n- CX-573F-02: `b.py`: so\n"
    )
    found = read(packet.replace("## QUALITY_GATE", f"## WAIVERS GRANTED\n{entries}\n## QUALITY_GATE"))
    assert [waiver.paths for waiver in found.waivers] == [("a.py",), ("b.py",)]


def waived(packet: str, entries: str) -> list[tuple[str, ...]]:
    """The paths of each waiver under WAIVERS GRANTED."""
    found = read(packet.replace("## QUALITY_GATE", f"## WAIVERS GRANTED\n{entries}\n\n## QUALITY_GATE"))
    return [(*waiver.paths, *waiver.patterns) for waiver in found.waivers]


DENIED = [
    r"CX-573F-01: `a.py`: not yet granted",
    r"CX-573F-01 for `a.py` wasn't granted",
    r"~~CX-573F-01: `a.py`: so~~",
    r"CX-573F-01: `a.py`: requested",
    r"Example: CX-573F-01: `a.py`: reason",
    r"CX-573F-01: all except `a.py`",
    r"There is no CX-573F waiver for `a.py`.",
    r"CX-573F would be required for `a.py`",
    r"CX-573F-01 for `a.py`: user said no",
    r"CX-573F-01: `a.py` - no - the user keeps it",
    r"CX-573F-01: `a.py`: no",
    r"CX-573F-01: `a.py`: status OPEN",
    r"CX-573F-01: `a.py`, status: open",
    r"CX-573F-01: `a.py`: under review",
    r"CX-573F-01: `a.py`: cancelled",
    r"CX-573F-01: `a.py`: permission not obtained",
    r"CX-573F-01: `a.py`: turned down",
    r"CX-573F-01: `a.py`: waiver not necessary",
    r"CX-573F-01: `a.py`: on hold",
    r"CX-573F-01: `a.py`: to ask for?",
    r"CX-573F-01: `a.py`: the user disagrees",
    r"CX-573F-01: `a.py`: stays untouched",
    r"CX-573F-01: `a.py` must not change",
    r"CX-573F-01: `a.py`: denied.",
    r"CX-573F-01: `a.py`: `denied`",
    r"CX-573F-01: `a.py`: only to be granted if tests pass",
    r"CX-573F-01: `a.py`: only when approved",
    r"CX-573F-01: `a.py`: will be granted",
    r"CX-573F-01: neither `a.py` nor `b.py`",
    r"CX-573F-01: everything but `a.py`",
    r"CX-573F-01: `lib/`, but not `lib/a.py`",
    r"CX-573F-01: `lib/` except for its tests",
    r"CX-573F-01: the file `a.py` stays as it is",
    r"CX-573F-01: out of scope: `a.py`",
    r"CX-573F-01: read/write access",
    r"[ ] CX-573F-01: `a.py`: so",
    r"CX-573F-01: `a.py`: so\n  - [ ] the user agrees",
    r"CX-573F-01: `a.py`: so\n  - Status: pending",
    r"Not granted:\n  - CX-573F-01: `a.py`: so",
    r"CX-573F-01:\n  - `a.py` stays",
    r"the user gave CX-573F-01 for `a.py`",
    r"`CX-573F-01: a.py: so`",
    r"none\n\nCX-573F-01: `a.py`: so",
    r"none\n\n### Earlier\n\n- CX-573F-01: `a.py`: so",
]


@pytest.mark.parametrize("entry", [entry.replace("\\n", "\n") for entry in DENIED])
def test_what_denies_or_leaves_open_grants_nothing_and_is_said(packet: str, entry: str) -> None:
    text = packet.replace("## QUALITY_GATE", f"## WAIVERS GRANTED\n- {entry}\n\n## QUALITY_GATE")
    assert read(text).waivers == ()
    [found] = [f for f in read_packet(text.encode(), PATH).findings if f.code == "HSK-PKT-WAIVER"]
    assert found.severity == "warning"
    assert "grants nothing" in found.what
    assert found.mend == "write `- CX-573F-01: <path in backticks>: reason`"


@pytest.mark.parametrize(
    ("entries", "paths"),
    [
        ("- CX-573F-01: `a.py`: not foreseen in the packet, 2026-01-02", [("a.py",)]),
        ("- [x] CX-573F-01: `a.py`: so", [("a.py",)]),
        ("* **CX-573F-01**: `a.py`, `b.py` and `lib/`: so", [("a.py", "b.py", "lib/")]),
        ("- [CX-573F] a.py: so", [("a.py",)]),
        ("- `CX-573F-01` `a.py`", [("a.py",)]),
        ("- CX-573F-01 (2026-01-02): `a.py` - so", [("a.py",)]),
        ("- CX-573F-01 for `a.py`: so", [("a.py",)]),
        ("- CX-573F-01: `my file.txt`: so", [("my file.txt",)]),
        ("- CX-573F-01: `lib/**`: so", [("lib/**",)]),
        ("- CX-573F-02: `app/cache.py`: needed for server/client parity.", [("app/cache.py",)]),
        ("- CX-573F-02: `a.py`: so (see also `secret/`, which must stay untouched)", [("a.py",)]),
        ("- CX-573F-02: `denied/no.py`: as `other/if.py` has it", [("denied/no.py",)]),
        ("- CX-573F-01:\n  - `a.py`\n  - `b.py`", [("a.py", "b.py")]),
        ("- Waiver ID: CX-573F\n  - Date: 2026-01-02\n  - Scope:\n    - a.py\n    - b.py", [("a.py", "b.py")]),
        ("- Waiver ID: CX-573F; Date: 2026-01-02; Scope: `a.py`; Justification: so", [("a.py",)]),
        ("- **Waiver ID:** CX-573F\n  - **Scope:** `a.py`\n  - **Status:** granted", [("a.py",)]),
        ("- CX-573F-01: `a.py`: so\n\n  and more of why\n- CX-573F-02: `b.py`: so", [("a.py",), ("b.py",)]),
    ],
)
def test_a_waiver_names_its_paths_before_its_reason(packet: str, entries: str, paths: list[tuple[str, ...]]) -> None:
    assert waived(packet, entries) == paths
    text = packet.replace("## QUALITY_GATE", f"## WAIVERS GRANTED\n{entries}\n\n## QUALITY_GATE")
    assert "HSK-PKT-WAIVER" not in codes(text)


def test_groups_of_a_scope_may_be_bold_and_none_takes_out(packet: str) -> None:
    def scoped(items: str) -> str:
        return packet.replace("  - src/app.py\n  - lib/", items)

    groups = "  - **Code:**\n    - src/app.py\n  - **Tests:**\n    - tests/app.py\n  - DOCS:\n    - docs/app.md"
    assert read(scoped(groups)).in_scope_paths == ("src/app.py", "tests/app.py", "docs/app.md")
    for title in ("**Not to be touched:**", "Excluded:", "OUT_OF_SCOPE (never):"):
        assert "HSK-PKT-SCOPE" in codes(scoped(f"  - src/app.py\n  - {title}\n    - lib/"))
