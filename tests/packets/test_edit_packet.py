"""Edits of packets touch their lines and no other byte."""

from __future__ import annotations

import difflib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handshake.domain.errors import PacketRefused
from handshake.domain.packet import ManifestEntry
from handshake.domain.packet_edit import append_section_line, set_status, with_manifest
from handshake.domain.packet_manifest import GATE_CODES
from handshake.domain.packet_names import always_quoted, quoted_name, unquoted_name
from handshake.domain.packet_scope import in_scope
from handshake.domain.packet_text import read_packet


def entry(path: str, delta: int = 1) -> ManifestEntry:
    return ManifestEntry(
        target_file=path,
        start=1,
        end=2,
        line_delta=delta,
        pre_sha1="0" * 40,
        post_sha1="f" * 40,
        gates=dict.fromkeys(GATE_CODES, True),
    )


def changed(before: bytes, after: bytes) -> list[bytes]:
    rows = difflib.diff_bytes(
        difflib.unified_diff, before.splitlines(keepends=True), after.splitlines(keepends=True), n=0
    )
    return [row for row in rows if row[:1] in b"+-" and row[:3] not in (b"+++", b"---")]


def dressed(data: bytes) -> bytes:
    """With a BOM, CRLF and a byte that is not UTF-8."""
    return b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n").replace(b"Append-only", b"Append\x97only")


@pytest.mark.parametrize("dress", [bytes, dressed])
def test_set_status_changes_one_line(finished: bytes, dress) -> None:
    before = dress(finished)
    after = set_status(before, "In Progress")
    end = b"\r\n" if dress is dressed else b"\n"
    assert changed(before, after) == [b"-- **Status:** Done" + end, b"+- **Status:** In Progress" + end]
    assert set_status(after, "Done") == before


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("Status: Draft", "Status: Done"),
        ("* **Status**: Draft", "* **Status**: Done"),
        ("- **Status: Draft**", "- **Status: Done**"),
        ("**Status:** `Draft` (note)", "**Status:** Done"),
    ],
)
def test_set_status_keeps_the_form(packet: str, line: str, wanted: str) -> None:
    before = packet.replace("- **Status:** Ready for Dev", line).encode()
    assert set_status(before, "Done") == packet.replace("- **Status:** Ready for Dev", wanted).encode()


def test_a_packet_without_status_is_refused() -> None:
    with pytest.raises(PacketRefused, match="no Status line"):
        set_status(b"# nothing\n", "Done")


def test_writing_the_same_manifest_changes_nothing(finished: bytes) -> None:
    packet = read_packet(finished, "x").packet
    assert packet is not None
    assert with_manifest(finished, packet.manifest) == finished
    before = dressed(finished)
    assert with_manifest(before, packet.manifest) == before


def test_a_block_is_replaced_where_it_stands_and_the_others_stay(finished: bytes) -> None:
    before = dressed(finished)
    packet = read_packet(before, "x").packet
    assert packet is not None
    after = with_manifest(before, [replace(packet.manifest[1], line_delta=9)])
    assert changed(before, after) == [b"-- **Line Delta**: 4\r\n", b"+- **Line Delta**: 9\r\n"]


@pytest.mark.parametrize("dress", [bytes, dressed])
def test_lines_of_a_person_inside_a_block_stay(finished: bytes, dress) -> None:
    lines = finished.split(b"\n")
    at = next(number for number, line in enumerate(lines) if line.startswith(b"- **End**"))
    mine = [b"  a remark: looked at twice", b"<!-- two", b"lines -->", b"", b"  ```", b"  - **Start**: 9", b"  ```"]
    lines[at] += b"  <!-- see the log: Append-only -->"
    lines[at + 1 : at + 1] = mine
    before = dress(b"\n".join(lines))
    packet = read_packet(before, "x").packet
    assert packet is not None
    assert with_manifest(before, packet.manifest) == before
    first = packet.manifest[0]
    after = with_manifest(before, [replace(first, end=77, line_delta=9)])
    assert [row[:1] for row in changed(before, after)] == [b"-", b"+", b"-", b"+"]
    assert b"- **End**: 77  <!-- see the log: " in after
    gone = with_manifest(before, [], drop=[first.target_file])
    assert all(line in gone for line in mine)
    assert first.target_file not in [e.target_file for e in read_packet(gone, "x").packet.manifest]
    several = with_manifest(before, [first, replace(first, start=first.end + 1, end=first.end + 2)])
    assert read_packet(several, "x").packet.manifest[:2] != packet.manifest[:2]
    assert all(several.count(line) == before.count(line) for line in mine if line)


def test_a_new_block_follows_the_last_and_a_dropped_one_goes(finished: bytes) -> None:
    after = with_manifest(finished, [entry("src/new.py")], drop=["tides/data.csv"])
    packet = read_packet(after, "x").packet
    assert packet is not None
    assert [e.target_file for e in packet.manifest] == ["tides/table.py", "tests/test_table.py", "src/new.py"]
    back = with_manifest(after, [], drop=["src/new.py"])
    assert b"src/new.py" not in back
    assert b"Spec Target Resolved" in back


def test_a_template_block_gives_way(packet: str) -> None:
    template = packet + "\n## VALIDATION\n- **Target File**: `path/to/file`\n- **Start**: <line>\n\n## EVIDENCE\n"
    after = with_manifest(template.encode(), [entry("src/app.py"), entry("lib/x.py")])
    assert b"path/to/file" not in after
    found = read_packet(after, "x").packet
    assert found is not None
    assert [e.target_file for e in found.manifest] == ["src/app.py", "lib/x.py"]


@pytest.mark.parametrize(
    "tail", ["", "\n## EVIDENCE\n- none\n", "\n## VALIDATION\n", "\n## VALIDATION\n- (note)\n\n## EVIDENCE\n"]
)
def test_blocks_find_their_section_or_make_it(packet: str, tail: str) -> None:
    after = with_manifest((packet + tail).encode(), [entry("src/app.py"), entry("lib/x.py")])
    found = read_packet(after, "x").packet
    assert found is not None
    assert [e.target_file for e in found.manifest] == ["src/app.py", "lib/x.py"]
    assert [name for name, _ in found.headings].count("VALIDATION") == 1
    assert not [row for row in changed((packet + tail).encode(), after) if row.startswith(b"-")]


def test_lines_are_appended_at_the_end_of_a_section(finished: bytes) -> None:
    before = dressed(finished)
    after = append_section_line(before, "EVIDENCE", ["- `pytest -q`: exit 0", "- two"])
    assert changed(before, after) == [b"+- `pytest -q`: exit 0\r\n", b"+- two\r\n"]
    assert after.index(b"- two") < after.index(b"## VALIDATION_REPORTS")


def test_a_missing_section_is_made_in_its_place(finished: bytes) -> None:
    before = finished.replace(b"## STATUS_HANDOFF\n- Current WP_STATUS: ready for review\n\n", b"")
    after = append_section_line(before, "STATUS_HANDOFF", ["- done"])
    assert after.index(b"## VALIDATION\n") < after.index(b"## STATUS_HANDOFF") < after.index(b"## EVIDENCE")


def test_a_file_without_a_last_newline_keeps_none(packet: str) -> None:
    after = append_section_line(packet.encode().rstrip(b"\n"), "EVIDENCE", ["- one"])
    assert after.endswith(b"- It is so.\n\n## EVIDENCE\n- one")


@pytest.mark.parametrize("line", ["## WAIVERS GRANTED", "```", "<!--", "# x"])
def test_lines_that_would_open_sections_are_refused(finished: bytes, line: str) -> None:
    with pytest.raises(PacketRefused, match="change the packet's sections"):
        append_section_line(finished, "STATUS_HANDOFF", [line])


@given(st.text(min_size=1).filter(lambda name: "\r" not in name or "\n" not in name))
def test_every_name_survives_quoting(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    assert unquoted_name(always_quoted(name)) == name
    assert always_quoted(name).isascii()
    if not name.startswith('"'):
        assert unquoted_name(quoted_name(name)) == name


@pytest.mark.parametrize(
    "path",
    [
        "a b.py",
        'q"q.py',
        "tick`.py",
        "tab\t.py",
        "new\nline.py",
        "caf\u00e9.py",
        "$x.py",
        "TODO",
        "none",
        "{x}",
        "-",
        "*",
    ],
)
def test_every_file_name_can_stand_in_a_manifest(packet: str, path: str) -> None:
    after = with_manifest(packet.encode(), [entry(path)])
    assert after.isascii()
    found = read_packet(after, "x").packet
    assert found is not None
    assert [e.target_file for e in found.manifest] == [path]


@pytest.mark.parametrize(
    ("path", "scope", "inside"),
    [
        ("src/a.py", "src/a.py", True),
        ("src/a.py", "src/", True),
        ("src/a.py", "src", True),
        ("src/b/a.py", "src/*.py", False),
        ("src/b/a.py", "src/**/*.py", True),
        ("src/a.py", "src/**/*.py", True),
        ("src/ab.py", "src/a?.py", True),
        ("srcs/a.py", "src", False),
        ("SRC/a.py", "src/", False),
        ("app/[id].tsx", "app/[id].tsx", True),
        ("app/i.tsx", "app/[id].tsx", False),
        ("a.py", "*.py", True),
        ("x/lib/y.c", "*/lib/", True),
        ("a.pyc", "*.py", False),
    ],
)
def test_scope_covers_files_folders_and_globs(path: str, scope: str, inside: bool) -> None:
    assert in_scope(path, [scope]) is inside
