"""Candidates as training data: one JSON object a line, in forms that the common trainers read as they are.

Contract: `learning.md`, `distill export`. The forms are the documented ones: `messages` (OpenAI, TRL's conversational
language modelling, Axolotl `chat_template`), `conversations` of `from` and `value` (ShareGPT), `instruction`, `input`
and `output` (Alpaca), `prompt`, `chosen` and `rejected` (TRL's standard preference, Axolotl `prompt_pairs`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from handshake.domain.canonical import hash_of
from handshake.learning.candidates import StoredCandidate

Row = dict[str, Any]


@dataclass(frozen=True)
class Export:
    """The rows, and of each candidate that was left out the reason."""

    rows: tuple[Row, ...]
    left_out: tuple[tuple[str, str], ...]

    def lines(self) -> bytes:
        """JSON lines, UTF-8."""
        return b"".join(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n" for row in self.rows)


def _openai_chat(prompt: str, output: str) -> Row:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": output}]}


def _sharegpt(prompt: str, output: str) -> Row:
    return {"conversations": [{"from": "human", "value": prompt}, {"from": "gpt", "value": output}]}


def _alpaca(prompt: str, output: str) -> Row:
    return {"instruction": prompt, "input": "", "output": output}


_OF_TEACHER: dict[str, Callable[[str, str], Row]] = {
    "openai-chat": _openai_chat,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
}
FORMATS = (*_OF_TEACHER, "dpo")


def export(candidates: Iterable[StoredCandidate], form: str) -> Export:
    """The candidates that may be exported, in the order given, equal ones once.

    Args:
        form: one of `FORMATS`. In `dpo` the question is the student's, who is to learn: its own reply is
            rejected and the teacher's is chosen.
    """
    rows: list[Row] = []
    left_out: list[tuple[str, str]] = []
    seen: set[str] = set()
    for stored in candidates:
        refusals = stored.refusals_as_pair if form == "dpo" else stored.refusals
        row = None if refusals else _row(stored, form)
        if row is None:
            left_out.append((stored.name, "; ".join(refusals)))
        elif (key := hash_of(row)) in seen:
            left_out.append((stored.name, "the same as an earlier one"))
        else:
            seen.add(key)
            rows.append(row)
    return Export(tuple(rows), tuple(left_out))


def _row(stored: StoredCandidate, form: str) -> Row:
    teacher, student = stored.teacher, stored.student
    assert teacher is not None and teacher.prompt is not None and teacher.output is not None
    if form == "dpo":
        return {"prompt": student.prompt, "chosen": teacher.output, "rejected": student.output}
    return _OF_TEACHER[form](teacher.prompt, teacher.output)
