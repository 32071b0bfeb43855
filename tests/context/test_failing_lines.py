"""What real tools printed about a small faulty project, and the lines they name in the next prompt.

`outputs/*.txt` are the tools' own words (their worktree is called `/worktree`); `outputs/sources.json` is the
project.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from handshake.context.compile import PreviousIteration, compile_context
from handshake.domain.microtask import FileAccess, VerificationSpec
from handshake.gates.failures import failing_locations
from handshake.loop.context_request import in_worktree

OUTPUTS = Path(__file__).parent / "outputs"
SOURCES: dict[str, str] = json.loads((OUTPUTS / "sources.json").read_text(encoding="utf-8"))

NAMED = {
    "cargo-test": ["src/lib.rs:13"],
    "eslint": ["web/price.js:2", "web/price.js:3"],
    "gcc": ["src/price.c:5"],
    "go-test": ["go/bad/bad.go:6", "go/bad/bad.go:8", "go/price_test.go:7", "go/price_test.go:13"],
    "go-vet": ["go/bad/bad.go:6"],
    "mypy": ["shop/stock.py:18"],
    "node-test": ["web/price.test.mjs:7", "web/price.test.mjs:11"],
    "node-test-tap": [
        "web/price.test.mjs:6",
        "web/price.test.mjs:7",
        "web/price.test.mjs:10",
        "web/price.test.mjs:11",
    ],
    "pytest": ["tests/test_stock.py:6", "tests/test_stock.py:10", "shop/stock.py:12"],
    "pytest-line": ["tests/test_stock.py:6", "shop/stock.py:12"],
    "pytest-short": ["tests/test_stock.py:6", "tests/test_stock.py:10", "shop/stock.py:12"],
    "ruff": ["shop/stock.py:3"],
    "ruff-concise": ["shop/stock.py:3"],
    "rustc": ["src/broken.rs:3"],
    "tsc": ["web/price.ts:2", "web/price.ts:3", "web/price.ts:6"],
    "tsc-pretty": ["web/price.ts:2", "web/price.ts:3", "web/price.ts:6"],
    "unittest": ["tests/unit_stock.py:11", "shop/stock.py:12", "tests/unit_stock.py:8"],
}


@pytest.fixture
def project(tree: Path) -> Path:
    for path, text in SOURCES.items():
        place = tree / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    return tree


def named_by(tool: str, project: Path, mt) -> tuple[tuple[str, int, str], ...]:
    found = failing_locations((OUTPUTS / f"{tool}.txt").read_text(encoding="utf-8"), root="/worktree")
    return tuple((in_worktree(place.path, project, mt), place.line, place.message) for place in found)


def test_every_output_is_looked_at():
    assert {path.stem for path in OUTPUTS.glob("*.txt")} == set(NAMED)


@pytest.mark.parametrize("tool", sorted(NAMED))
def test_the_lines_that_a_tool_names_are_in_the_next_prompt(project, request_for, definition, tool):
    mt = definition(verify=(VerificationSpec(command="go test ./go/..."),))
    places = named_by(tool, project, mt)
    assert [f"{path}:{line}" for path, line, _ in places] == NAMED[tool]
    previous = PreviousIteration(outcome="RETRY", locations=places, evidence_ref="steps/1/validation.json")
    compiled = compile_context(request_for(mt=mt, previous=previous, iteration=2))
    section = compiled.envelope.full_prompt.split("# PREVIOUS ITERATION\n")[1].split("# COMPLETION")[0]
    for path, line, _ in places:
        assert f"{path}:{line}" in section
        assert SOURCES[path].split("\n")[line - 1].strip() in section
    assert compiled.trace.budgets_applied["previous_output"] <= 200 + 20


def test_a_failing_line_of_a_large_file_of_the_task_is_shown_with_its_definition(project, request_for, definition):
    bodies = [f"def part_{n}(value):\n" + "".join(f"    value += {i}\n" for i in range(9)) for n in range(90)]
    (project / "calc/stats.py").write_text("\n\n".join(bodies))
    line = "\n\n".join(bodies).split("\n").index("def part_70(value):") + 5
    previous = PreviousIteration(
        outcome="RETRY", locations=(("calc/stats.py", line, "ValueError"),), evidence_ref="steps/1/validation.json"
    )
    mt = definition(token_budget=1200)
    files = lambda p: compile_context(request_for(mt=mt, previous=p)).envelope.full_prompt.split("# FILES")[1]  # noqa: E731
    assert "def part_70(value):\n    value += 0\n" in files(previous)
    assert "def part_70(value):\n    value += 0\n" not in files(None)


def test_a_file_outside_the_task_is_quoted_with_the_lines_around(project, request_for):
    previous = PreviousIteration(
        outcome="RETRY",
        locations=(("shop/stock.py", 12, "KeyError: 'too few'"),),
        evidence_ref="steps/1/validation.json",
    )
    prompt = compile_context(request_for(previous=previous)).envelope.full_prompt
    assert (
        "shop/stock.py:12: KeyError: 'too few'\n"
        "    10|     def take(self, wanted: int) -> int:\n"
        "    11|         if wanted > self.count:\n"
        '    12>             raise KeyError("too few")\n'
    ) in prompt
    assert "FILE: shop/stock.py" not in prompt


@pytest.mark.parametrize("place", [("gone.py", 3), ("../outside.py", 1), ("calc/stats.py", 99_999), ("a\0b.py", 1)])
def test_a_place_that_is_not_there_is_only_named(request_for, tree, place):
    (tree.parent / "outside.py").write_text("secret = 1\n")
    previous = PreviousIteration(outcome="RETRY", locations=((*place, "Error"),), evidence_ref="steps/1/reply.md")
    prompt = compile_context(request_for(previous=previous)).envelope.full_prompt
    assert f"{place[0]}:{place[1]}: Error" in prompt
    assert "secret = 1" not in prompt


def test_a_package_relative_name_is_found_among_the_tasks_files_first(project, definition):
    mt = definition(files=FileAccess(modify=("go/price.go",), read=("go/price_test.go",)))
    assert in_worktree("price_test.go", project, mt) == "go/price_test.go"
    assert in_worktree("shop/stock.py", project, mt) == "shop/stock.py"
    assert in_worktree("nowhere.go", project, mt) == "nowhere.go"
