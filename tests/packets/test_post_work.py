"""The post-work gate over real commits: what is right passes, each gate fires on its own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handshake.domain.board import BoardTag, with_entry
from handshake.domain.errors import EnvironmentProblem
from handshake.domain.packet import ManifestEntry
from handshake.domain.packet_edit import with_manifest
from handshake.domain.packet_manifest import GATE_CODES
from handshake.domain.packet_text import read_packet
from handshake.gates.changes import sha1_forms
from handshake.gates.judged_range import judged_range
from handshake.gates.manifest import changes_between, manifest_entries
from handshake.gates.manifest_gates import FileCase, judge_file
from handshake.gates.post_work import post_work

BASE = "main"


def finish(project, change_entries: Callable[[list[ManifestEntry]], list[ManifestEntry]] | None = None) -> str:
    """Commit the work, then its manifest, on a branch; returns the commit."""
    project.git("checkout", "-q", "-B", "feat/WP-1-Demo-v1")
    head = project.commit()
    entries = list(manifest_entries(changes_between(project.repo, BASE, head)))
    if change_entries:
        entries = change_entries(entries)
    data = project.read(project.packet_path)
    known = {entry.target_file for entry in entries}
    old = {e.target_file for e in packet_of(data).manifest}
    project.write(project.packet_path, with_manifest(data, entries, drop=old - known))
    return project.commit("manifest")


def packet_of(data: bytes):
    packet = read_packet(data, "docs/task_packets/WP-1-Demo-v1.md").packet
    assert packet is not None
    return packet


def judge(project, head: str = "HEAD", **more) -> list[str]:
    return [
        f"{f.severity} {f.code} {f.what}" for f in post_work(project.repo, BASE, head, project.packet_path, **more)
    ]


def edit_app(project) -> None:
    lines = project.read("src/app.py").splitlines(keepends=True)
    project.write("src/app.py", b"".join([*lines[:4], b"new a\n", b"new b\n", *lines[6:15], *lines[17:]]))


def test_a_change_with_its_manifest_passes_without_a_word(project) -> None:
    edit_app(project)
    project.write("lib/new.txt", "a\nb\n")
    (project.root / "lib/old.txt").unlink()
    project.write("src/app.py", project.read("src/app.py") + b"no newline")
    finish(project)
    assert judge(project) == []


def test_the_manifest_says_what_git_says(project) -> None:
    edit_app(project)
    (project.root / "lib/old.txt").unlink()
    project.write("lib/new.txt", "a\nb\n")
    finish(project)
    entries = {e.target_file: e for e in packet_of(project.read(project.packet_path)).manifest}
    assert (entries["src/app.py"].start, entries["src/app.py"].end, entries["src/app.py"].line_delta) == (5, 17, -2)
    assert (entries["lib/old.txt"].start, entries["lib/old.txt"].end) == (1, 3)
    assert entries["lib/old.txt"].post_sha1 == "0" * 40
    assert entries["lib/new.txt"].pre_sha1 == "0" * 40
    assert entries["lib/new.txt"].post_sha1 == sha1_forms(b"a\nb\n")[0]


def only(gate_or_code: str, found: list[str]) -> None:
    assert found, "the gate did not fire"
    assert all(gate_or_code in line for line in found), found


@pytest.mark.parametrize(
    ("gate", "update"),
    [
        ("anchors_present", {"end": 4000}),
        ("anchors_present", {"start": 0}),
        ("rails_untouched_outside_window", {"start": 6}),
        ("rails_untouched_outside_window", {"end": 16}),
        ("post_sha1_captured", {"post_sha1": "1" * 40}),
        ("line_delta_equals_expected", {"line_delta": 7}),
    ],
)
def test_each_false_field_fires_its_gate_alone(project, gate: str, update: dict[str, object]) -> None:
    edit_app(project)
    finish(project, lambda entries: [replace(e, **update) for e in entries])
    found = judge(project)
    only(f"{GATE_CODES[gate]} src/app.py: {gate} is ticked but false", found)


def test_a_false_pre_sha1_fires_capture_and_preimage(project) -> None:
    edit_app(project)
    finish(project, lambda entries: [replace(e, pre_sha1="1" * 40) for e in entries])
    found = judge(project)
    assert [line.split(" ")[1] for line in found] == ["C701-G05", "C701-G08"]
    assert "pre_sha1_captured" in found[0]
    assert "current_file_matches_preimage" in found[1]


@pytest.mark.parametrize("gate", list(GATE_CODES))
def test_a_box_that_is_not_ticked_is_never_inferred(project, gate: str) -> None:
    edit_app(project)
    finish(project, lambda entries: [replace(e, gates={**e.gates, gate: False}) for e in entries])
    only(f"{GATE_CODES[gate]} src/app.py: {gate} is not ticked", judge(project))


def test_window_matches_plan_fires_outside_the_scope(project) -> None:
    project.write("other/x.py", "x\n")
    finish(project)
    found = judge(project)
    only("C701-G02", found)
    assert any("window_matches_plan is ticked but false" in line for line in found)
    assert any("not in IN_SCOPE_PATHS" in line for line in found)


def test_a_waiver_signed_before_lets_a_file_through(project) -> None:
    text = project.read(project.packet_path).decode()
    waiver = "## WAIVERS GRANTED\n- CX-573F-01: `other/x.py`, needed\n\n## QUALITY_GATE"
    project.write(project.packet_path, text.replace("## QUALITY_GATE", waiver))
    project.commit()
    project.write("other/x.py", "x\n")
    finish(project)
    assert judge(project) == []


def test_a_change_cannot_widen_its_own_scope_nor_waive_itself(project) -> None:
    text = project.read(project.packet_path).decode()
    text = text.replace("  - lib/\n", "  - lib/\n  - other/\n")
    waiver = "## WAIVERS GRANTED\n- CX-573F-01: `more/y.py`, needed\n\n## QUALITY_GATE"
    project.write(project.packet_path, text.replace("## QUALITY_GATE", waiver))
    project.write("other/x.py", "x\n")
    project.write("more/y.py", "y\n")
    finish(project)
    found = judge(project)
    assert any(line.startswith("warning HSK-POST-SCOPE") and "other/" in line for line in found)
    assert sum("is not in IN_SCOPE_PATHS" in line and "G02" in line for line in found) >= 2


def test_the_scope_is_that_of_the_first_commit_where_the_base_has_no_packet(project) -> None:
    text = project.read(project.packet_path)
    project.git("rm", "-q", project.packet_path)
    project.commit("no packet on the base")
    project.git("checkout", "-q", "-b", "feat/WP-1-Demo-v1")
    project.write(project.packet_path, text)
    project.commit("checkpoint")
    project.write(project.packet_path, text.replace(b"  - lib/\n", b"  - lib/\n  - other/\n"))
    project.write("other/x.py", "x\n")
    edit_app(project)
    finish(project)
    assert any("other/x.py is not in IN_SCOPE_PATHS" in line for line in judge(project))


def test_what_no_block_can_mend_names_what_can(project) -> None:
    """`manifest write` would give the same block again."""
    (project.root / "lib/link.py").symlink_to("app.py")
    project.write("other/x.py", "x\n")
    project.commit()
    found = []
    for change in changes_between(project.repo, "HEAD~1", "HEAD"):
        entry = replace(manifest_entries((change,))[0], line=1)
        inside = change.path.startswith("lib/")
        found += judge_file(FileCase(change=change, entries=(entry,), in_scope=inside), "p.md", "WP-1")
    assert [f.code for f in found] == ["C701-G06", "C701-G02"]
    assert all("WAIVERS GRANTED" in f.mend and "manifest write" not in f.mend for f in found)


def test_filename_must_be_a_regular_file(project) -> None:
    (project.root / "lib/link.py").symlink_to("app.py")
    finish(project)
    only(
        "C701-G06 lib/link.py: filename_canonical_and_openable is ticked but false: it is a symbolic", judge(project)
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [("src/../src/app.py", "leaves the repository"), ("./src/app.py", "canonical name"), ("/src/app.py", "relative")],
)
def test_filename_must_be_canonical(project, name: str, said: str) -> None:
    edit_app(project)
    project.commit()
    change = changes_between(project.repo, "HEAD~1", "HEAD")
    entry = replace(manifest_entries(change)[0], target_file=name)
    case = FileCase(change=change[0], entries=(entry,), in_scope=True)
    found = judge_file(case, "p.md", "WP-1")
    assert [f.code for f in found] == ["C701-G06"]
    assert said in found[0].what


def test_a_block_in_another_case_or_for_an_unchanged_file_is_refused(project) -> None:
    edit_app(project)
    finish(project, lambda entries: [*entries, replace(entries[0], target_file="SRC/app.py")])
    only(
        "C701-G06 the manifest has a block for SRC/app.py, which did not change; the file's name is src/app.py",
        judge(project),
    )
    finish(project, lambda entries: [*entries, replace(entries[0], target_file="lib/old.txt")])
    only("C701-G05 the manifest has a block for lib/old.txt, which did not change", judge(project))


def test_links_must_resolve(project) -> None:
    edit_app(project)
    project.write("docs/evidence/a b.txt", "x")
    project.write("docs/task_packets/near.txt", "x")
    project.git("add", "-A")
    project.git("commit", "-qm", "evidence on the base")
    project.git("checkout", "-q", "-B", "feat/WP-1-Demo-v1")
    project.git("branch", "-qf", "main")
    project.write("src/app.py", project.read("src/app.py") + b"more\n")
    finish(project)
    for line, fine in (
        ("- **Spec Target Resolved**: docs/SPEC_CURRENT.md -> docs/spec.md", False),
        ("- See [the log](docs/log.txt#L3)", False),
        ("- **Artifacts**: `src/app.py`, `lib/`", True),
        ("- See [the site](https://example.org/x)", True),
        ("- See [it](//example.org/x), [above](#validation) or <mailto:a@example.org>", True),
        ("- [log](../evidence/none.txt)", False),
        ("- [log](../evidence/a%20b.txt), [log](/docs/evidence/a%20b.txt), [log](docs/evidence/a%20b.txt)", True),
        ("- [log](near.txt), [log](./near.txt#L3), [log](/docs/task_packets/near.txt), [all](../evidence/)", True),
        ("- [log](/evidence/none.txt)", False),
        ("- [log](/near.txt)", False),
        ("- [log](../../../near.txt)", False),
        ("- [l](<evidence/none.txt>)", False),
        ("- [l](<docs/evidence/a b.txt>)", True),
        ('- [l](evidence/none.txt "title")', False),
        ('- [l](near.txt "title"), ![l](near.txt)', True),
        ("- ![l](evidence/none.png)", False),
        ("- [l](docs/evidence/none%20b.txt)", False),
        ("- the [log][1]\n\n[1]: evidence/none.txt", False),
        ("- the [log]\n\n[log]: <near.txt> 'title'", True),
        ("- **Evidence**: [log](../evidence/a%20b.txt)", True),
        ("- **Evidence**: [log](../evidence/none.txt)", False),
        ("<fill this in>\n[log](evidence/none.txt)", False),
    ):
        text = project.read(project.packet_path)
        project.write(project.packet_path, text.rstrip(b"\n") + b"\n\n" + line.encode() + b"\n")
        project.commit()
        found = judge(project)
        if fine:
            assert found == []
        else:
            only("C701-G05 src/app.py: all_links_resolvable is ticked but false", found)
        project.git("reset", "-q", "--hard", "HEAD~1")


def test_a_block_that_was_there_before_was_not_written_for_this_change(project) -> None:
    edit_app(project)
    finish(project)
    written = project.read(project.packet_path)
    app = project.read("src/app.py")
    project.git("checkout", "-q", "main")
    project.write(project.packet_path, written)
    project.commit("block first")
    project.git("checkout", "-q", "-b", "late")
    project.write("src/app.py", app)
    project.commit()
    only("C701-G05 src/app.py: manifest_written_and_path_returned is ticked but false", judge(project))


def test_a_revision_that_moves_while_it_is_judged_fires_the_preimage_gate(project, monkeypatch) -> None:
    edit_app(project)
    head = finish(project)
    from handshake.gates import post_work as module

    real = module.changes_between

    def moving(repo, a, b, paths=None):
        project.git("commit", "-q", "--allow-empty", "-m", "meanwhile")
        return real(repo, a, b, paths)

    monkeypatch.setattr(module, "changes_between", moving)
    only(
        "C701-G08 src/app.py: current_file_matches_preimage is ticked but false: the revisions moved", judge(project)
    )
    assert judge(project, head) == []


def test_a_missing_block_and_a_block_only_in_the_working_tree_are_refused(project) -> None:
    edit_app(project)
    finish(project, lambda entries: [])
    only("C701-G05 src/app.py has no manifest block", judge(project))
    entries = manifest_entries(changes_between(project.repo, BASE, "HEAD"))
    project.write(project.packet_path, with_manifest(project.read(project.packet_path), entries))
    only("C701-G05 src/app.py has no manifest block", judge(project))


def test_blocks_in_fences_and_comments_do_not_count(project) -> None:
    edit_app(project)
    finish(project)
    data = project.read(project.packet_path)
    start = data.index(b"- **Target File**")
    for opening, closing in ((b"```\n", b"```\n"), (b"<!--\n", b"-->\n")):
        project.write(project.packet_path, data[:start] + opening + data[start:] + closing)
        project.commit()
        only("C701-G05 src/app.py has no manifest block", judge(project))


def test_several_blocks_may_cover_a_file_and_add_up(project) -> None:
    edit_app(project)

    def split(entries: list[ManifestEntry]) -> list[ManifestEntry]:
        one = entries[0]
        return [
            replace(one, start=1, end=8, line_delta=0),
            replace(one, start=9, end=20, line_delta=-2),
        ]

    finish(project, split)
    assert judge(project) == []


def test_crlf_and_raw_hashes_are_accepted_with_a_warning(project) -> None:
    project.write("lib/dos.txt", b"a\r\nb\r\n")
    raw = sha1_forms(b"a\r\nb\r\n")[1]
    finish(project, lambda entries: [replace(e, post_sha1=raw) for e in entries])
    found = judge(project)
    assert len(found) == 1
    assert found[0].startswith("warning C701-G05")


def test_nothing_changed_is_an_error(project) -> None:
    assert judge(project) == ["error HSK-POST-NOTHING nothing changed"]


def test_a_packet_that_is_not_in_the_commit_is_an_error(project) -> None:
    project.git("checkout", "-q", "-b", "x")
    project.git("rm", "-q", project.packet_path)
    project.git("commit", "-q", "-m", "gone")
    only("HSK-POST-PACKET", judge(project))
    [absent] = post_work(project.repo, "main", "x", project.packet_path)
    assert absent.what == "there is no such packet"
    assert absent.mend.endswith("git ls-files docs/task_packets")
    project.write(project.packet_path, "here, and in no commit")
    [left_out] = post_work(project.repo, "main", "x", project.packet_path)
    assert left_out.mend == f"git add {project.packet_path}"


def test_ascii_is_asked_for(project) -> None:
    edit_app(project)
    finish(project)
    project.write(project.packet_path, project.read(project.packet_path) + "\n\u2014\n".encode())
    project.commit()
    only("error HSK-POST-ASCII", judge(project))
    only("warning HSK-POST-ASCII", judge(project, ascii_level="warn"))


def test_docs_need_no_block_but_lie_in_scope(project) -> None:
    project.write("docs/guide.md", "x\n")
    edit_app(project)
    finish(project)
    only("C701-G02 docs/guide.md is not in IN_SCOPE_PATHS", judge(project))


def test_attributes_configuration_and_names_change_no_verdict(project) -> None:
    names = ["a b.txt", 'q"q.txt', "$x.txt", "t`t.txt", "tab\t.txt", "caf\u00e9.txt", "-dash.txt", "diff --git a.txt"]
    for name in names:
        project.write(f"lib/{name}", "one\ntwo\n")
    project.write("lib/.gitattributes", "* -diff\n*.txt diff=evil\n")
    project.write("lib/big.txt", "line\n" * 300_000)
    project.write("lib/binary.bin", b"\0\1\2\n" * 50)
    (project.root / "lib/old.txt").chmod(0o755)
    for key, value in (
        ("color.ui", "always"),
        ("diff.noprefix", "true"),
        ("diff.mnemonicPrefix", "true"),
        ("diff.external", "false"),
        ("diff.evil.command", "false"),
        ("diff.evil.textconv", "false"),
        ("diff.renames", "copies"),
        ("diff.algorithm", "patience"),
        ("diff.context", "7"),
        ("core.quotePath", "true"),
        ("diff.ignoreSubmodules", "all"),
    ):
        project.git("config", key, value)
    finish(project)
    assert judge(project) == []
    entries = {e.target_file: e for e in packet_of(project.read(project.packet_path)).manifest}
    assert set(entries) == {f"lib/{n}" for n in [*names, ".gitattributes", "big.txt", "binary.bin", "old.txt"]}
    assert entries["lib/binary.bin"].line_delta == 0
    assert entries["lib/big.txt"].line_delta == 300_000
    assert (entries["lib/old.txt"].line_delta, entries["lib/old.txt"].pre_sha1) == (
        0,
        entries["lib/old.txt"].post_sha1,
    )


def test_a_file_that_becomes_a_link_is_one_change(project) -> None:
    (project.root / "lib/old.txt").unlink()
    (project.root / "lib/old.txt").symlink_to("../src/app.py")
    edit_app(project)
    finish(project)
    only("C701-G06 lib/old.txt: filename_canonical_and_openable", judge(project))


def test_a_submodule_is_a_change(project) -> None:
    commit = project.git("rev-parse", "HEAD")
    project.git("checkout", "-q", "-b", "sub")
    project.git("update-index", "--add", "--cacheinfo", f"160000,{commit},lib/sub")
    project.git("commit", "-q", "-m", "sub")
    found = judge(project)
    only("lib/sub has no manifest block", found)


def test_the_staged_change_is_judged_from_the_index(project) -> None:
    assert judged_range(project.repo, BASE) is None
    edit_app(project)
    project.git("add", "-A")
    chosen = judged_range(project.repo, BASE)
    assert chosen is not None
    assert chosen.staged
    entries = manifest_entries(changes_between(project.repo, chosen.base, chosen.head))
    project.write(project.packet_path, with_manifest(project.read(project.packet_path), entries))
    project.git("add", "-A")
    project.write("src/app.py", "the working tree does not count\n")
    chosen = judged_range(project.repo, BASE)
    assert chosen is not None
    assert post_work(project.repo, chosen.base, chosen.head, project.packet_path) == []
    project.git("commit", "-q", "-m", "x")
    project.git("branch", "feat/x")
    project.git("reset", "-q", "--hard", "HEAD~1")
    project.git("checkout", "-q", "feat/x")
    chosen = judged_range(project.repo, BASE)
    assert chosen is not None
    assert not chosen.staged
    assert post_work(project.repo, chosen.base, chosen.head, project.packet_path) == []
    assert judged_range(project.repo, BASE, "main..feat/x") == chosen


WORDS = ["a", "b", "c", "", "x\r", "\u00e9", "--- a", "@@ -1 +1 @@", "diff --git a/x b/x"]
TEXT = st.lists(st.sampled_from(WORDS), max_size=12).map(lambda lines: "\n".join(lines).encode())
CONTENT = st.one_of(TEXT, st.just(b""), st.just(b"\0\1binary\n"), TEXT.map(lambda text: text.replace(b"\n", b"\r\n")))
NAMES = ["p", "q r", 'q"q', "$x`y`", "a[b]*?.txt", "caf\u00e9", "new\nline", "deep/er/f"]
FILES = st.dictionaries(st.sampled_from(NAMES), CONTENT, max_size=4)
KINDS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["plain", "executable", "link", "moved"]), max_size=4)
MUTATIONS = ("start", "end", "line_delta", "pre_sha1", "post_sha1", "box", "gone", "scope")


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=FILES, after=FILES, kinds=KINDS, submodule=st.booleans(), mutation=st.sampled_from(MUTATIONS))
def test_any_real_change_passes_and_a_single_mutation_is_refused(
    make_project, before, after, kinds, submodule, mutation
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = make_project(Path(folder))
        text = project.read(project.packet_path).decode()
        # links and submodules are no regular files: a waiver has to name them
        waiver = "## WAIVERS GRANTED\n- CX-573F-01: `lib/`, as tests do\n\n## QUALITY_GATE"
        project.write(project.packet_path, text.replace("## QUALITY_GATE", waiver))
        for name, data in before.items():
            project.write(f"lib/{name}", data)
        base = project.commit()
        make_change(project, before, after, kinds)
        project.git("add", "-A")
        if submodule:
            project.git("update-index", "--add", "--cacheinfo", f"160000,{base},lib/sub")
        if project.try_git("diff", "--cached", "--quiet").returncode == 0:
            return
        project.git("checkout", "-q", "-b", "feat/WP-1-Demo-v1")
        project.git("commit", "-qm", "work")
        entries = manifest_entries(changes_between(project.repo, BASE, "HEAD"))
        counted = numstat(project)
        assert {entry.target_file: entry.line_delta for entry in entries} == counted
        assert commit_manifest(project, entries) == []
        first = entries[0]
        changed = {
            "start": {"start": first.start + 1 if first.start < first.end else 0},
            "end": {"end": first.end + 500},
            "line_delta": {"line_delta": first.line_delta + 1},
            "pre_sha1": {"pre_sha1": "1" * 40},
            "post_sha1": {"post_sha1": "1" * 40},
            "box": {"gates": {**first.gates, "anchors_present": False}},
        }
        if mutation == "gone":
            assert commit_manifest(project, entries[1:], drop=[first.target_file])
        elif mutation == "scope":
            blob = project.git("hash-object", "-w", "--stdin", data=b"x\n")
            project.git("update-index", "--add", "--cacheinfo", f"100644,{blob},other/x")
            project.git("commit", "-qm", "out of scope")
            assert all(
                "C701-G02" in line
                for line in commit_manifest(project, manifest_entries(changes_between(project.repo, BASE, "HEAD")))
            )
        else:
            assert commit_manifest(project, [replace(first, **changed[mutation])])


def make_change(project, before: dict[str, bytes], after: dict[str, bytes], kinds: dict[str, str]) -> None:
    """From one set of files to the other, in the ways that git tells apart."""
    for name in before.keys() - after.keys():
        (project.root / "lib" / name).unlink()
    for name, data in after.items():
        place = project.root / "lib" / name
        kind = kinds.get(name, "plain")
        if kind == "link":
            place.unlink(missing_ok=True)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to("old.txt")
            continue
        project.write(f"lib/{name}", data)
        if kind == "executable":
            place.chmod(0o755)
        elif kind == "moved":
            place.rename(project.root / "lib" / f"moved{NAMES.index(name)}")


def numstat(project) -> dict[str, int]:
    """Git's own count of lines, by file."""
    rows = project.git("diff", "--numstat", "--no-renames", "-z", BASE, "HEAD").split("\0")
    counted = {}
    for row in filter(None, rows):
        added, deleted, path = row.split("\t", 2)
        counted[path] = 0 if added == "-" else int(added) - int(deleted)
    return counted


def commit_manifest(project, entries, drop=()) -> list[str]:
    """Put blocks into the packet of HEAD, through the index alone: the working tree may hold anything."""
    data = project.read(project.packet_path)
    project.write(project.packet_path, with_manifest(data, entries, drop=drop))
    project.git("add", project.packet_path)
    project.git("commit", "-q", "--allow-empty", "-m", "manifest")
    return [line for line in judge(project) if line.startswith("error")]


def test_a_scope_that_comes_with_the_work_was_signed_by_nobody(project) -> None:
    text = project.read(project.packet_path)
    project.git("rm", "-q", project.packet_path)
    project.commit("no packet on the base")
    project.git("checkout", "-q", "-b", "feat/WP-1-Demo-v1")
    project.write(project.packet_path, text)
    edit_app(project)
    finish(project)
    only("error HSK-POST-SCOPE the packet was signed in the same step that brought src/app.py", judge(project))


def test_a_packet_that_is_signed_after_the_work_covers_none_of_it(project) -> None:
    text = project.read(project.packet_path)
    project.git("rm", "-q", project.packet_path)
    project.commit("no packet on the base")
    project.git("checkout", "-q", "-b", "feat/WP-1-Demo-v1")
    edit_app(project)
    project.commit("the work")
    project.write(project.packet_path, text)
    project.commit("the packet, signed afterwards")
    finish(project)
    only("error HSK-POST-SCOPE src/app.py changed before the packet was signed", judge(project))


def test_a_merge_may_not_bring_scope_and_work_at_once(project) -> None:
    text = project.read(project.packet_path)
    (project.root / project.packet_path).unlink()
    project.commit("no packet")
    project.git("branch", "side")
    project.git("checkout", "-q", "-b", "feat/WP-1-Demo-v1")
    project.write("lib/one.txt", "1\n")
    project.commit("one")
    project.git("checkout", "-q", "side")
    project.write("lib/two.txt", "2\n")
    project.commit("two")
    project.git("checkout", "-q", "feat/WP-1-Demo-v1")
    project.git("merge", "-q", "--no-ff", "--no-commit", "side")
    project.write(project.packet_path, text)
    project.commit("the merge, and the packet")
    finish(project)
    # the merge brings the packet alone; what stands on both sides of it was there before anybody signed
    only("error HSK-POST-SCOPE lib/one.txt changed before the packet was signed", judge(project))
    project.git("reset", "-q", "--hard", "HEAD~2^")
    project.git("merge", "-q", "--no-ff", "--no-commit", "side")
    project.write(project.packet_path, text.replace(b"  - lib/\n", b"  - lib/\n  - evil.txt\n"))
    project.write("evil.txt", "3\n")
    project.commit("the merge, the packet, and work")
    finish(project)
    assert any("signed in the same step that brought evil.txt" in line for line in judge(project))


def test_the_scope_counts_from_the_version_that_was_signed(project) -> None:
    text = project.read(project.packet_path)
    draft = text.replace(b"demo010120260101", b"<pending>").replace(b"  - lib/\n", b"  - lib/\n  - other/\n")
    project.write(project.packet_path, draft)
    project.commit("a draft on the base, wider than what is signed")
    project.git("checkout", "-q", "-b", "feat/WP-1-Demo-v1")
    project.write("other/x.py", "x\n")
    finish(project)
    assert any("HSK-POST-SIGNATURE no version of the packet was signed" in line for line in judge(project))
    project.git("reset", "-q", "--hard", "main")
    project.write(project.packet_path, text)
    project.commit("signed, narrower")
    project.write("other/x.py", "x\n")
    finish(project)
    assert any("other/x.py is not in IN_SCOPE_PATHS" in line for line in judge(project))
    assert not any("HSK-POST-S" in line for line in judge(project))


def test_thousands_of_blocks_on_one_file_are_judged_in_time(project) -> None:
    project.write("lib/wide.txt", "".join(f"{n}\n" for n in range(10_000)))
    project.commit("wide")
    project.write("lib/wide.txt", "".join(f"{n}{'x' * (n % 2)}\n" for n in range(10_000)))

    def split(entries: list[ManifestEntry]) -> list[ManifestEntry]:
        [one] = entries
        return [replace(one, start=n, end=n, line_delta=0) for n in range(2, 10_001, 2)]

    began = time.monotonic()
    finish(project, split)
    assert judge(project) == []
    data = project.read(project.packet_path)
    project.write(project.packet_path, data.replace(b"- **Start**: 5000\n", b"- **Start**: 5001\n"))
    project.commit("one block lost its line")
    assert any("lines 5000 to 5000 changed outside the window" in line for line in judge(project))
    assert time.monotonic() - began < 60


def test_a_replaced_object_changes_no_verdict(project) -> None:
    signed = project.read(project.packet_path)
    wider = signed.replace(b"IN_SCOPE_PATHS:\n", b"IN_SCOPE_PATHS:\n  - more.py\n", 1)
    assert wider != signed
    project.write("more.py", b"out = 1\n")
    finish(project)
    by_git = project.repo.by_git_alone()
    new = project.git("hash-object", "-w", "--stdin", data=wider)
    project.git("replace", project.git("rev-parse", f"{BASE}:{project.packet_path}"), new)
    found = post_work(by_git, BASE, "HEAD", project.packet_path)
    assert "more.py is not in IN_SCOPE_PATHS" in [finding.what for finding in found]


def test_an_object_that_git_has_lost_is_no_empty_file(project) -> None:
    project.write("src/data.bin", b"\0old")
    project.commit("before")
    base = project.git("rev-parse", "HEAD").strip()
    lost = project.git("rev-parse", "HEAD:src/data.bin").strip()
    project.write("src/data.bin", b"\0new")
    finish(project)
    (project.root / ".git/objects" / lost[:2] / lost[2:]).unlink()
    with pytest.raises(EnvironmentProblem, match=f"lost the object {lost}"):
        changes_between(project.repo, base, "HEAD")


def test_a_large_binary_file_needs_no_patch(project) -> None:
    project.write("lib/large.bin", b"\0" + bytes(range(256)) * 40_000)
    finish(project)
    assert judge(project) == []
    [entry] = packet_of(project.read(project.packet_path)).manifest
    assert (entry.start, entry.end, entry.line_delta) == (1, 1, 0)


BOARD = "docs/TASK_BOARD.md"


@pytest.mark.parametrize(
    ("path", "mode", "fine"), [(BOARD, 0o644, True), (BOARD, 0o755, False), ("a.md", 0o644, False)]
)
def test_the_packets_line_moves_on_the_board_alone(project, path: str, mode: int, fine: bool) -> None:
    board = "# Board\n\n## In Progress\n\n## Ready\n- **[WP-1-Demo-v1]** - [READY_FOR_DEV]\n"
    project.write(path, board)
    project.commit("a board")
    project.git("checkout", "-q", "-b", "feat/WP-1-Demo-v1")
    edit_app(project)
    project.write(path, with_entry(board.encode(), "WP-1-Demo-v1", BoardTag.IN_PROGRESS))
    (project.root / path).chmod(mode)
    project.commit()
    entries = manifest_entries(c for c in changes_between(project.repo, BASE, "HEAD") if c.path == "src/app.py")
    project.write(project.packet_path, with_manifest(project.read(project.packet_path), entries))
    project.commit("manifest")
    found = judge(project, board=BOARD)
    assert (found == []) is fine
    assert fine or any(f"{path} is not in IN_SCOPE_PATHS" in line for line in found)
