"""The fields and lists of a packet, and what is wrong with each. Contract: `packets-and-gates.md`, The packet."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from handshake.domain.packet import Finding, PacketStatus
from handshake.domain.packet_commands import read_commands
from handshake.domain.packet_lines import PacketLines
from handshake.domain.packet_lists import (
    Item,
    KeyValue,
    LabelledList,
    bullets_in,
    find_list,
    find_lists,
    items_below,
    key_of_line,
)
from handshake.domain.packet_scope import (
    UnreadablePath,
    is_nothing,
    is_placeholder,
    is_surely_path,
    looks_like_path,
    paths_of_item,
)

IN_SCOPE = r"IN[ _-]?SCOPE(?:[ _-](?:PATHS?|FILES?))?"
OUT_OF_SCOPE = r"OUT[ _-]?OF[ _-]?SCOPE(?:[ _-](?:PATHS?|FILES?))?"
# a title that says that what stands below may not change
_TAKEN_OUT = re.compile(
    r"(?<![A-Za-z])(?:out[ _-]?of|exclu\w*|except\w*|forbidden|never|not?|without)(?![A-Za-z])[^`]*:\**$",
    re.IGNORECASE,
)
# a bullet without the blank that makes it one
_UNMARKED = re.compile(r"^(?:[-+](?=[^\W\d]|[.`\"])|\*(?=[\w.]+[/.]\w))")
_REVISION = re.compile(r"-v\d+$")


@dataclass
class Remarks:
    """Findings about one file, in the order they are made; lines are given 0-based."""

    path: str
    findings: list[Finding] = field(default_factory=list)

    def error(self, code: str, line: int | None, what: str, mend: str) -> None:
        """Remember what stands in the way."""
        self._add("error", code, line, what, mend)

    def warning(self, code: str, line: int | None, what: str, mend: str) -> None:
        """Remember what is worth a look."""
        self._add("warning", code, line, what, mend)

    def _add(self, severity: Literal["error", "warning"], code: str, line: int | None, what: str, mend: str) -> None:
        shown = None if line is None else line + 1
        self.findings.append(Finding(severity=severity, code=code, file=self.path, line=shown, what=what, mend=mend))


@dataclass
class HeadFields:
    """What METADATA says. `status_line` is 1-based, 0 where there is none."""

    wp_id: str = ""
    base_wp_id: str = ""
    status_text: str = ""
    status_line: int = 0
    user_signature: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    risk_tier: Literal["LOW", "MEDIUM", "HIGH"] = "MEDIUM"
    is_stub: bool = False


@dataclass
class DecidingParts:
    """What SCOPE and QUALITY_GATE say."""

    in_scope_paths: tuple[str, ...] = ()
    out_of_scope: tuple[str, ...] = ()
    what: str = ""
    why: str = ""
    done_means: tuple[str, ...] = ()
    test_plan: tuple[str, ...] = ()
    execution_policy: dict[str, object] | None = None
    complete: bool = False


def status_lines(lines: PacketLines) -> list[KeyValue]:
    """The Status lines that may count: those of the head; without one there, those before the reports."""
    head = _head_pairs(lines)
    found = [pair for pair in head if pair.key in ("STATUS", "WP_STATUS", "PACKET_STATUS")]
    if not found:
        reports = lines.heading_of("VALIDATION_REPORTS")
        stop = reports.line if reports else len(lines.live)
        pairs = (key_of_line(lines.live[number], number) for number in range(stop))
        found = [pair for pair in pairs if pair and pair.key == "STATUS"]
    return found


def deciding_status(pairs: list[KeyValue]) -> KeyValue | None:
    """A bold one wins, else the first."""
    return next((pair for pair in pairs if pair.bold), pairs[0] if pairs else None)


def _head_pairs(lines: PacketLines) -> list[KeyValue]:
    first = next(
        (heading.line for heading in lines.headings if heading.level > 1 or heading.section), len(lines.live)
    )
    places = [range(first), *lines.sections("METADATA"), *lines.sections("IDENTITY")]
    pairs = (key_of_line(lines.live[number], number) for place in places for number in place)
    return [pair for pair in pairs if pair]


def plain_value(value: str) -> str:
    """A value without backticks and bold around it."""
    text = value.strip()
    while len(text) > 1 and text[0] == text[-1] and text[0] in "`*":
        text = text[1:-1].strip()
    return text


def read_fields(lines: PacketLines, path: str, remarks: Remarks) -> HeadFields:
    """METADATA, the status and what follows from them."""
    head = HeadFields()
    for pair in _head_pairs(lines):
        head.metadata.setdefault(pair.key, plain_value(pair.value))
    _read_status(lines, head, remarks)
    head.is_stub = (
        head.status_text == PacketStatus.STUB
        or "/stubs/" in "/" + path.replace("\\", "/")
        or any(h.level == 1 and "packet stub" in h.text.casefold() for h in lines.headings[:1])
    )
    head.wp_id = _first_word(head.metadata.get("WP_ID") or head.metadata.get("TASK_ID") or "")
    if not head.wp_id or is_placeholder(head.wp_id):
        remarks.error("HSK-PKT-ID", None, "WP_ID is missing", "add `- WP_ID: WP-…` under ## METADATA")
        head.wp_id = ""
    head.base_wp_id = _first_word(head.metadata.get("BASE_WP_ID", "")) or _REVISION.sub("", head.wp_id)
    signature = plain_value(head.metadata.get("USER_SIGNATURE", ""))
    head.user_signature = None if is_unsigned(signature) else signature
    if not head.is_stub and "USER_SIGNATURE" not in head.metadata:
        remarks.error(
            "HSK-PKT-SIGNATURE",
            None,
            "USER_SIGNATURE is missing",
            "add `- USER_SIGNATURE: <yours>` under ## METADATA",
        )
    _read_risk(head, remarks)
    return head


def is_unsigned(signature: str) -> bool:
    """Whether a signature's text says that nobody has signed."""
    text = signature.strip()
    if not text.strip("_-. `*"):
        return True
    return bool(
        re.match(
            r"^[\W_]*(?:pending|none|tbd|tba|todo|n/?a|unsigned|missing|awaiting|required|not[ _-]|to be)\b"
            r"|^<.*>$|^\{.*\}$",
            text,
            re.IGNORECASE,
        )
    )


def _read_status(lines: PacketLines, head: HeadFields, remarks: Remarks) -> None:
    pairs = status_lines(lines)
    chosen = deciding_status(pairs)
    if chosen is None:
        remarks.error(
            "HSK-PKT-STATUS", None, "there is no Status line", "add `- **Status:** Draft` under ## METADATA"
        )
        return
    if len({known_status(pair.value) for pair in pairs}) > 1:
        remarks.warning(
            "HSK-PKT-STATUS",
            chosen.line,
            f"{len(pairs)} Status lines disagree; this one counts",
            "keep one Status line",
        )
    head.status_text, head.status_line = known_status(chosen.value), chosen.line + 1


def known_status(value: str) -> str:
    """The status as the enum writes it where it is a known one (any case, with a note), else as it stands."""
    text = plain_value(value)
    for candidate in (text, re.split(r"\s+[(\[]|\s+-{1,2}\s|\s*;|,", text, maxsplit=1)[0]):
        folded = re.sub(r"[ _-]+", " ", plain_value(candidate)).casefold()
        for status in PacketStatus:
            if status.value.casefold() == folded:
                return status.value
    return text


def _first_word(text: str) -> str:
    words = plain_value(text).split()
    return words[0].strip("`*") if words else ""


def _read_risk(head: HeadFields, remarks: Remarks) -> None:
    text = _first_word(head.metadata.get("RISK_TIER", "")).upper()
    if text in ("LOW", "MEDIUM", "HIGH"):
        head.risk_tier = "LOW" if text == "LOW" else "HIGH" if text == "HIGH" else "MEDIUM"
    elif text:
        remarks.error("HSK-PKT-RISK", None, f"RISK_TIER `{text}` is none of LOW, MEDIUM, HIGH", "choose one")


def read_parts(lines: PacketLines, remarks: Remarks, *, is_stub: bool) -> DecidingParts:
    """SCOPE and QUALITY_GATE. For a stub nothing is missed: it is never run."""
    parts = DecidingParts()
    noted = Remarks(remarks.path) if is_stub else remarks
    before_reports = _before_reports(lines)
    scope = lines.sections("SCOPE")[:1] or [before_reports]
    for name in ("SCOPE", "TEST_PLAN", "DONE_MEANS", "WAIVERS GRANTED"):
        for again in lines.sections(name)[1:]:
            noted.error("HSK-PKT-TWICE", again.start - 1, f"{name} stands twice", "keep one; the first counts")
    parts.in_scope_paths = _read_scope(lines, scope, noted)
    outside = find_list(lines, scope, OUT_OF_SCOPE)
    parts.out_of_scope = tuple(item.full_text() for item in _items(outside) if not is_nothing(item.full_text()))
    parts.what, parts.why = _labelled_text(lines, scope, "WHAT"), _labelled_text(lines, scope, "WHY")
    parts.done_means = _read_done(lines, before_reports, noted)
    parts.test_plan = _read_test_plan(lines, before_reports, noted)
    parts.execution_policy = _read_policy(lines, before_reports, remarks)
    parts.complete = bool(parts.in_scope_paths and parts.done_means and parts.test_plan)
    return parts


def _before_reports(lines: PacketLines) -> range:
    reports = lines.heading_of("VALIDATION_REPORTS")
    return range(reports.line if reports else len(lines.live))


def _items(found: LabelledList | None) -> list[Item]:
    return [] if found is None else found.items or found.fenced


def _labelled_text(lines: PacketLines, where: list[range], name: str) -> str:
    found = find_list(lines, where, name)
    if found is None:
        return ""
    wrapped = []
    for number in range(found.line + 1, where[0].stop):
        text = lines.live[number]
        if not text.strip() or re.match(r"^[ \t]*+(?:[-*+#]|\*\*)", text) or key_of_line(text, number):
            break
        wrapped.append(text.strip())
    return " ".join([found.inline, *wrapped]).strip()


def _read_scope(lines: PacketLines, where: list[range], remarks: Remarks) -> tuple[str, ...]:
    lists = find_lists(lines, where, IN_SCOPE)
    found = next(lists, None)
    if found is None:
        remarks.error(
            "HSK-PKT-SCOPE",
            None,
            "IN_SCOPE_PATHS is missing",
            "add `- IN_SCOPE_PATHS:` under ## SCOPE, one path an item",
        )
        return ()
    items = list(_items(found))
    if found.inline and not is_nothing(found.inline):
        items = [Item(found.line, 0, [part]) for part in found.inline.strip("[]").split(",") if part.strip()] + items
    paths: list[str] = []
    # a path that is lost, or one that was meant as taken out, is an error: the scope would be another one
    problems = [*_left_out_of_scope(found, items), *_second_scopes(lists)]
    for item, is_remark in _scope_items(items):
        text = item.text
        if item.children and _TAKEN_OUT.search(text):
            problems.append((item.line, f"scope item: `{text}` takes its items out", "put them under OUT_OF_SCOPE"))
            continue
        if is_nothing(text) or (text.startswith("(") and text.endswith(")") and "/" not in text):
            continue
        if is_remark:
            what = f"scope item: `{text}` stands below a path and may be a remark on it or a path"
            problems.append((item.line, what, "give the path an item of its own, or word the remark without it"))
            continue
        try:
            paths += paths_of_item(text)
        except UnreadablePath as problem:
            problems.append((item.line, f"scope item: {problem}", "write one path an item, in backticks"))
    for line, what, mend in sorted(problems):
        remarks.error("HSK-PKT-SCOPE", line, what, mend)
    if not paths and not problems:
        remarks.error("HSK-PKT-SCOPE", found.line, "IN_SCOPE_PATHS names no path", "list the files that may change")
    return () if problems else tuple(dict.fromkeys(paths))


def _second_scopes(lists: Iterable[LabelledList]) -> list[tuple[int, str, str]]:
    """The first further list that names anything."""
    for again in lists:
        named = not is_nothing(again.inline) and looks_like_path(again.inline.split()[0].strip("`[],;"))
        if named or any(not is_nothing(item.text) for item in again.items):
            return [(again.line, "IN_SCOPE_PATHS stands twice", "keep one list")]
    return []


def _left_out_of_scope(found: LabelledList, items: list[Item]) -> list[tuple[int, str, str]]:
    """What stands at the list and reads as no item of it: line, what, mend."""
    problems = []
    for item in found.lost:
        text = item.text
        if item.indent >= 0:
            what = f"scope item: `{text}` is cut off from the list by the text above it"
            problems.append((item.line, what, "put the text behind the list"))
        elif _UNMARKED.match(text) or is_surely_path(text.strip("`")):
            problems.append((item.line, f"scope item: `{text}` is no list item", "begin it with `- `"))
    waiting = [item for item in items if item.indent >= 0]
    while waiting:
        item = waiting.pop()
        waiting += item.children
        for part in item.parts[1:]:
            if _UNMARKED.match(part) or is_surely_path(part.strip("`")):
                what = f"scope item: `{part}` reads as part of the item above it"
                problems.append((item.line, what, "begin it with `- `"))
    return problems


def _scope_items(items: list[Item]) -> list[tuple[Item, bool]]:
    """The items that stand for paths: group labels are left out for their children, notes below a path too.

    With each goes whether it stands below a path and says more than a path of its own.
    """
    found: list[tuple[Item, bool]] = []
    for item in items:
        title = item.text.strip("*")
        is_group = title.endswith(":") and bool(item.children) and not looks_like_path(title[:-1].strip("`"))
        if is_group and _TAKEN_OUT.search(title):
            found.append((item, False))
            continue
        if not is_group:
            found.append((item, False))
        children = _scope_items(item.children)
        if is_group:
            found += children
            continue
        for child, is_remark in children:
            words = child.text.split(" ")
            if looks_like_path(words[0].strip("`:,;")):
                found.append((child, is_remark or len(words) > 1 or words[0].endswith(":")))
    return found


def _read_done(lines: PacketLines, before_reports: range, remarks: Remarks) -> tuple[str, ...]:
    section = lines.section("DONE_MEANS")
    if section is not None:
        below = items_below(lines, section, whole=True)
        place, items = section.start - 1, below.items
        _remark_on_left_out(lines, range(below.ended, section.stop) if below.ended else range(0), remarks)
    else:
        found = find_list(lines, [before_reports], r"DONE[ _-]MEANS|DEFINITION[ _-]OF[ _-]DONE")
        if found is None:
            remarks.error(
                "HSK-PKT-DONE", None, "DONE_MEANS is missing", "add `### DONE_MEANS`, one criterion an item"
            )
            return ()
        place, items = found.line, found.items
    criteria: dict[str, None] = {}
    for item in items:
        text = item.full_text()
        if item.indent < 0:
            remarks.error("HSK-PKT-DONE", item.line, "this criterion is no list item", "begin it with `- `")
            return ()
        if is_nothing(text) or is_placeholder(text) or (text.startswith("(") and text.endswith(")")):
            continue
        if text in criteria:
            remarks.warning("HSK-PKT-DONE", item.line, "this criterion stands twice", "keep one")
            continue
        criteria[text] = None
    if not criteria:
        remarks.error("HSK-PKT-DONE", place, "DONE_MEANS names no criterion", "say what must be true, one an item")
    return tuple(criteria)


def _remark_on_left_out(lines: PacketLines, rest: range, remarks: Remarks) -> None:
    """Items below the field that ended the criteria: whoever meant them as such must hear of it."""
    left_out = bullets_in(lines, rest)
    if left_out:
        field_name = lines.live[rest.start].strip().lstrip("-*+ ").partition(":")[0].strip("*` ")
        remarks.warning(
            "HSK-PKT-DONE",
            rest.start,
            f"the criteria end at the field {field_name}: {len(left_out)} items from here on are none",
            "word a criterion another way, or put the field under a heading of its own",
        )


def _read_test_plan(lines: PacketLines, before_reports: range, remarks: Remarks) -> tuple[str, ...]:
    section = lines.section("TEST_PLAN")
    if section is None:
        found = find_list(lines, [before_reports], r"TEST[ _-]PLAN")
        if found is None:
            remarks.error(
                "HSK-PKT-TEST", None, "TEST_PLAN is missing", "add `### TEST_PLAN` with a fence of commands"
            )
            return ()
        heading = next((h.line for h in lines.headings if h.line > found.line), before_reports.stop)
        section = range(found.line + 1, heading)
    commands, unread = read_commands(lines, section)
    for line, text in unread:
        remarks.error("HSK-PKT-TEST", line, f"`{text}` cannot be read as a command", "put commands in a code fence")
    commands = [command for command in commands if not is_placeholder(command)]
    if not commands and not unread:
        remarks.error("HSK-PKT-TEST", section.start - 1, "TEST_PLAN holds no command", "put commands in a code fence")
    return () if unread else tuple(commands)


def _read_policy(lines: PacketLines, before_reports: range, remarks: Remarks) -> dict[str, object] | None:
    section = lines.section("EXECUTION_POLICY")
    if section is None:
        found = find_list(lines, [before_reports], r"EXECUTION[ _-]POLICY")
        if found is None:
            return None
        heading = next((h.line for h in lines.headings if h.line > found.line), before_reports.stop)
        section = range(found.line + 1, heading)
    fence = next((fence for fence in lines.fences if fence.opened in section), None)
    if fence is None:
        if any(lines.live[number].strip() and not is_nothing(lines.live[number]) for number in section):
            remarks.error(
                "HSK-PKT-POLICY", section.start - 1, "EXECUTION_POLICY has no YAML fence", "put it in ```yaml"
            )
        return None
    text = "\n".join(lines.texts[fence.start : fence.end])
    return _policy_of(text, fence.start, remarks)


def _policy_of(text: str, first_line: int, remarks: Remarks) -> dict[str, object] | None:
    import yaml

    from handshake.domain.policy import ExecutionPolicy

    line = first_line
    try:
        if any(isinstance(token, yaml.AliasToken | yaml.AnchorToken) for token in yaml.scan(text, yaml.SafeLoader)):
            problem = "anchors and aliases are not read"
        else:
            raw = yaml.safe_load(text)
            if raw is None:
                return None
            if isinstance(raw, dict):
                policy = raw.get("policy", raw) if set(raw) == {"policy"} else raw
                ExecutionPolicy.model_validate(policy)
                return {str(key): value for key, value in policy.items()}
            problem = "it is no mapping"
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = first_line + (mark.line if mark else 0)
        problem = str(getattr(error, "problem", None) or "it is no YAML")
    except (RecursionError, ValueError) as error:
        problem = _first_problem(error)
    remarks.error(
        "HSK-PKT-POLICY", line, f"EXECUTION_POLICY: {problem}", "see the table of policy fields in the docs"
    )
    return None


def _first_problem(error: Exception) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(str(part) for part in first['loc']) or 'policy'}: {first['msg']}"
    return " ".join(str(error).split())[:200]
