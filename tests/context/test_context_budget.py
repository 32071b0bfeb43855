"""A compiled prompt never exceeds its budget, whatever the files, the tokenizer and the last iteration are."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handshake.context.compile import ContextGuardFailed, ContextRequest, DoneTask, PreviousIteration, compile_context
from handshake.domain.microtask import Plan

LINES = st.lists(
    st.sampled_from(
        [
            "def mean(values):",
            "    return sum(values)",
            "",
            "class Box:",
            "    def size(self):",
            "        return 1",
            "import calc.check",
            "x = [1, 2, 3]",
            "``` not a fence",
            "\u00e4\u00f6\u00fc = '\u4e2d\u6587\u5b57\u7b26'",
            "broken(((",
            "y" * 300,
        ]
    ),
    max_size=250,
)
TOKENIZERS = st.sampled_from(
    [
        lambda text: (len(text) + 2) // 3,
        lambda text: len(text.split()),
        lambda text: len(text.encode("utf-8")),
        lambda text: (len(text) + 3) // 4 + 17,  # a server that adds its own tokens to each count
    ]
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    texts=st.tuples(LINES, LINES, LINES),
    count=TOKENIZERS,
    token_budget=st.integers(512, 8192),
    window=st.integers(300, 9000),
    profile=st.sampled_from(["tiny", "small", "standard"]),
    tail=st.one_of(st.none(), st.text(max_size=3000)),
    places=st.lists(
        st.tuples(st.sampled_from(["calc/stats.py", "gone.py"]), st.integers(1, 300), st.text(max_size=90))
    ),
    notes=st.lists(st.text(alphabet="note ", max_size=600), max_size=4),
    done=st.integers(0, 30),
)
def test_never_over_the_budget(definition, texts, count, token_budget, window, profile, tail, places, notes, done):
    mt = definition(token_budget=token_budget)
    with tempfile.TemporaryDirectory() as folder:
        for path, lines in zip(("calc/stats.py", "calc/check.py", "tests/test_stats.py"), texts, strict=True):
            place = Path(folder, path)
            place.parent.mkdir(exist_ok=True)
            place.write_text("\n".join(lines), encoding="utf-8")
        request = ContextRequest(
            job_id="j",
            wp_id="WP-1",
            step_id="s",
            mt=mt,
            plan=Plan(wp_id="WP-1", definitions=(mt,), waves=(("MT-001",),), definitions_hash="0"),
            worktree=Path(folder),
            model_id="m",
            profile=profile,
            previous=None
            if tail is None
            else PreviousIteration(
                outcome="RETRY", validation_tail=tail, locations=tuple(places), evidence_ref="steps/1/reply.md"
            ),
            human_notes=tuple(notes),
            done_mts=tuple(DoneTask(f"MT-{n:03}", "a task that is done", True, "x") for n in range(done)),
            context_window=window,
            reserved_output_tokens=256,
            count_tokens=count,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            policy_profile_id="micro_task_executor_v1",
        )
        limit = min(token_budget, window - 256)
        try:
            compiled = compile_context(request)
        except ContextGuardFailed as failed:
            assert failed.guard == "RetrievalBudgetGuard"
            assert "without any file" in failed.reason
            return
    envelope = compiled.envelope
    assert envelope.token_estimate == count(envelope.full_prompt) <= limit
    spent = sum(span.token_estimate for span in compiled.trace.spans)
    assert spent <= compiled.query_plan.budgets.max_total_evidence_tokens
    shown = {span.ref.id.rpartition(":")[0] for span in compiled.trace.spans if span.selector != "signatures"}
    flagged = " ".join(compiled.trace.truncation_flags)
    for path, lines in zip(("calc/stats.py", "calc/check.py", "tests/test_stats.py"), texts, strict=True):
        assert path in shown or path in flagged or not any(lines)


def test_what_is_left_out_is_flagged(request_for, tree, definition):
    (tree / "tests/test_stats.py").write_text("from calc.stats import mean\n" + "x = mean([1])\n" * 3000)
    compiled = compile_context(request_for(mt=definition(token_budget=1024)))
    assert compiled.envelope.token_estimate <= 1024
    assert "spans: tests/test_stats.py" in compiled.trace.truncation_flags
    assert compiled.edit_forms == {"calc/stats.py": "whole"}


def test_huge_definition_is_cut_and_flagged(request_for, tree, definition):
    (tree / "calc/stats.py").write_text("def mean(values):\n" + "    values += [1]\n" * 2000)
    compiled = compile_context(request_for(mt=definition(token_budget=1024)))
    assert any(flag.startswith("cut: calc/stats.py:") for flag in compiled.trace.truncation_flags)
    assert "FILE: calc/stats.py (lines 1-" in compiled.envelope.full_prompt


@pytest.mark.parametrize("budget", [700, 900, 1200, 2000])
def test_unused_share_goes_to_the_files(request_for, tree, definition, budget):
    body = "    values += [1, 2, 3]\n" * 5
    (tree / "calc/stats.py").write_text("".join(f"def mean_{n}(values):\n{body}\n\n" for n in range(80)))
    compiled = compile_context(request_for(profile="tiny", mt=definition(token_budget=budget)))
    assert compiled.envelope.token_estimate > budget * 0.7


def test_each_section_keeps_its_share(request_for, definition, high_estimate):
    """Notes, done tasks and actions give way, criteria never; what gave way is flagged."""
    done = tuple(DoneTask(f"MT-{n:03}", "a task with a name of some length", True, "x") for n in range(40))
    mt = definition(actions=tuple(f"{n} {'do it well ' * 15}" for n in range(10)), scope="where " * 80)
    notes = tuple(f"note {n} {'and more ' * 60}" for n in range(5))
    compiled = compile_context(request_for(mt=mt, done_mts=done, human_notes=notes))
    spent, flags = compiled.trace.budgets_applied, compiled.trace.truncation_flags
    assert spent["system_rules"] <= 300
    assert spent["iteration_context"] <= 200
    assert spent["mt_definition"] <= 500
    assert {"mt_definition: scope", "mt_definition: actions", "status: 4 older notes"} <= set(flags)
    assert "Done so far: 40 tasks" in compiled.envelope.full_prompt
    assert "note 4 and more" in compiled.envelope.full_prompt


def test_criteria_that_pass_the_share_alone_are_kept_and_flagged(request_for, definition):
    done = tuple(
        {"description": f"criterion {n} " + "must hold " * 30, "verification": "evidence_required"} for n in range(7)
    )
    compiled = compile_context(request_for(mt=definition(done=done, token_budget=8192), context_window=16_384))
    assert any(flag.endswith("tokens over its share") for flag in compiled.trace.truncation_flags)
    assert all(f"criterion {n} must hold" in compiled.envelope.stable_prefix for n in range(7))
