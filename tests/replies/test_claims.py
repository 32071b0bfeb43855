"""A claim is not believed: each condition has a test that makes it fail."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handshake.domain.microtask import DoneCriterion
from handshake.domain.reply import CompletionSignal, EvidenceLine
from handshake.gates.claims import check_added_lines, check_changed, check_evidence, check_graders
from handshake.gates.code_lines import added_lines, held_lines, lines_of, touched_lines

BEFORE = {"a.py": b"import os\n\n# a comment\ndef f():\n    return 1\n\nx = 1\n", "r.py": b"y = 1\n"}
AFTER = {"a.py": b"import os\n\n# a comment\ndef f():\n    return 2\n\nx = 1\n", "r.py": b"y = 1\n"}
FILES = ("a.py", "r.py")


def criteria(*texts: str) -> tuple[DoneCriterion, ...]:
    return tuple(DoneCriterion(description=text, verification="evidence_required") for text in texts)


def claim(*rows: tuple[str, str, int, int]) -> CompletionSignal:
    lines = (
        EvidenceLine(criterion=c, evidence_location=f"{p}:{s}-{e}", path=p, start=s, end=e) for c, p, s, e in rows
    )
    return CompletionSignal(claimed_complete=True, evidence=tuple(lines))


def evidence(path: str, start: int, end: int, *, text: str = "f gives 2", satisfied: bool = False) -> list[str]:
    return check_evidence(
        claim((text, path, start, end)),
        criteria("f gives 2"),
        FILES,
        BEFORE,
        AFTER,
        writable=("a.py",),
        already_satisfied=satisfied,
    )


# --- condition 1


@pytest.mark.parametrize(("start", "end"), [(5, 5), (4, 5), (1, 7)])
def test_evidence_on_a_changed_line_holds(start: int, end: int) -> None:
    assert evidence("a.py", start, end) == []
    assert evidence("./a.py", start, end) == []


@pytest.mark.parametrize(
    ("path", "start", "end", "says"),
    [
        ("a.py", 5, 99, "past the end: the file has 7 lines"),
        ("a.py", 99, 99, "past the end"),
        ("b.py", 1, 1, "not a file of this micro-task"),
        ("../a.py", 1, 1, "not a file of this micro-task"),
        ("a.py", 2, 3, "only blank lines or comments"),
        ("a.py", 7, 7, "touches no line that this micro-task changed"),
    ],
)
def test_evidence_that_shows_nothing_is_named(path: str, start: int, end: int, says: str) -> None:
    reasons = evidence(path, start, end)
    assert len(reasons) == 1 and says in reasons[0] and f"{path}:{start}-{end}" in reasons[0]


def test_a_file_that_is_not_there_is_no_evidence() -> None:
    reasons = check_evidence(claim(("c", "n.py", 1, 1)), criteria("c"), ("n.py",), {}, {"n.py": None})
    assert "does not exist" in reasons[0]


def test_a_new_file_is_all_changed() -> None:
    assert check_evidence(claim(("c", "n.py", 1, 1)), criteria("c"), ("n.py",), {}, {"n.py": b"x = 1\n"}) == []


def test_a_file_that_is_only_read_need_not_have_changed() -> None:
    assert evidence("r.py", 1, 1) == []


def test_what_was_satisfied_before_need_not_have_changed() -> None:
    assert evidence("a.py", 7, 7, satisfied=True) == []


def test_every_criterion_needs_its_line() -> None:
    reasons = check_evidence(claim(), criteria("one", "two"), FILES, BEFORE, AFTER)
    assert [r.split("criterion ")[1] for r in reasons] == ['"one"', '"two"']


def test_every_line_given_for_a_criterion_must_hold() -> None:
    signal = claim(("f gives 2", "a.py", 5, 5), ("f gives 2", "a.py", 99, 99))
    assert len(check_evidence(signal, criteria("f gives 2"), FILES, BEFORE, AFTER)) == 1


@pytest.mark.parametrize("text", ["F  gives 2", "f gives 2.", '"f gives 2"', "“f gives 2”", " f\tgives 2 "])
def test_a_criterion_is_known_in_every_dress(text: str) -> None:
    assert evidence("a.py", 5, 5, text=text) == []


def test_a_criterion_is_known_by_a_long_beginning_that_only_it_has() -> None:
    long = criteria('`parse()` returns "None" for an empty text', "`parse()` returns 'None' for a broken text")
    rows = (
        ("`parse()` returns 'None' for an em...", "a.py", 5, 5),
        ("`parse()` returns 'None' for a bro", "a.py", 5, 5),
    )
    assert check_evidence(claim(*rows), long, FILES, BEFORE, AFTER) == []
    shared = check_evidence(claim(("`parse()` returns 'None' for a", "a.py", 5, 5)), long, FILES, BEFORE, AFTER)
    short = check_evidence(claim(("`parse()` ret", "a.py", 5, 5)), long, FILES, BEFORE, AFTER)
    assert len(shared) == len(short) == 2


def test_the_lines_around_a_deletion_were_changed() -> None:
    old, new = ["a", "b", "c", "d"], ["a", "d"]
    assert touched_lines(old, new) == {1, 2}
    assert added_lines(old, new) == frozenset()
    assert touched_lines(["a", "b"], ["a"]) == {1}


@pytest.mark.parametrize(
    ("path", "text", "held"),
    [
        ("a.js", "/* one\n two */\n// three\nx; // four\n/* a */ y\n", {4, 5}),
        ("a.sql", "-- c\nselect 1;\n", {2}),
        ("a.html", "<!-- c\nd -->\n<b>\n", {3}),
        ("a.md", "# title\n\ntext\n", {1, 3}),
        ("Makefile", "# c\nall:\n", {1, 2}),
        ("Dockerfile", "# c\nFROM x\n", {2}),
    ],
)
def test_comments_are_known_by_language(path: str, text: str, held: set[int]) -> None:
    assert held_lines(path, lines_of(text.encode())) == held


# --- condition 2


@pytest.mark.parametrize(
    ("path", "added", "says"),
    [
        ("a.py", "x = 1  # TODO later\n", "holds TODO"),
        ("a.py", "# fixme: x\n", "holds fixme"),
        ("a.py", "x = 'XXX'\n", "holds XXX"),
        ("a.md", "Value: TBD\n", "holds TBD"),
        ("a.js", "// implement me\n", 'says "implement me"'),
        ("a.py", "def g():\n    pass\n", "the body of g is only `pass`"),
        ("a.py", "def g():\n    ...\n", "only `...`"),
        ("a.py", 'def g():\n    """Doc."""\n    pass\n', "only `pass`"),
        ("a.py", "class A:\n    async def g(self):\n        raise NotImplementedError('x')\n", "A.g is only `raise"),
        ("a.py", "def g():\n    return NotImplemented\n", "only `return NotImplemented`"),
        ("a.py", "def g():\n    def h():\n        pass\n    return h\n", "g.h is only `pass`"),
        ("a.py", "if x:\n    def g(): pass\n", "g is only `pass`"),
        ("broken.py", "def (:\n    raise NotImplementedError\n", "is not implemented"),
        ("a.rs", "fn f() { todo!() }\n", "is not implemented"),
        ("a.rs", 'fn f() { unimplemented!("x") }\n', "is not implemented"),
        ("a.ts", "throw new Error('Not implemented');\n", "is not implemented"),
        ("a.go", 'func f() {}\n\nfunc g() { panic("not implemented") } // panic\n', None),
        ("a.java", "throw new UnsupportedOperationException();\n", "is not implemented"),
        ("a.kt", 'fun f() = TODO("x")\n', "holds TODO"),
    ],
)
def test_unfinished_work_among_the_added_lines_is_named(path: str, added: str, says: str | None) -> None:
    reasons = check_added_lines({path: b"start = 1\n"}, {path: b"start = 1\n" + added.encode()})
    assert len(reasons) == 1 and reasons[0].startswith(f"{path}:")
    assert says is None or says in reasons[0]


@pytest.mark.parametrize(
    "added",
    [
        "TODO_LIST = []\n",
        "class MyError(Exception):\n    pass\n",
        "try:\n    f()\nexcept OSError:\n    pass\n",
        "from abc import abstractmethod\nclass A:\n    @abstractmethod\n    def g(self): ...\n",
        "from typing import Protocol\nclass P(Protocol):\n    def g(self) -> int: ...\n",
        "from typing import overload\n@overload\ndef g(x: int) -> int: ...\n",
        "class A:\n    def __eq__(self, other):\n        return NotImplemented\n",
        "def g(x):\n    if x:\n        return 1\n    raise NotImplementedError\n",
        "method = 'todo'\n",
    ],
)
def test_finished_work_is_not_taken_for_unfinished(added: str) -> None:
    assert check_added_lines({"a.py": b""}, {"a.py": added.encode()}) == []


def test_what_stood_there_before_is_not_added() -> None:
    old = b"# TODO old\nx = 1\n\ndef g():\n    pass\n"
    assert check_added_lines({"a.py": old}, {"a.py": b"y = 2\n" + old}) == []
    assert check_added_lines({"a.py": old}, {"a.py": b"x = 1\n\n\ndef g():\n    pass\n# TODO old\n"}) == []
    changed = check_added_lines({"a.py": old}, {"a.py": old.replace(b"def g()", b"def g(a)")})
    assert len(changed) == 1 and "body of g" in changed[0]


def test_deleted_and_binary_files_have_no_added_lines() -> None:
    assert check_added_lines({"a.py": b"x"}, {"a.py": None, "b.png": b"\0TODO"}) == []


# --- condition 3


def test_something_must_change_unless_it_was_satisfied() -> None:
    assert "nothing changed" in check_changed(BEFORE, BEFORE, False)[0]
    assert check_changed(BEFORE, BEFORE, True) == []
    assert check_changed(BEFORE, AFTER, False) == []
    assert check_changed({}, {"n.py": b""}, False) == []
    assert check_changed({"n.py": b""}, {"n.py": None}, False) == []


# --- condition 4

TESTS = b"""import pytest

def test_one():
    assert f() == 1

class TestTwo:
    def test_two(self):
        self.assertEqual(f(), 2)

    def test_three(self):
        with pytest.raises(ValueError):
            f(0)
"""


@pytest.mark.parametrize(
    ("base", "now", "says"),
    [
        (b"a", b"b", "was changed"),
        (b"a", None, "was deleted"),
        (None, b"a", "appeared"),
        (b"a\n", b"a\r\n", "changed"),
    ],
)
def test_a_grader_must_be_byte_identical(base: bytes | None, now: bytes | None, says: str) -> None:
    reasons = check_graders({"tests/t.py": (base, now), "tests/u.py": (b"x", b"x")})
    assert len(reasons) == 1 and says in reasons[0] and "tests/t.py" in reasons[0]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("def test_one():\n    assert f() == 1\n\n", "", "test_one was deleted"),
        ("def test_one", "def check_one", "test_one was deleted"),
        ("def test_one", "@pytest.mark.skip\ndef test_one", "test_one is now skipped"),
        ("def test_one", "@pytest.mark.skipif(True, reason='')\ndef test_one", "now skipped"),
        ("def test_one", "@pytest.mark.xfail\ndef test_one", "now skipped"),
        ("    assert f() == 1", "    pytest.skip('x')\n    assert f() == 1", "now skipped"),
        ("    assert f() == 1", "    raise unittest.SkipTest('x')", "now skipped"),
        ("import pytest\n", "import pytest\npytestmark = pytest.mark.skip\n", "test_one is now skipped"),
        ("class TestTwo:\n", "class TestTwo:\n    __test__ = False\n", "TestTwo.test_two is now skipped"),
        ("class TestTwo", "@unittest.skip('x')\nclass TestTwo", "TestTwo.test_three is now skipped"),
        ("    assert f() == 1", "    pass", "checks nothing any more"),
        ("    assert f() == 1", "    assert True", "checks nothing any more"),
        ("    assert f() == 1", "    return\n    assert f() == 1", "checks nothing any more"),
        ("self.assertEqual(f(), 2)", "self.assertTrue(True)", "checks nothing any more"),
        ("with pytest.raises(ValueError):", "if True:", "TestTwo.test_three checks nothing"),
        ("def test_one():", "def test_one(:", "no longer parses"),
    ],
)
def test_a_weakened_python_test_is_named(old: str, new: str, says: str) -> None:
    now = TESTS.decode().replace(old, new, 1).encode()
    assert now != TESTS
    reasons = check_graders({}, {"test_a.py": (TESTS, now)})
    assert any(says in reason for reason in reasons), reasons


def test_tests_may_be_added_and_rewritten() -> None:
    now = TESTS.replace(b"== 1", b"== 3") + b"\ndef test_four():\n    assert f()\n"
    assert check_graders({}, {"test_a.py": (TESTS, now), "test_new.py": (None, TESTS)}) == []
    assert "deleted with 3" in check_graders({}, {"test_a.py": (TESTS, None)})[0]


JS = b"test('one', () => {\n  expect(f()).toBe(1)\n})\nit('two', () => {\n  assert(f())\n})\n"
RS = b"#[test]\nfn one() {\n    assert_eq!(f(), 1);\n}\n\n#[test]\nfn two() {\n    assert!(g());\n}\n"
GO = b'func TestOne(t *testing.T) {\n\tif f() != 1 {\n\t\tt.Errorf("x")\n\t}\n}\n'


@pytest.mark.parametrize(
    ("path", "base", "old", "new", "says"),
    [
        ("a.test.js", JS, b"test('one'", b"test.skip('one'", "one is now skipped"),
        ("a.test.js", JS, b"it('two'", b"it.only('two'", "two is now skipped"),
        ("a.test.ts", JS, b"test('one'", b"helper('one'", "one was deleted"),
        ("a.test.js", JS, b"expect(f()).toBe(1)", b"", "one checks nothing"),
        ("a.test.js", JS, b"test('one'", b"describe.skip('all', () => {})\ntest('one'", "one is now skipped"),
        ("a.rs", RS, b"fn one", b"#[ignore]\nfn one", "one is now skipped"),
        ("a.rs", RS, b"assert!(g());", b"", "two checks nothing"),
        ("a.rs", RS, b"#[test]\nfn two", b"fn two", "two was deleted"),
        ("a_test.go", GO, b"\tif", b"\tt.Skip()\n\tif", "TestOne is now skipped"),
        ("a_test.go", GO, b't.Errorf("x")', b"", "TestOne checks nothing"),
    ],
)
def test_a_weakened_test_is_named_in_other_languages(
    path: str, base: bytes, old: bytes, new: bytes, says: str
) -> None:
    reasons = check_graders({}, {path: (base, base.replace(old, new, 1))})
    assert any(says in reason for reason in reasons), reasons
    assert check_graders({}, {path: (base, base + b"\n")}) == []


@pytest.mark.parametrize(
    ("before", "now", "fine"),
    [
        (5, 5, True),
        (5, 6, True),
        (5, 4, False),
        (5, None, False),
        (None, None, True),
        (0, None, True),
        (None, 3, True),
    ],
)
def test_at_least_as_many_tests_run_as_before(before: int | None, now: int | None, fine: bool) -> None:
    assert (check_graders({}, tests_before=before, tests_now=now) == []) == fine


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=60), st.sampled_from(["a.py", "a.js", "a.rs", "a.go", "a.txt"]))
def test_no_bytes_make_a_check_raise(base: bytes, now: bytes, path: str) -> None:
    check_added_lines({path: base}, {path: now})
    check_graders({path: (base, now)}, {path: (base, now)})
    check_evidence(claim(("c", path, 1, 1)), criteria("c"), (path,), {path: base}, {path: now})
