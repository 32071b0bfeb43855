"""What the scripted model reads out of a prompt: the task's ids, paths and criteria, and the files shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_FIELD = re.compile(r"^(MT_ID|MODIFY|CREATE):[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_DONE = re.compile(r"^DONE:[ \t]*\n((?:- .*(?:\n|$))+)", re.MULTILINE)
_FILE = re.compile(r"^FILE:[ \t]*`?([^`\n]+?)`?[ \t]*$")
_FENCE = re.compile(r"^(`{3,}|~{3,})")


@dataclass(frozen=True)
class PromptTask:
    """The task of one prompt; `shown` maps a path to the content that the prompt shows."""

    mt_id: str | None = None
    modify: tuple[str, ...] = ()
    create: tuple[str, ...] = ()
    criteria: tuple[str, ...] = ()
    shown: dict[str, str] = field(default_factory=dict)

    @property
    def writable(self) -> tuple[str, ...]:
        """`modify`, then `create`."""
        return (*self.modify, *self.create)


def read_prompt(prompt: str) -> PromptTask:
    """The task; what is not there is empty. A later line of a name counts, not an earlier one."""
    outside = _without_fences(prompt)
    fields = {match.group(1): match.group(2) for match in _FIELD.finditer(outside)}
    done = list(_DONE.finditer(outside))
    lines = done[-1].group(1).splitlines() if done else []
    return PromptTask(
        mt_id=fields.get("MT_ID"),
        modify=_paths(fields.get("MODIFY", "")),
        create=_paths(fields.get("CREATE", "")),
        criteria=tuple(_criterion(line) for line in lines),
        shown=_shown_files(prompt),
    )


def _paths(text: str) -> tuple[str, ...]:
    if text in ("", "(none)"):
        return ()
    return tuple(path.strip().strip("`") for path in text.split(",") if path.strip())


def _criterion(line: str) -> str:
    text = line.removeprefix("- ").strip()
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text


def _fenced(lines: list[str]) -> list[tuple[int, int]]:
    """The line numbers of each fence's opening and closing line."""
    blocks = []
    start = 0
    while start < len(lines):
        opened = _FENCE.match(lines[start])
        if opened is None:
            start += 1
            continue
        mark = opened.group(1)
        closing = re.compile(rf"^{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$")
        end = next((at for at in range(start + 1, len(lines)) if closing.match(lines[at])), len(lines))
        blocks.append((start, end))
        start = end + 1
    return blocks


def _without_fences(prompt: str) -> str:
    lines = prompt.split("\n")
    inside = {at for start, end in _fenced(lines) for at in range(start, end + 1)}
    return "\n".join(line for at, line in enumerate(lines) if at not in inside)


def _shown_files(prompt: str) -> dict[str, str]:
    lines = prompt.split("\n")
    shown = {}
    for start, end in _fenced(lines):
        above = next((lines[at] for at in range(start - 1, -1, -1) if lines[at].strip()), "")
        named = _FILE.match(above)
        if named is not None:
            body = lines[start + 1 : end]
            shown[named.group(1)] = "\n".join(body) + ("\n" if body else "")
    return shown
