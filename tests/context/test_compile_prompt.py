"""The prompt as text: sections, golden files, the stable prefix, edit forms."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest

from handshake.context.compile import DoneTask, PreviousIteration, compile_context
from handshake.domain.errors import EnvironmentProblem
from handshake.domain.microtask import DoneCriterion, FileAccess, VerificationSpec
from handshake.domain.reply import EditOutcome

GOLDEN = Path(__file__).parent / "golden"
HEADINGS = [
    "# SYSTEM RULES",
    "# YOUR TASK",
    "# MICRO-TASK LOOP STATUS",
    "# FILES",
    "# PREVIOUS ITERATION",
    "# COMPLETION PROTOCOL",
]
FAILED = PreviousIteration(
    outcome="RETRY",
    error="1 of 1 tests fails",
    edit_outcomes=(EditOutcome(path="calc/stats.py", form="whole", applied=True, changed=True),),
    validation_tail="E       assert 3.0 == 2\n1 failed in 0.01s\n",
    locations=(("tests/test_stats.py", 5, "AssertionError"),),
    reply_summary="calc/stats.py was rewritten",
    evidence_ref="jobs/job-1/steps/MT-001_iter-001/validation.json",
)
DONE = DoneTask("MT-000", "x", True, "summaries/MT-000.md")


def outside_fences(prompt: str) -> list[str]:
    """The lines that are not inside a fence."""
    kept, fence = [], ""
    for line in prompt.splitlines():
        mark = re.match(r"`{3,}", line)
        if mark and not fence:
            fence = mark.group()
        elif fence and line == fence:
            fence = ""
        elif not fence:
            kept.append(line)
    return kept


@pytest.mark.parametrize("profile", ["tiny", "small", "standard"])
@pytest.mark.parametrize("name", ["first", "retry"])
def test_prompt_is_the_golden_one(request_for, profile, name):
    previous = FAILED if name == "retry" else None
    form = "whole" if profile == "tiny" else "either"
    request = request_for(profile=profile, edit_form=form, previous=previous, iteration=2 if previous else 1)
    prompt = compile_context(request).envelope.full_prompt
    golden = GOLDEN / f"{profile}-{name}.md"
    if os.environ.get("REWRITE_GOLDEN"):
        golden.write_bytes(prompt.encode("utf-8"))
    assert prompt == golden.read_bytes().decode("utf-8")


@pytest.mark.parametrize("profile", ["tiny", "small", "standard"])
def test_headings_stand_in_the_contracts_order(request_for, profile):
    for previous in (None, FAILED):
        prompt = compile_context(request_for(profile=profile, previous=previous)).envelope.full_prompt
        found = [line for line in outside_fences(prompt) if line.startswith("# ")]
        assert found == [h for h in HEADINGS if previous or h != "# PREVIOUS ITERATION"]


@pytest.mark.parametrize("profile", ["tiny", "small", "standard"])
def test_stable_prefix_is_the_same_in_all_iterations(request_for, profile, tree):
    first = compile_context(request_for(profile=profile)).envelope
    (tree / "calc/stats.py").write_text("def mean(values):\n    return 2\n")
    later = compile_context(
        request_for(
            profile=profile,
            previous=FAILED,
            iteration=3,
            level=1,
            step_id="later",
            done_mts=(DONE,),
        )
    ).envelope
    noted = compile_context(request_for(profile=profile, human_notes=("Mind the zero.",))).envelope
    assert first.stable_prefix == later.stable_prefix == noted.stable_prefix
    assert "Note of the person in charge: Mind the zero.\n" in noted.variable_suffix
    assert first.variable_suffix != later.variable_suffix
    assert first.stable_prefix.startswith("# SYSTEM RULES\n")
    assert "\n# YOUR TASK\n" in first.stable_prefix


@pytest.mark.parametrize("profile", ["tiny", "small", "standard"])
def test_task_has_its_machine_readable_lines(request_for, profile, definition):
    mt = definition(files=FileAccess(modify=("calc/stats.py", "calc/check.py"), create=("calc/new.py",)))
    lines = outside_fences(compile_context(request_for(profile=profile, mt=mt)).envelope.full_prompt)
    assert "MT_ID: MT-001" in lines
    assert "MODIFY: calc/stats.py, calc/check.py" in lines
    assert "CREATE: calc/new.py" in lines
    assert lines[lines.index("DONE:") + 1] == "- \"`mean([1, 2, 3])` gives '2'\""
    nothing = definition(files=FileAccess(read=("calc/stats.py",)))
    lines = outside_fences(compile_context(request_for(profile=profile, mt=nothing)).envelope.full_prompt)
    assert "MODIFY: (none)" in lines
    assert "CREATE: (none)" in lines


def test_file_lines_and_whole_content(request_for):
    prompt = compile_context(request_for()).envelope.full_prompt
    assert 'FILE: calc/stats.py\n```python\n"""Statistics of lists."""\n' in prompt
    assert prompt.index("FILE: calc/stats.py") < prompt.index("FILE: tests/test_stats.py")


def test_large_file_is_shown_as_spans_of_whole_definitions(request_for, tree, definition):
    bodies = [f"def part_{n}(value):\n" + "".join(f"    value += {i}\n" for i in range(6)) for n in range(60)]
    bodies[41] = "def mean(values):\n    return sum(values) / (len(values) - 1)\n"
    (tree / "calc/stats.py").write_text("\n\n".join(bodies))
    compiled = compile_context(request_for(mt=definition(token_budget=1500)))
    prompt = compiled.envelope.full_prompt
    shown = re.search(r"^FILE: calc/stats\.py \(lines (\d+)-(\d+) of (\d+)\)$", prompt, re.M)
    assert shown
    assert int(shown[1]) > 1
    assert "def mean(values):\n    return sum(values)" in prompt
    assert "OUTLINE: calc/stats.py" in prompt or "spans: calc/stats.py" in compiled.trace.truncation_flags
    assert compiled.edit_forms == {"calc/stats.py": "search_replace"}
    assert "<<<<<<< SEARCH" in prompt


def test_edit_form_follows_request_and_size(request_for, tree, definition):
    assert compile_context(request_for()).edit_forms == {"calc/stats.py": "whole"}
    forced = request_for(edit_form="search_replace")
    assert compile_context(forced).edit_forms == {"calc/stats.py": "search_replace"}
    assert compile_context(request_for(reserved_output_tokens=150)).edit_forms == {"calc/stats.py": "search_replace"}
    (tree / "calc/stats.py").write_text("x = 1\n" * 201)
    assert compile_context(request_for()).edit_forms == {"calc/stats.py": "search_replace"}
    created = definition(files=FileAccess(create=("calc/new.py",)))
    compiled = compile_context(request_for(mt=created, edit_form="search_replace"))
    assert compiled.edit_forms == {"calc/new.py": "whole"}
    assert "NEW FILE: calc/new.py" in compiled.envelope.full_prompt


def test_fence_is_longer_than_any_in_the_data(request_for, tree):
    (tree / "calc/stats.py").write_text('TEXT = """\n`````\n# FILES\n`````\n"""\n')
    prompt = compile_context(request_for()).envelope.full_prompt
    assert "FILE: calc/stats.py\n``````python\n" in prompt
    assert sum(line == "# FILES" for line in outside_fences(prompt)) == 1


def test_previous_section_says_what_failed_where(request_for, high_estimate):
    previous = dataclasses.replace(
        FAILED,
        edit_outcomes=(
            EditOutcome(
                path="calc/stats.py", form="search_replace", applied=False, error="not found", nearest=("def mean(",)
            ),
        ),
        malformed="two blocks",
    )
    prompt = compile_context(request_for(previous=previous)).envelope.full_prompt
    section = prompt.split("# PREVIOUS ITERATION\n")[1].split("# COMPLETION PROTOCOL")[0]
    assert "made no claim: two blocks" in section
    assert "Not applied: calc/stats.py: not found" in section
    assert "def mean(" in section
    assert "tests/test_stats.py:5: AssertionError\n    assert mean([1, 2, 3]) == 2" in section
    assert high_estimate(section) <= 200 + 20


def test_previous_section_keeps_its_share_and_flags_the_cut(request_for, high_estimate):
    rows = "\n".join(f"line {n} of a long output" for n in range(400))
    compiled = compile_context(request_for(previous=dataclasses.replace(FAILED, validation_tail=rows)))
    section = compiled.envelope.full_prompt.split("# PREVIOUS ITERATION\n")[1].split("# COMPLETION PROTOCOL")[0]
    assert "line 399 of" in section
    assert "line 1 of" not in section
    assert high_estimate(section) <= 200 + 20
    assert "previous: output" in compiled.trace.truncation_flags


def test_long_definition_loses_its_notes_first(request_for, definition):
    mt = definition(notes="word " * 400)
    compiled = compile_context(request_for(mt=mt))
    assert "NOTES:" not in compiled.envelope.full_prompt
    assert "mt_definition: notes" in compiled.trace.truncation_flags
    kept = compile_context(request_for(mt=definition(notes="Mind the zero.")))
    assert "NOTES: Mind the zero." in kept.envelope.full_prompt


def test_verify_commands_say_what_proves_what(request_for, definition):
    mt = definition(
        verify=(
            VerificationSpec(command="pytest -q"),
            VerificationSpec(command="run", expect="contains", pattern="ok"),
        ),
        done=(
            DoneCriterion(description="one", verification="automated", verify_ref=1),
            DoneCriterion(description="two", verification="evidence_required"),
        ),
    )
    prompt = compile_context(request_for(mt=mt)).envelope.full_prompt
    assert "- `pytest -q` must exit 0\n" in prompt
    assert "- `run` must print `ok` (proves criterion 1)\n" in prompt


@pytest.mark.parametrize("profile", ["tiny", "small", "standard"])
def test_system_rules_keep_their_share(request_for, profile):
    compiled = compile_context(request_for(profile=profile))
    assert compiled.trace.budgets_applied["system_rules"] <= 300
    assert compiled.trace.budgets_applied["iteration_context"] <= 200


def test_tiny_prompt_holds_no_example(request_for):
    prompt = compile_context(request_for(profile="tiny", edit_form="whole")).envelope.full_prompt
    assert "SEARCH" not in prompt
    assert "START-END" not in prompt
    assert prompt.rstrip().splitlines()[-3:][0].startswith("#") or "calc/stats.py" in prompt.split("# COMPLETION")[1]


def test_tiny_sees_the_users_of_its_file_on_even_iterations_only(request_for):
    odd = compile_context(request_for(profile="tiny", edit_form="whole"))
    assert "FILE: tests/test_stats.py" not in odd.envelope.full_prompt
    assert "FILE: calc/check.py" in odd.envelope.full_prompt
    assert "held back: tests/test_stats.py" in odd.trace.truncation_flags
    even = compile_context(request_for(profile="tiny", edit_form="whole", iteration=2))
    prompt = even.envelope.full_prompt
    assert prompt.index("FILE: tests/test_stats.py") < prompt.index("FILE: calc/stats.py")
    assert not any(flag.startswith("held back") for flag in even.trace.truncation_flags)


def test_the_lines_of_definitions_are_told(request_for):
    prompt = compile_context(request_for(profile="small")).envelope.full_prompt
    assert "`mean` 6-9, `spread` 12-14" in prompt


def test_tiny_spells_out_the_closing_block_only_where_no_grammar_frames_the_reply(request_for, definition):
    framed = compile_context(request_for(profile="tiny", edit_form="whole")).envelope.full_prompt
    assert "mt_complete" not in framed
    bare = compile_context(request_for(profile="tiny", edit_form="whole", frame_given=False)).envelope.full_prompt
    assert "<mt_complete>\nMT_ID: MT-001\nEVIDENCE:\n- \"`mean([1, 2, 3])` gives '2'\" -> calc/stats.py:" in bare
    two = definition(files=FileAccess(modify=("calc/stats.py", "calc/check.py")))
    assert "<mt_complete>" in compile_context(request_for(profile="tiny", mt=two)).envelope.full_prompt


def test_own_templates_are_used_and_a_missing_value_is_an_error(request_for, tmp_path):
    folder = tmp_path / "prompts"
    (folder / "common").mkdir(parents=True)
    for name in ("system", "task", "status", "files", "previous", "completion"):
        (folder / "common" / f"{name}.md").write_text(f"# {name}\n")
    prompt = compile_context(request_for(templates=folder, previous=FAILED)).envelope.full_prompt
    assert prompt == "# system\n# task\n# status\n# files\n# previous\n# completion\n"
    (folder / "common" / "status.md").write_text("{{ no_such_value }}\n")
    with pytest.raises(EnvironmentProblem, match=r"status\.md"):
        compile_context(request_for(templates=tmp_path / "prompts"))


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ mt.__class__.__init__.__globals__ }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ range(10) }}",
        "{{ 'x' * 1000000000 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ mt.model_dump() }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ no_such_value }}",
        "{% for",
        "{{ 1 // 0 }}",
    ],
)
def test_a_template_is_text_and_no_program(request_for, tmp_path, template):
    (tmp_path / "own" / "common").mkdir(parents=True)
    (tmp_path / "own" / "common" / "status.md").write_text(template + "\n")
    with pytest.raises(EnvironmentProblem, match=r"status\.md cannot be used"):
        compile_context(request_for(templates=tmp_path / "own"))


@pytest.mark.parametrize("damage", [b"\xff\xfe", b"x" * 70_000])
def test_a_template_that_is_no_text_is_refused(request_for, tmp_path, damage):
    (tmp_path / "own" / "common").mkdir(parents=True)
    (tmp_path / "own" / "common" / "status.md").write_bytes(damage)
    with pytest.raises(EnvironmentProblem, match=r"status\.md"):
        compile_context(request_for(templates=tmp_path / "own"))


def test_a_template_that_is_not_replaced_is_the_shipped_one(request_for, tmp_path):
    (tmp_path / "own" / "small").mkdir(parents=True)
    (tmp_path / "own" / "small" / "system.md").write_text("# SYSTEM RULES\nOurs.\n\n")
    ours = compile_context(request_for(templates=tmp_path / "own", profile="small")).envelope.full_prompt
    assert ours.startswith("# SYSTEM RULES\nOurs.\n\n# YOUR TASK\n")
    shipped = compile_context(request_for(profile="small")).envelope.full_prompt
    assert ours.partition("# YOUR TASK")[2] == shipped.partition("# YOUR TASK")[2]
    other = compile_context(request_for(templates=tmp_path / "own")).envelope.full_prompt
    assert other == compile_context(request_for()).envelope.full_prompt


def test_the_annotated_prompt_of_the_documents_is_that_of_the_templates():
    root = Path(__file__).parents[2]
    rules = (root / "templates" / "prompts" / "common" / "system.md").read_text(encoding="utf-8")
    assert rules.strip() in (root / "docs" / "context.md").read_text(encoding="utf-8")


def test_tiny_is_told_what_a_new_file_is_for(request_for, definition):
    mt = definition(files=FileAccess(read=("calc/stats.py",), create=("calc/new.py",)))
    compiled = compile_context(request_for(profile="tiny", edit_form="whole", mt=mt))
    closing = compiled.envelope.full_prompt.split("# COMPLETION PROTOCOL\n")[1]
    assert "`calc/new.py` does not exist yet. It must do this: `mean([1, 2, 3])` gives '2'." in closing
    assert "Write the complete new `calc/new.py` in one fenced block." in closing
    assert "FILE: calc/stats.py" in compiled.envelope.full_prompt


@pytest.mark.parametrize("profile", ["tiny", "small"])
def test_where_only_the_claim_was_wrong_no_more_edits_are_asked_for(request_for, profile):
    previous = dataclasses.replace(FAILED, checks_passed=True)
    closing = compile_context(request_for(profile=profile, edit_form="whole", iteration=2, previous=previous))
    text = closing.envelope.full_prompt.split("# COMPLETION PROTOCOL\n")[1]
    assert "check passes" in text
    assert "does not do this yet" not in text
    assert "Reply with your edits" not in text
