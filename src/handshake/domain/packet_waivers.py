"""Waivers and validation reports of a packet. Contract: `packets-and-gates.md`, Post-work gate and Review."""

from __future__ import annotations

import re

from handshake.domain.packet import Finding, ValidationReport, Waiver
from handshake.domain.packet_lines import PacketLines, code_spans
from handshake.domain.packet_lists import Item, items_below
from handshake.domain.packet_scope import (
    UnreadablePath,
    has_glob,
    is_nothing,
    is_surely_path,
    looks_like_path,
    normal_path,
)

_WAIVER_ID = re.compile(r"(?<![\w-])(?!WP-|MT-|SHA-|UTF-|ISO-)([A-Z][A-Z0-9]*(?:-[A-Z0-9]+)*-[A-Z0-9]*\d[A-Z0-9-]*)")
_HEAD = re.compile(
    r"(?:\*{0,2}(?:waiver(?:[ _-]id)?|id)\*{0,2}[ \t]*:\*{0,2}[ \t]*)?(?P<open>[\[(*]*`?)", re.IGNORECASE
)
_CLOSING = re.compile(r"[\])*`]*")
# what may stand between an id and its paths: signs, a date, that it was granted
_BETWEEN = re.compile(
    r"(?:[\s:,;|*(]+|[-\u2013\u2014]+\s+|\d{4}-\d{2}-\d{2}\b|\)|(?:granted|approved|for)(?=[\s:,;|)]))*",
    re.IGNORECASE,
)
_AND = re.compile(r"\s*(?:[,;&+]\s*(?:and\s+)?|and\s+)")
_PATH_FIELD = re.compile(
    r"(?:^|[-,.][ \t]+|[;|][ \t]*)\*{0,2}(?:scope|paths?|files?)\*{0,2}[ \t]*:\*{0,2}[ \t]*", re.IGNORECASE
)
_WORD = re.compile(r"\S+")
_PATH = "\0"
_GRANTING = r"(?:grant|approv|agree|allow|permit|accept|confirm|decid|discuss|sign|waiv|giv)\w*"
# words that say that nothing was granted, or leave it open; a path among them reads as `_PATH`
_DOUBT = re.compile(
    r"~~|^\W*(?:none|n/a)\b|n't\b"
    r"|\b(?:den(?:y|ied)|reject(?:s|ed)|revoked?|withdraw(?:n|s)?|expired|lapsed|refused|declined|cancell?ed|vetoed|voided"
    r"|unapproved|ungranted|disapproved|pending|requested|proposed|awaiting|outstanding|undecided|unconfirmed|draft"
    r"|example|tb[acd]|never|neither|nor|nobody|would|could|might|if|unless|until|except|excepted|excluding|forbidden"
    r"|prohibited)\b"
    r"|(?:\b(?:is|was|now)\b|[-:;,(])\s*(?:superseded|obsolete|invalid|void|false|open)\b"
    r"|\bno\s+(?:\w+\s+)?(?:waivers?|approval|permission|consent|agreement|go)\b"
    r"|\bno(?=\s*(?:[:;,.)|]|[-\u2013\u2014]+(?:\s|$)|$))|\b(?:said|says|say|answer(?:ed|s)?)\W+no\b"
    r"|\bwithout\s+(?:an?\s+)?(?:waiver|approval|permission|consent)\b"
    rf"|\bnot\s+(?:\w+\s+)?(?:yet|cover(?:ed)?|valid|in force|ok|{_GRANTING})\b|\bto\s+be\s+{_GRANTING}\b"
    rf"|\b(?:will|shall|should|must|can|may)\s+(?:\w+\s+)?be\s+{_GRANTING}"
    r"|\b(?:under|in|for|needs)\s+(?:review|discussion|consideration)\b|\b(?:subject\s+to|provided\s+that)\b"
    r"|\b(?:after|upon)\s+(?:the\s+)?(?:approval|review|sign-?off)\b"
    rf"|\b(?:only|once|when|after)\s+(?:if|when|once|after|all|(?:the\s+)?tests?|(?:it\s+is\s+)?{_GRANTING})\b"
    r"|\b(?:all|everything|anything|other|apart)\s+(?:but|than|from)\b|\bbut\s+not\b"
    rf"|\b(?:not|but|minus|unlike)\s+(?:for\s+|in\s+)?{_PATH}"
    r"|\b(?:status|still|remains|is)\s+(?:is\s+|still\s+)?(?:open|unclear|unknown)\b"
    r"|\b(?:turned\s+down|(?:on|put)\s+hold|postponed|todo|ask(?:ed)?\s+(?:for|the)|unnecessary|rejection|denial|refusal"
    r"|disagree[sd]?|waiting|waits|withheld)\b|\?(?:\s|$)"
    r"|\bnot\s+(?:obtained|received|necessary|needed|required|sought)\b"
    rf"|{_PATH}[^\w{_PATH}]*(?:(?:must|shall|should|may)\s+not|stays?|remains?)\b"
    r"|\b(?:status|decision)\b[\s*]*[:=][\s*]*(?!(?:granted|approved|accepted|active|done|yes)\b)\w+",
    re.IGNORECASE,
)
_UNTICKED = re.compile(r"^[ \t]*+(?:[-*+]|\d{1,9}[.)])[ \t]+\[[ ]?\](?:[ \t]|$)")
_LONGEST = 10_000
_FORM = "write `- CX-573F-01: <path in backticks>: reason`"
_REPORT = re.compile(r"\bVALIDATION[ _-]REPORT\b", re.IGNORECASE)
_VERDICT = re.compile(
    r"^[ \t]*+(?:[-*+][ \t]++)?\**(?:VALIDATION[ _]|FINAL[ _])?VERDICT\**[ \t]*:?\**[ \t]*:?[ \t]*[*`]*(PASS|FAIL)\b",
    re.IGNORECASE,
)


def read_waivers(lines: PacketLines, path: str) -> tuple[tuple[Waiver, ...], list[Finding]]:
    """The waivers that count: list items that begin with an id and name paths before any reason.

    What else names an id or a path is a remark that grants nothing, and a finding says so.
    """
    waivers: list[Waiver] = []
    nothing: list[tuple[int, str]] = []
    section = lines.section("WAIVERS GRANTED") or range(0)
    items = items_below(lines, section).items
    read = {number for item in items for number in _lines_of(item, lines)}
    for item in items:
        text = item.full_text()
        if is_nothing(text) or _is_remark(text):
            continue
        waiver, lacks = _waiver_of(item, text, lines)
        if waiver:
            waivers.append(waiver)
        elif _names_something(text):
            nothing.append((item.line, lacks))
    for number in section:
        text = lines.live[number].strip()
        if number not in read and not _is_remark(text) and _names_something(text):
            nothing.append((number, "it is no item of the list"))
    findings = [
        Finding(
            severity="warning",
            code="HSK-PKT-WAIVER",
            file=path,
            line=line + 1,
            what=f"this waiver grants nothing: {lacks}",
            mend=_FORM,
        )
        for line, lacks in nothing
    ]
    return tuple(waivers), findings


def _lines_of(item: Item, lines: PacketLines) -> set[int]:
    """The lines that an item and those below it are written on."""
    number, left = item.line, len(item.parts)
    own: set[int] = set()
    while left and number < len(lines.live):
        if lines.live[number].strip():
            own.add(number)
            left -= 1
        number += 1
    return own.union(*(_lines_of(child, lines) for child in item.children))


def _is_remark(text: str) -> bool:
    return text.startswith("(") and text.endswith(")")


def _names_something(text: str) -> bool:
    if _WAIVER_ID.search(text):
        return True
    spans = [text[start:end].strip() for _, start, end, _ in code_spans(text)]
    return any(map(looks_like_path, spans)) or any(is_surely_path(_bare(word)) for word in text.split())


def _bare(word: str) -> str:
    return word.strip("()[],;:'\"*`").rstrip(".")


def _waiver_of(item: Item, text: str, lines: PacketLines) -> tuple[Waiver | None, str]:
    """The waiver that an item grants, or what it lacks."""
    if item.indent < 0:
        return None, "it is no item of the list"
    if len(text) > _LONGEST:
        return None, "it is too long to be read"
    if any(_UNTICKED.match(lines.live[number]) for number in _lines_of(item, lines)):
        return None, "a box of it is not ticked"
    head = _HEAD.match(text)
    opened = head.group("open") if head else ""
    found = _WAIVER_ID.match(text, head.end() if head else 0)
    closing = _CLOSING.match(text, found.end()) if found and opened else None
    if not found or (closing and "`" in opened and "`" not in closing.group()):
        return None, "it does not begin with an id"
    named = _named_paths(item, text, closing.end() if closing else found.end())
    if not named:
        return None, "no path follows its id"
    doubt = _DOUBT.search(_without_paths(text[found.end() :]))
    if doubt:
        word = " ".join(doubt.group().replace(_PATH, " a path").split())
        return None, f"`{word}` leaves open whether it was granted"
    try:
        unique = tuple(dict.fromkeys(map(normal_path, named)))
    except UnreadablePath as problem:
        return None, str(problem)
    waiver = Waiver(
        waiver_id=found.group(1).rstrip("-"),
        paths=tuple(path for path in unique if not has_glob(path)),
        patterns=tuple(path for path in unique if has_glob(path)),
        text=text,
        line=item.line + 1,
    )
    return waiver, ""


def _named_paths(item: Item, text: str, start: int) -> list[str]:
    """The paths right behind the id, or those of a path field, or items below either that are nothing but paths."""
    place = _end_of(_BETWEEN, text, start)
    if place > len(item.text):
        named = _paths_alone(item.children)
        for child in item.children:
            if _PATH_FIELD.fullmatch(child.text):
                named += _paths_alone(child.children)
    else:
        named, _ = _paths_at(text, place)
    field = None if named else _PATH_FIELD.search(text, start)
    return _paths_at(text, field.end())[0] if field else named


def _paths_alone(items: list[Item]) -> list[str]:
    """What items name that are nothing but paths; nothing, where one of them says more."""
    named: list[str] = []
    for item in items:
        paths, stop = _paths_at(item.text, 0)
        if not paths or item.text[stop:].strip(" .,;") or item.children:
            return []
        named += paths
    return named


def _paths_at(text: str, start: int) -> tuple[list[str], int]:
    """The paths that stand there, in backticks or surely such, with commas between; and where they end."""
    spans = {opened: (text[first:last].strip(), end) for opened, first, last, end in code_spans(text)}
    paths: list[str] = []
    position, stop = start, start
    while True:
        name, end = spans.get(position) or _word_at(text, position)
        # a name with blanks is one in backticks
        if not looks_like_path(name.replace(" ", "_")):
            return paths, stop
        paths.append(name)
        stop = end
        position = _end_of(_AND, text, stop)
        if position == stop:
            return paths, stop


def _word_at(text: str, position: int) -> tuple[str, int]:
    word = text[position : _end_of(_WORD, text, position)]
    bare = _bare(word)
    return (bare, position + word.find(bare) + len(bare)) if is_surely_path(bare) else ("", position)


def _end_of(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return found.end() if found else start


def _without_paths(text: str) -> str:
    """The text with each path in it as one sign: what a file is called says nothing of a waiver."""
    kept, position = "", 0
    for start, first, last, end in code_spans(text):
        inside = text[first:last]
        kept += text[position:start] + (_PATH if looks_like_path(inside.strip()) else inside)
        position = end
    words = (kept + text[position:]).split()
    return " ".join(word.replace(bare, _PATH) if is_surely_path(bare := _bare(word)) else word for word in words)


def read_reports(lines: PacketLines) -> tuple[ValidationReport, ...]:
    """The reports, each with the first verdict below its heading."""
    heads = [
        h for h in lines.headings if h.section is None and _REPORT.search(h.text) and "ADDENDUM" not in h.text.upper()
    ]
    reports = []
    for position, head in enumerate(heads):
        stop = heads[position + 1].line if position + 1 < len(heads) else len(lines.live)
        verdict = next((v for v in map(_VERDICT.match, lines.live[head.line + 1 : stop]) if v), None)
        reports.append(
            ValidationReport(
                title=head.text,
                verdict=None if verdict is None else ("PASS" if verdict.group(1).upper() == "PASS" else "FAIL"),
                line=head.line + 1,
            )
        )
    return tuple(reports)
