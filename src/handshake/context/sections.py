"""What stands in each section of the prompt, besides the files. Contract: `context.md`, steps 3 to 8."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from handshake.context.blocks import blocks_of
from handshake.context.fences import fenced
from handshake.context.render import Templates
from handshake.context.request import ContextRequest, EditForm, PreviousIteration
from handshake.domain.microtask import Expect, VerificationSpec
from handshake.domain.reply import EditOutcome

DEFINITION_TOKENS = 500
PREVIOUS_TOKENS = 200
INLINE_CHARACTERS = 2000
DONE_SHOWN = 6
LANDMARKS_SHOWN = 12

Count = Callable[[str], int]


@dataclass(frozen=True)
class Definition:
    """The task's section, and what was left out to keep its share."""

    text: str
    left_out: tuple[str, ...]


def one_line(text: str) -> str:
    """Text on one line, without double quotes: so it can stand between them."""
    return " ".join(text.split()).replace('"', "'")


def listed(paths: tuple[str, ...]) -> str:
    """`a.py, b.py`, or `(none)`."""
    return ", ".join(paths) or "(none)"


def definition_section(request: ContextRequest, templates: Templates) -> Definition:
    """YOUR TASK. Over its share of tokens first the notes go, then the scope text; never a file or criterion."""
    mt = request.mt
    steps: tuple[tuple[str, ...], ...] = ((), ("notes",), ("notes", "scope"))
    text = ""
    left_out: tuple[str, ...] = ()
    for left_out in steps:
        text = templates.render(
            "task",
            mt=mt,
            modify=listed(mt.files.modify),
            create=listed(mt.files.create),
            scope="" if "scope" in left_out else mt.scope,
            notes="" if "notes" in left_out else (mt.notes or ""),
            done=done_rows(request),
            verify=[_verify_row(request, index, spec) for index, spec in enumerate(mt.verify)],
        )
        if request.count_tokens(text) <= DEFINITION_TOKENS:
            break
    present = {"notes": bool(mt.notes), "scope": True}
    return Definition(text, tuple(f"mt_definition: {name}" for name in left_out if present[name]))


def done_rows(request: ContextRequest) -> list[dict[str, str]]:
    """The criteria as the templates take them."""
    return [{"text": one_line(criterion.description)} for criterion in request.mt.done]


def _verify_row(request: ContextRequest, index: int, spec: VerificationSpec) -> dict[str, str]:
    expects = {
        Expect.EXIT_0: "must exit 0",
        Expect.EXIT_NONZERO: "must exit with an error",
        Expect.CONTAINS: f"must print `{spec.pattern}`",
        Expect.NOT_CONTAINS: f"must not print `{spec.pattern}`",
    }[spec.expect]
    proven = [str(n) for n, row in enumerate(request.mt.done, start=1) if row.verify_ref == index]
    proves = f" (proves criterion {', '.join(proven)})" if proven else ""
    return {"command": spec.command, "expects": expects, "proves": proves}


def status_section(request: ContextRequest, templates: Templates) -> str:
    """MICRO-TASK LOOP STATUS."""
    done = [f"{mt_id} {name}" for mt_id, name in request.done_mts]
    hidden = len(done) - DONE_SHOWN
    shown = done[-DONE_SHOWN:] if hidden > 0 else done
    before = f"{hidden} earlier ones, " if hidden > 0 else ""
    return templates.render(
        "status",
        mt=request.mt,
        iteration=request.iteration,
        max_iterations=request.max_iterations,
        level=request.level,
        max_level=request.max_level,
        model_id=request.model_id,
        lora_id=request.lora_id,
        previous=_previous_line(request.previous),
        done_mts=before + ("; ".join(shown) or "none"),
    )


def _previous_line(previous: PreviousIteration | None) -> str:
    if previous is None:
        return "First attempt."
    return _sentence(previous.outcome) + (f" {_sentence(previous.error)}" if previous.error else "")


def _sentence(text: str) -> str:
    flat = " ".join(text.split())[:300]
    return flat if flat.endswith((".", "!", "?")) else flat + "."


def previous_section(
    request: ContextRequest, templates: Templates, source_line: Callable[[str, int], str | None]
) -> tuple[str, tuple[str, ...]]:
    """PREVIOUS ITERATION (empty on a first attempt) in its share of tokens, and flags for what was cut.

    `source_line` gives a line of a file in scope as it is now.
    """
    previous = request.previous
    if previous is None:
        return "", ()
    kept: list[str] = []
    flags: list[str] = []
    for name, item in _items(previous, source_line):
        for form in (item, _shortened(item, kept, request.count_tokens)):
            if form and request.count_tokens("\n".join((*kept, form))) <= PREVIOUS_TOKENS:
                kept.append(form)
                break
        if not kept or kept[-1] != item:
            flags.append(f"previous: {name}")
    return templates.render("previous", items=kept), tuple(flags)


def _items(previous: PreviousIteration, source_line: Callable[[str, int], str | None]) -> list[tuple[str, str]]:
    """What there is to say, most useful first; each with its name for the flags."""
    items = []
    if previous.malformed:
        items.append(("malformed", f"The closing block made no claim: {' '.join(previous.malformed.split())}"))
    items += [("edits", _edit_item(outcome)) for outcome in previous.edit_outcomes if not outcome.applied]
    if previous.locations:
        rows = [_location_row(path, line, message, source_line) for path, line, message in previous.locations]
        items.append(("locations", "It fails here:\n" + fenced("\n".join(dict.fromkeys(rows)))))
    tail = previous.validation_tail[-INLINE_CHARACTERS:].strip("\n")
    if tail.strip():
        items.append(("output", "The checks printed:\n" + fenced(tail)))
    items += [("edits", _edit_item(outcome)) for outcome in previous.edit_outcomes if outcome.applied]
    if previous.reply_summary.strip():
        items.append(("summary", "The last reply in short:\n" + fenced(" ".join(previous.reply_summary.split()))))
    return items


def _edit_item(outcome: EditOutcome) -> str:
    if outcome.applied:
        return f"Applied: {outcome.path}" + (
            "" if outcome.changed else ", but it changed nothing: the file is the same"
        )
    text = f"Not applied: {outcome.path}: {outcome.error or 'no reason given'}"
    return f"{text}. The nearest real lines:\n{fenced(chr(10).join(outcome.nearest))}" if outcome.nearest else text


def _location_row(path: str, line: int, message: str, source_line: Callable[[str, int], str | None]) -> str:
    shown = source_line(path, line)
    row = f"{path}:{line}: {' '.join(message.split())}"
    return f"{row}\n    {shown.strip()}" if shown and shown.strip() else row


def _shortened(item: str, kept: list[str], count: Count) -> str | None:
    """A fenced item with the first lines of its data dropped until it fits; None if nothing would be left."""
    lines = item.split("\n")
    if len(lines) < 4:
        return None
    head, data, foot = lines[:2], lines[2:-1], lines[-1]
    for skip in range(1, len(data)):
        short = "\n".join((*head, *data[skip:], foot))
        if count("\n".join((*kept, short))) <= PREVIOUS_TOKENS:
            return short
    return None


def landmarks(path: str, lines: tuple[str, ...]) -> str:
    """Where the definitions of a file are, e.g. "`mean` 6-9, `spread` 12-14": small models cannot count lines."""
    named = [block for block in blocks_of(path, lines) if block.name]
    return ", ".join(f"`{block.name}` {block.start}-{block.end}" for block in named[:LANDMARKS_SHOWN])


def completion_section(
    request: ContextRequest,
    templates: Templates,
    forms: Mapping[str, EditForm],
    shown_whole: Mapping[str, tuple[str, ...]],
    missing: tuple[str, ...] = (),
) -> str:
    """COMPLETION PROTOCOL, with the edit form of each writable file.

    `shown_whole` are the lines of the writable files that stand whole in the prompt; `missing` are
    writable paths that do not exist yet.
    """
    goals = [row["text"] for row in done_rows(request)]
    return templates.render(
        "completion",
        mt=request.mt,
        forms=[
            {
                "path": path,
                "form": form,
                "exists": path not in missing,
                "line_count": len(shown_whole.get(path, ())),
                "landmarks": landmarks(path, shown_whole.get(path, ())),
            }
            for path, form in forms.items()
        ],
        done=done_rows(request),
        evidence_path=next(iter(forms), "path"),
        goal="; ".join(goal.rstrip(".") for goal in goals) + ".",
        frame_given=request.frame_given and len(request.mt.files.writable) == 1,
        has_previous=request.previous is not None,
        checks_passed=request.previous is not None and request.previous.checks_passed,
    )
