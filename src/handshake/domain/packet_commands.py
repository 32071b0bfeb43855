"""The commands of a TEST_PLAN. Contract: `packets-and-gates.md` and `micro-tasks.md`, Generation, step 5."""

from __future__ import annotations

import re

from handshake.domain.packet_lines import LineKind, PacketLines, code_spans

_GOVERNANCE = re.compile(
    r"^(?:just|make)\s+(?:pre-work|post-work|gate-check|cargo-clean|cor701-sha|validator-[\w-]+|validate[\w-]*|"
    r"role-mailbox-[\w-]+|task-board-[\w-]+|create-task-packet|worktree-[\w-]+)\b"
    r"|^handshake(?:\s|$)"
    r"|^python3?\s+-m\s+handshake(?:\s|$)"
)
_PROMPT_LANGUAGES = ("console", "shell-session", "sh-session", "terminal")
_BULLET_TEXT = re.compile(r"^[ \t]*+(?:[-*+]|\d{1,9}[.)])[ \t]+(?:\[[ xX]\][ \t]++)?(\S.*)$")
_PROGRAM = re.compile(r"^[a-z0-9_./-]+$")


def is_governance_command(command: str) -> bool:
    """Whether a command belongs to the packet's life (pre-work, post-work, validators), not to its tests."""
    return bool(_GOVERNANCE.match(command.strip()))


def read_commands(lines: PacketLines, where: range) -> tuple[list[str], list[tuple[int, str]]]:
    """The commands in those lines, in order, and the items that are none, as (0-based line, text).

    Fences of any language count, and items that are inline code. Items in plain words count only where
    the section has no fence. Comments and blank lines are dropped, continued lines joined.
    """
    commands: list[tuple[int, str]] = []
    unread: list[tuple[int, str]] = []
    fences = [fence for fence in lines.fences if fence.opened in where]
    for fence in fences:
        body = [(n, lines.texts[n]) for n in range(fence.start, min(fence.end, where.stop))]
        commands += _of_fence(body, fence.info)
    for number in where:
        item = _BULLET_TEXT.match(lines.live[number]) if lines.kinds[number] is LineKind.TEXT else None
        if not item:
            continue
        text = item.group(1).strip()
        spans = code_spans(text)
        if spans and spans[0][0] == 0:
            commands.append((number, text[spans[0][1] : spans[0][2]].strip()))
        elif not fences and not text.startswith("("):
            command = without_comment(text)
            if _PROGRAM.match(command.split()[0] if command else ""):
                commands.append((number, command))
            else:
                unread.append((number, text))
    return [command for _, command in sorted(commands, key=lambda pair: pair[0]) if command], unread


def _of_fence(body: list[tuple[int, str]], info: str) -> list[tuple[int, str]]:
    language = info.split(maxsplit=1)[0].lower().strip("{}.") if info.split() else ""
    prompts_only = language in _PROMPT_LANGUAGES and any(text.lstrip().startswith("$ ") for _, text in body)
    found: list[tuple[int, str]] = []
    started = -1
    so_far: list[str] = []
    for number, text in body:
        part = text.strip()
        if part.startswith("#") or (not so_far and (not part or (prompts_only and not part.startswith("$ ")))):
            continue
        if not so_far:
            started, part = number, part.removeprefix("$ ").strip()
        goes_on = part.endswith("\\") and not part.endswith("\\\\")
        part = part[:-1].rstrip() if goes_on else part
        so_far += [part] if part else []
        if not goes_on:
            found.append((started, without_comment(" ".join(so_far))))
            so_far = []
    found.append((started, without_comment(" ".join(so_far))))
    return [(number, command) for number, command in found if command]


def without_comment(command: str) -> str:
    """The command without a trailing `# comment`; a `#` in quotes or within a word stays."""
    quote = ""
    position = 0
    while position < len(command):
        sign = command[position]
        if sign == "\\" and quote != "'":
            position += 2
            continue
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign == "#" and (position == 0 or command[position - 1] in " \t"):
            return command[:position].rstrip()
        position += 1
    return command.strip()
