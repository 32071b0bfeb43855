"""The scripted model's replies: solutions from a folder, and the ways a model misbehaves."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from handshake.models.scripted.prompt import PromptTask
from handshake.models.scripted.script import Rule

_FENCE_NAMES = {
    ".py": "python",
    ".js": "javascript",
    ".ts": "typescript",
    ".go": "go",
    ".rs": "rust",
    ".md": "markdown",
}
_COMMENT = re.compile(r"^\s*(#|//|/\*|\*|--|<!--|$)")


def answer(rule: Rule, task: PromptTask, folder: Path, samples: int) -> list[str]:
    """The text of each sample."""
    if rule.reply is not None:
        texts = [rule.reply] if isinstance(rule.reply, str) else list(rule.reply)
        return [texts[number % len(texts)] for number in range(samples)]
    if rule.solve is not None:
        return [solution(task, folder / rule.solve, claim=rule.behave != "partial")] * samples
    return [_BEHAVIOURS[rule.behave or "partial"](task)] * samples


def solution(task: PromptTask, tree: Path, *, claim: bool = True) -> str:
    """The task's files as `tree` has them, whole, and a correct claim."""
    wanted = {path: (tree / path).read_text("utf-8") for path in task.writable if (tree / path).is_file()}
    changed = {path: text for path, text in wanted.items() if task.shown.get(path) != text} or wanted
    edits = [_whole_file(path, text) for path, text in changed.items()]
    if not claim:
        return "\n".join(["I have done a part; more is to come.", *edits])
    if not changed:
        return "The solution has no file of this task.\n"
    evidence = [_evidence(criterion, number, changed, task) for number, criterion in enumerate(task.criteria)]
    return "\n".join(["Here is the change.", *edits, _claim(task, evidence)])


def _whole_file(path: str, text: str) -> str:
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    ending = "" if text.endswith("\n") or not text else "\n"
    return f"FILE: {path}\n{fence}{_FENCE_NAMES.get(Path(path).suffix, '')}\n{text}{ending}{fence}\n"


def _claim(task: PromptTask, evidence: list[str]) -> str:
    return "\n".join(["<mt_complete>", f"MT_ID: {task.mt_id}", "EVIDENCE:", *evidence, "</mt_complete>", ""])


def _evidence(criterion: str, number: int, changed: dict[str, str], task: PromptTask) -> str:
    """One line: in the file that the criterion names, else in the files by turns."""
    paths = list(changed)
    named = [path for path in paths if path in criterion or Path(path).name in criterion]
    path = named[0] if named else paths[number % len(paths)]
    line = changed_line(task.shown.get(path, ""), changed[path])
    return f'- "{criterion}" -> {path}:{line}-{line}'


def changed_line(before: str, after: str) -> int:
    """The number, from 1, of the first line of code that is new in `after`; else the first line of code; else 1."""
    old, new = before.splitlines(), after.splitlines()
    fresh: list[int] = []
    for tag, _, _, start, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag in ("insert", "replace"):
            fresh.extend(range(start, end))
    for numbers in (fresh, range(len(new))):
        for at in numbers:
            if not _COMMENT.match(new[at]):
                return at + 1
    return 1


def _lie(task: PromptTask) -> str:
    path = task.writable[0] if task.writable else "nowhere.py"
    return _claim(task, [f'- "{criterion}" -> {path}:9990-9999' for criterion in task.criteria])


def _out_of_scope(task: PromptTask) -> str:
    path = task.writable[0] if task.writable else "nowhere.py"
    edits = [_whole_file(name, "planted = True\n") for name in ("../planted_outside.py", "planted_beside.py")]
    return "\n".join([*edits, _claim(task, [f'- "{criterion}" -> {path}:1-1' for criterion in task.criteria])])


def _give_up(task: PromptTask) -> str:
    return "<blocked>\nREASON: the task cannot be done as it is described\nNEED: a human answer\n</blocked>\n"


def _partial(task: PromptTask) -> str:
    return f"I am still reading what {task.mt_id or 'the task'} asks for.\n"


_BEHAVIOURS = {"lie": _lie, "out_of_scope": _out_of_scope, "give_up": _give_up, "partial": _partial}
