"""Calibration: a real program answers the edits; what it handles is measured and stored."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from handshake.domain.edit_text import resolve_edit
from handshake.domain.errors import ModelFailed
from handshake.domain.reply import Edit
from handshake.domain.settings import ModelConfig
from handshake.loop.calibrate import FORMS, Trial, calibrate, forms_worth_offering, read_edits
from handshake.models.command import CommandProvider

NOW = datetime(2026, 1, 2, tzinfo=UTC)

# Reads the prompt, finds the edit by its file, and answers in the form that the prompt asks for, as told: `whole` and
# `search_replace` map to right, lazy (gives the file as it was), silent, stray (the other form) or fail.
PROGRAM = """
import json, sys
prompt = sys.stdin.read()
edits, ways = json.loads(sys.argv[1]), json.loads(sys.argv[2])
path, before, after = next(edit for edit in edits if edit[0] in prompt)
form = "search_replace" if "<<<<<<< SEARCH" in prompt else "whole"
way = ways[form]
if way == "fail":
    sys.exit(3)
if way == "stray":
    form = "whole" if form == "search_replace" else "search_replace"
text = before if way == "lazy" else after
if way == "silent":
    print("I would rather not.")
elif form == "whole":
    print(f"FILE: {path}\\n```\\n{text}```")
else:
    print(f"FILE: {path}\\n```\\n<<<<<<< SEARCH\\n{before}=======\\n{text}>>>>>>> REPLACE\\n```")
"""


def _provider(tmp_path: Path, **ways: str) -> tuple[CommandProvider, ModelConfig]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    edits = json.dumps([(edit.path, edit.before, edit.after) for edit in read_edits()])
    config = ModelConfig(
        provider="command",
        command=(sys.executable, str(program), edits, json.dumps(ways)),
        context_window=8192,
        timeout_s=20,
    )
    return CommandProvider("program", config), config


def test_twelve_edits_with_files_of_their_own_that_change() -> None:
    edits = list(read_edits())
    assert len(edits) == 12
    assert len({edit.path for edit in edits}) == 12
    assert all(edit.before != edit.after for edit in edits)


@pytest.mark.parametrize("edit", list(read_edits()), ids=lambda edit: edit.name)
def test_the_file_asked_for_can_be_given_whole(edit) -> None:
    given = resolve_edit(
        edit.before.encode(), Edit(path=edit.path, form="whole", content=edit.after), allow_shrink=True
    )
    assert given.data == edit.after.encode()


@pytest.mark.parametrize(
    ("whole", "search", "outcomes", "kept"),
    [
        ("right", "right", {"whole": "right", "search_replace": "right"}, FORMS),
        ("right", "silent", {"whole": "right", "search_replace": "not_applied"}, ("whole",)),
        ("lazy", "right", {"whole": "wrong", "search_replace": "right"}, ("search_replace",)),
        ("right", "stray", {"whole": "right", "search_replace": "not_applied"}, ("whole",)),
    ],
)
def test_the_form_that_works_is_found(tmp_path, whole, search, outcomes, kept) -> None:
    provider, config = _provider(tmp_path, whole=whole, search_replace=search)
    told: list[Trial] = []
    found = calibrate(provider, config, now=NOW, on_trial=told.append)
    assert {form: {t.outcome for t in found.trials if t.form == form} for form in FORMS} == {
        form: {outcome} for form, outcome in outcomes.items()
    }
    assert (found.edit_forms, tuple(told)) == (kept, found.trials)


def test_a_program_that_fails_says_nothing_of_its_model(tmp_path) -> None:
    provider, config = _provider(tmp_path, whole="fail", search_replace="fail")
    with pytest.raises(ModelFailed):
        calibrate(provider, config, now=NOW)


@pytest.mark.parametrize(
    ("whole", "search", "kept"),
    [
        (12, 12, ("whole", "search_replace")),
        (7, 12, ("search_replace", "whole")),
        (5, 12, ("search_replace",)),
        (3, 2, ("whole",)),
        (1, 0, ("whole",)),
        (0, 0, ()),
    ],
)
def test_forms_are_ranked_and_the_failing_left_out(whole: int, search: int, kept: tuple[str, ...]) -> None:
    right = {"whole": whole, "search_replace": search}
    trials = [
        Trial(name=str(n), form=form, outcome="right" if n < right[form] else "wrong")
        for form in FORMS
        for n in range(12)
    ]
    assert forms_worth_offering(trials) == kept
