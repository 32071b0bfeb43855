"""Ranking, blocks, imports, reading: what may be worth showing, and in which order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handshake.context.blocks import Block
from handshake.context.blocks import blocks_of as blocks_in
from handshake.context.compile import compile_context
from handshake.context.fences import fenced, language_of
from handshake.context.normalize import normalized_query, normalized_query_hash
from handshake.context.retrieve import base_score
from handshake.context.retrieve import rank as rank_places
from handshake.context.sources import SourceFile, read_source
from handshake.context.worktree import with_pack
from handshake.domain.microtask import FileAccess
from handshake.source.index import SourceIndex


def source_of(path: str, lines: tuple[str, ...]) -> SourceFile:
    return with_pack(SourceFile(path, lines, "d" * 64), SourceIndex(None))


def source(path: str, text: str) -> SourceFile:
    return source_of(path, tuple(text.split("\n")))


def blocks_of(path: str, lines: tuple[str, ...]) -> tuple[Block, ...]:
    return blocks_in(source_of(path, lines))


def rank(query, sources, modify, failures, edges=None):
    return rank_places(query, sources, modify, failures, edges or {})


def test_normalized_query():
    assert normalized_query("  Fix\t the\n\nMEAN \x00 of e\u0301 ") == "fix the mean of \u00e9"
    assert normalized_query_hash("Fix  the MEAN") == normalized_query_hash(" fix the mean\n")
    assert normalized_query_hash("a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"


@given(st.text())
def test_normalizing_again_changes_nothing(text):
    assert normalized_query(normalized_query(text)) == normalized_query(text)


def test_base_score_is_the_contracts_sum():
    assert base_score({"pack": 1.0, "trust_adjust": -0.25, "lexical": 0.5, "vector": 0.125, "graph": 0.75}) == 1.5
    assert base_score({}) == 0.0
    assert base_score({"lexical": 0.4}) == 0.4


def test_rank_puts_the_named_definition_first_and_breaks_ties_by_id():
    text = "def alpha(x):\n    return x\n\n\ndef beta(x):\n    return x\n"
    places = rank("correct `beta`", [source("b.py", text), source("a.py", text)], frozenset({"a.py"}), {})
    first, second = places[0].candidate, places[1].candidate
    assert (first.candidate_id, second.candidate_id) == ("a.py:000005-000006", "b.py:000005-000006")
    assert (first.base_score, first.scores["pack"]) == (2.0, 1.0)
    order = [(-p.candidate.base_score, p.candidate.tiebreak) for p in places]
    assert order == sorted(order)


def test_rank_does_not_depend_on_the_order_of_files():
    files = [
        source("a.py", "def one():\n    return 1\n"),
        source("b.py", "from a import one\n"),
        source("c.md", "one\n"),
    ]
    forward = rank("one", files, frozenset({"a.py"}), {})
    backward = rank("one", files[::-1], frozenset({"a.py"}), {})
    assert [p.candidate for p in forward] == [p.candidate for p in backward]


def test_a_failing_line_is_a_hit():
    text = "def alpha(x):\n    return x\n\n\ndef beta(x):\n    return x\n"
    places = rank("alpha", [source("a.py", text)], frozenset({"a.py"}), {"a.py": frozenset({6})})
    assert {p.block.name for p in places[:2]} == {"alpha", "beta"}
    assert places[1].candidate.scores["lexical"] == 1.0


def test_import_neighbours_score_by_graph():
    files = [
        source("pkg/a.py", "from pkg.b import helper\n\n\ndef run():\n    return helper()\n"),
        source("pkg/b.py", "def helper():\n    return 1\n\n\ndef other():\n    return 2\n"),
        source("pkg/far.py", "def helper():\n    return 3\n"),
    ]
    edges = {"pkg/a.py": frozenset({"pkg/b.py"})}
    places = rank("run", files, frozenset({"pkg/a.py"}), {}, edges)
    graph = {p.candidate.candidate_id: p.candidate.scores["graph"] for p in places}
    assert graph["pkg/b.py:000001-000002"] == 0.6
    assert graph["pkg/b.py:000005-000006"] == 0.3
    assert graph["pkg/far.py:000001-000002"] == 0.0
    assert all(value == 0.0 for name, value in graph.items() if name.startswith("pkg/a.py"))


@pytest.mark.parametrize(
    ("path", "text", "names"),
    [
        ("a.py", "import os\n\n@cache\ndef f():\n    pass\n\nclass K:\n    def m(self): pass\n", ["f", "K"]),
        ("a.js", "export function f() {\n}\nclass K {\n m() {}\n}\n", ["f", "K"]),
        ("a.ts", "export interface I { x: number }\nfunction f(): void {}\n", ["I", "f"]),
        ("a.rs", "fn f() {}\nstruct S { x: u8 }\nimpl S { fn m(&self) {} }\n", ["f", "S", "S"]),
        ("a.go", "package a\n\nfunc F() {}\n\ntype T struct{}\n", ["F", "T"]),
        ("a.txt", "def f():\n", []),
    ],
)
def test_blocks_are_definitions(path, text, names):
    blocks = blocks_of(path, tuple(text.split("\n")))
    assert [block.name for block in blocks if block.signature] == names


def test_decorator_belongs_to_its_definition_and_a_long_class_is_split():
    blocks = blocks_of("a.py", ("@cache", "def f(", "    x,", "):", "    return x"))
    assert [(b.start, b.end, b.signature) for b in blocks] == [(1, 5, "def f( x, ):")]
    methods = [line for n in range(40) for line in (f"    def m{n}(self):", f"        return {n}")]
    blocks = blocks_of("a.py", ("class K:", *methods))
    assert [b.name for b in blocks] == ["K", *(f"K.m{n}" for n in range(40))]


@given(
    st.lists(st.sampled_from(["def f():", "    pass", "class A:", "", "@x", "x = (", ")", "    def m(self):", "é"]))
)
def test_every_line_is_in_exactly_one_block(lines):
    for path in ("a.py", "a.txt", "a.js"):
        covered = [n for b in blocks_of(path, tuple(lines)) for n in range(b.start, b.end + 1)]
        assert covered == list(range(1, len(lines) + 1))


@given(st.text(alphabet="`ab\n", max_size=60))
def test_a_fence_cannot_be_closed_by_its_data(text):
    block = fenced(text, "text")
    fence = block.split("text\n", 1)[0]
    inner = block.split("\n")[1:-1]
    assert block.split("\n")[-1] == fence
    assert not any(line.startswith(fence) for line in inner)


def test_language_of_a_fence():
    assert (language_of("a/b.PY"), language_of("Makefile"), language_of("x.rs")) == ("python", "text", "rust")


def test_reading_what_is_not_plain_text_warns_and_never_raises(tmp_path: Path):
    (tmp_path / "bin.dat").write_bytes(b"abc\0def")
    (tmp_path / "latin.py").write_bytes("é = 1\n".encode("latin-1"))
    (tmp_path / "crlf.py").write_bytes(b"\xef\xbb\xbfa = 1\r\nb = 2\r\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "big.txt").write_text("word " * 1000)
    (tmp_path / "empty.py").touch()
    read = lambda path, most=100_000: read_source(tmp_path, path, most)  # noqa: E731 - five calls, one shape
    assert read("gone.py").warning == "gone.py: not there"
    assert read("gone.py").missing
    assert read("bin.dat").warning == "bin.dat: binary, not shown"
    assert read("folder").warning == "folder: not a plain file"
    assert "not UTF-8 at byte 0" in str(read("latin.py").warning)
    assert read("latin.py").source.lines == ("\ufffd = 1",)
    assert read("crlf.py").source.lines == ("a = 1", "b = 2")
    assert read("empty.py").source.lines == ()
    cut = read("big.txt", 10)
    assert cut.source.cut
    assert "only the first 40 are read" in cut.warning


@pytest.mark.skipif(not hasattr(os, "symlink") or sys.platform == "win32", reason="needs symbolic links")
def test_a_link_out_of_the_worktree_is_not_read(tmp_path: Path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (tree / "link.txt").symlink_to(tmp_path / "secret.txt")
    (tree / "loop.txt").symlink_to(tree / "loop.txt")
    assert read_source(tree, "link.txt", 100).warning == "link.txt: leads out of the worktree, not read"
    assert read_source(tree, "../secret.txt", 100).warning == "../secret.txt: leads out of the worktree, not read"
    assert read_source(tree, "loop.txt", 100).source is None


def test_vanished_and_binary_files_of_an_mt_are_warnings(request_for, tree):
    (tree / "calc/check.py").unlink()
    (tree / "tests/test_stats.py").write_bytes(b"\0\1")
    compiled = compile_context(request_for())
    assert compiled.trace.warnings == ("calc/check.py: not there", "tests/test_stats.py: binary, not shown")
    (tree / "calc/stats.py").unlink()
    compiled = compile_context(request_for())
    assert "NEW FILE: calc/stats.py" in compiled.envelope.full_prompt
    assert compiled.edit_forms == {"calc/stats.py": "whole"}


def test_a_read_over_its_limit_is_flagged(request_for, tree):
    (tree / "tests/test_stats.py").write_text("x = 1\n" * 40_000)
    compiled = compile_context(request_for())
    assert "read: tests/test_stats.py" in compiled.trace.truncation_flags
    assert any("only the first" in warning for warning in compiled.trace.warnings)


def test_plan_trace_and_snapshot_hold_together(request_for):
    request = request_for()
    compiled = compile_context(request)
    plan, trace, snapshot = compiled.query_plan, compiled.trace, compiled.snapshot
    assert [entry.store for entry in plan.route] == [
        "context_packs", "knowledge_graph", "shadow_ws_lexical",
        "shadow_ws_vector", "local_web_cache", "bounded_read_only",
    ]  # fmt: skip
    assert trace.query_plan_id == plan.plan_id
    assert trace.normalized_query_hash == normalized_query_hash(plan.query_text)
    assert [taken.store for taken in trace.route_taken if taken.reason.startswith("skipped")] == [
        "shadow_ws_vector",
        "local_web_cache",
    ]
    assert [s.final_rank for s in trace.selected] == [1, 2, 3]
    assert {s.ref.id for s in trace.selected} == {s.ref.id for s in trace.spans}
    assert snapshot.prompt_envelope_hashes == compiled.envelope.hashes
    assert snapshot.layer_scope == {
        "read": ("calc/check.py", "tests/test_stats.py", "calc/stats.py"),
        "write": ("calc/stats.py",),
    }
    assert len({plan.plan_id, trace.trace_id, snapshot.context_snapshot_id}) == 3
    again = compile_context(request)
    assert again == compiled


def test_ids_depend_on_job_and_step_alone(request_for, tree):
    first = compile_context(request_for())
    (tree / "calc/stats.py").write_text("x = 1\n")
    second = compile_context(request_for(iteration=2))
    other = compile_context(request_for(step_id="MT-001-L0-I2"))
    assert first.query_plan.plan_id == second.query_plan.plan_id != other.query_plan.plan_id
    assert first.snapshot.context_snapshot_id == second.snapshot.context_snapshot_id


def test_same_state_same_hash_in_any_process(request_for, tree, definition):
    mt = definition(files=FileAccess(read=("tests/test_stats.py",), modify=("calc/stats.py", "calc/check.py")))
    here = compile_context(request_for(mt=mt)).snapshot
    program = (
        "import sys, pathlib, datetime, json\n"
        "from handshake.context.compile import *\n"
        "from handshake.domain.microtask import MicroTaskDefinition, Plan\n"
        "mt = MicroTaskDefinition.model_validate_json(sys.argv[2])\n"
        "plan = Plan(wp_id='WP-1', definitions=(mt,), waves=((mt.mt_id,),), definitions_hash='0' * 64)\n"
        "r = ContextRequest(job_id='job-1', wp_id='WP-1', step_id='MT-001-L0-I1', mt=mt, plan=plan,\n"
        "    worktree=pathlib.Path(sys.argv[1]), model_id='local-coder', max_level=5, context_window=8192,\n"
        "    reserved_output_tokens=1024, count_tokens=lambda t: (len(t.encode()) + 2) // 3,\n"
        "    created_at=datetime.datetime(2026, 1, 22, 8, 43, tzinfo=datetime.UTC),\n"
        "    policy_profile_id='micro_task_executor_v1')\n"
        "print(compile_context(r).snapshot.model_dump_json())\n"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(tree), mt.model_dump_json()],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == here.model_dump_json()


def test_scope_hash_changes_with_any_file_in_scope(request_for, tree):
    before = compile_context(request_for()).snapshot.scope_inputs_hash
    (tree / "unrelated.py").write_text("x = 1\n")
    assert compile_context(request_for()).snapshot.scope_inputs_hash == before
    (tree / "calc/check.py").write_text("x = 1\n")
    assert compile_context(request_for()).snapshot.scope_inputs_hash != before
