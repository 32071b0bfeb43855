"""`scan`: forbidden patterns and placeholder words in sources.

The defaults are data: by language, what is left over from debugging or stands for work not done. Tests may mock and
print; product code may not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from handshake.domain.errors import ConfigError
from handshake.domain.packet import Finding
from handshake.domain.packet_fields import Remarks
from handshake.domain.packet_scope import in_scope
from handshake.gates.validators.view import View
from handshake.source.languages import is_test_file, language_of


@dataclass(frozen=True)
class _Rule:
    languages: tuple[str, ...]
    pattern: re.Pattern[str]
    what: str
    in_tests: bool = False


_JS = ("javascript", "typescript", "tsx")
_RULES = (
    _Rule(("python",), re.compile(r"^\s*(?:breakpoint\(\)|import pdb\b|pdb\.set_trace\()"), "a debugger", True),
    _Rule(
        ("python",), re.compile(r"\b(?:pprint|ic)\(|\bprint\(\s*f?[\"'](?:DEBUG|debug|here|>>>|###)"), "a debug print"
    ),
    _Rule(("python",), re.compile(r"^\s*except\s*:"), "a bare except", True),
    _Rule(("python",), re.compile(r"\bunittest\.mock\b|\bMagicMock\b|\bmonkeypatch\b"), "a mock in product code"),
    _Rule(_JS, re.compile(r"^\s*debugger\b"), "a debugger", True),
    _Rule(_JS, re.compile(r"\bconsole\.(?:log|debug|dir)\("), "a debug print"),
    _Rule(_JS, re.compile(r"\b(?:jest|vi)\.(?:mock|fn)\(|\bsinon\."), "a mock in product code"),
    _Rule(_JS, re.compile(r"\bcatch\s*(?:\(\s*\w*\s*\))?\s*\{\s*\}"), "a catch that swallows", True),
    _Rule(("rust",), re.compile(r"\bdbg!\s*\("), "a debug print"),
    _Rule(("rust",), re.compile(r"\b(?:todo|unimplemented)!\s*[({\[]"), "unfinished work", True),
    _Rule(("rust",), re.compile(r"\bmockall\b|#\[automock\]"), "a mock in product code"),
    _Rule(("go",), re.compile(r"\bspew\.Dump\(|\bprintln\(|\bfmt\.Print\w*\(\"DEBUG"), "a debug print"),
    _Rule(("go",), re.compile(r"\bgomock\b"), "a mock in product code"),
)
_WORDS = re.compile(
    r"(?:#|//|--|/\*|<!--|;|^\s*\*)\s*.*?\b(TODO|FIXME|XXX|TBD|HACK)\b"
    r"|\b(implement me|not implemented yet|placeholder implementation)\b",
)


def validate(view: View) -> list[Finding]:
    """One finding for each line that a rule or a word forbids.

    Raises:
        ConfigError: a pattern of the configuration is none.
    """
    rules = view.settings.validators.scan
    own = [(_compiled(rule.pattern), rule) for rule in rules.forbid]
    findings: list[Finding] = []
    for path in view.judged:
        if in_scope(path, rules.exclude):
            continue
        language = language_of(path)
        wanted = in_scope(path, rules.include) if rules.include else language is not None
        mine = [(pattern, rule) for pattern, rule in own if not rule.include or in_scope(path, rule.include)]
        if not wanted and not any(rule.include for _, rule in mine):
            continue
        text = view.text(path)
        if text is None:
            continue
        remarks = Remarks(path)
        for number, line in enumerate(text.splitlines()):
            if wanted:
                for what in _defaults(line, language.name if language else "", test=serves_tests(path)):
                    remarks.error("HSK-VAL-SCAN", number, f"{what}: {_shown(line)}", "take it out")
            for pattern, rule in mine:
                if pattern.search(line):
                    remarks.error(
                        "HSK-VAL-SCAN", number, f"{rule.what or rule.pattern}: {_shown(line)}", "take it out"
                    )
        findings += remarks.findings
    return findings


def serves_tests(path: str) -> bool:
    """Whether a file is a test, or helps tests from within their folder."""
    language = language_of(path)
    folders = language.test_dirs if language else ()
    return is_test_file(path) or any(part in folders for part in path.split("/")[:-1])


def _defaults(line: str, language: str, *, test: bool) -> Iterator[str]:
    for rule in _RULES:
        if language in rule.languages and (rule.in_tests or not test) and rule.pattern.search(line):
            yield rule.what
    word = _WORDS.search(line)
    if word:
        yield f"the word {word.group(1) or word.group(2)}"


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"validators.scan.forbid: `{pattern}` is no pattern: {error}",
            next_step="mend it in .handshake/config.yaml",
        ) from None


def _shown(line: str) -> str:
    text = " ".join(line.split())
    return text if len(text) <= 60 else text[:57] + "..."
