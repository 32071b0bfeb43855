"""The packet's own line reader against a full CommonMark parser: same fences, same headings."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from handshake.domain.packet_lines import read_lines

LINES = """# One|## SCOPE|### Three ###|#### |#no heading|```|```bash|````|~~~|~~~ md|text|- item|  - nested
  ```|  ```sh|    deep|1. first|> quote||***|* star|  wrapped""".replace("\n", "|").split("|")


def by_commonmark(text: str) -> tuple[list[tuple[int, int]], list[tuple[int, int, bool]]]:
    parser = MarkdownIt("commonmark").disable(["code", "lheading", "reference", "html_block"])
    tokens = parser.parse(text)
    headings = [(t.map[0], int(t.tag[1])) for t in tokens if t.type == "heading_open" and t.map and t.level == 0]
    lines = text.split("\n")
    fences = []
    for token in tokens:
        if token.type == "fence" and token.map:
            start, end = token.map
            last = lines[end - 1].strip() if end - 1 < len(lines) else ""
            closed = end - 1 > start and last.startswith(token.markup) and not last.strip(token.markup[0])
            fences.append((start, end - 1 if closed else end, closed))
    return headings, fences


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=14))
def test_top_level_structure_is_that_of_commonmark(lines: list[str]) -> None:
    # without list items every fence is on the top level, where the two must agree to the line
    flat = [line for line in lines if not line.lstrip().startswith(("-", "*", "1", ">"))]
    text = "\n".join([*flat, ""])
    read = read_lines(text.encode())
    headings, fences = by_commonmark(text)
    assert [(h.line, h.level) for h in read.headings] == headings
    assert [(f.opened, f.end, f.closed) for f in read.fences if f.closed] == [f for f in fences if f[2]]
    assert [f.opened for f in read.fences] == [start for start, _, _ in fences]


def test_a_fence_ends_with_its_list_item() -> None:
    text = "- item\n  ```sh\n  one\n\n## SCOPE\n- x\n"
    read = read_lines(text.encode())
    headings, fences = by_commonmark(text)
    assert [(h.line, h.level) for h in read.headings] == headings == [(4, 2)]
    assert [f.opened for f in read.fences] == [start for start, _, _ in fences] == [1]
