"""Names, scopes, actions and criteria in short imperative sentences that a small model can follow."""

from __future__ import annotations

import re
from collections.abc import Sequence

from handshake.planning.drafts import Draft
from handshake.planning.words import vocabulary

LONGEST_NAME = 100
LONGEST_SCOPE = 500
LONGEST_ACTION = 200
LONGEST_CRITERION = 300
_MOST_CHANGE_ACTIONS = 6


def shortened(text: str, most: int) -> str:
    """The text on one line, cut at a word with an ellipsis if it is longer than `most` characters."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    cut = line[: most - 1]
    head, space, _ = cut.rpartition(" ")
    return (head if space and len(head) > most // 2 else cut).rstrip(" ,;:") + "…"


def criterion_text(bullet: str) -> str:
    """A bullet as a done criterion."""
    return shortened(bullet, LONGEST_CRITERION) or "(empty)"


def notes_for(bullets: Sequence[str]) -> list[str]:
    """The whole text of each bullet whose criterion had to be shortened: nothing is lost."""
    return [
        f"Criterion {number} in full: {' '.join(bullet.split())}"
        for number, bullet in enumerate(bullets, start=1)
        if criterion_text(bullet) != " ".join(bullet.split())
    ]


def name_of(draft: Draft, bullets: Sequence[str]) -> str:
    """E.g. `Fix calc/stats.py: mean of an empty list gives 0`."""
    files = draft.files
    first = next((path for path in files if path in draft.create), files[0])
    more = f" +{len(files) - 1}" if len(files) > 1 else ""
    part = f" ({draft.part}/{draft.parts})" if draft.parts > 1 else ""
    verb = "Create" if len(draft.create) == len(files) else _verb(bullets)
    head = f"{verb} {first}{more}{part}"
    if len(head) > LONGEST_NAME - 12:
        head = f"{verb} …{first[-(LONGEST_NAME - 40) :]}{more}{part}"
    subject = re.sub(r"[`*]", "", bullets[0]) if bullets else "keep in step with the packet"
    return shortened(f"{head}: {subject}", LONGEST_NAME)


def _verb(bullets: Sequence[str]) -> str:
    if not bullets:
        return "Check"
    words = {word for bullet in bullets for word in re.findall(r"[a-z]+", bullet.lower())}
    return "Fix" if words & set(vocabulary()["fix"]) else "Change"


def scope_of(draft: Draft, bullets: Sequence[str], description: str) -> str:
    """What is to be true, then where, then the packet's aim; at most 500 characters."""
    if bullets:
        aim = bullets[0] if len(bullets) == 1 else "; ".join(f"({i}) {b}" for i, b in enumerate(bullets, start=1))
    else:
        aim = "No criterion of the packet names these files; change them only if the packet needs it"
    where = f"Only {', '.join(draft.files)}."
    if draft.focus:
        where += f" Here: {', '.join(name.split('.')[-1] for name in draft.focus[:6])}."
    text = f"{shortened(aim, 300)} {shortened(where, 140)}"
    rest = LONGEST_SCOPE - len(text) - len(" Packet: ")
    if description.strip() and rest > 40:
        text += f" Packet: {shortened(description, rest)}"
    return shortened(text, LONGEST_SCOPE)


def actions_of(draft: Draft, bullets: Sequence[str], read: Sequence[str], commands: Sequence[str]) -> tuple[str, ...]:
    """Look, make, change, keep, check: in this order, at most ten."""
    actions: list[str] = []
    if read:
        actions.append(f"Read {', '.join(f'`{path}`' for path in read[:3])} to see what is expected.")
    actions += [f"Create `{path}`." for path in draft.create]
    where = f"In `{draft.files[0]}`: " if len(draft.files) == 1 else ""
    if len(bullets) <= _MOST_CHANGE_ACTIONS - len(draft.create) + 1:
        actions += [f"{where}{bullet}" for bullet in bullets]
    elif bullets:
        named = ", ".join(f"`{path}`" for path in draft.files)
        actions.append(f"Make each of the {len(bullets)} done criteria true, in order, in {named}")
    if not bullets:
        actions.append("Change these files only where the packet needs it; else leave them as they are.")
    if draft.modify:
        actions.append("Keep everything else in the file as it is.")
    if commands:
        actions.append(f"Check that this command would pass: {commands[0]}")
    return tuple(shortened(action, LONGEST_ACTION) for action in actions)
