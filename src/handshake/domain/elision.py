"""Comments that stand for code left out ("rest unchanged"). Contract: `models.md`, The reply."""

from __future__ import annotations

import re

_COMMENT = re.compile(
    r"^\s*(?:\{\s*/\*|<!--|/\*+|//+!?|#+|--+|;+|%+|\*|\(\*|\{-|\"\"\"|'''|rem\b|\{#)?\s*(?P<text>.*?)\s*"
    r"(?:\*/\s*\}?|-->|\*\)|-\}|\"\"\"|'''|#\})?\s*$",
    re.IGNORECASE,
)
_DOTS = r"(?:\.{2,}|…)"
_WHAT = (
    r"(?:code|file|class|function|functions|method|methods|module|implementation|content|contents|logic|body|tests?|"
    r"imports?|definitions?|lines?|stuff|script|component|document|section|program)"
)
_CODE = r"(?:code|implementation|file|class|functions?|methods?|module|logic|definitions?|script|component)"
_SAME = (
    r"(?:unchanged|unmodified|the same|same as (?:before|above|original)|omitted|as (?:before|is)|not shown|elided)"
)

_PHRASES = re.compile(
    "|".join(
        (
            rf"^{_DOTS}?\s*(?:the\s+)?(?:rest|remainder)\s+(?:of\s+(?:the\s+|your\s+|this\s+)?(?:\w+\s+)?{_WHAT}\b.*)?$",
            rf"^{_DOTS}?\s*(?:the\s+)?(?:rest|remainder)\b.*\b{_SAME}\b",
            rf"^{_DOTS}?\s*(?:the\s+)?(?:rest|remainder|remaining)\b.*{_DOTS}$",
            rf"^{_DOTS}?\s*(?:rest|remainder|remaining)\s+(?:of\s+)?(?:the\s+)?(?:\w+\s+)?{_CODE}"
            rf"(?:\s+(?:goes\s+)?(?:here|below|above|follows?|remains?|stays?).*)?\s*{_DOTS}?$",
            rf"^{_DOTS}?\s*(?:(?:the|your|all|other|any|keep|rest of)\s+)*(?:existing|previous|original|unchanged|"
            rf"current|unmodified|other|above)\s+(?:\w+\s+)?{_WHAT}(?:\s+(?:goes|go|remains?|stays?|is|are|continues?))?"
            rf"(?:\s+(?:here|below|above|{_SAME}))?\s*{_DOTS}$",
            rf"^{_DOTS}\s*(?:(?:the|your|all|keep|rest of)\s+)*(?:existing|previous|original|unchanged|current|"
            rf"unmodified|other|remaining|same|more)\b.*$",
            rf"^(?:all\s+|the\s+)*(?:other|existing|remaining|previous|original)\s+(?:\w+\s+){{0,2}}{_WHAT}\s+"
            rf"(?:(?:is|are|remains?|stays?)\s+)?(?:here|{_SAME})\W*$",
            rf"^(?:(?:the|your)\s+)?(?:existing|remaining|unchanged|unmodified)\s+{_CODE}(?:\s+(?:here|below|above))?\W*$",
            r"\b(?:code|implementation|content|contents|lines?|rest|methods?|functions?)\b.*\b(?:omitted|elided|"
            r"truncated|snipped)\b.*\b(?:brevity|clarity|here|simplicity)\b",
            r"\b(?:omitted|elided|truncated|skipped|shortened)\s+for\s+(?:brevity|clarity|simplicity)\b",
            rf"^(?:{_DOTS}\s*)?(?:no\s+changes?|unchanged|same as (?:before|above)|as before)\s*"
            rf"(?:here|below|above|needed)?\s*{_DOTS}$",
            rf"^{_DOTS}\s*(?:no\s+changes?|unchanged|same as (?:before|above)|as before|snip|omitted)\b.*$",
            r"^<?\s*(?:snip|unchanged|rest unchanged|code unchanged|no changes?)\s*>?$",
            rf"^(?:keep|leave)\s+(?:the\s+)?(?:rest|remaining|existing\s+{_WHAT}\s+(?:{_SAME}))\b.*$",
        )
    ),
    re.IGNORECASE,
)
_LONGEST = 300
"""Such comments are short; a longer line is not looked at."""
_BARE = re.compile(rf"^\s*(?:#+|//+|/\*+|--+|<!--|;+|%+|\{{/\*)\s*{_DOTS}\s*(?:\*/\}}?|-->)?\s*$")
_ONLY_DOTTED = re.compile(rf"^\s*[\[(]?\s*{_DOTS}\s*\S.*$")
_LEAD = re.compile(r"^\s*(?:\{\s*/\*|<!--|/\*|//|#(?![!\[])|--|;|%|\*\s|\(\*|\{-|rem\b|\{#)", re.IGNORECASE)


def elided_line(line: str, *, shrunk: bool) -> bool:
    """Whether a line is nothing but a comment (or `... words`) that stands for code left out.

    Args:
        line: one line of new content.
        shrunk: the new content has fewer lines than the old: then a comment of bare dots counts too.
    """
    if len(line) > _LONGEST:
        return False
    if _BARE.match(line):
        return shrunk
    if not (_LEAD.match(line) or _ONLY_DOTTED.match(line)):
        return False
    match = _COMMENT.match(line)
    text = " ".join(re.sub(r"[()\[\]]", " ", match.group("text") if match else line).split())
    return bool(text) and _PHRASES.search(text) is not None
