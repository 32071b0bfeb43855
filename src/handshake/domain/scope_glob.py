"""Globs of a scope, matched in a time that grows with pattern times path, whoever wrote the pattern.

`*` and `?` stay within a folder, `**` crosses them, `**/` is any folders or none. Contract: `packets-and-gates.md`,
The packet. A regular expression tries each way to share a name among its stars, which for a dozen of them never
ends; so it is asked only where there are few, and for the rest all ways are followed at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

_FEW = 2
_TOKEN = re.compile(r"\*\*/|\*\*|[*?]|.", re.DOTALL)
_EXPRESSIONS = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def glob_matches(pattern: str, path: str) -> bool:
    """Whether the glob covers the whole path; a pattern that ends in `/` covers what is below."""
    tokens = _tokens(pattern)
    if sum(token in ("**/", "**", "*") for token in tokens) <= _FEW:
        return bool(_expression(tokens).fullmatch(path))
    return _table(tokens).matches(path)


@lru_cache(maxsize=1024)
def _tokens(pattern: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(pattern + "**" if pattern.endswith("/") else pattern))


@lru_cache(maxsize=1024)
def _expression(tokens: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("".join(_EXPRESSIONS.get(token) or re.escape(token) for token in tokens), re.DOTALL)


@lru_cache(maxsize=256)
def _table(tokens: tuple[str, ...]) -> _Table:
    table = _Table()
    for token in tokens:
        table.add(token)
    return table


@dataclass
class _Table:
    """Places in a pattern as bits of a number: those where a path, read so far, may stand.

    A bit of `literals` or `in_folder` steps on with a sign, one of `stays` or `stays_in_folder` keeps its place, one
    of `skips` (or `skips_two`) also counts as the next. `**/` has two places: before a folder, and in it, with a way
    `back`.
    """

    size: int = 0
    literals: dict[str, int] = field(default_factory=dict)
    in_folder: int = 0
    stays: int = 0
    stays_in_folder: int = 0
    back: int = 0
    skips: int = 0
    skips_two: int = 0

    def add(self, token: str) -> None:
        """Put one more token at the end."""
        bit = 1 << self.size
        self.size += 1
        if token == "**/":  # noqa: S105 - a part of a glob
            self.in_folder |= bit
            self.skips_two |= bit
            self.stays_in_folder |= bit << 1
            self.back |= bit << 1
            self.size += 1
        elif token == "?":  # noqa: S105 - a part of a glob
            self.in_folder |= bit
        elif token == "**":  # noqa: S105 - a part of a glob
            self.stays |= bit
            self.skips |= bit
        elif token == "*":  # noqa: S105 - a part of a glob
            self.stays_in_folder |= bit
            self.skips |= bit
        else:
            self.literals[token] = self.literals.get(token, 0) | bit

    def matches(self, path: str) -> bool:
        """Whether the pattern covers the whole path."""
        places = self._with_skips(1)
        for sign in path:
            after = ((places & self.literals.get(sign, 0)) << 1) | (places & self.stays)
            if sign == "/":
                after |= (places & self.back) >> 1
            else:
                after |= ((places & self.in_folder) << 1) | (places & self.stays_in_folder)
            places = self._with_skips(after)
            if not places:
                return False
        return bool(places >> self.size & 1)

    def _with_skips(self, places: int) -> int:
        while True:
            more = places | ((places & self.skips) << 1) | ((places & self.skips_two) << 2)
            if more == places:
                return places
            places = more
