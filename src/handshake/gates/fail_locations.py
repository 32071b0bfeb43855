"""Where a failure points to, by the formats of the known tools. Contract: `context.md`, step 7."""

from __future__ import annotations

import re
from typing import NamedTuple

from handshake.gates.counted_tests import plain_output

MAX_LOCATIONS = 20
_NOT_OURS = re.compile(
    r"(?:^|/)(?:site-packages|dist-packages|node_modules|\.cargo/registry|rustlib|\.venv|venv)/|^node:|^<|^/usr/lib|"
    r"^/rustc/|/lib/python3|^internal/|(?:^|/)(?:GOROOT|go/src/(?:testing|runtime))/"
)


class FailLocation(NamedTuple):
    """A place in a file: 1-based line, and what was said there (may be empty)."""

    path: str
    line: int
    message: str


class LocationFormat(NamedTuple):
    """How a tool names a place: groups `path`, `line` and perhaps `message`; an example and what it gives."""

    tool: str
    pattern: re.Pattern[str]
    example: str
    expected: FailLocation


def failing_locations(output: str, root: str | None = None) -> tuple[FailLocation, ...]:
    """The places that an output names, in its order, each line of a file once, at most 20.

    Args:
        output: stdout followed by stderr of a verify command.
        root: the worktree's absolute path; paths under it are made relative.

    Places in libraries and runtimes are left out.
    """
    text = plain_output(output)
    hits: list[tuple[int, int, FailLocation]] = []
    for rank, form in enumerate(FORMATS):
        for match in form.pattern.finditer(text):
            location = _location(match, root)
            if location is not None:
                hits.append((match.start("line"), rank, location))
    hits += [(start, len(FORMATS), location) for start, location in _headed(text, root)]
    hits.sort(key=lambda hit: hit[:2])
    found: dict[tuple[str, int], FailLocation] = {}
    for _, _, location in hits:
        key = location[:2]
        if key not in found or (location.message and not found[key].message):
            found[key] = location
    return tuple(found.values())[:MAX_LOCATIONS]


def _location(match: re.Match[str], root: str | None) -> FailLocation | None:
    path = _path(match["path"], root)
    line = int(match["line"])
    if path is None or line < 1:
        return None
    message = (match.groupdict().get("message") or "").strip()
    return FailLocation(path, line, message[:200])


def _path(named: str, root: str | None) -> str | None:
    path = named.strip().removeprefix("file://").replace("\\", "/")
    if re.match(r"^/[A-Za-z]:/", path):
        path = path[1:]
    base = (root or "").replace("\\", "/").rstrip("/")
    if base and path.startswith(base + "/"):
        path = path[len(base) + 1 :]
    while path.startswith("./"):
        path = path[2:]
    return None if not path or _NOT_OURS.search(path) else path


_HEADING = re.compile(r"^(?P<path>(?:[A-Za-z]:)?[^\s:][^\n:]*\.[A-Za-z]\w{0,4})$")
_UNDER = re.compile(r"^\s+(?P<line>\d{1,7}):\d+\s+(?:error|warning)\s+(?P<message>.+)$")


def _headed(text: str, root: str | None) -> list[tuple[int, FailLocation]]:
    """eslint's usual form: the path on a line, then `line:column  error  message` under it."""
    found: list[tuple[int, FailLocation]] = []
    path: str | None = None
    start = 0
    for row in text.split("\n"):
        heading, under = _HEADING.match(row), _UNDER.match(row)
        if heading:
            path = _path(heading["path"], root)
        elif under and path:
            found.append((start, FailLocation(path, int(under["line"]), " ".join(under["message"].split())[:200])))
        elif row.strip() and not under:
            path = None
        start += len(row) + 1
    return found


_FILE = r"(?P<path>(?:[A-Za-z]:)?[^\s:'\"()\[\]<>|,]+\.[A-Za-z]\w{0,9})"
_LINE = r"(?P<line>\d{1,7})"


def _form(tool: str, pattern: str, example: str, path: str, line: int, message: str = "") -> LocationFormat:
    return LocationFormat(tool, re.compile(pattern, re.MULTILINE), example, FailLocation(path, line, message))


FORMATS: tuple[LocationFormat, ...] = (
    _form(
        "pytest",
        rf"^E {{3,}}(?P<message>[^\n]+)\n(?:(?:E [^\n]*)?\n){{0,30}}?{_FILE}:{_LINE}: \w+$",
        "E       assert -1 == 3\nE        +  where -1 = add(1, 2)\n\ntests/test_a.py:12: AssertionError",
        "tests/test_a.py",
        12,
        "assert -1 == 3",
    ),
    _form(
        "pytest --tb=short",
        rf"^{_FILE}:{_LINE}: in [^\n]*\n(?: {{4}}[^\n]*\n){{0,9}}E {{3,}}(?P<message>[^\n]+)$",
        "tests/test_a.py:12: in test_add\n    assert add(1, 2) == 3\nE   assert -1 == 3",
        "tests/test_a.py",
        12,
        "assert -1 == 3",
    ),
    _form(
        "python traceback, last frame",
        rf"^[E \t]*File \"(?P<path>[^\"\n]+)\", line {_LINE}(?:, in [^\n]*)?\n"
        r"(?:(?![E \t]*File \")[E ] [^\n]*\n){0,3}?"
        r"(?:E +)?(?P<message>[A-Za-z_][\w.]*(?:Error|Exception|Warning|Exit|Interrupt|Iteration)(?::[^\n]*)?)$",
        '  File "/w/tests/test_a.py", line 9, in test_sum\n    self.fail()\nAssertionError: -1 != 3',
        "/w/tests/test_a.py",
        9,
        "AssertionError: -1 != 3",
    ),
    _form(
        "python traceback",
        rf"^[E \t]*File \"(?P<path>[^\"\n]+)\", line {_LINE}(?:, in (?P<message>[^\n]*))?$",
        '  File "src/a.py", line 3, in add\n    return helper(a)',
        "src/a.py",
        3,
        "add",
    ),
    _form(
        "rustc, ruff",
        rf"^(?P<message>(?:error|warning)(?:\[\w+\])?: [^\n]*|[A-Z]+\d+ (?:\[\*\] )?[^\n]*|[a-z-]+: [^\n]*)\n"
        rf"[ \t]*--> {_FILE}:{_LINE}:\d+",
        "error[E0425]: cannot find value `y` in this scope\n --> src/main.rs:4:5",
        "src/main.rs",
        4,
        "error[E0425]: cannot find value `y` in this scope",
    ),
    _form(
        "rust panic",
        rf"panicked at {_FILE}:{_LINE}:\d+:\n(?P<message>[^\n]*)",
        "thread 'tests::adds' panicked at src/lib.rs:10:9:\nassertion `left == right` failed",
        "src/lib.rs",
        10,
        "assertion `left == right` failed",
    ),
    _form(
        "rust panic, before 1.73",
        rf"panicked at '(?P<message>[^\n]*)', {_FILE}:{_LINE}:\d+$",
        "thread 'tests::adds' panicked at 'assertion failed: x', src/lib.rs:10:9",
        "src/lib.rs",
        10,
        "assertion failed: x",
    ),
    _form(
        "tsc",
        rf"^{_FILE}(?:\({_LINE},\d+\)): (?P<message>(?:error|warning) TS\d+: [^\n]*)$",
        "src/a.ts(3,5): error TS2304: Cannot find name 'y'.",
        "src/a.ts",
        3,
        "error TS2304: Cannot find name 'y'.",
    ),
    _form(
        "tsc --pretty",
        rf"^{_FILE}:{_LINE}:\d+ - (?P<message>(?:error|warning) TS\d+: [^\n]*)$",
        "src/a.ts:3:5 - error TS2304: Cannot find name 'y'.",
        "src/a.ts",
        3,
        "error TS2304: Cannot find name 'y'.",
    ),
    _form(
        "gcc, clang, go build, go vet, ruff, eslint --format unix",
        rf"^(?:vet: )?{_FILE}:{_LINE}:\d+: (?P<message>[^\n]*)$",
        "src/a.c:3:5: error: expected ';' before 'return'",
        "src/a.c",
        3,
        "error: expected ';' before 'return'",
    ),
    _form(
        "pytest, mypy, go test",
        rf"^[ \t]*{_FILE}:{_LINE}: (?P<message>[^\n]*)$",
        "tests/test_a.py:12: AssertionError",
        "tests/test_a.py",
        12,
        "AssertionError",
    ),
    _form(
        "node, jest",
        rf"^[ \t]+at (?:[^\n(]*\()?(?:async )?(?P<path>(?:file://)?(?:[A-Za-z]:)?[^\s:()]+\.[cm]?[jt]sx?):{_LINE}:\d+\)?$",
        "    at TestContext.<anonymous> (file:///w/a.test.js:5:10)",
        "/w/a.test.js",
        5,
    ),
    _form(
        "node --test, a frame in TAP",
        rf"^[ \t]+[^\n(]*\((?P<path>(?:file://)?(?:[A-Za-z]:)?/[^\s:()]+\.[cm]?[jt]sx?):{_LINE}:\d+\)$",
        "    TestContext.<anonymous> (file:///w/a.test.js:5:10)",
        "/w/a.test.js",
        5,
    ),
    _form(
        "node, an uncaught error",
        rf"^(?P<path>(?:file://)?(?:[A-Za-z]:)?/[^\s:]+\.[cm]?[jt]sx?):{_LINE}$",
        "file:///w/a.test.mjs:2\nimport { gone } from './lib.mjs';",
        "/w/a.test.mjs",
        2,
    ),
    _form(
        "node --test",
        rf"^[ \t]*location: '(?P<path>(?:[A-Za-z]:)?[^\n:']+):{_LINE}:\d+'$",
        "  location: '/w/a.test.js:3:1'",
        "/w/a.test.js",
        3,
    ),
    _form("any", rf"(?<![\w/.:\\]){_FILE}:{_LINE}(?![\w:])", "failed at lib/a.rb:7", "lib/a.rb", 7),
)
