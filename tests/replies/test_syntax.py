"""Whether a text still parses, by language."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handshake.toolbus.syntax import syntax_error, syntax_regression

GOOD = {
    "a.py": b"def f(x: int) -> int:\n    return x\n",
    "b.pyi": b"def f(x: int) -> int: ...\n",
    "newer.py": b"type A = int\n\ndef f[T](x: T) -> T:\n    return x\n",
    "a.js": b"const f = (x) => x ?? 1;\n",
    "a.jsx": b"const f = () => <b>hi</b>;\n",
    "a.mjs": b"export const x = 1;\n",
    "a.ts": b"export const f = (x: number): number => x;\n",
    "a.tsx": b"const f = (): JSX.Element => <b>hi</b>;\n",
    "a.rs": b"fn main() { let x: u8 = 1; }\n",
    "a.go": b"package main\n\nfunc main() {}\n",
    "a.json": b'{"a": [1]}\n',
    "tsconfig.json": b'{"a": 1, // why\n}\n',
    "a.yaml": b"a: !custom [1]\n---\nb: 2\n",
    "chart.yml": b"a: {{ .Values.a }}\n",
    "a.toml": b"a = 1\n",
    "a.unknown": b"((((",
    "README": b"((((",
}
BAD = {
    "a.py": (b"x = 1\ndef f(:\n", "line 2"),
    "late.py": (b"x = 1\nreturn x\n", "line 2"),
    "nul.py": (b"x = 1\0", "line 1"),
    "a.js": (b"let x = 1;\nlet y = ;\n", "line 2"),
    "a.ts": (b"interface A {\n", "missing }"),
    "a.tsx": (b"const f = () => <b>hi;\n", "line 1"),
    "a.rs": (b"fn main() { let x = ; }\n", "line 1"),
    "a.go": (b"package main\nfunc f( {\n", "line 2"),
    "a.json": (b'{"a": 1,\n}\n', "line 2"),
    "deep.json": (b"[" * 100_000, "nested too deep"),
    "latin.json": (b'"\xe4"', "line 1"),
    "a.yaml": (b"a: 1\nb: [1\n", "line 3"),
    "alias.yaml": (b"a: *nothing\n", "line 1"),
    "a.toml": (b"a = \n", "line 1"),
}


@pytest.mark.parametrize("path", GOOD)
def test_good_text_parses(path: str) -> None:
    assert syntax_error(path, GOOD[path]) is None


@pytest.mark.parametrize("path", BAD)
def test_bad_text_is_named_by_line(path: str) -> None:
    data, says = BAD[path]
    error = syntax_error(path, data)
    assert error is not None and says in error and "\n" not in error


def test_a_file_that_did_not_parse_may_still_not() -> None:
    good, bad = GOOD["a.py"], BAD["a.py"][0]
    assert syntax_regression("a.py", bad, bad + b"x\n") is None
    assert syntax_regression("a.py", good, good) is None
    assert (syntax_regression("a.py", good, bad) or "").startswith("no longer parses: line 2")
    assert (syntax_regression("a.py", None, bad) or "").startswith("does not parse: line 2")


def test_nothing_is_run_and_no_warning_escapes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert syntax_error("a.py", b"raise SystemExit('run')\nx = '\\d'\n") is None


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=50), st.sampled_from(sorted({f"x.{p.rpartition('.')[2]}" for p in GOOD if "." in p})))
def test_no_bytes_make_it_raise(data: bytes, path: str) -> None:
    syntax_error(path, data)
