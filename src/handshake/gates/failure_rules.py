"""What an output line says about a failure: the rules as data. Contract: `loop.md`, Errors.

The first rule that fits the output decides, so the causes stand before their consequences: what does
not parse cannot assert, and a name that is not there fails tests too.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from handshake.domain.reply import FailureCategory

_C = FailureCategory


class FailureRule(NamedTuple):
    """A pattern of one line, the category it speaks for, and a line that it fits."""

    pattern: re.Pattern[str]
    category: FailureCategory
    example: str


def _rule(pattern: str, category: FailureCategory, example: str) -> FailureRule:
    return FailureRule(re.compile(pattern, re.MULTILINE), category, example)


RULES: tuple[FailureRule, ...] = (
    # node says SyntaxError of a name that a module does not export: this must stand before the syntax rules
    _rule(
        r"\b(?:Error: Cannot find module|ERR_MODULE_NOT_FOUND|does not provide an export named)",
        _C.HALLUCINATION_API,
        "SyntaxError: The requested module './lib.mjs' does not provide an export named 'gone'",
    ),
    _rule(
        r"\b(?:SyntaxError|IndentationError|TabError)\b", _C.SYNTAX_ERROR_ISOLATED, "E   SyntaxError: invalid syntax"
    ),
    _rule(r"\b(?:no longer parses|does not parse):", _C.SYNTAX_ERROR_ISOLATED, "a.py no longer parses: line 3: x"),
    _rule(r"\binvalid-syntax\b|: SyntaxError:", _C.SYNTAX_ERROR_ISOLATED, "a.py:1:5: invalid-syntax: Expected `:`"),
    _rule(
        r"\berror: (?:expected (?:one of|expression|item|pattern|type|identifier|declaration|[`‘'])|"
        r"unexpected (?:closing|token)|this file contains an unclosed|mismatched closing|unterminated)",
        _C.SYNTAX_ERROR_ISOLATED,
        "error: expected one of `!` or `::`, found `x`",
    ),
    _rule(r"\bsyntax error\b", _C.SYNTAX_ERROR_ISOLATED, "./a.go:3:2: syntax error: unexpected newline"),
    _rule(r"\berror TS1\d{3}:", _C.SYNTAX_ERROR_ISOLATED, "src/a.ts(3,5): error TS1005: ';' expected."),
    _rule(r"\bParsing error:", _C.SYNTAX_ERROR_ISOLATED, "  3:5  error  Parsing error: Unexpected token }"),
    _rule(
        r"\b(?:maximum context length|context (?:length|window) (?:is )?exceeded|exceeds? (?:the )?context)\b",
        _C.CONTEXT_OVERFLOW,
        "the prompt exceeds the context window",
    ),
    _rule(
        r"\b(?:NotImplementedError|NotImplementedException|UnsupportedOperationException)\b",
        _C.INCOMPLETE_IMPLEMENTATION,
        "E   NotImplementedError",
    ),
    _rule(
        r"\bnot (?:yet )?implemented\b|\bunimplemented!?\b",
        _C.INCOMPLETE_IMPLEMENTATION,
        "thread 'main' panicked at src/lib.rs:3:5: not yet implemented",
    ),
    _rule(
        r"^(?:E +)?(?:\w+\.)?(?:ModuleNotFoundError|ImportError|AttributeError|NameError|UnboundLocalError)\b",
        _C.HALLUCINATION_API,
        "E   AttributeError: module 'os' has no attribute 'pathx'",
    ),
    _rule(
        r"\bTypeError: .*(?:unexpected keyword argument|positional argument|is not a function|required keyword)",
        _C.HALLUCINATION_API,
        "TypeError: open() got an unexpected keyword argument 'colour'",
    ),
    _rule(
        r"\berror\[E0(?:405|407|412|422|423|425|432|433|531|559|560|574|576|599|609|610|061)\]",
        _C.HALLUCINATION_API,
        "error[E0599]: no method named `pushh` found for struct `Vec` in the current scope",
    ),
    _rule(
        r"\berror TS(?:2304|2305|2307|2339|2345|2551|2552|2554|2724)\b",
        _C.HALLUCINATION_API,
        "src/a.ts(1,2): error TS2339: Property 'x' does not exist on type 'string'.",
    ),
    _rule(
        r"^\S+\.go:\d+:\d+: (?:undefined: |.* undefined \(|.*has no field or method)",
        _C.HALLUCINATION_API,
        "./a.go:5:2: undefined: parseAll",
    ),
    _rule(r"\bReferenceError: \S+ is not defined", _C.HALLUCINATION_API, "ReferenceError: foo is not defined"),
    _rule(
        r"\bF821 |\[(?:attr-defined|name-defined|call-arg|import-not-found)\]|\bno-undef\b",
        _C.HALLUCINATION_API,
        "src/a.py:3:5: F821 Undefined name `foo`",
    ),
    _rule(
        r"\b(?:implicit declaration of function|undefined reference to|was not declared in this scope|"
        r"has no member named)|’ undeclared|' undeclared",
        _C.HALLUCINATION_API,
        "a.c:3:5: error: implicit declaration of function 'fooo'",
    ),
    _rule(
        r"\bAssertionError\b|^E\s+assert\b|\bassertion(?: `[^`]*`)? failed\b|\bAssertionError \[ERR_ASSERTION\]",
        _C.LOGIC_ERROR_REGRESSION,
        "E   AssertionError: assert 1 == 2",
    ),
    _rule(
        r"^FAILED |\btest result: FAILED|^[ \t]*--- FAIL: |^[ \t]*not ok \d+|\b[1-9]\d* (?:failed|failing)\b|"
        r"^[#ℹ] fail [1-9]",
        _C.LOGIC_ERROR_REGRESSION,
        "test result: FAILED. 3 passed; 1 failed; 0 ignored",
    ),
    _rule(
        r"^(?:E +)?(?:\w+\.)*(?:\w+Error|\w+Exception)\b|\bpanicked at\b|^panic: |\bUncaught \w*Error\b",
        _C.LOGIC_ERROR_REGRESSION,
        "ZeroDivisionError: division by zero",
    ),
)
