"""What stands in each section of the prompt, besides the files. Contract: `context.md`, steps 3 to 8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from handshake.context.blocks import blocks_of
from handshake.context.render import Templates
from handshake.context.request import ContextRequest, EditForm, PreviousIteration
from handshake.context.sources import SourceFile
from handshake.domain.microtask import Expect, VerificationSpec
from handshake.source.words import not_spoken_of

DEFINITION_TOKENS = 500
STATUS_TOKENS = 200
NOTES_SHOWN = 3
NOTE_CHARACTERS = 300
DONE_SHOWN = 6
LANDMARKS_SHOWN = 12


@dataclass(frozen=True)
class Section:
    """A section, and flags for what was left out to keep its share."""

    text: str
    left_out: tuple[str, ...]


def one_line(text: str) -> str:
    """Text on one line, without double quotes: so it can stand between them."""
    return " ".join(text.split()).replace('"', "'")


def listed(paths: tuple[str, ...]) -> str:
    """`a.py, b.py`, or `(none)`."""
    return ", ".join(paths) or "(none)"


def definition_section(request: ContextRequest, templates: Templates) -> Section:
    """YOUR TASK. Over its share of tokens first notes go, then the scope text, then the actions; never a file or
    criterion: where these alone pass the share, that is flagged."""
    mt = request.mt
    steps: tuple[tuple[str, ...], ...] = ((), ("notes",), ("notes", "scope"), ("notes", "scope", "actions"))
    text = ""
    left_out: tuple[str, ...] = ()
    for left_out in steps:
        text = templates.render(
            "task",
            mt=mt.model_copy(update={"actions": mt.actions[:1]}) if "actions" in left_out else mt,
            modify=listed(mt.files.modify),
            create=listed(mt.files.create),
            scope="" if "scope" in left_out else mt.scope,
            notes="" if "notes" in left_out else (mt.notes or ""),
            done=done_rows(request),
            verify=[_verify_row(request, index, spec) for index, spec in enumerate(mt.verify)],
        )
        if request.count_tokens(text) <= DEFINITION_TOKENS:
            break
    present = {"notes": bool(mt.notes), "scope": True, "actions": len(mt.actions) > 1}
    flags = [f"mt_definition: {name}" for name in left_out if present[name]]
    over = request.count_tokens(text) - DEFINITION_TOKENS
    return Section(text, (*flags, *((f"mt_definition: {over} tokens over its share",) if over > 0 else ())))


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


def status_section(request: ContextRequest, templates: Templates) -> Section:
    """MICRO-TASK LOOP STATUS. Over its share the list of done tasks gives way to their number, then old notes go."""
    notes = [" ".join(note.split())[:NOTE_CHARACTERS] for note in request.human_notes]
    steps = [(DONE_SHOWN, NOTES_SHOWN), (0, NOTES_SHOWN), (0, 2), (0, 1)]
    text, left_out = "", []
    for done_shown, notes_shown in steps:
        text = templates.render(
            "status",
            mt=request.mt,
            iteration=request.iteration,
            max_iterations=request.max_iterations,
            level=request.level,
            max_level=request.max_level,
            model_id=request.model_id,
            lora_id=request.lora_id,
            previous=_previous_line(request.previous),
            done_mts=_done_line(request, done_shown),
            human_notes=notes[-notes_shown:],
        )
        hidden = max(0, len(notes) - notes_shown)
        left_out = [f"status: {hidden} older notes"] if hidden else []
        if request.count_tokens(text) <= STATUS_TOKENS:
            break
    return Section(text, tuple(left_out))


def _done_line(request: ContextRequest, shown: int) -> str:
    done = [f"{task.mt_id} {task.name}" for task in request.done_mts]
    if not done:
        return "none"
    hidden = len(done) - shown
    if hidden <= 0:
        return "; ".join(done)
    return f"{hidden} earlier ones, " + "; ".join(done[-shown:]) if shown else f"{len(done)} tasks"


def _previous_line(previous: PreviousIteration | None) -> str:
    if previous is None:
        return "First attempt."
    return _sentence(previous.outcome) + (f" {_sentence(previous.error)}" if previous.error else "")


def _sentence(text: str) -> str:
    flat = " ".join(text.split())[:300]
    return flat if flat.endswith((".", "!", "?")) else flat + "."


def landmarks(source: SourceFile | None) -> str:
    """Where the definitions of a file are, e.g. "`mean` 6-9, `spread` 12-14": small models cannot count lines."""
    named = [block for block in blocks_of(source) if block.name] if source is not None else []
    return ", ".join(f"`{block.name}` {block.start}-{block.end}" for block in named[:LANDMARKS_SHOWN])


def kept_names(source: SourceFile | None, goal: str) -> str:
    """The definitions of a file that its task does not speak of, e.g. "`mean`, `spread`": they are to stay."""
    named = [block.name for block in blocks_of(source) if block.name] if source is not None else []
    kept = not_spoken_of(named, goal)
    return ", ".join(f"`{name}`" for name in kept) if len(kept) <= LANDMARKS_SHOWN else ""


def completion_section(
    request: ContextRequest,
    templates: Templates,
    forms: Mapping[str, EditForm],
    shown_whole: Mapping[str, SourceFile],
    missing: tuple[str, ...] = (),
) -> str:
    """COMPLETION PROTOCOL, with the edit form of each writable file.

    `shown_whole` are the writable files that stand whole in the prompt; `missing` are
    writable paths that do not exist yet.
    """
    goals = [row["text"] for row in done_rows(request)]
    goal = "; ".join(goal.rstrip(".") for goal in goals) + "."
    return templates.render(
        "completion",
        mt=request.mt,
        forms=[
            {
                "path": path,
                "form": form,
                "exists": path not in missing,
                "line_count": len(shown_whole[path].lines) if path in shown_whole else 0,
                "landmarks": landmarks(shown_whole.get(path)),
                "keeps": kept_names(shown_whole.get(path), goal),
            }
            for path, form in forms.items()
        ],
        done=done_rows(request),
        evidence_path=next(iter(forms), "path"),
        goal=goal,
        frame_given=request.frame_given and len(request.mt.files.writable) == 1,
        has_previous=request.previous is not None,
        checks_passed=request.previous is not None and request.previous.checks_passed,
    )
