"""Secrets in what is recorded: found by detect-secrets' detectors, masked before anything is written.

Contract: `events.md`, Secrets. The detectors run over whole texts, not line by line through the library's scanner,
which opens and filters each line anew and takes seconds for a long prompt. Left out are the detectors of mere
randomness (every hash of a commit is random) and of public IP addresses (no secret).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detect_secrets.plugins.base import BasePlugin, RegexBasedDetector

_LEFT_OUT = frozenset({"Base64 High Entropy String", "Hex High Entropy String", "Public IP (ipv4)", "Secret Keyword"})
_KEYWORD = "Secret Keyword"
_SHORTEST_GROUP = 8
_SHORTEST_VALUE = 6
_KEPT_TEXTS = 64
_KEPT_LEAVES = 20_000

# ids, hashes, paths of ours and short words: most strings of a record, and none of them a secret
_PLAIN = re.compile(
    r"[\w .\-/:]{0,15}|HSK-[A-Z0-9-]{1,40}|[0-9a-f]{40}|[0-9a-f]{64}"
    r"|(?:jobs/)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:/(?:steps|escalations|distillation|summaries)/[\w./-]{1,60})?"
    r"|\d{4}-\d\d-\d\dT[\d:.]+Z"
)
_KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Masked:
    """A text without its secrets, and what kinds they were, sorted."""

    text: str
    kinds: tuple[str, ...] = ()


class SecretMask:
    """Masks what detect-secrets finds, and values that are known to be secret.

    Args:
        known: names and secret values, e.g. API keys that the configuration names by their variables.
    """

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        values = [(name, value) for name, value in (known or {}).items() if len(value) >= _SHORTEST_VALUE]
        self._known = sorted(values, key=lambda row: -len(row[1]))
        self._texts: dict[str, Masked] = {}
        self._clean: set[str] = set()

    def text(self, text: str) -> Masked:
        """A text as it may be recorded."""
        known = self._texts.get(text)
        if known is not None:
            return known
        found: dict[str, str] = {}
        for secret, kind in self._found(text):
            found.setdefault(secret, kind)
        masked = text
        for secret in sorted(found, key=len, reverse=True):
            masked = _replace(masked, secret, found[secret])
        result = Masked(masked, tuple(sorted(set(found.values()))))
        while len(self._texts) >= _KEPT_TEXTS:
            del self._texts[next(iter(self._texts))]
        self._texts[text] = result
        return result

    def value(self, value: Any) -> Any:
        """A plain JSON value with every string in it masked; the same object where nothing was found."""
        if isinstance(value, str):
            return self._leaf(value)
        if isinstance(value, dict):
            new = {key: self.value(item) for key, item in value.items()}
            return new if any(new[key] is not item for key, item in value.items()) else value
        if isinstance(value, list):
            items = [self.value(item) for item in value]
            return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
        return value

    def _leaf(self, text: str) -> str:
        if text in self._clean or (_PLAIN.fullmatch(text) and not any(v in text for _, v in self._known)):
            return text
        masked = self.text(text)
        if masked.kinds:
            return masked.text
        if len(self._clean) < _KEPT_LEAVES:
            self._clean.add(text)
        return text

    def _found(self, text: str) -> Iterator[tuple[str, str]]:
        for name, value in self._known:
            if value in text:
                yield value, f"value of {name}"
        yield from found_secrets(text)


def _replace(text: str, secret: str, kind: str) -> str:
    """The text without a secret, wherever it stands; a short word only where it is quoted."""
    if kind != _KEYWORD or len(secret) >= _SHORTEST_GROUP:
        return text.replace(secret, f"[MASKED {kind}]")
    for quote in "\"'`":
        text = text.replace(f"{quote}{secret}{quote}", f"{quote}[MASKED {kind}]{quote}")
    return text


def found_secrets(text: str) -> Iterator[tuple[str, str]]:
    """Each secret that a detector finds, and the detector's name for its kind."""
    for block in _KEY_BLOCK.findall(text):
        yield block, "Private Key"
    for detector, patterns in _detectors():
        for pattern in patterns:
            for match in pattern.finditer(text):
                secret = _secret_of(match)
                if secret and _is_well_formed(detector, secret):
                    yield secret, detector.secret_type
    for line in _lines_with_keyword(text):
        for secret in _keyword_detector().analyze_string(line):
            if not _is_no_secret(secret, line):
                yield secret, _KEYWORD


def _patterns(detector: RegexBasedDetector) -> tuple[re.Pattern[str], ...]:
    """A detector's patterns; those that ask for a whole line find their secret anywhere."""
    return tuple(
        re.compile(pattern.pattern.removeprefix("^").removesuffix("$"), pattern.flags)
        for pattern in detector.denylist
    )


def _secret_of(match: re.Match[str]) -> str:
    """The secret in a match: its longest group, or all of it where the groups are only a prefix of the secret."""
    longest = max((group or "" for group in match.groups()), key=len, default="")
    return longest if len(longest) >= _SHORTEST_GROUP else match.group().strip(" \t\r\n\"'=")


def _is_well_formed(detector: RegexBasedDetector, secret: str) -> bool:
    """What only looks like a JSON Web Token is none."""
    check = getattr(detector, "is_formally_valid", None)
    return check is None or bool(check(secret))


@cache
def _by_type() -> dict[str, type[BasePlugin]]:
    try:
        with _without_http_library():
            return _loaded()
    except (ImportError, AttributeError):  # a later version asks more of it while it is loaded
        return _loaded()


def _loaded() -> dict[str, type[BasePlugin]]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    return dict(get_mapping_from_secret_type_to_class())


@contextmanager
def _without_http_library() -> Iterator[None]:
    """While the detectors are loaded, `requests` is empty: its import takes longer than theirs.

    They would ask a server with it whether a secret is a living one. Nobody asks that here, and a hook must not.
    """
    if "requests" in sys.modules:
        yield
        return
    stand_in = ModuleType("requests")
    stand_in.__dict__["Response"] = object  # named in their signatures
    sys.modules["requests"] = stand_in
    try:
        yield
    finally:
        del sys.modules["requests"]


@cache
def _detectors() -> tuple[tuple[RegexBasedDetector, tuple[re.Pattern[str], ...]], ...]:
    found = [kind() for name, kind in _by_type().items() if name not in _LEFT_OUT]
    from detect_secrets.plugins.base import RegexBasedDetector  # after `_by_type`, which knows how to load it

    return tuple((item, _patterns(item)) for item in found if isinstance(item, RegexBasedDetector))


@cache
def _keyword_detector() -> BasePlugin:
    return _by_type()[_KEYWORD]()


@cache
def _keywords() -> re.Pattern[str]:
    from detect_secrets.plugins.keyword import DENYLIST

    return re.compile("|".join(DENYLIST), re.IGNORECASE)


def _lines_with_keyword(text: str) -> Iterable[str]:
    """The lines that speak of a password or key and have a quote: only they can hold a quoted one."""
    seen = -1
    for match in _keywords().finditer(text):
        if match.start() < seen:
            continue
        start, end = text.rfind("\n", 0, match.start()) + 1, text.find("\n", match.end())
        seen = len(text) if end < 0 else end
        line = text[start:seen]
        if len(line) <= _LONGEST_LINE and any(quote in line for quote in "\"'`"):
            yield line


_LONGEST_LINE = 2_000


def _is_no_secret(secret: str, line: str) -> bool:
    """The library's own filters against placeholders, ids and calls."""
    from detect_secrets.filters import heuristic

    return (
        heuristic.is_templated_secret(secret)
        or heuristic.is_prefixed_with_dollar_sign(secret)
        or heuristic.is_not_alphanumeric_string(secret)
        or heuristic.is_sequential_string(secret)
        or heuristic.is_potential_uuid(secret)
        or heuristic.is_indirect_reference(line)
        or secret.startswith("[MASKED ")
    )
