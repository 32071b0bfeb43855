"""Languages as data: definitions, imports, test files, and where imports lead."""

from __future__ import annotations

import pytest
from planning_trees import GO, RUST, TYPESCRIPT, DictTree

from handshake.source.imports import ImportGraph, is_named_for
from handshake.source.languages import (
    expand_braces,
    is_test_file,
    known_languages,
    language_of,
    outline_of,
)
from handshake.source.project import LARGEST_TEXT_BYTES, Project


def graph(files: dict[str, str]) -> ImportGraph:
    return ImportGraph(Project(DictTree(files)))


def test_every_language_of_the_folder_parses_with_its_queries() -> None:
    assert [language.name for language in known_languages()] == [
        "go",
        "javascript",
        "python",
        "rust",
        "tsx",
        "typescript",
    ]
    for language in known_languages():
        outline_of("x" + language.extensions[0], "\n")


@pytest.mark.parametrize(
    ("path", "text", "names"),
    [
        ("a.py", "X = 1\n@d\nclass A:\n    @d\n    def m(self): ...\ndef f(): ...\n", ["X", "A", "A.m", "f"]),
        ("a.js", "export const f = () => 1;\nclass A { m() {} }\nfunction g() {}\n", ["f", "A", "A.m", "g"]),
        ("a.ts", "interface I {}\ntype T = I;\nenum E {}\nexport class A { m() {} }\n", ["I", "T", "E", "A", "A.m"]),
        ("a.tsx", "export function App() { return <p/>; }\n", ["App"]),
        ("a.rs", "struct S;\nimpl S { fn m(&self) {} }\nfn f() {}\n", ["S", "S", "S.m", "f"]),
        ("a.go", "package a\ntype T struct{}\nfunc (t T) M() {}\nfunc F() {}\nconst C = 1\n", ["T", "M", "F", "C"]),
        ("a.sql", "create table t;", []),
    ],
)
def test_definitions(path: str, text: str, names: list[str]) -> None:
    assert [definition.qualified for definition in outline_of(path, text).definitions] == names


def test_a_decorated_definition_begins_with_its_decorators() -> None:
    (definition,) = outline_of("a.py", "@one\n@two\ndef f():\n    pass\n").definitions
    assert (definition.start, definition.end) == (1, 4)


def test_broken_source_still_gives_what_can_be_read() -> None:
    outline = outline_of("a.py", "def f(:\n    pass\n\n\ndef g():\n    pass\n")
    assert "g" in [definition.name for definition in outline.definitions]


@pytest.mark.parametrize(
    ("importer", "text", "expected"),
    [
        ("app/x.py", "from . import stats\n", ("app/stats.py",)),
        ("app/x.py", "from .stats import mean as m\n", ("app/stats.py",)),
        ("app/sub/x.py", "from ..stats import mean\n", ("app/stats.py",)),
        ("app/x.py", "import app.stats as s, app.sub\n", ("app/stats.py", "app/sub/__init__.py")),
        ("tests/x.py", "from lib_code import deep\n", ("src/lib_code/deep.py",)),
        ("app/x.py", "import json, os.path\n", ()),
        ("app/x.py", "from app import *\n", ("app/__init__.py",)),
    ],
)
def test_python_imports(importer: str, text: str, expected: tuple[str, ...]) -> None:
    files = dict.fromkeys(
        (
            "app/__init__.py",
            "app/stats.py",
            "app/sub/__init__.py",
            "src/lib_code/__init__.py",
            "src/lib_code/deep.py",
        ),
        "",
    )
    assert graph(files | {"vendor/json.py": "", importer: text}).direct(importer) == expected


def test_imports_of_the_other_languages() -> None:
    assert graph(TYPESCRIPT).direct("src/stats.ts") == ("src/clamp.ts",)
    assert graph(TYPESCRIPT).direct("src/app.tsx") == ("src/stats.ts",)
    assert graph(RUST).direct("core/src/lib.rs") == ("core/src/stats.rs", "core/src/text.rs")
    assert graph(RUST).direct("core/src/stats.rs") == ("core/src/text.rs",)
    assert graph(GO).direct("cmd/main.go") == ("stats/mean.go", "stats/sum.go")
    assert graph(GO).direct("stats/mean.go") == ("stats/sum.go",)
    node = {"a.js": "const b = require('./lib/b');\nexport * from './c.mjs';\nimport fs from 'fs';\n"}
    assert graph(node | {"lib/b/index.js": "", "c.mjs": "", "fs.js": ""}).direct("a.js") == (
        "c.mjs",
        "lib/b/index.js",
    )


def test_a_name_is_followed_to_the_file_that_defines_it() -> None:
    found = graph(RUST)
    (item,) = found._project.outline("core/tests/api.rs").imports
    assert found.origin("core/tests/api.rs", item) == ("core/src/stats.rs", "mean")


def test_names_that_go_round_in_a_circle_end() -> None:
    files = {"a.py": "from b import x\n", "b.py": "from a import x\n"}
    assert graph(files).follow("a.py", "x") in {("a.py", "x"), ("b.py", "x")}


def test_braces_of_imports() -> None:
    assert expand_braces("a::{b, c::{d, e as f}, *}") == ["a::b", "a::c::d", "a::c::e as f", "a::*"]
    assert expand_braces("a::b") == ["a::b"]
    assert expand_braces("a::{") == []


@pytest.mark.parametrize(
    ("path", "is_test"),
    [
        ("tests/test_a.py", True),
        ("pkg/a_test.py", True),
        ("tests/helpers.py", True),
        ("tests/conftest.py", False),
        ("pkg/attest.py", False),
        ("src/a.test.ts", True),
        ("__tests__/a.tsx", True),
        ("pkg/a_test.go", True),
        ("tests/api.rs", True),
        ("test_data.csv", False),
    ],
)
def test_what_looks_like_a_test(path: str, is_test: bool) -> None:
    assert is_test_file(path) is is_test


def test_support_files_of_a_test_folder_are_no_target() -> None:
    python = language_of("a.py")
    assert python is not None
    assert not python.runs_as_test("tests/helpers.py")
    assert python.runs_as_test("tests/test_a.py")


def test_tests_are_named_for_their_source() -> None:
    assert is_named_for("tests/test_stats.py", "calc/stats.py")
    assert is_named_for("a/stats_test.go", "a/stats.go")
    assert is_named_for("src/x.spec.ts", "src/x.ts")
    assert not is_named_for("tests/test_statistics.py", "calc/stats.py")


def test_text_is_read_leniently() -> None:
    project = Project(
        DictTree(
            {
                "bom.py": b"\xef\xbb\xbfx = 1\n",
                "old.py": b"# caf\xe9\n",
                "bin.py": b"\0\1",
                "huge.py": b"x" * (LARGEST_TEXT_BYTES + 1),
            }
        )
    )
    assert project.text("bom.py") == "x = 1\n"
    assert project.text("old.py") == "# café\n"
    assert project.text("bin.py") is None
    assert project.text("huge.py") is None
    assert project.text("gone.py") is None
