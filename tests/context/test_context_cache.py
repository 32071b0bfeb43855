"""What is kept is found again for the same question over the same files, and for no other."""

from __future__ import annotations

import dataclasses
import subprocess
from typing import Any

import pytest

from handshake.context.compile import PreviousIteration, compile_context
from handshake.context.lexical import bm25
from handshake.context.stage import StageKey
from handshake.domain.microtask import FileAccess
from handshake.repo.git import find_repository
from handshake.source.index import SourceIndex, WordCounts


def hits(request) -> set[str]:
    return {taken.store for taken in compile_context(request).trace.route_taken if taken.cache_hit}


ALL = {"context_packs", "knowledge_graph", "shadow_ws_lexical"}


@pytest.fixture
def kept(request_for, tmp_path):
    """A request whose answer is in a real index already."""
    request = request_for(index=SourceIndex(tmp_path / "kept"))
    assert hits(request) == set()
    assert hits(request) == ALL
    return request


def test_a_new_process_finds_what_another_kept(kept, tmp_path):
    again = compile_context(dataclasses.replace(kept, index=SourceIndex(tmp_path / "kept")))
    assert {taken.store for taken in again.trace.route_taken if taken.cache_hit} == ALL
    plain = compile_context(dataclasses.replace(kept, index=None))
    assert again.envelope == plain.envelope
    assert again.trace.candidates == plain.trace.candidates


def test_another_iteration_of_the_same_question_hits(kept):
    assert hits(dataclasses.replace(kept, step_id="MT-001_iter-002", iteration=2, level=1)) == ALL


CHANGES: dict[str, dict[str, Any]] = {
    "determinism mode": {"determinism_mode": "strict", "seed": 1},
    "policy": {"policy_profile_id": "another"},
    "tree": {"tree_id": "1" * 40},
    "failures": {
        "previous": PreviousIteration(outcome="RETRY", locations=(("calc/stats.py", 9, "x"),), evidence_ref="steps/1")
    },
}


@pytest.mark.parametrize("part", CHANGES)
def test_any_part_that_changes_misses(kept, part):
    assert hits(dataclasses.replace(kept, **CHANGES[part])) == {"context_packs"}


def test_another_query_or_scope_misses(kept, request_for, definition):
    for mt in (definition(scope="something else"), definition(files=FileAccess(modify=("calc/stats.py",)))):
        assert hits(request_for(mt=mt, index=kept.index)) == {"context_packs"}


def test_another_content_misses_packs_too(kept, tree):
    (tree / "calc/check.py").write_text("def not_empty(values):\n    return values\n")
    assert hits(kept) == set()


def test_each_of_the_nine_parts_is_in_the_key():
    key = StageKey(*(["a"] * 9))
    others = {dataclasses.replace(key, **{name: "b"}).value for name in key.__dataclass_fields__}
    assert len(others | {key.value}) == 10


def test_a_row_that_is_no_candidate_list_is_a_miss(kept):
    kept.index._store._try(lambda db: db.execute("update stage set payload = x'00'"), None)
    assert hits(kept) == {"context_packs"}


def test_a_word_that_is_rare_in_the_repository_weighs_more():
    documents = [["ledger", "value"], ["value", "value"], ["ledger", "ledger"]]
    alone = bm25(["ledger", "value"], documents)
    common = bm25(["ledger", "value"], documents, WordCounts("t", 1000, {"ledger": 900, "value": 2}))
    rare = bm25(["ledger", "value"], documents, WordCounts("t", 1000, {"ledger": 2, "value": 900}))
    assert common.index(max(common)) == 1
    assert rare.index(max(rare)) == 2
    assert alone[1] == alone[2]


def test_the_trace_says_that_the_repository_was_counted(request_for, tree, tmp_path):
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@localhost", "-C", str(tree)]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    repo = find_repository(tree)
    view = repo.tree(repo.branch_tip("main") or "")
    index = SourceIndex(tmp_path / "counted")
    index.refresh(view)
    trace = compile_context(request_for(index=index, tree_id=view.tree_id)).trace
    said = {taken.store: taken.reason for taken in trace.route_taken}
    assert said["shadow_ws_lexical"] == "words of the task, weighed by their rarity in 3 files"


def test_without_an_index_that_can_be_written_the_prompt_is_the_same_and_the_trace_says_so(request_for, tmp_path):
    (tmp_path / "file").write_text("in the way")
    blocked = compile_context(request_for(index=SourceIndex(tmp_path / "file" / "index")))
    assert any("is not used" in warning for warning in blocked.trace.warnings)
    assert blocked.envelope == compile_context(request_for()).envelope
