"""What a prompt and the index cost, and which lexical ranking finds the right definition.

    python bench/context.py [--files N] [--index N] [--json]

A repository of N files (50,000), made of this Python's standard library over and over, with one micro-task of five
files in it. Each figure stands beside something real of the same run: reading the same files, `git grep`, a bare
interpreter. Only the ratios mean something on another machine.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ranking import compare_rankings

MT_FILES = ("textwrap", "shlex", "heapq", "fnmatch", "bisect")
QUERY = "`wrap` keeps a long word whole when break_long_words is false"
WHO = ("-c", "user.name=Bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false")


@dataclass
class Figures:
    """Rows of the report: name, value, unit, the floor that is asked for, beside what."""

    rows: list[dict[str, object]] = field(default_factory=list)

    def add(self, name: str, value: float, unit: str, *, most: float | None = None, beside: str = "") -> None:
        """Note a figure, and say it."""
        self.rows.append({"name": name, "value": round(value, 2), "unit": unit, "at_most": most, "beside": beside})
        floor = f"  (at most {most:g})" if most is not None else ""
        print(
            f"{name:<64} {value:>10.2f} {unit}{floor}{'  ' + beside if beside else ''}", file=sys.stderr, flush=True
        )


def pool() -> list[bytes]:
    """Modules of the standard library between 1 and 24 KB, in a fixed order."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = [p for p in sorted(root.glob("**/*.py")) if "site-packages" not in p.parts and "test" not in p.parts]
    return [p.read_bytes() for p in found if 1_000 < p.stat().st_size < 24_000]


def make_repository(root: Path, files: int) -> None:
    """Commit `files` modules by fast-import, and check them out."""
    modules, stdlib = pool(), Path(sysconfig.get_paths()["stdlib"])
    root.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", "-b", "main", str(root)], check=True)
    importer = subprocess.Popen(["git", "-C", str(root), "fast-import", "--quiet"], stdin=subprocess.PIPE)
    assert importer.stdin is not None
    out = importer.stdin
    out.write(b"commit refs/heads/main\ncommitter Bench <bench@localhost> 1700000000 +0000\ndata 4\nmade\n")
    for name in MT_FILES:
        text = (stdlib / f"{name}.py").read_bytes()
        imports = "".join(f"import task.{other}\n" for other in MT_FILES if other > name).encode()
        _write(out, f"task/{name}.py", imports + text)
    for number in range(files - len(MT_FILES)):
        text = modules[number % len(modules)] + b"\nNUMBER_%d = %d\n" % (number, number)
        _write(out, f"p{number // 1000:02}/q{number // 50 % 20:02}/m{number}.py", text)
    out.close()
    assert importer.wait() == 0
    subprocess.run(["git", "-C", str(root), "reset", "-q", "--hard"], check=True)


def _write(out: object, path: str, data: bytes) -> None:
    out.write(b"M 100644 inline %s\ndata %d\n" % (path.encode(), len(data)))  # type: ignore[attr-defined]
    out.write(data + b"\n")  # type: ignore[attr-defined]


def timed(act: Callable[[], object], times: int = 1) -> float:
    """The median of the durations, in ms."""
    spans = []
    for _ in range(times):
        begin = time.perf_counter()
        act()
        spans.append((time.perf_counter() - begin) * 1000)
    return statistics.median(spans)


def git_grep(root: Path, word: str) -> float:
    """What looking for a word costs with git alone, in ms."""
    command = ["git", "-C", str(root), "grep", "-c", word]
    return timed(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=False), 3)


def measure_index(figures: Figures, root: Path, folder: Path, files: int) -> None:
    """Building, nothing changed, five files changed; in a process of its own, for its memory."""
    said = json.loads(in_child("index", root, folder))
    plain = json.loads(in_child("read", root, folder))
    beside = f"reading the same {files} blobs: {plain['seconds']:.2f} s"
    figures.add(f"index of {files} files, words", said["seconds"], "s", most=30, beside=beside)
    figures.add("  processor time of it", said["cpu"], "s")
    figures.add("  memory of that process", said["mb"], "MB", most=500, beside=f"reading them: {plain['mb']:.0f} MB")
    figures.add("  nothing changed", said["unchanged_ms"], "ms")
    grep = timed(
        lambda: subprocess.run(["git", "-C", str(root), "grep", "-qF", "no-such-word-anywhere"], check=False)
    )
    figures.add(
        "  five files changed and committed", said["changed_ms"], "ms", beside=f"git grep over all: {grep:.0f} ms"
    )
    figures.add("  its file", said["file_mb"], "MB")


def measure_prompt(figures: Figures, root: Path, folder: Path) -> None:
    """One prompt in a fresh process, then more in it."""
    said = json.loads(in_child("prompt", root, folder))
    bare = timed(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True), 5)
    grep = timed(
        lambda: subprocess.run(["git", "-C", str(root), "grep", "-c", "wrap"], stdout=subprocess.DEVNULL, check=False)
    )
    figures.add("prompt of 5 files, cold: imports, opening the index, compiling", said["cold_ms"], "ms", most=500,
                beside=f"a bare interpreter: {bare:.0f} ms")  # fmt: skip
    figures.add("  processor time of it", said["cold_cpu_ms"], "ms")
    figures.add("  of it compiling", said["first_ms"], "ms", beside=f"git grep -c wrap: {grep:.0f} ms")
    figures.add("prompt, warm, a file changed since", said["warm_changed_ms"], "ms", most=30,
                beside=f"reading the five files: {said['read_ms']:.2f} ms")  # fmt: skip
    figures.add("  processor time of it", said["warm_cpu_ms"], "ms")
    figures.add("prompt, warm, nothing changed", said["warm_ms"], "ms", most=30)
    figures.add("  tokens", said["tokens"], "")
    figures.add("  memory of that process", said["mb"], "MB", most=500)


def in_child(what: str, root: Path, folder: Path) -> str:
    """Run one of the children below in a fresh interpreter."""
    command = [sys.executable, __file__, "--child", what, str(root), str(folder)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def child(what: str, root: Path, folder: Path, begin: float) -> dict[str, float]:
    """What a fresh process does and measures."""
    if what == "prompt":
        return _child_prompt(root, folder, begin)
    from handshake.repo.git import find_repository

    repo = find_repository(root)
    tree = repo.tree(repo.branch_tip("main") or "")
    begin = time.perf_counter()
    if what == "read":
        for blob in tree.ids().values():
            tree.blob(blob)
        return {"seconds": time.perf_counter() - begin, "mb": _memory()}
    from handshake.source.index import SourceIndex

    index = SourceIndex(folder)
    index.refresh(tree)
    seconds, cpu = time.perf_counter() - begin, time.process_time()
    unchanged = timed(lambda: index.refresh(repo.tree(repo.branch_tip("main") or "")), 5)
    for name in MT_FILES:
        place = root / "task" / f"{name}.py"
        place.write_bytes(place.read_bytes() + b"\nCHANGED = 1\n")
    subprocess.run(["git", "-C", str(root), *WHO, "commit", "-qam", "five"], check=True)
    changed = timed(lambda: index.refresh(repo.tree(repo.branch_tip("main") or "")))
    index.close()
    assert index.path is not None
    size = index.path.stat().st_size / 1e6
    return {
        "seconds": seconds,
        "cpu": cpu,
        "unchanged_ms": unchanged,
        "changed_ms": changed,
        "mb": _memory(),
        "file_mb": size,
    }


def _child_prompt(root: Path, folder: Path, begin: float) -> dict[str, float]:
    import dataclasses
    from datetime import UTC, datetime

    from handshake.context.compile import ContextRequest, compile_context
    from handshake.domain.microtask import DoneCriterion, FileAccess, MicroTaskDefinition, Plan, VerificationSpec
    from handshake.models.provider import estimate_tokens
    from handshake.repo.git import find_repository
    from handshake.source.index import SourceIndex

    paths = tuple(f"task/{name}.py" for name in MT_FILES)
    mt = MicroTaskDefinition(
        mt_id="MT-001",
        name="Wrap long words",
        scope=QUERY,
        files=FileAccess(read=paths[1:], modify=paths[:1]),
        actions=("Change `wrap` in task/textwrap.py",),
        verify=(VerificationSpec(command="python -m pytest tests"),),
        done=(DoneCriterion(description=QUERY, verification="evidence_required"),),
        token_budget=8192,
    )
    repo = find_repository(root)
    tree = repo.tree(repo.branch_tip("main") or "")
    index = SourceIndex(folder)
    index.refresh(tree)
    request = ContextRequest(
        job_id="bench", wp_id="WP-1", step_id="MT-001_iter-001", mt=mt,
        plan=Plan(wp_id="WP-1", definitions=(mt,), waves=(("MT-001",),), definitions_hash="0" * 64),
        worktree=root, model_id="bench", context_window=32_768, reserved_output_tokens=2048,
        count_tokens=estimate_tokens, created_at=datetime(2026, 1, 22, tzinfo=UTC),
        policy_profile_id="micro_task_executor_v1", index=index, tree_id=tree.tree_id,
    )  # fmt: skip
    start = time.perf_counter()
    compiled = compile_context(request)
    first, cold, cold_cpu = time.perf_counter() - start, time.perf_counter() - begin, time.process_time()
    warm = timed(lambda: compile_context(request), 9)
    busy = time.process_time()
    place, changed = root / paths[0], []
    original = place.read_bytes()
    for number in range(9):
        place.write_bytes(original + b"\nX = %d\n" % number)
        later = dataclasses.replace(request, step_id=f"MT-001_iter-{number + 2:03}", iteration=2)
        changed.append(timed(lambda later=later: compile_context(later)))  # type: ignore[misc]
    busy = (time.process_time() - busy) / 9
    place.write_bytes(original)
    read = timed(lambda: [(root / path).read_text().split("\n") for path in paths], 9)
    return {
        "cold_ms": cold * 1000, "cold_cpu_ms": cold_cpu * 1000, "warm_cpu_ms": busy * 1000,
        "first_ms": first * 1000, "warm_ms": warm, "read_ms": read,
        "warm_changed_ms": statistics.median(changed), "tokens": compiled.envelope.token_estimate, "mb": _memory(),
    }  # fmt: skip


def _memory() -> float:
    """The most memory this process had, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Parse, measure, report."""
    begin = time.perf_counter()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--index", type=int, default=10_000)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(given.child[0], Path(given.child[1]), Path(given.child[2]), begin)))
        return
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="bench-context-") as folder:
        for files, act in ((given.index, "index"), (given.files, "prompt")):
            root, index = Path(folder, act), Path(folder, f"{act}-index")
            make_repository(root, files)
            if act == "index":
                measure_index(figures, root, index, files)
            else:
                in_child("index", root, index)
                measure_prompt(figures, root, index)
    rankings = compare_rankings(pool(), given.questions, random.Random(7))
    if given.json:
        print(json.dumps({"figures": figures.rows, "rankings": rankings}, indent=1))
    for row in rankings:
        print(
            f"{row['name']:<52} MRR {row['mrr']:.3f}  first {row['first']:.3f}  {row['ms']:.2f} ms", file=sys.stderr
        )


if __name__ == "__main__":
    main()
