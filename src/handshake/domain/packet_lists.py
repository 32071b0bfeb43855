"""Labelled values and lists of a packet, however they are written: bold, bulleted, as a heading, wrapped.

Contract: `packets-and-gates.md`, The packet ("Real packets vary").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from handshake.domain.packet_lines import LineKind, PacketLines, heading_of_line

_BULLET = re.compile(r"^([ \t]*+)(?:[-*+]|\d{1,9}[.)])(?:[ \t]+(.*)|$)")
_BOX = re.compile(r"^\[[ xX]\][ \t]+")
_LABEL = re.compile(
    r"^\*{0,2}[A-Z][A-Z0-9]*(?:[ _-][A-Z0-9]+)*\*{0,2}[ \t]*:|^\*\*[A-Za-z][\w -]{1,40}(?:\*\*[ \t]*:|:\*\*)"
)
_FIELDS = frozenset(
    {
        *(
            "STATUS",
            "DATE",
            "ROLE",
            "REQUESTOR",
            "SCOPE",
            "WHAT",
            "WHY",
            "AUTHORITY",
            "LINEAGE",
            "BOOTSTRAP",
            "WAIVERS",
        ),
        *("SKELETON", "IMPLEMENTATION", "HYGIENE", "VALIDATION", "EVIDENCE", "METADATA", "NOTES", "HANDOFF", "CODEX"),
    }
)
_LIST_NAME = re.compile(
    r"^(?:(?:IN|OUT_?OF)_?SCOPE(?:_(?:PATHS?|FILES?))?|(?:TEST_PLAN|DONE_MEANS|DEFINITION_OF_DONE|ROLLBACK_HINT"
    r"|EXECUTION_POLICY|WAIVERS_GRANTED|QUALITY_GATE|USER_SIGNATURE|RISK_TIER|WP_ID)(?:_\w+)?)$"
)
_KEY = re.compile(
    r"^[ \t]*+(?:[-*+][ \t]++)?(\*{0,2})`?([A-Za-z][A-Za-z0-9 _/-]{0,40}?)`?[ \t]*(\*{0,2})[ \t]*:"
    r"[ \t]*(\*{0,2})[ \t]*(.*)$"
)
_DEEPEST = 12


@dataclass
class Item:
    """One list item: its 0-based line, the parts of its text, and the items below it.

    `indent` is -1 for a line of plain text that stands where items should.
    """

    line: int
    indent: int
    parts: list[str]
    children: list[Item] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The item's own text, joined over its lines."""
        return " ".join(part for part in self.parts if part)

    def full_text(self) -> str:
        """The text with that of its children, on one line."""
        return " ".join([self.text, *(f"- {child.full_text()}" for child in self.children)]).strip()


@dataclass
class LabelledList:
    """A list with its label's 0-based line. `fenced` are lines of fences that stand where items should."""

    line: int
    items: list[Item]
    inline: str = ""
    fenced: list[Item] = field(default_factory=list)
    lost: list[Item] = field(default_factory=list)


class ItemsBelow(NamedTuple):
    """What `items_below` found. `ended` is the 0-based line of the field that ended the list, if one did.

    `lost` are the lines of text before the first item, and the items behind text that ended the list.
    """

    items: list[Item]
    fenced: list[Item]
    ended: int | None = None
    lost: list[Item] = []  # noqa: RUF012 - never changed


@dataclass(frozen=True)
class KeyValue:
    """`KEY: value` as it stands. `bold` says whether the key is in bold."""

    key: str
    value: str
    line: int
    bold: bool


def key_of_line(text: str, line: int) -> KeyValue | None:
    """The key and value of a line such as `- **Status:** Done`, `**Status**: Done` or `Status: Done`."""
    found = _KEY.match(text) if ":" in text[:80] else None
    if not found:
        return None
    bold = bool(found.group(1)) and bool(found.group(3) or found.group(4) or found.group(5).endswith("**"))
    value = found.group(5).strip()
    if found.group(1) and not (found.group(3) or found.group(4)):
        value = value.removesuffix("**").strip()
    key = re.sub(r"[ /-]+", "_", found.group(2).strip()).upper()
    return KeyValue(key, value, line, bold)


def find_list(lines: PacketLines, where: Iterable[range], name: str) -> LabelledList | None:
    """The list below the label or heading that matches the pattern `name`, in the first range that has one."""
    return next(find_lists(lines, where, name), None)


def find_lists(lines: PacketLines, where: Iterable[range], name: str) -> Iterator[LabelledList]:
    """Every such list, in order."""
    for section in where:
        for number in section:
            text = lines.live[number]
            found = _label_pattern(name).match(text) if text else None
            if found:
                is_bullet = bool(_BULLET.match(text))
                below = items_below(lines, range(number + 1, section.stop), _indent(text) if is_bullet else -1)
                inline = found.group("rest").strip().strip("*").strip()
                yield LabelledList(number, below.items, inline, below.fenced, below.lost)


@lru_cache(maxsize=64)
def _label_pattern(name: str) -> re.Pattern[str]:
    return re.compile(
        rf"^[ \t]*+(?:(?:[-*+]|\d{{1,3}}[.)])[ \t]++|#{{1,6}}[ \t]++)?\*{{0,2}}`?(?:{name})`?"
        rf"(?:[ \t]*\([^)]*\))?(?:\*{{0,2}}[ \t]*:\*{{0,2}}|\*\*|$)(?P<rest>.*)$",
        re.IGNORECASE,
    )


def items_below(lines: PacketLines, where: range, label_indent: int = -1, *, whole: bool = False) -> ItemsBelow:
    """The items in those lines, nested by indentation, and the non-blank lines of fences among them.

    The list ends at a heading, at the next label, at text that stands alone after a blank line, and, under
    a bulleted label, at the next bullet on the label's level.

    Args:
        whole: the lines are one section that is nothing but a list: it goes on after headings, titles and text,
            which are no items, and ends at a field of the packet alone. Else what follows would be lost unseen.
    """
    flat: list[Item] = []
    plain: list[Item] = []
    fenced: list[Item] = []
    after_blank = beside = False
    ended = None
    for number in where:
        text, kind = lines.live[number], lines.kinds[number]
        if kind is not LineKind.TEXT:
            if kind is LineKind.FENCED and lines.texts[number].strip():
                fenced.append(Item(number, 0, [lines.texts[number].strip()]))
            continue
        if not text.strip():
            after_blank = True
            continue
        is_title = heading_of_line(text) is not None
        if is_title and not whole:
            break
        bullet = _BULLET.match(text)
        indent = _indent(text)
        if bullet:
            content = (bullet.group(2) or "").strip()
            if indent <= label_indent or _ends_list(content, indent, flat):
                ended = number
                break
            flat.append(Item(number, indent, [_BOX.sub("", content)]))
            beside = False
        elif (_is_field if whole else _LABEL.match)(text.strip()) and (not flat or indent <= flat[0].indent):
            ended = number
            break
        elif flat and whole and (beside or is_title or (after_blank and indent <= flat[-1].indent)):
            beside = True
        elif flat and (not after_blank or indent > flat[-1].indent):
            flat[-1].parts.append(text.strip())
        elif flat:
            return ItemsBelow(_nested(flat), fenced, None, plain + _behind(lines, where, number, label_indent))
        elif label_indent < 0 or indent > label_indent:
            plain.append(Item(number, -1, [text.strip()]))
        after_blank = False
    return ItemsBelow(_nested(flat) if flat else plain, fenced, ended, plain if flat else [])


def _behind(lines: PacketLines, where: range, number: int, label_indent: int) -> list[Item]:
    """The items behind the text at a line, up to the next heading, field or label."""
    found: list[Item] = []
    for later in range(number, where.stop):
        text = lines.live[later]
        bullet = _BULLET.match(text)
        content = (bullet.group(2) or "").strip() if bullet else text.strip()
        if heading_of_line(text) is not None or _LABEL.match(content) or _is_field(content):
            break
        if bullet and _indent(text) <= label_indent:
            break
        if bullet:
            found.append(Item(later, _indent(text), [content]))
    return found


def bullets_in(lines: PacketLines, where: range) -> list[int]:
    """The 0-based lines that are list items."""
    return [number for number in where if _BULLET.match(lines.live[number])]


def _ends_list(content: str, indent: int, flat: list[Item]) -> bool:
    """Whether a bullet is the next label: `OUT_OF_SCOPE:` on the level of the items before it."""
    return bool(flat) and indent <= flat[0].indent and _is_field(content)


def _is_field(text: str) -> bool:
    """Whether a line is a field of a packet. Any other name before a colon begins an item.

    `REQ-2: it is logged`, `**Speed:** as before`, `BREAKING: the argument is gone`: a list that ended there would
    lose the rest without a word.
    """
    pair = key_of_line(text, 0) if _LABEL.match(text) else None
    if pair is None:
        return False
    if pair.key in _FIELDS or _LIST_NAME.match(pair.key):
        return True
    is_named = "_" in pair.key and pair.key.isascii() and not any(sign.isdigit() for sign in pair.key)
    return is_named and not pair.bold and pair.key in text and len(pair.value.split()) < 3


def _nested(flat: list[Item]) -> list[Item]:
    top: list[Item] = []
    stack: list[Item] = []
    for item in flat:
        while stack and (stack[-1].indent >= item.indent or len(stack) >= _DEEPEST):
            stack.pop()
        if stack:
            stack[-1].children.append(item)
        else:
            top.append(item)
        stack.append(item)
    return top


def _indent(text: str) -> int:
    expanded = text.expandtabs(4)
    return len(expanded) - len(expanded.lstrip(" "))
