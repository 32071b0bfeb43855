"""The exported forms against what the trainers document, and against the library that reads them."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from types import SimpleNamespace

import pytest

from handshake.learning.candidates import SideTexts, StoredCandidate, holds_secret
from handshake.learning.export import FORMATS, export

FROM = (("a/x.py b/x.py", "0123abc"),)
STUDENT = SideTexts("Mend x.\n", "FILE: x.py\n```\nwrong\n```\n", "standard", FROM)
TEACHER = SideTexts("Mend x, carefully. \u00e4\u2028\n", 'FILE: x.py\n```\n"right"\n```\n', "standard", FROM)


def stored(student=STUDENT, teacher=TEACHER, refusals=(), factors=(), mt_id="MT-001"):
    candidate = SimpleNamespace(wp_id="WP-1-X-v1", mt_id=mt_id, contributing_factors=factors)
    return StoredCandidate("job", candidate, student, teacher, refusals)


def rows(form, *candidates):
    return [json.loads(line) for line in export(candidates or [stored()], form).lines().splitlines()]


def is_turn(message, role, key="role", text="content"):
    return set(message) == {key, text} and message[key] == role and isinstance(message[text], str)


def test_each_row_has_the_documented_keys_and_nothing_else():
    [chat] = rows("openai-chat")
    assert set(chat) == {"messages"}
    assert is_turn(chat["messages"][0], "user") and is_turn(chat["messages"][1], "assistant")
    [turns] = rows("sharegpt")
    assert set(turns) == {"conversations"}
    assert is_turn(turns["conversations"][0], "human", "from", "value")
    assert is_turn(turns["conversations"][1], "gpt", "from", "value")
    [alpaca] = rows("alpaca")
    assert set(alpaca) == {"instruction", "input", "output"} and alpaca["input"] == ""
    [pair] = rows("dpo")
    assert pair == {"prompt": STUDENT.prompt, "chosen": TEACHER.output, "rejected": STUDENT.output}


def test_a_row_is_one_line_whatever_the_texts_hold():
    for form in FORMATS:
        data = export([stored(), stored(teacher=SideTexts("p\r\n\x0b", "o\x1c\n", "standard", FROM))], form).lines()
        assert data.endswith(b"\n")
        assert [json.loads(line) for line in data[:-1].split(b"\n")]


def test_equal_rows_are_written_once_and_what_is_left_out_is_named():
    found = export([stored(), stored(mt_id="MT-002"), stored(refusals=("not eligible: score 0.5",))], "alpaca")
    assert len(found.rows) == 1
    assert found.left_out == (
        ("WP-1-X-v1/MT-002", "the same as an earlier one"),
        ("WP-1-X-v1/MT-001", "not eligible: score 0.5"),
    )


@pytest.mark.parametrize(
    "pair",
    [
        {"student": SideTexts("p", "o", "tiny", FROM)},
        {"student": SideTexts("p", "o", "standard", (("a/x.py b/x.py", "fffffff"),))},
        {"student": SideTexts("p", "o", "standard", (("a/y.py b/y.py", "0123abc"),))},
        {"student": SideTexts(None, "o", "standard", FROM)},
        {"student": SideTexts("p", None, "standard", FROM)},
        {"factors": ("weak:student_not_refuted",)},
    ],
)
def test_two_replies_that_answer_no_common_question_are_no_pair_and_still_an_example(pair):
    assert export([stored(**pair)], "dpo").rows == ()
    assert len(export([stored(**pair)], "openai-chat").rows) == 1


def test_a_secret_that_the_run_did_not_know_is_found_at_the_export():
    key = "AK" + "IA" + "Q3EGRFYXZ7HWNMPL"
    assert not holds_secret(TEACHER)
    assert holds_secret(SideTexts(f"use {key}", "x")) and holds_secret(SideTexts("x", f"use {key}"))
    pair = stored(student=SideTexts("p", f"use {key}", "standard", FROM))
    assert "holds a secret" in pair.refusals_as_pair[0]
    assert export([pair], "dpo").rows == ()


@pytest.mark.slow  # installs `datasets` and what it needs, some 400 MB
def test_the_datasets_library_reads_each_form(tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "datasets>=3"], check=True)
    for form in FORMATS:
        (tmp_path / f"{form}.jsonl").write_bytes(export([stored()], form).lines())
        code = (
            "import json, sys; from datasets import load_dataset;"
            "print(json.dumps(load_dataset('json', data_files=sys.argv[1], split='train')[0]))"
        )
        done = subprocess.run(
            [python, "-c", code, str(tmp_path / f"{form}.jsonl")],
            env={"HF_HOME": str(tmp_path / "cache"), "PATH": "", "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == rows(form)[0]
