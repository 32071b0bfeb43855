"""The reply parser: edits, the closing signal, and everything that must not count as one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handshake.domain.reply import ParsedReply
from handshake.models.reply import parse_reply

CLAIM = '<mt_complete>\nMT_ID: MT-001\nEVIDENCE:\n- "adds" -> a.py:1-2\n</mt_complete>'
BLOCKED = "<blocked>\nREASON: no schema\nNEED: docs/schema.md\n</blocked>"


def read(text: str, *, mt_id: str = "MT-001", single: bool = False) -> ParsedReply:
    return parse_reply(text, mt_id=mt_id, writable=("a.py", "b.py"), single_file_fence=single)


def whole(path: str, content: str, fence: str = "```") -> str:
    return f"FILE: {path}\n{fence}python\n{content}{fence}\n"


# --- edits


@pytest.mark.parametrize(
    "line",
    [
        "FILE: a.py",
        "**FILE: a.py**",
        "**FILE:** a.py",
        "**FILE:** `a.py`",
        "FILE: `a.py`",
        "`FILE: a.py`",
        "### FILE: a.py",
        "- FILE: a.py",
        "1. FILE: a.py:",
        "File: a.py",
        'FILE: "a.py"',
        "FILE：a.py",
    ],
)
def test_a_file_line_is_read_in_every_dress(line: str) -> None:
    parsed = read(f"Here:\n{line}\n\n```python\nx = 1\n```\n")
    assert [(e.path, e.form, e.content) for e in parsed.edits] == [("a.py", "whole", "x = 1\n")]
    assert parsed.edit_errors == ()


@pytest.mark.parametrize("path", ["../etc/passwd", "/etc/passwd", "src\\a b.py", "ünï/c.py"])
def test_a_path_is_kept_but_for_its_slashes(path: str) -> None:
    assert read(whole(path, "x\n")).edits[0].path == path.replace("\\", "/")


@pytest.mark.parametrize("fence", ["```", "````", "~~~", "~~~~~"])
def test_any_fence_will_do(fence: str) -> None:
    assert read(f"FILE: a.py\n{fence}\nx\n{fence}\n").edits[0].content == "x\n"


def test_crlf_replies_and_indented_blocks_are_read() -> None:
    assert read("FILE: a.py\r\n```py\r\nx\r\n```\r\n").edits[0].content == "x\n"
    assert (
        read("1. FILE: a.py\n   ```py\n   def f():\n       pass\n   ```\n").edits[0].content == "def f():\n    pass\n"
    )


def test_markdown_in_a_longer_fence_or_with_info_strings_is_read_whole() -> None:
    inner = "# T\n```\nplain\n```\n```sh\nls\n```\n"
    assert read(f"FILE: r.md\n````md\n{inner}````\n").edits[0].content == inner
    tagged = "# T\n```sh\nls\n```\nend\n"
    assert read(f"FILE: r.md\n```md\n{tagged}```\n").edits[0].content == tagged


def test_markdown_whose_inner_fence_closes_the_outer_is_an_error_not_a_cut_file() -> None:
    parsed = read("FILE: r.md\n```md\n# T\n```\nplain\n```\nend\n```\n")
    assert parsed.edits == ()
    assert "longer fence" in parsed.edit_errors[0]


def test_search_replace_parts_are_read_in_order_and_joined_by_file() -> None:
    part = "<<<<<<< SEARCH\n{0}\n=======\n{1}\n>>>>>>> REPLACE\n"
    text = f"FILE: a.py\n```\n{part.format('a', 'b')}\n{part.format('c', '')}```\n"
    parsed = read(text + f"FILE: a.py\n```\n{part.format('d', 'e')}```\n")
    assert [(r.search, r.replace) for r in parsed.edits[0].replacements] == [
        ("a\n", "b\n"),
        ("c\n", "\n"),
        ("d\n", "e\n"),
    ]
    gone = read("FILE: a.py\n```\n<<<<<<< SEARCH\na\n=======\n>>>>>>> REPLACE\n```\n")
    assert gone.edits[0].replacements[0].replace == ""


SR = "<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("FILE: a.py\n```python\nx = 1\n", "not closed"),
        (whole("a.py", "x\n") + whole("a.py", "y\n"), "given twice"),
        ("FILE: a.py\nJust do it.\n", "not followed by a fenced block"),
        ("FILE: a.py", "not followed by a fenced block"),
        (whole("a.py", "x\n") + f"```\n{SR}```\n", "no FILE: line"),
        (f"FILE: a.py\n{SR}", "fenced block"),
        ("FILE: a.py\n```\n<<<<<<< SEARCH\na\n=======\nb\n```\n", "no closing >>>>>>> REPLACE"),
        ("FILE: a.py\n```\n<<<<<<< SEARCH\na\n>>>>>>> REPLACE\n```\n", "no ======= line"),
        (
            "FILE: a.py\n```\n<<<<<<< SEARCH\na\n=======\nb\n=======\nc\n>>>>>>> REPLACE\n```\n",
            "more than one =======",
        ),
        (f"FILE: a.py\n```\nimport x\n{SR}```\n", "before its first SEARCH"),
        (f"FILE: a.py\n```\n{SR}stray\n```\n", "outside its SEARCH/REPLACE"),
        ("FILE: a.py (lines 1-9 of 90)\n```\nx\n```\n", "shown in part"),
        ("```\nFILE: a.py\nx\n```\n", "stands inside the fenced block"),
        (whole("a.py", "x\n") + "```\nunclosed", "do not pair"),
    ],
)
def test_an_unreadable_edit_says_why_and_takes_the_others_with_it(text: str, says: str) -> None:
    parsed = read(whole("b.py", "ok\n") + text)
    assert parsed.edits == ()
    assert any(says in error for error in parsed.edit_errors), parsed.edit_errors
    assert all("\n" not in error for error in parsed.edit_errors)


def test_the_same_whole_content_twice_is_one_edit() -> None:
    assert len(read(whole("a.py", "x\n") * 2).edits) == 1


def test_prose_about_files_and_quoted_or_foreign_blocks_are_no_edits() -> None:
    text = "File: see the notes in a.py\n\n> FILE: a.py\n> ```\n> x\n> ```\n\n```sh\npytest\n```\n"
    parsed = read(text)
    assert parsed.edits == () and parsed.edit_errors == ()


def test_part_of_a_file_may_be_changed_by_search_replace() -> None:
    assert read(f"FILE: a.py (lines 1-9 of 90)\n```\n{SR}```\n").edits[0].path == "a.py"


def test_a_plain_fence_is_the_file_only_where_one_was_asked_for() -> None:
    text = f"Run `x`:\n```bash\npytest\n```\n```python\nx = 1\n```\n```python\ny = 2\n```\n{CLAIM}\n"
    assert read(text).edits == ()
    parsed = read(text, single=True)
    assert [(e.path, e.content) for e in parsed.edits] == [("a.py", "x = 1\n")]
    assert parsed.signal.claimed_complete
    assert read(whole("b.py", "z\n") + text, single=True).edits[0].path == "b.py"
    assert read(f"```python\nFILE: b.py\n{'x'}\n```\n", single=True).edits[0].path == "b.py"
    assert read(f"```xml\n{CLAIM}\n```", single=True).edits == ()
    assert read("```python\nx = 1\n", single=True).edit_errors


def test_a_fence_whose_info_is_white_space_of_another_kind_is_a_plain_fence() -> None:
    assert read("``` \u2028\nx = 1\n```\n", single=True).edits[0].content == "x = 1\n"


# --- signals


@pytest.mark.parametrize("arrow", ["→", "->", "=>"])
@pytest.mark.parametrize(
    ("place", "start", "end"), [("a.py:10-24", 10, 24), ("a.py:7", 7, 7), ("`a b/c.py:3-3`", 3, 3)]
)
def test_a_well_formed_block_claims(arrow: str, place: str, start: int, end: int) -> None:
    line = f'- "it says "no" -> twice" {arrow} {place}'
    text = f"Done.\n\n<mt_complete>\nMT_ID: MT-001\nEVIDENCE:\n{line}\n</mt_complete>\n"
    signal = read(text).signal
    assert signal.claimed_complete and signal.malformed is None
    found = signal.evidence[0]
    assert (found.criterion, found.start, found.end) == ('it says "no" -> twice', start, end)
    assert signal.raw_block is not None and signal.raw_block.startswith("<mt_complete>")


def test_a_fence_around_nothing_but_the_block_is_fine() -> None:
    assert read(f"```xml\n{CLAIM}\n```\n").signal.claimed_complete
    assert read(f"```\n\n{BLOCKED}\n\n```\n").signal.blocked
    assert read(f"{CLAIM}<|im_end|>").signal.claimed_complete


def test_blocked_gives_reason_and_need() -> None:
    signal = read("I stop.\n<blocked>\nREASON: the schema\n  is missing\nNEED: docs/schema.md\n</blocked>").signal
    assert (signal.blocked, signal.claimed_complete) == (True, False)
    assert (signal.blocked_reason, signal.blocked_need) == ("the schema is missing", "docs/schema.md")


def test_no_block_is_still_working() -> None:
    signal = read("I will end with `<mt_complete>` when done.").signal
    assert not signal.claimed_complete and not signal.blocked and signal.malformed is None


MALFORMED = [
    (f"{CLAIM}\n{BLOCKED}", "both"),
    (f"{CLAIM}\n\n{CLAIM}", "exactly one"),
    (f"```\n{CLAIM}\n```\n{CLAIM}", "exactly one"),
    (CLAIM.removesuffix("</mt_complete>"), "not closed"),
    ("done\n</mt_complete>", "no <mt_complete>"),
    (CLAIM.replace("MT-001", "MT-002"), "the running MT is MT-001"),
    (f"<think>\n{CLAIM}\n</think>\nDone.", "<think>"),
    (f"<think>\n{CLAIM}", "<think>"),
    (f"musing\n{CLAIM}\n</think>\nDone.", "<think>"),
    ("\n".join(f"> {line}" for line in CLAIM.split("\n")), "quotation"),
    (f"```\nExample:\n{CLAIM}\n```", "fence that holds something else"),
    (f"```\n{CLAIM}\n{CLAIM}\n```", "fence that holds something else"),
    (f"```\n{CLAIM}\n", "fence that holds something else"),
    (CLAIM.replace("<mt_complete>\n", "<mt_complete> "), "alone on its line"),
    (CLAIM.replace("mt_complete", "MT_COMPLETE"), "lower case"),
    ("\n".join(f"    {line}" for line in CLAIM.split("\n")), "indented like code"),
    (CLAIM.replace("MT_ID: MT-001\n", ""), "must begin with MT_ID"),
    (CLAIM.replace("EVIDENCE:\n", ""), "EVIDENCE:"),
    (CLAIM.replace('- "adds" -> a.py:1-2\n', ""), "no evidence lines"),
    (CLAIM.replace("a.py:1-2", "a.py"), "not of the form"),
    (CLAIM.replace('"adds"', "adds"), "not of the form"),
    (CLAIM.replace("1-2", "5-2"), "cannot be"),
    (CLAIM.replace("1-2", "0-2"), "cannot be"),
    (CLAIM.replace("1-2", "1-" + "9" * 5000), "not of the form"),
    (CLAIM.replace("EVIDENCE:\n", "EVIDENCE:\n```\nx\n```\n"), "not closed"),
    (BLOCKED.replace("NEED: docs/schema.md\n", ""), "lacks NEED"),
    (BLOCKED.replace("REASON: no schema\n", ""), "lacks REASON"),
    (BLOCKED.replace("REASON", "MT_ID: MT-009\nREASON"), "the running MT is MT-001"),
    (BLOCKED.replace("REASON: no schema\n", "please\n"), "must hold REASON"),
]


@pytest.mark.parametrize(("text", "says"), MALFORMED, ids=[says for _, says in MALFORMED])
def test_a_malformed_signal_makes_no_claim_and_says_why(text: str, says: str) -> None:
    signal = read(text).signal
    assert not signal.claimed_complete and not signal.blocked and signal.evidence == ()
    assert signal.malformed is not None and says in signal.malformed
    assert "\n" not in signal.malformed


def test_a_claim_in_an_edit_is_content() -> None:
    parsed = read(f"FILE: a.py\n```\n{CLAIM}\n```\n")
    assert parsed.edits[0].content == CLAIM + "\n"
    assert not parsed.signal.claimed_complete
    both = read(f"FILE: a.py\n```\nx = '''\n{CLAIM}\n'''\n```\n{CLAIM}\n")
    assert both.signal.claimed_complete and len(both.edits) == 1


NO, YES = whole("b.py", "no\n"), whole("a.py", "x\n")


def test_reasoning_is_kept_and_left_out() -> None:
    parsed = read(f"<think>plan\n{NO}</think>\n{YES}\n{CLAIM}")
    assert [e.path for e in parsed.edits] == ["a.py"]
    assert parsed.signal.claimed_complete
    assert parsed.reasoning.startswith("plan\nFILE: b.py")
    tagged = read("FILE: a.py\n```\nTAG = '<think>'\n```\n" + CLAIM)
    assert tagged.edits[0].content == "TAG = '<think>'\n" and tagged.signal.claimed_complete
    assert read(f"plan\n{NO}</think>\nok").edits == ()


# --- properties

TAGS = ("<think>", "</think>", "<mt_complete>", "</mt_complete>", "<blocked>", "</blocked>")
FIELDS = ("MT_ID: MT-001", "EVIDENCE:", '- "adds" -> a.py:1', "REASON: x", "NEED: y")
MARKS = ("```", "````", "~~~", "```py", "> ", "FILE: a.py", "FILE:", "<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE")
SIGNS = ("\n", "\n", "    ", "\t", "\r\n", "`", "x = 1", "…", CLAIM, SR)
BITS = st.sampled_from((*TAGS, *FIELDS, *MARKS, *SIGNS))
SOUP = st.lists(BITS | st.text(max_size=8), max_size=40).map("\n".join) | st.lists(BITS, max_size=30).map("".join)


@settings(max_examples=300, deadline=None)
@given(SOUP, st.booleans())
def test_no_text_makes_it_raise(text: str, single: bool) -> None:
    parsed = read(text, single=single)
    assert not (parsed.edits and parsed.edit_errors)
    assert not (parsed.signal.claimed_complete and parsed.signal.blocked)
    assert not (parsed.signal.malformed and (parsed.signal.claimed_complete or parsed.signal.blocked))
    assert parsed == read(text, single=single)


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 40_000 + "x",
        "FILE: `" + "`" * 40_000,
        "</think>\n" * 9_000,
        "FILE: a.py\n" * 9_000,
        "```py\n" * 20_000,
        CLAIM.replace("adds", '" -> ' * 20_000),
    ],
    ids=["blank", "ticks", "thoughts", "files", "fences", "arrows"],
)
@pytest.mark.timeout(20)
def test_a_runaway_reply_is_read_in_little_time(text: str) -> None:
    parsed = read(text)
    assert not parsed.signal.claimed_complete and len(parsed.edit_errors) <= 9


PROSE = st.text(alphabet=st.characters(exclude_characters="`~<>", exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=150, deadline=None)
@given(PROSE, PROSE.filter(str.strip), st.sampled_from(["quote", "fence", "tilde", "think", "open think"]))
def test_what_is_quoted_fenced_or_thought_never_claims(before: str, inside: str, how: str) -> None:
    body = f"{inside}\n{CLAIM}"
    wrapped = {
        "quote": "\n".join(f"> {line}" for line in body.splitlines()),
        "fence": f"```\n{body}\n```",
        "tilde": f"~~~\n{body}\n~~~",
        "think": f"<think>{body}</think>",
        "open think": f"<think>{body}",
    }[how]
    assert not read(f"{before}\n{wrapped}\n{before}").signal.claimed_complete
    assert read(f"{before}\n{CLAIM}\n{before}").signal.claimed_complete


CONTENT = st.lists(st.text(alphabet=st.characters(exclude_characters="\n\r`~<=>"), max_size=20), max_size=8).map(
    lambda lines: "".join(f"{line}\n" for line in lines)
)


@settings(max_examples=150, deadline=None)
@given(CONTENT, st.sampled_from(["```", "````", "~~~"]))
def test_whole_content_comes_back_as_it_was_sent(content: str, fence: str) -> None:
    parsed = read(f"FILE: a.py\n{fence}\n{content}{fence}\n{CLAIM}\n")
    assert parsed.edits[0].content == content
    assert parsed.signal.claimed_complete


@pytest.mark.parametrize("other", ["./a.py", "././a.py", ".//a.py", "`./a.py`"])
def test_one_file_by_two_names_is_given_twice(other: str) -> None:
    parsed = parse_reply(
        f"FILE: a.py\n```\nx = 1\n```\nFILE: {other}\n```\nx = 2\n```\n", mt_id="MT-001", writable=("a.py",)
    )
    assert parsed.edits == ()
    assert parsed.edit_errors == ("a.py is given twice: give each file once",)


@pytest.mark.parametrize("path", ["/a.py", "/./a.py", "../a.py", "x/../a.py"])
def test_a_path_that_leaves_stays_one(path: str) -> None:
    [edit] = parse_reply(f"FILE: {path}\n```\nx = 1\n```\n", mt_id="MT-001", writable=("a.py",)).edits
    assert edit.path == path.replace("/./", "/")


def test_a_fence_behind_a_lone_carriage_return_holds_what_follows() -> None:
    claim = '<mt_complete>\nMT_ID: MT-001\nEVIDENCE:\n- "adds" -> a.py:1-2\n</mt_complete>'
    parsed = parse_reply(f"so:\r``` xml\nan example\n{claim}\n", mt_id="MT-001", writable=("a.py",))
    assert not parsed.signal.claimed_complete
    assert "fence" in (parsed.signal.malformed or "")
