"""Two Markdown parsers must agree on the structure of packets: ours and markdown-it, over random documents."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from handshake.domain.markdown import read_structure
from handshake.domain.packet_lines import LineKind, read_lines

LINES = """# One|## SCOPE|### Three ###|#### |#no heading|```|```bash|````|~~~|~~~ md|text|- item|  - nested
  ```|  ```sh|    deep|1. first|> quote|> ```||***|* star|  wrapped|<!-- a|b -->|<!-- c --> d|x <!-- y --> `<!--`
<fill this in>|</details>""".replace("\n", "|").split("|")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=14))
def test_headings_and_fences_are_those_of_another_parser(lines: list[str]) -> None:
    found = read_structure([*lines, ""])
    tokens = MarkdownIt("commonmark").parse("\n".join([*lines, ""]))
    placed = [(token, range(*token.map)) for token in tokens if token.map]
    html = [lines for token, lines in placed if token.type == "html_block"]
    # a heading that a placeholder turned into HTML is read all the same
    assert [n for n in sorted(found.headings) if not any(n in block for block in html)] == [
        where.start for token, where in placed if token.type == "heading_open" and not token.level
    ]
    assert [fence.opened for fence in found.fences] == [w.start for token, w in placed if token.type == "fence"]


def test_a_fence_ends_with_its_list_item() -> None:
    read = read_lines(b"- item\n  ```sh\n  one\n\n## SCOPE\n- x\n")
    assert [(h.line, h.level) for h in read.headings] == [(4, 2)]
    assert [(f.opened, f.closed) for f in read.fences] == [(1, False)]


def test_a_closing_line_that_lost_its_indentation_closes() -> None:
    text = "- RUN:\n  ```bash\n  one\n```\n\n## SCOPE\n- x\n* other\n    ~~~\n    two\n  ~~~\n## VALIDATION\n"
    read = read_lines(text.encode())
    assert [heading.section for heading in read.headings] == ["SCOPE", "VALIDATION"]
    assert [(f.opened, f.start, f.end, f.closed) for f in read.fences] == [(1, 2, 3, True), (8, 9, 10, True)]


@pytest.mark.parametrize(
    ("text", "live"),
    [
        ("a <!-- b --> c", ["a  c"]),
        ("<!-- a\nb --> c\nd", ["", " c", "d"]),
        ("`<!--` a\nb -->", ["`<!--` a", "b -->"]),
        ("a <!-- b\nc\n\nd -->", ["a <!-- b", "c", "", "d -->"]),
        ("<pre>\na\n</pre>\nb", ["", "", "", "b"]),
        ("<?x\na\n?>\nb", ["", "", "", "b"]),
        ("<details>\na <!-- b -->\n</details>", ["<details>", "a", "</details>"]),
        ("a\rb <!-- c -->", ["a\rb"]),
        ("\u00e9 <!-- \u00e9 --> \u00e9", ["\u00e9  \u00e9"]),
        ("\u00e9\n<!-- \u00e9\n\u00e9 --> \u00e9", ["\u00e9", "", " \u00e9"]),
    ],
)
def test_what_a_reader_does_not_see_does_not_count(text: str, live: list[str]) -> None:
    assert list(read_lines(text.encode()).live) == live


def test_a_comment_that_never_ends_hides_the_rest_and_is_named() -> None:
    read = read_lines(b"a\n\n<!-- b\n## SCOPE\n")
    assert read.open_comment == 2
    assert read.headings == ()
    assert list(read.kinds) == [LineKind.TEXT, LineKind.TEXT, LineKind.COMMENT, LineKind.COMMENT]


def test_a_placeholder_in_angle_brackets_hides_no_heading() -> None:
    read = read_lines(b"## IMPLEMENTATION\n<fill this in>\n## HYGIENE\n")
    assert [heading.section for heading in read.headings] == ["IMPLEMENTATION", "HYGIENE"]


@pytest.mark.parametrize("line", ["- RUN:\n  ```bash\n  one\n```\n", "```x\n`\n", "`\n"], ids=["left", "one", "lone"])
def test_many_broken_fences_are_read_in_time(line: str) -> None:
    start = time.process_time()
    read_lines((line * 50_000).encode())
    assert time.process_time() - start < 10
