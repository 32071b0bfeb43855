"""Edits applied to bytes: the matching ladder, what is kept, what is refused."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handshake.domain.edit_text import ResolvedEdit, resolve_edit
from handshake.domain.elision import elided_line
from handshake.domain.file_text import decode_text, encode_text, text_lines
from handshake.domain.reply import Edit, SearchReplace


def change(original: bytes | None, *pairs: tuple[str, str]) -> ResolvedEdit:
    parts = tuple(SearchReplace(search=s, replace=r) for s, r in pairs)
    return resolve_edit(original, Edit(path="a.py", form="search_replace", replacements=parts))


def whole(original: bytes | None, content: str, *, allow_shrink: bool = False) -> ResolvedEdit:
    return resolve_edit(original, Edit(path="a.py", form="whole", content=content), allow_shrink=allow_shrink)


def refused(result: ResolvedEdit) -> str | None:
    assert result.data is None and not result.outcome.applied and result.outcome.error
    assert "\n" not in result.outcome.error
    return result.outcome.category


# --- the matching ladder


def test_exact_lines_are_replaced() -> None:
    result = change(b"a\nb\nc\n", ("b\n", "B\n"))
    assert result.data == b"a\nB\nc\n"
    assert result.outcome.applied and result.outcome.changed


def test_several_parts_apply_in_order_on_each_others_result() -> None:
    assert change(b"a\nb\n", ("a\n", "x\ny\n"), ("y\nb\n", "z\n")).data == b"x\nz\n"


def test_lines_can_be_deleted_and_all_of_them() -> None:
    assert change(b"a\nb\nc\n", ("b\n", "")).data == b"a\nc\n"
    assert change(b"a\n", ("a\n", "")).data == b""


def test_trailing_white_space_is_overlooked_and_kept_where_nothing_changed() -> None:
    assert change(b"a  \nb\t\nc\n", ("a\nb\n", "a\nB\n")).data == b"a  \nB\nc\n"


def test_an_exact_match_wins_over_a_looser_one() -> None:
    assert change(b"a \nx\na\n", ("a\n", "b\n")).data == b"a \nx\nb\n"


@pytest.mark.parametrize(
    ("original", "search", "replace", "result"),
    [
        ("class A:\n    def f(self):\n        return 1\n",
         "def f(self):\n    return 1\n", "def f(self):\n    return 2\n",
         "class A:\n    def f(self):\n        return 2\n"),
        ("def f():\n    return 1\n", "    def f():\n        return 1\n",
         "    def f():\n        x = 1\n\n        return x\n",
         "def f():\n    x = 1\n\n    return x\n"),
        ("\tif x:\n\t\ty()\n", "if x:\n\ty()\n", "if x:\n\tz()\n", "\tif x:\n\t\tz()\n"),
    ],
)  # fmt: skip
def test_a_uniform_indent_shift_is_found_and_carried_over(
    original: str, search: str, replace: str, result: str
) -> None:
    assert change(original.encode(), (search, replace)).data == result.encode()


def test_a_replacement_that_cannot_be_shifted_is_refused() -> None:
    assert (
        refused(change(b"def f():\n    return 1\n", ("    def f():\n        return 1\n", "def f(): ...\n")))
        == "not_found"
    )


def test_an_uneven_shift_and_fuzzier_matches_are_not_found() -> None:
    assert refused(change(b"if a:\n    b\n", ("if a:\n  b\n", "x\n"))) == "not_found"
    assert refused(change(b"x  = 1\n", ("x = 1\n", "x = 2\n"))) == "not_found"
    assert refused(change(b"max = 10\n", ("x = 1\n", "x = 2\n"))) == "not_found"


@pytest.mark.parametrize("original", [b"a\nb\na\n", b"a\na\na\n", b"  a\nb\n    a\n"])
def test_several_places_are_ambiguous(original: bytes) -> None:
    search = "a\n" if original != b"a\na\na\n" else "a\na\n"
    result = change(original, (search, "x\n"))
    assert refused(result) == "ambiguous"
    assert "places" in (result.outcome.error or "")


def test_what_is_not_found_names_the_nearest_real_lines() -> None:
    original = b"import os\n\ndef area(w, h):\n    # width by height\n    return w * h\n\nprint(area(2, 3))\n"
    result = change(original, ("def area(w, h):\n    return w*h\n", "x\n"))
    assert refused(result) == "not_found"
    assert "def area(w, h):" in result.outcome.nearest
    close = change(original, ("    return w*h\n", "x\n"))
    assert "    return w * h" in close.outcome.nearest
    assert change(original, ("zzzzzzzz qqqqqq\n", "x\n")).outcome.nearest == ()


def test_the_second_part_that_fails_fails_the_edit_and_is_numbered() -> None:
    result = change(b"a\nb\n", ("a\n", "A\n"), ("c\n", "C\n"))
    assert refused(result) == "not_found"
    assert "part 2" in (result.outcome.error or "")


def test_search_replace_needs_a_file_and_something_to_search() -> None:
    assert refused(change(None, ("a\n", "b\n"))) == "missing_file"
    assert refused(change(b"a\n", ("", "b\n"))) == "empty_search"
    assert refused(change(b"a\n", ("\n", "b\n"))) == "empty_search"
    assert refused(change(b"a\n")) == "empty_search"
    assert change(b"", ("", "b\n")).data == b"b\n"


# --- whole files


def test_a_new_file_gets_what_was_given() -> None:
    assert whole(None, "x = 1\n").data == b"x = 1\n"
    assert whole(None, "").data == b""
    assert whole(b"", "x\n").data == b"x\n"


def test_unchanged_content_applies_and_says_that_nothing_changed() -> None:
    result = whole(b"x = 1\r\n", "x = 1\n")
    assert result.outcome.applied and not result.outcome.changed
    assert not change(b"a\n", ("a\n", "a\n")).outcome.changed


TEN = "".join(f"line {n}\n" for n in range(10))


def test_a_file_may_not_shrink_by_more_than_half() -> None:
    assert refused(whole(TEN.encode(), "line 0\nline 1\n")) == "shrink"
    assert refused(whole(TEN.encode(), "")) == "shrink"
    assert refused(whole(b"x" * 1000 + b"\n", "x\n")) == "shrink"
    assert whole(TEN.encode(), "".join(f"line {n}\n" for n in range(5))).outcome.applied
    assert whole(TEN.encode(), "line 0\n", allow_shrink=True).data == b"line 0\n"
    assert whole(b"a\nb\nc\n", "a\n").outcome.applied


ELIDED = """
# ... existing code ...
# rest unchanged
// rest of the code
// ... rest of the code remains the same ...
/* rest unchanged */
<!-- rest of the file unchanged -->
# Rest of the code...
# ... (rest of the code remains unchanged)
-- remaining code
{/* ... existing code ... */}
# remaining code here
    # existing methods remain unchanged
// other methods unchanged
# unchanged code
# omitted for brevity
# [rest unchanged]
... existing code ...
# The rest of the file is the same
# keep the rest of the file as is
; rest of the code unchanged
# The remaining code stays unchanged
// Rest of the implementation
# ... other imports ...
# code omitted here for brevity
""".strip().split("\n")

KEPT = """
# keep the existing file handle open
# the rest of the arguments are positional
x = ...
    ...
# the remaining tests take longer
# existing users keep their token
# code that was omitted by the parser is kept
# other methods call this one
print("... existing code ...")
#include <x.h>
# Remaining budget
# remaining lines
# existing lines are kept
...rest,
const {a, ...rest} = b;
""".strip("\n").split("\n")


@pytest.mark.parametrize("line", ELIDED)
def test_a_comment_that_stands_for_code_is_refused(line: str) -> None:
    assert refused(whole(TEN.encode(), TEN + line + "\n")) == "elision"
    assert refused(change(TEN.encode(), ("line 3\n", f"new\n{line}\n"))) == "elision"


@pytest.mark.parametrize("line", KEPT)
def test_an_ordinary_line_is_not_taken_for_one(line: str) -> None:
    assert not elided_line(line, shrunk=True)


def test_a_comment_the_file_already_has_is_its_own() -> None:
    original = TEN + "# rest unchanged\n"
    assert whole(original.encode(), original + "x\n").outcome.applied


def test_bare_dots_count_only_where_lines_went_missing() -> None:
    assert refused(whole(TEN.encode(), TEN.replace("line 3\nline 4\n", "# ...\n"))) == "elision"
    assert whole(TEN.encode(), TEN + "# ...\n").outcome.applied


# --- what is kept


@pytest.mark.parametrize(
    ("original", "content", "result"),
    [
        (b"a\r\nb\r\n", "a\nc\n", b"a\r\nc\r\n"),
        (b"a\rb\r", "a\nc\n", b"a\rc\r"),
        (b"a\nb", "a\nc\n", b"a\nc"),
        (b"\xef\xbb\xbfa\n", "b\n", b"\xef\xbb\xbfb\n"),
        ("ä\n".encode("cp1252"), "ö – x\n", "ö – x\n".encode("cp1252")),
        ("ä\x81\n".encode("latin-1"), "ö\n", "ö\n".encode("latin-1")),
        (b"\xff\xfe" + "ä\r\n".encode("utf-16-le"), "ö\n", b"\xff\xfe" + "ö\r\n".encode("utf-16-le")),
        (b"a\r\nb\nc\r\n", "a\nb\nx\nc\n", b"a\r\nb\nx\r\nc\r\n"),
        ("a\u2028b\x0bc\n".encode(), "a\u2028b\x0bd\n", "a\u2028b\x0bd\n".encode()),
    ],
)
def test_endings_final_newline_bom_and_encoding_are_kept(original: bytes, content: str, result: bytes) -> None:
    assert whole(original, content).data == result


def test_search_replace_keeps_the_endings_of_untouched_lines() -> None:
    assert change(b"a\r\nb\nc\r\nd", ("b\n", "x\n"), ("d\n", "e\nf\n")).data == b"a\r\nx\nc\r\ne\r\nf"
    assert change("ä\nb\n".encode("latin-1"), ("ä\n", "ü\n")).data == "ü\nb\n".encode("latin-1")


@pytest.mark.parametrize("original", [b"\x89PNG\r\n\x1a\n\0\0", b"a\0b\n", bytes(range(1, 32)) * 9])
def test_a_binary_file_is_never_edited(original: bytes) -> None:
    assert refused(whole(original, "text\n")) == "binary_file"
    assert refused(change(original, ("a\n", "b\n"))) == "binary_file"


def test_what_the_encoding_cannot_hold_is_refused() -> None:
    assert refused(whole("ä\n".encode("latin-1"), "→\n")) == "encoding"
    assert refused(whole(None, "a\0b\n")) == "encoding"
    assert refused(whole(None, "\ud800\n")) == "encoding"


def test_a_text_that_would_read_as_binary_afterwards_is_refused() -> None:
    assert refused(whole(None, "\x06\x06\x06x\n")) == "encoding"
    assert whole(None, "form feed: \x0c\n").data == b"form feed: \x0c\n"


def test_a_replys_own_byte_order_mark_is_never_written() -> None:
    assert whole(None, "\ufeffx\n").data == b"x\n"
    assert whole(b"\xef\xbb\xbfa\n", "\ufeffb\n").data == b"\xef\xbb\xbfb\n"
    assert change(b"\xef\xbb\xbfa\n", ("\ufeffa\n", "\ufeffb\n")).data == b"\xef\xbb\xbfb\n"


# --- properties

LINE = st.text(alphabet="ab {}\t", max_size=5)
TEXT = st.builds(
    lambda lines, ending, final: ending.join(lines) + (ending if lines and final else ""),
    st.lists(LINE, max_size=12),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
ANY_BYTES = (
    st.binary(max_size=60) | TEXT.map(str.encode) | st.text(max_size=40).map(lambda t: t.encode("utf-8", "ignore"))
)


def as_lines(text: str) -> list[str]:
    return list(text_lines(text))


def kept_as(first: str, second: str) -> bytes:
    """`second` with the endings and the final newline of `first`."""
    rows = as_lines(second)
    ending = "\r\n" if "\r\n" in first else "\n"
    final = not as_lines(first) or first.endswith("\n")
    return (ending.join(rows) + (ending if rows and final else "")).encode()


def parts_of(first: list[str], second: list[str]) -> list[tuple[str, str]]:
    """Search/replace parts for a diff, from the last hunk to the first, each widened until it fits once."""
    parts = []
    current = list(first)
    codes = difflib.SequenceMatcher(None, first, second, autojunk=False).get_opcodes()
    for tag, i1, i2, j1, j2 in reversed(codes):
        if tag == "equal":
            continue
        low, high = i1, i2
        while True:
            search = current[low:high]
            fits = sum(current[at : at + len(search)] == search for at in range(len(current) - len(search) + 1))
            if fits == 1 and any(line.strip() for line in search):
                break
            if low == 0 and high == len(current):
                break
            low, high = max(0, low - 1), min(len(current), high + 1)
        replace = current[low:i1] + second[j1:j2] + current[i2:high]
        parts.append(("".join(f"{x}\n" for x in current[low:high]), "".join(f"{x}\n" for x in replace)))
        current[low:high] = replace
    return parts


@settings(max_examples=300, deadline=None)
@given(TEXT, TEXT)
def test_a_whole_edit_gives_the_second_text(first: str, second: str) -> None:
    result = whole(first.encode(), "".join(f"{line}\n" for line in as_lines(second)), allow_shrink=True)
    assert result.data == kept_as(first, second)


@settings(max_examples=300, deadline=None)
@given(TEXT, TEXT)
def test_the_parts_of_a_diff_give_the_second_text(first: str, second: str) -> None:
    old, new = as_lines(first), as_lines(second)
    parts = parts_of(old, new)
    if not parts or any(not search.strip() for search, _ in parts if search or old):
        return  # equal texts, or a hunk in nothing but blank lines: no search can name it
    assert change(first.encode(), *parts).data == kept_as(first, second)


@settings(max_examples=300, deadline=None)
@given(ANY_BYTES | st.none(), st.text(max_size=30), st.lists(st.tuples(LINE, LINE), max_size=3), st.booleans())
def test_no_edit_raises(original: bytes | None, content: str, pairs: list[tuple[str, str]], form: bool) -> None:
    result = whole(original, content) if form else change(original, *pairs)
    assert (result.data is None) == (not result.outcome.applied)


@settings(max_examples=200, deadline=None)
@given(ANY_BYTES)
def test_text_comes_back_to_the_byte(data: bytes) -> None:
    try:
        text = decode_text(data)
    except ValueError:
        return
    assert encode_text(text) == data
