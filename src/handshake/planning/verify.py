"""Verify commands of one MT: TEST_PLAN commands narrowed to its own tests, or a syntax check in their stead.

Contract: `micro-tasks.md`, Generation 5. What can be narrowed and how is data: `verify_table.json`.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from handshake.domain.microtask import VerificationSpec
from handshake.planning.commands import KnownCommand, program_name, programs_of, read_command, verify_table
from handshake.planning.judges import Judges
from handshake.source.languages import language_of
from handshake.source.project import Project

MOST_COMMANDS = 5
LONGEST_TIMEOUT_MS = 300_000
_MOST_TARGETS = 12


@dataclass(frozen=True)
class Verification:
    """An MT's verify commands; `proof` is the index of the one that proves its criteria, if any does."""

    specs: tuple[VerificationSpec, ...]
    proof: int | None


class VerifyWriter:
    """Writes verify commands from one packet's TEST_PLAN."""

    def __init__(self, project: Project, test_plan: Sequence[str]) -> None:
        self._project = project
        self._plan = tuple(test_plan)
        self._known = tuple(read_command(text, project) for text in self._plan)
        self._programs = programs_of(self._plan)
        self._python = self._programs.get("python", "python")

    def for_files(self, files: Sequence[str], judges: Judges, *, is_last: bool) -> Verification:
        """The commands that judge these files.

        Args:
            files: what the MT writes.
            judges: the tests that can judge it.
            is_last: all other work is done by then, so that a command that cannot be narrowed judges it too.
        """
        tests = [spec for known in self._known if known for spec in self._narrowed_tests(known, judges)]
        if not tests and is_last:
            tests = [_spec(text, LONGEST_TIMEOUT_MS) for text in self._tests_as_they_are()]
        tests = list(dict.fromkeys(tests))[: MOST_COMMANDS - 2]
        lints = [self._narrowed_lint(known, files) for known in self._known if known]
        checks = [] if tests else list(self.stand_ins(files))
        specs = list(dict.fromkeys([*tests, *checks, *(lint for lint in lints if lint)]))[:MOST_COMMANDS]
        return Verification(tuple(specs), 0 if tests else None)

    def whole_plan(self, files: Sequence[str]) -> Verification:
        """The TEST_PLAN as it is; more than five commands are joined, so that all of them run."""
        if not self._plan:
            return Verification(tuple(self.stand_ins(files[:MOST_COMMANDS])), None)
        size = -(-len(self._plan) // MOST_COMMANDS)
        joined = [self._plan[start : start + size] for start in range(0, len(self._plan), size)]
        texts = [part[0] if len(part) == 1 else " && ".join(_grouped(text) for text in part) for part in joined]
        return Verification(tuple(_spec(text, LONGEST_TIMEOUT_MS) for text in texts), 0)

    def _tests_as_they_are(self) -> list[str]:
        lints = {known.text for known in self._known if known and known.tool["kind"] == "lint"}
        return [text for text in self._plan if text not in lints]

    def _narrowed_tests(self, known: KnownCommand, judges: Judges) -> list[VerificationSpec]:
        if known.tool["kind"] != "test":
            return []
        whole = [path for path in judges.whole if _is_for(known, path)]
        single = {path: names for path, names in judges.single.items() if _is_for(known, path)}
        targets: list[str] = []
        if known.tool.get("unit") == "directory":
            targets = self._directory_targets(known, whole, single)
        else:
            targets = [target for path in whole if (target := _file_target(known, path))]
            if "single" in known.tool and len(whole) < _MOST_TARGETS:
                targets += [
                    _single_target(known, path, name) for path, names in sorted(single.items()) for name in names
                ]
        targets = list(dict.fromkeys(targets))[:_MOST_TARGETS]
        if not targets:
            return []
        apart = known.tool.get("separate") or known.tool.get("unit") == "directory"
        sets = [[target] for target in targets] if apart and len(targets) <= MOST_COMMANDS - 2 else [targets]
        if len(sets) == 1 and len(targets) > 1 and known.tool.get("separate"):
            sets = [[target] for target in targets[: MOST_COMMANDS - 2]]
        return [_spec(_written(known, chosen), known.tool["timeout_ms"]) for chosen in sets]

    def _directory_targets(
        self, known: KnownCommand, whole: Sequence[str], single: dict[str, tuple[str, ...]]
    ) -> list[str]:
        """A folder is a target if every test file in it judges; else its tests are named one by one."""
        targets = []
        folders = sorted({posixpath.dirname(path) for path in (*whole, *single)})
        for folder in folders:
            here = {p for p in self._project.in_folder(folder) if self._project.runs_as_test(p)}
            names = [
                name for path, found in sorted(single.items()) if posixpath.dirname(path) == folder for name in found
            ]
            place = _from_folder(known, folder) or "."
            if here <= set(whole):
                targets.append(_quoted(known.tool["target"], dir=place))
                continue
            language = language_of(next(iter(sorted(here)), ""))
            for path in sorted(here & set(whole)):
                pattern = (language.test_name if language else None) or r"(?!)"
                names += [d.name for d in self._project.outline(path).definitions if re.match(pattern, d.qualified)]
            if names:
                chosen = f"^({'|'.join(sorted(set(names)))})$"
                targets.append(_quoted(known.tool["single"], dir=place, pattern=chosen))
        return targets

    def _narrowed_lint(self, known: KnownCommand, files: Sequence[str]) -> VerificationSpec | None:
        if known.tool["kind"] != "lint":
            return None
        chosen = [path for path in files if _is_for(known, path)]
        if known.tool.get("only_source"):
            chosen = [path for path in chosen if not self._project.holds_tests(path)]
        targets = [target for path in chosen if (target := _file_target(known, path))]
        return _spec(_written(known, targets), known.tool["timeout_ms"]) if targets else None

    def stand_ins(self, files: Sequence[str]) -> tuple[VerificationSpec, ...]:
        """Syntax checks, by programs that the TEST_PLAN uses itself, or Python's."""
        kinds: dict[int, list[str]] = {}
        rows = verify_table()["stand_ins"]
        for path in files:
            ending = posixpath.splitext(path)[1].lower()
            row = next((i for i, r in enumerate(rows) if ending in r["extensions"] and self._may_use(r)), len(rows))
            kinds.setdefault(row, []).append(path)
        specs: list[VerificationSpec] = []
        for row, paths in sorted(kinds.items()):
            if row == len(rows):
                specs.append(_spec(self._filled(verify_table()["last_resort"], paths), 30_000))
                continue
            each = [[path] for path in paths] if "{path}" in rows[row]["command"] else [paths]
            carried = self._carried(rows[row])
            for chosen in each:
                text = self._filled(rows[row]["command"], chosen, carried)
                specs.append(_spec(text, rows[row].get("timeout_ms", 30_000)))
        if len(specs) > MOST_COMMANDS:
            return (_spec(self._filled(verify_table()["last_resort"], list(files)), 30_000),)
        return tuple(specs)

    def _may_use(self, row: dict[str, Any]) -> bool:
        return row["program"] == "python" or row["program"] in self._programs

    def _carried(self, row: dict[str, Any]) -> str:
        """Options of the TEST_PLAN's own command that the stand-in needs too."""
        for text in self._plan:
            words = shlex.split(text) if text.count('"') % 2 == 0 and text.count("'") % 2 == 0 else []
            if not words or program_name(words[0]) != row["program"]:
                continue
            found = []
            for position, word in enumerate(words):
                if word.split("=")[0] in row.get("carry", ()):
                    found += [word] if "=" in word else words[position : position + 2]
            return (" " + shlex.join(found)) if found else ""
        return ""

    def _filled(self, form: str, paths: Sequence[str], carried: str = "") -> str:
        dirs = sorted({"./" + posixpath.dirname(path) for path in paths})
        facts = {
            "python": self._python,
            "paths": shlex.join(paths),
            "path": shlex.quote(paths[0]),
            "dirs": shlex.join(dirs),
            "carried": carried,
        }
        return re.sub(r"\{(\w+)\}", lambda match: facts[match.group(1)], form)


def is_stand_in(command: str) -> bool:
    """Whether a command is a syntax check that proves no criterion."""
    forms = [row["command"] for row in verify_table()["stand_ins"]] + [verify_table()["last_resort"]]
    return any(re.fullmatch(_as_pattern(form), command, re.DOTALL) for form in forms)


def _as_pattern(form: str) -> str:
    pieces = re.split(r"(\{\w+\})", form)
    return "".join(
        (r"\S+" if piece == "{python}" else ".*") if piece.startswith("{") else re.escape(piece) for piece in pieces
    )


def _spec(command: str, timeout_ms: int) -> VerificationSpec:
    return VerificationSpec(command=command, timeout_ms=min(timeout_ms, LONGEST_TIMEOUT_MS))


def _grouped(text: str) -> str:
    return f"( {text} )" if re.search(r"[;&|]", text) else text


def _is_for(known: KnownCommand, path: str) -> bool:
    """Whether the tool reads this language, from where it runs, and was pointed at a place that holds the file."""
    language = language_of(path)
    if language is None or language.name not in known.tool["languages"]:
        return False
    inside = _from_folder(known, path)
    if inside is None:
        return False
    root = known.tool.get("root_option")
    if root and root in known.options:
        manifest = known.options[known.options.index(root) + 1]
        if not inside.startswith(posixpath.join(posixpath.dirname(posixpath.normpath(manifest)), "")):
            return False
    if known.tool["positionals"] != "paths" or not known.positionals:
        return True
    return any(_holds(place, inside) for place in known.positionals)


def _holds(place: str, path: str) -> bool:
    place = posixpath.normpath(place.split("::", maxsplit=1)[0])
    return place in (".", path) or path.startswith(place + "/")


def _from_folder(known: KnownCommand, path: str) -> str | None:
    """The path as seen from where the command runs; None if it lies elsewhere."""
    if not known.folder:
        return path
    if path == known.folder:
        return ""
    return path.removeprefix(known.folder + "/") if path.startswith(known.folder + "/") else None


def _file_target(known: KnownCommand, path: str) -> str | None:
    inside = _from_folder(known, path)
    assert inside is not None
    nodes = [place for place in known.positionals if "::" in place and place.split("::")[0] == inside]
    if nodes:
        return shlex.join(nodes)
    for row in known.tool.get("targets", ()):
        if match := re.search(row["match"], inside):
            value = match.group(1) if match.groups() else ""
            value = value.replace(*row["replace"]) if "replace" in row else value
            return _quoted(row["target"].replace("{1}", "{value}"), value=value)
    return _quoted(known.tool["target"], path=inside) if "target" in known.tool else None


def _single_target(known: KnownCommand, path: str, name: str) -> str:
    inside = _from_folder(known, path) or path
    node = name.replace(".", known.tool.get("node_separator", "."))
    module = posixpath.splitext(inside)[0].replace("/", ".")
    return _quoted(known.tool["single"], path=inside, node=node, module=module)


def _quoted(form: str, **facts: str) -> str:
    """A target form filled in, each of its words quoted for the shell."""
    words = [re.sub(r"\{(\w+)\}", lambda match: facts[match.group(1)], word) for word in form.split(" ")]
    return shlex.join(words)


def _written(known: KnownCommand, targets: Sequence[str]) -> str:
    before = known.tool.get("before_targets")
    pieces = [known.prefix, shlex.join(known.options), before or "", *targets, shlex.join(known.tail)]
    return " ".join(piece for piece in pieces if piece)
