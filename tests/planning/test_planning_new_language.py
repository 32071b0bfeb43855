"""A language that no code knows is added from data alone: three files in a folder, and an installed grammar."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from handshake.domain.errors import ConfigError
from handshake.source.languages import known_languages

LUA = {
    "name": "lua",
    "extensions": [".lua"],
    "grammar": "tree_sitter_lua:language",
    "separator": ".",
    "bare": "search",
    "roots": ["src"],
    "candidates": ["{m}.lua", "{m}/init.lua"],
    "tests": ["*_spec.lua"],
    "test_stems": ["{stem}_spec"],
}
DEFINITIONS = (
    "(function_declaration name: (identifier) @name) @definition\n"
    "(function_declaration name: (dot_index_expression field: (identifier) @name)) @definition\n"
)
IMPORTS = """
(function_call
  name: (identifier) @_call
  arguments: (arguments (string content: (string_content) @import))
  (#eq? @_call "require"))
"""
# a process of its own: which languages there are is read once
SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from planning_trees import plan_for
files = {
    "src/stats.lua": "local M = {}\\nfunction M.mean(xs)\\n  return 1\\nend\\nreturn M\\n",
    "src/report.lua": "local stats = require('stats')\\nlocal function report()\\n  return stats.mean({})\\nend\\n",
    "src/other.lua": "local function quiet()\\n  return 0\\nend\\n",
    "spec/stats_spec.lua": "local stats = require('stats')\\n",
}
plan = plan_for(files, ("src/",), ("`mean` of nothing is 0", "`report` says so", "`quiet` is loud"), files_per_mt=1)
print(json.dumps([
    [mt.files.modify[0], list(mt.files.read), list(mt.depends_on), list(mt.task_tags)]
    for mt in plan.definitions if mt.files.modify
]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lua.json").write_text(json.dumps(LUA), encoding="utf-8")
    (tmp_path / "lua.definitions.scm").write_text(DEFINITIONS, encoding="utf-8")
    (tmp_path / "lua.imports.scm").write_text(IMPORTS, encoding="utf-8")
    return tmp_path


def planned(folder: Path | None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    env.pop("HANDSHAKE_LANGUAGES", None)
    if folder is not None:
        env["HANDSHAKE_LANGUAGES"] = str(folder)
    here = str(Path(__file__).parent)
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, here], env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_definitions_imports_tests_and_tags_of_a_language_added_as_data(folder: Path) -> None:
    done = planned(folder)
    assert done.returncode == 0, done.stderr
    rows = {row[0]: row[1:] for row in json.loads(done.stdout)}
    assert rows["src/report.lua"] == [["src/stats.lua"], ["MT-002"], ["lua"]]
    assert rows["src/stats.lua"] == [["spec/stats_spec.lua", "src/report.lua"], [], ["lua"]]
    assert rows["src/other.lua"] == [[], [], ["lua"]]


def test_without_the_data_its_files_are_words(folder: Path) -> None:
    rows = json.loads(planned(None).stdout)
    assert all(row[1:] == [[], [], []] for row in rows)


@pytest.mark.parametrize(
    "text", ["{", '{"extensions": [".lua"]}', '{"name": "lua", "extensions": [".lua"], "colour": "blue"}', "[]"]
)
def test_data_that_describes_no_language_is_named(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "lua.json").write_text(text, encoding="utf-8")
    monkeypatch.setenv("HANDSHAKE_LANGUAGES", str(folder))
    with pytest.raises(ConfigError, match=r"lua\.json does not describe a language"):
        known_languages.__wrapped__()


def test_a_query_that_does_not_fit_the_grammar_is_named(folder: Path) -> None:
    (folder / "lua.imports.scm").write_text("(no_such_node) @import", encoding="utf-8")
    done = planned(folder)
    assert "ConfigError" in done.stderr
    assert "lua.imports.scm does not describe a language" in done.stderr


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDSHAKE_LANGUAGES", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="is no folder"):
        known_languages.__wrapped__()
