"""The graders are intact: what judges an MT is not weakened by it. Contract: `models.md`, condition 4."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from handshake.gates.stubs import parsed_python

_SKIPS = re.compile(r"\b(?:skip|skipif|skipIf|skipUnless|xfail|expectedFailure|SkipTest|importorskip)\b")
_TEST_CALLS = re.compile(
    r"^(?:assert\w*|raises|warns|deprecated_call|fail|expect\w*|check\w*|verify\w*)$", re.IGNORECASE
)


class LanguageTests(NamedTuple):
    """How a language names a test and takes one out; the first group of `test` is its name."""

    suffixes: tuple[str, ...]
    test: re.Pattern[str]
    skip: re.Pattern[str]
    check: re.Pattern[str]


PATTERNS: tuple[LanguageTests, ...] = (
    LanguageTests(
        (".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts"),
        re.compile(r"\b(?:it|test)(?:\.\w+)*\s*\(\s*(['\"`])(?P<name>.{1,200}?)\1"),
        re.compile(
            r"\b(?:it|test|describe|suite)\.(?:skip|only|todo|fails)\b|\bx(?:it|test|describe)\s*\(|"
            r"\bf(?:it|describe)\s*\(|\bt\.(?:skip|todo)\(|\b(?:skip|todo|only)\s*:\s*(?:true|['\"`])"
        ),
        re.compile(r"\b(?:assert|expect|t\.(?:is|deepEqual|assert)|should)\b"),
    ),
    LanguageTests(
        (".rs",),
        re.compile(
            r"#\[(?:\w+::)?test\](?:\s{0,200}#\[[^\]\n]{0,200}\]){0,9}\s{0,200}"
            r"(?:pub\s+)?(?:async\s+)?fn\s+(?P<name>\w+)"
        ),
        re.compile(r"#\[ignore\b"),
        re.compile(r"\b(?:assert\w*|panic|matches)!"),
    ),
    LanguageTests(
        (".go",),
        re.compile(r"^func\s+(?P<name>Test\w*)\s*\(", re.MULTILINE),
        re.compile(r"\bt\.Skip(?:f|Now)?\("),
        re.compile(r"\bt\.(?:Error|Errorf|Fatal|Fatalf|Fail|FailNow)\(|\b(?:assert|require)\.\w+\("),
    ),
)


class _Test(NamedTuple):
    skipped: bool
    checks: int


def check_graders(
    graders: Mapping[str, tuple[bytes | None, bytes | None]],
    own_tests: Mapping[str, tuple[bytes | None, bytes | None]] | None = None,
    *,
    tests_before: int | None = None,
    tests_now: int | None = None,
) -> list[str]:
    """Condition 4, as reasons.

    Args:
        graders: files that `verify` runs and that are not the MT's to modify: (at the base, now). They
            must be byte-identical; one that appeared since or vanished is not.
        own_tests: test files that the MT may modify: (at the base, now). No test may be deleted, skipped
            or emptied.
        tests_before: how many tests ran on the base, by `count_tests`; None if not known.
        tests_now: how many run now.
    """
    reasons: list[str] = []
    for path in sorted(graders):
        base, now = graders[path]
        if base != now:
            did = "was deleted" if now is None else "appeared" if base is None else "was changed"
            reasons.append(f"{path} {did}: it judges this micro-task and is not its to modify")
    for path, (base, now) in sorted((own_tests or {}).items()):
        if base is not None and base != now:
            reasons += _weakened(path, base, now)
    if tests_before is not None and tests_before > 0 and (tests_now is None or tests_now < tests_before):
        now_text = "none are counted" if tests_now is None else str(tests_now)
        reasons.append(f"fewer tests run than before: {tests_before} then, {now_text} now")
    return reasons


def _weakened(path: str, base: bytes, now: bytes | None) -> Iterator[str]:
    before = _tests(path, base)
    if not before:
        return
    if now is None:
        yield f"{path} was deleted with {len(before)} of its tests"
        return
    after = _tests(path, now)
    if after is None:
        yield f"{path} no longer parses: its tests cannot run"
        return
    for name, old in before.items():
        new = after.get(name)
        if new is None:
            yield f"{path}: the test {name} was deleted"
        elif new.skipped and not old.skipped:
            yield f"{path}: the test {name} is now skipped"
        elif old.checks and not new.checks:
            yield f"{path}: the test {name} checks nothing any more"


def _tests(path: str, data: bytes) -> dict[str, _Test] | None:
    """The tests of a file by name; None if it does not parse; empty for a language that is not known."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix == ".py":
        tree = parsed_python(data)
        return None if tree is None else _python_tests(tree)
    pattern = next((pattern for pattern in PATTERNS if suffix in pattern.suffixes), None)
    return {} if pattern is None else _matched_tests(pattern, data.decode("utf-8", "replace"))


def _matched_tests(pattern: LanguageTests, text: str) -> dict[str, _Test]:
    """Each test with the text from its name to the next one's (and the line it begins on)."""
    found = list(pattern.test.finditer(text))
    if not found:
        return {}
    starts = [_line_start(text, match.start()) for match in found]
    whole_file = pattern.skip.search(text[: found[0].start()]) is not None
    tests: dict[str, _Test] = {}
    for match, start, end in zip(found, starts, [*starts[1:], len(text)], strict=True):
        body = text[start : max(end, match.end())]
        skipped = whole_file or pattern.skip.search(body) is not None
        tests[match["name"]] = _Test(skipped, len(pattern.check.findall(body)))
    return tests


def _line_start(text: str, at: int) -> int:
    low = max(0, at - 200)
    return max(low, text.rfind("\n", low, at) + 1)


def _python_tests(tree: ast.Module) -> dict[str, _Test]:
    tests: dict[str, _Test] = {}
    whole_file = any(_skipping_statement(node) for node in tree.body)
    waiting: list[tuple[list[ast.stmt], str, bool]] = [(tree.body, "", whole_file)]
    while waiting:
        body, prefix, skipped = waiting.pop(0)
        for node in body:
            if isinstance(node, ast.ClassDef):
                inner = skipped or _decorated_away(node) or any(_skipping_statement(item) for item in node.body)
                waiting.append((node.body, f"{prefix}{node.name}.", inner))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
                away = skipped or _decorated_away(node) or any(_skipping_statement(item) for item in node.body)
                tests[f"{prefix}{node.name}"] = _Test(away, _checks(node.body))
            elif isinstance(node, ast.If | ast.Try | ast.With):
                waiting.append((node.body, prefix, skipped))
    return tests


def _decorated_away(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(_SKIPS.search(ast.unparse(decorator)) for decorator in node.decorator_list)


def _skipping_statement(node: ast.stmt) -> bool:
    """`pytestmark = ...skip...`, `__test__ = False`, `pytest.skip(...)`, `raise SkipTest`."""
    if isinstance(node, ast.Assign):
        names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        if "__test__" in names:
            return isinstance(node.value, ast.Constant) and not node.value.value
        return "pytestmark" in names and _SKIPS.search(ast.unparse(node.value)) is not None
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return _SKIPS.search(ast.unparse(node.value.func)) is not None
    return isinstance(node, ast.Raise) and node.exc is not None and _SKIPS.search(ast.unparse(node.exc)) is not None


def _checks(body: list[ast.stmt]) -> int:
    """Assertions that can be reached and can fail: what stands after a plain `return` counts for nothing."""
    count = 0
    for statement in body:
        if isinstance(statement, ast.Return):
            break
        count += sum(1 for node in ast.walk(statement) if _is_check(node))
    return count


def _is_check(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return not isinstance(node.test, ast.Constant)
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        constant = bool(node.args) and all(isinstance(argument, ast.Constant) for argument in node.args)
        return _TEST_CALLS.match(called) is not None and not (constant and called.startswith("assert"))
    return False
