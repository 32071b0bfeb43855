"""Small projects as dictionaries, and one way to plan them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handshake.domain.job import WorkPacketScope
from handshake.domain.microtask import Plan
from handshake.planning import generate_plan

PACKET = "docs/task_packets/WP-1-Demo.md"


class DictTree:
    """A source tree in memory that counts what is read."""

    def __init__(
        self, files: Mapping[str, str | bytes], links: Sequence[str] = (), mounted: Sequence[str] = ()
    ) -> None:
        self.links, self.mounted = frozenset(links), tuple(mounted)
        self.files = {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}
        self.reads: list[str] = []

    def paths(self) -> tuple[str, ...]:
        return tuple(self.files)

    def read(self, path: str) -> bytes | None:
        self.reads.append(path)
        return self.files.get(path)

    def size(self, path: str) -> int | None:
        return len(self.files[path]) if path in self.files else None

    def mode(self, path: str) -> int | None:
        return None if path not in self.files else 0o120000 if path in self.links else 0o100644

    def submodules(self) -> tuple[str, ...]:
        return self.mounted


def is_gate(command: str) -> bool:
    return command.startswith(("just pre-work", "just post-work", "handshake "))


def plan_for(
    files: Mapping[str, str | bytes],
    in_scope: tuple[str, ...],
    done: tuple[str, ...],
    tests: tuple[str, ...] = ("pytest -q",),
    *,
    window: int = 16_384,
    **more: Any,
) -> Plan:
    scope_keys = {key: more.pop(key) for key in ("description", "risk_tier", "out_of_scope") if key in more}
    return generate_plan(
        wp_id="WP-1-Demo",
        packet_path=PACKET,
        scope=WorkPacketScope(in_scope_paths=in_scope, done_means=done, test_plan=tests, **scope_keys),
        tree=DictTree(files),
        smallest_window=window,
        is_governance_command=is_gate,
        **more,
    )


PYTHON = {
    "calc/__init__.py": "from calc.stats import mean, median\nfrom calc.text import shout\n",
    "calc/stats.py": (
        "def mean(xs):\n    return sum(xs) / len(xs)\n\n\ndef median(xs):\n    return sorted(xs)[len(xs) // 2]\n"
    ),
    "calc/text.py": "def shout(text):\n    return text.upper()\n",
    "calc/report.py": "from calc.stats import mean\n\n\ndef report(xs):\n    return f'{mean(xs)}'\n",
    "tests/conftest.py": "import calc\n",
    "tests/helpers.py": "from calc.stats import mean\n",
    "tests/test_calc.py": (
        "import calc.report as r\nfrom calc import mean, median, shout\n\n\n"
        "def numbers():\n    return []\n\n\n"
        "def test_mean():\n    assert mean(numbers()) == 0\n\n\n"
        "def test_median():\n    assert median([1, 2]) == 1.5\n\n\n"
        "class TestText:\n    def test_shout(self):\n        assert shout('a') == 'A!'\n\n\n"
        "def test_report():\n    assert r.report([]) == '0'\n"
    ),
    "docs/guide.md": "guide\n",
    "README.md": "A calculator.\n",
}
PYTHON_DONE = (
    "`mean([])` returns 0",
    "`median` of an even list is the mean of the middle two",
    "shout in calc/text.py adds an exclamation mark",
    "the report shows the mean of an empty list as 0",
    "All tests pass",
)
PYTHON_SCOPE = ("calc/stats.py", "calc/text.py", "calc/report.py", "docs/guide.md")

TYPESCRIPT = {
    "package.json": '{"scripts": {"test": "vitest run"}}',
    "src/stats.ts": "import { clamp } from './clamp.js';\nexport function mean(xs: number[]) { return clamp(1); }\n",
    "src/clamp.ts": "export const clamp = (x: number) => x;\n",
    "src/app.tsx": "import * as s from './stats';\nexport function App() { return <p>{s.mean([])}</p>; }\n",
    "test/stats.test.ts": "import { mean } from '../src/stats';\ntest('x', () => mean([]));\n",
    "src/clamp.test.ts": "import { clamp } from './clamp';\n",
}
RUST = {
    "core/Cargo.toml": '[package]\nname = "my-core"\n',
    "core/src/lib.rs": "pub mod stats;\nmod text;\npub use stats::mean;\n",
    "core/src/stats.rs": (
        "use crate::text::{shout, quiet as q};\npub fn mean(x: &[f64]) -> f64 { 0.0 }\n"
        "#[cfg(test)]\nmod tests { #[test] fn m() {} }\n"
    ),
    "core/src/text.rs": "pub fn shout() {}\npub fn quiet() {}\n",
    "core/tests/api.rs": "use my_core::mean;\n#[test]\nfn works() { mean(&[]); }\n",
}
GO = {
    "go.mod": "module example.com/app\n\ngo 1.22\n",
    "stats/mean.go": "package stats\n\nfunc Mean(x []float64) float64 { return sum(x) }\n",
    "stats/sum.go": "package stats\n\nfunc sum(x []float64) float64 { return 0 }\n",
    "stats/mean_test.go": (
        'package stats\n\nimport "testing"\n\nfunc TestMean(t *testing.T) { Mean(nil) }\n\n'
        "func TestSum(t *testing.T) { sum(nil) }\n"
    ),
    "cmd/main.go": 'package main\n\nimport "example.com/app/stats"\n\nfunc main() { stats.Mean(nil) }\n',
}
