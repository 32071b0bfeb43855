"""Names of code in a sentence: what stands in backticks, what can only be code, and options of commands.

Contract: `micro-tasks.md`, Generation 2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from handshake.source.languages import language_of

_BACKTICKED = re.compile(r"`([^`]+)`")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:(?:\.|::|#)[A-Za-z_][A-Za-z0-9_]*)*")
_SEPARATOR = re.compile(r"\.|::|#")
_ARGUMENTS = re.compile(r"\([^()]*\)")
_KEYWORD = re.compile(
    r"^(?:async |export |pub |public |static )*"
    r"(?:def|class|fn|func|function|struct|enum|trait|impl|interface|type|const|let|var)\s+(?=\w)"
)
_OPTION = re.compile(r"(?<![\w-])--[A-Za-z][\w-]+")
_MIXED = re.compile(r"[a-z][A-Z]")


@dataclass(frozen=True)
class Name:
    """One name, in its parts.

    `is_code` is false for an option of a command. `is_sure` where the sentence leaves no doubt that the whole name is
    meant: it stands alone in backticks, is called, or has an underscore; words of a longer quotation are a hint only.
    """

    parts: tuple[str, ...]
    is_code: bool = True
    is_sure: bool = True

    @property
    def last(self) -> str:
        """The name without what qualifies it."""
        return self.parts[-1]


def names_of(bullet: str) -> tuple[Name, ...]:
    """Every name of a sentence once, in order; sure ones before hints."""
    found: list[Name] = []
    for quoted in _BACKTICKED.findall(bullet):
        if "/" in quoted or language_of(quoted) is not None:
            continue  # a path: its folders are no names of the code
        text = _KEYWORD.sub("", _ARGUMENTS.sub("", _OPTION.sub(" ", quoted)).strip().lstrip("@."))
        whole = _IDENTIFIER.fullmatch(text.strip())
        for match in _IDENTIFIER.finditer(text):
            parts = tuple(_SEPARATOR.split(match.group()))
            found.append(Name(parts, is_sure=whole is not None or _can_only_be_code(parts[-1])))
    plain = _OPTION.sub(" ", _BACKTICKED.sub(" ", bullet))
    for match in _IDENTIFIER.finditer(plain):
        parts = tuple(_SEPARATOR.split(match.group()))
        if plain[match.end() : match.end() + 1] == "(" or _can_only_be_code(parts[-1]):
            found.append(Name(parts))
    found += [Name((option,), is_code=False) for option in _OPTION.findall(bullet)]
    sure = {name.parts for name in found if name.is_sure}
    return tuple(dict.fromkeys(name for name in found if name.is_sure or name.parts not in sure))


def _can_only_be_code(word: str) -> bool:
    return "_" in word.strip("_") or _MIXED.search(word) is not None


def identifiers_of(bullet: str) -> list[tuple[str, ...]]:
    """The names that code may define, as their parts."""
    return list(dict.fromkeys(name.parts for name in names_of(bullet) if name.is_code))
