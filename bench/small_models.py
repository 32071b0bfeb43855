"""What a small model gets done with Handshake and with aider: twenty small tasks, several seeds, one server.

    python bench/small_models.py --aider VENV/bin/aider [--model NAME] [--seeds N] [--tasks N] [--json FILE]
                                 [--server URL]... [--jobs N]

Each task is a small repository with a failing test. Handshake gets it as a packet, aider as a message with the same
words, the same files, and the tests to read and to run (`--auto-test`); both may try four times (aider's own limit of
three reflections; two levels of two tries). The same llama.cpp server answers both, through a proxy that
counts tokens and holds every reply to the same length. A task passes if its tests pass afterwards, on the WP branch
or in aider's folder, with the test file as it was. Without `--aider` only Handshake's rows are made.
`--server` names a llama.cpp server that runs already; one built for this processor is faster than the embedded wheel.
Given again, the runs are dealt to the servers in turn: one thread each does more than one server with all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import yaml

from handshake.domain.clock import SystemClock
from handshake.models.children import start_serving
from handshake.models.install import installed_model

sys.path.insert(0, str(Path(__file__).parent))

from counting_proxy import CountingProxy

WP_ID = "WP-1-Small-Task-v1"
WINDOW, MOST_TOKENS, TRIES = 8192, 512, 4
# for one reply: many runs share a server, and how long it takes there says nothing of the model
PATIENCE_S = 1800
_KEY = "bench"
_SHOWN = ("task", "how", "seed", "passed", "tries", "seconds")
# what aider prints when a try came to nothing
_AIDER_SAYS = {
    "edit form not kept": "did not conform to the edit format",
    "lines to replace not found": "failed to match!",
    "cut off at the token limit": "has hit a token limit!",
    "tests failed": "FAILED (",
}
WAYS = ("handshake", "aider whole", "aider diff")
TEST_FILE = "tests/test_task.py"
CHECK = [sys.executable, "-m", "unittest", "-q", "tests.test_task"]
_PACKET = Path(__file__).with_name("small_packet.md")


def read_tasks() -> list[dict[str, Any]]:
    """The tasks of `small_tasks.yaml`."""
    tasks: list[dict[str, Any]] = yaml.safe_load(
        Path(__file__).with_name("small_tasks.yaml").read_text(encoding="utf-8")
    )
    return tasks


def make_repository(task: dict[str, Any], root: Path) -> None:
    """The task's repository with one commit."""
    files = {
        **task["files"],
        TEST_FILE: task["tests"],
        "tests/__init__.py": "",
        ".gitignore": "__pycache__/\n.aider*\n",
    }
    for folder in {str(Path(path).parent) for path in task["files"]}:
        files.setdefault(f"{folder}/__init__.py", "")
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "--all")
    git(root, "commit", "-qm", "a task")


def git(root: Path, *arguments: str) -> str:
    """Run git there."""
    names = ("-c", "user.name=Bench", "-c", "user.email=bench@localhost")
    done = subprocess.run(["git", "-C", str(root), *names, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def solved(task: dict[str, Any]) -> dict[str, str]:
    """The files as the task's solution has them."""
    files = dict(task["files"])
    for path, change in task["solution"].items():
        if isinstance(change, str):
            files[path] = change
        for old, new in change.items() if isinstance(change, dict) else ():
            files[path] = files[path].replace(old, new)
    return files


def in_scope(task: dict[str, Any]) -> list[str]:
    """The files that the task is about."""
    return task.get("create") or list(task["files"])


def tests_pass(task: dict[str, Any], root: Path) -> bool:
    """Whether the task's tests pass there, its test file as it was."""
    (root / TEST_FILE).write_text(task["tests"], encoding="utf-8")
    done = subprocess.run(CHECK, cwd=root, capture_output=True, timeout=60, check=False)
    return done.returncode == 0


def run_handshake(
    task: dict[str, Any], root: Path, address: str, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """The task as a packet; its figures."""
    scope = "\n".join(f"  - {path}" for path in in_scope(task))
    done = "\n".join(f"- {text}" for text in task["done"])
    packet = root / "docs" / "task_packets" / f"{WP_ID}.md"
    packet.parent.mkdir(parents=True)
    packet.write_text(
        _PACKET.read_text(encoding="utf-8").format(wp_id=WP_ID, scope=scope, done=done), encoding="utf-8"
    )
    model = {"base_url": f"{address}/v1", "model": options.model, "profile": "tiny", "seed": seed}
    model |= {"samples": options.samples, "max_output_tokens": MOST_TOKENS, "context_window": WINDOW}
    model["timeout_s"] = PATIENCE_S
    # two claims in a row that are not true end a level: four tries are two levels, the second with other luck
    again = {**model, "seed": seed + 1000}
    levels = [{"level": 0, "model_id": "small"}, {"level": 1, "model_id": "again"}]
    chain = [*levels, {"level": 2, "model_id": "HARD_GATE", "is_hard_gate": True}]
    config = {
        "version": 1,
        "commands": {"allow": ["python"]},
        "models": {"small": model, "again": again},
        "policy": {"max_iterations_per_mt": TRIES // 2, "escalation_chain": chain},
    }
    (root / ".handshake").mkdir()
    (root / ".handshake" / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    git(root, "add", "--all")
    git(root, "commit", "-qm", "a packet")
    command = [sys.executable, "-m", "handshake", "-q", "-C", str(root)]
    ended = subprocess.run(
        [*command, "run", WP_ID], capture_output=True, text=True, check=False, env=environment(root)
    )
    status = subprocess.run(
        [*command, "status", WP_ID, "--json"], capture_output=True, text=True, check=False, env=environment(root)
    )
    run = json.loads(status.stdout)["runs"][0]
    tree = root.parent / "result"
    subprocess.run(
        ["git", "clone", "-q", "-b", f"feat/{WP_ID}", str(root), str(tree)], check=True, capture_output=True
    )
    measured = subprocess.run(
        [*command, "metrics", "--json"], capture_output=True, text=True, check=False, env=environment(root)
    )
    failures = {row["category"]: row["iterations"] for row in json.loads(measured.stdout)["failure_categories"]}
    said = ended.stderr.strip().splitlines()[-1][:200] if ended.stderr.strip() else ""
    return {
        "passed": tests_pass(task, tree),
        "claimed": ended.returncode == 0,
        "tries": run["iterations"],
        "failures": failures,
        "said": said,
    }


def run_aider(
    task: dict[str, Any], root: Path, address: str, seed: int, form: str, options: argparse.Namespace
) -> dict[str, Any]:
    """The task as a message; its figures."""
    settings = root.parent / "aider.yml"
    extra = {"seed": seed, "max_tokens": MOST_TOKENS, "temperature": options.aider_temperature}
    name = f"openai/{options.model}"
    settings.write_text(
        yaml.safe_dump([{"name": name, "edit_format": form, "extra_params": extra}]), encoding="utf-8"
    )
    facts = root.parent / "aider.json"
    facts.write_text(
        json.dumps({name: {"max_input_tokens": WINDOW, "max_output_tokens": MOST_TOKENS}}), encoding="utf-8"
    )
    message = "\n".join(task["done"]) + f"\nThe tests in {TEST_FILE} must pass."
    arguments = [
        *("--model", name, "--edit-format", form, "--openai-api-base", f"{address}/v1", "--openai-api-key", "none"),
        *("--model-settings-file", str(settings), "--model-metadata-file", str(facts)),
        *("--yes-always", "--no-check-update", "--analytics-disable", "--no-show-model-warnings", "--no-pretty"),
        *(
            "--no-stream",
            "--no-gitignore",
            "--no-auto-lint",
            "--no-auto-commits",
            "--no-dirty-commits",
            "--map-tokens",
            "0",
            "--no-detect-urls",
        ),
        *("--max-chat-history-tokens", str(WINDOW), "--timeout", str(PATIENCE_S)),
        *("--auto-test", "--test-cmd", " ".join(CHECK), "--read", TEST_FILE, "--message", message),
        *in_scope(task),
    ]
    done = subprocess.run(
        [options.aider, *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=TRIES * PATIENCE_S,
        check=False,
        env=environment(root),
    )
    failures = {why: done.stdout.count(words) for why, words in _AIDER_SAYS.items() if words in done.stdout}
    said = " ".join(done.stdout.split())[-200:]
    return {"passed": tests_pass(task, root), "claimed": None, "tries": None, "failures": failures, "said": said}


def environment(root: Path) -> dict[str, str]:
    """The user's environment with a home of the task's own, so that nobody's settings count."""
    home = root.parent / "home"
    home.mkdir(exist_ok=True)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HANDSHAKE_", "GIT_", "OPENAI_"))
    }
    # its table of models comes with it: fetching a newer one waits for a network that a bench need not have
    kept["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    identity = {"GIT_AUTHOR_NAME": "Bench", "GIT_AUTHOR_EMAIL": "bench@localhost"}
    identity |= {"GIT_COMMITTER_NAME": "Bench", "GIT_COMMITTER_EMAIL": "bench@localhost"}
    return {
        **kept,
        **identity,
        "HOME": str(home),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "XDG_CONFIG_HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
    }


@contextmanager
def served(options: argparse.Namespace) -> Iterator[list[str]]:
    """The addresses of servers of the model: those that were named, or the embedded one."""
    if options.server:
        yield options.server
        return
    found = installed_model(options.model)
    if found is None:
        sys.exit(f"{options.model} is not installed: handshake model install {options.model}")
    settings = {"file": str(found.path), "name": options.model, "api_key": _KEY, "context_window": WINDOW}
    settings |= {"samples": options.samples, "max_output_tokens": MOST_TOKENS, "threads": os.cpu_count() or 2}
    child = start_serving(
        "handshake.models.embedded_server", settings, what=options.model, clock=SystemClock(), mend=""
    )
    try:
        yield [child.address]
    finally:
        child.close()


def one_run(task: dict[str, Any], how: str, seed: int, server: str, options: argparse.Namespace) -> dict[str, Any]:
    """One task, one seed, one way; figures and tokens."""
    folder = Path(tempfile.mkdtemp(prefix="handshake-small-"))
    root = folder / "project"
    proxy = CountingProxy(server, _KEY, MOST_TOKENS, PATIENCE_S)
    try:
        make_repository(task, root)
        began = time.monotonic()
        if how == "handshake":
            row = run_handshake(task, root, proxy.address, seed, options)
        else:
            row = run_aider(task, root, proxy.address, seed, how.removeprefix("aider "), options)
        counted = proxy.take()
        row["tries"] = counted["calls"] if row["tries"] is None else row["tries"]
        return {
            **{"task": task["name"], "kind": task["kind"], "how": how, "seed": seed},
            **row,
            **{"prompt_tokens": counted["prompt"], "completion_tokens": counted["completion"]},
            "seconds": round(time.monotonic() - began, 1),
        }
    finally:
        proxy.close()
        shutil.rmtree(folder, ignore_errors=True)


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A Markdown table: passes by kind, tries and tokens, for each way. Times are not in it: runs share a server."""
    ways = list(dict.fromkeys(row["how"] for row in rows))
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    by_way = {how: [row for row in rows if row["how"] == how] for how in ways}
    yield "| | " + " | ".join(ways) + " |"
    yield "| --- " * (len(ways) + 1) + "|"
    for kind in [*kinds, None]:
        cells = []
        for own in by_way.values():
            counted = [row["passed"] for row in own if kind in (None, row["kind"])]
            cells.append(f"{sum(counted)}/{len(counted)}")
        yield f"| {kind or '**passed**'} | " + " | ".join(cells) + " |"
    for name, title in (
        ("tries", "tries"),
        ("prompt_tokens", "tokens in"),
        ("completion_tokens", "tokens out, of all samples"),
    ):
        means = [f"{sum(row[name] for row in own) / len(own):.4g}" for own in by_way.values()]
        yield f"| {title}, mean of a run | " + " | ".join(means) + " |"
    # aider says nothing of the kind
    lies = [
        [row["claimed"] and not row["passed"] for row in own if row["claimed"] is not None] for own in by_way.values()
    ]
    yield "| said to be done and was not | " + " | ".join(str(sum(found)) if found else "" for found in lies) + " |"


def failures(rows: list[dict[str, Any]], how: str) -> Counter[str]:
    """Why tries came to nothing, each with how often."""
    counted: Counter[str] = Counter()
    for row in rows:
        if row["how"] == how:
            counted.update(row["failures"])
    return counted


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The runs of a file that `--json` wrote, by way, task and seed; none where there is none."""
    if not file.exists():
        return []
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    order = [task["name"] for task in read_tasks()]
    return sorted(rows, key=lambda row: (WAYS.index(row["how"]), order.index(row["task"]), row["seed"]))


def run_all(wanted: list[tuple[dict[str, Any], str, int]], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Each run's row, as soon as it is there. Each server has its share of the runs that are under way."""
    free: SimpleQueue[str] = SimpleQueue()

    def run(task: dict[str, Any], how: str, seed: int) -> dict[str, Any]:
        server = free.get()
        try:
            return one_run(task, how, seed, server, options)
        finally:
            free.put(server)

    with served(options) as servers, ThreadPoolExecutor(options.jobs) as pool:
        for number in range(options.jobs):
            free.put(servers[number % len(servers)])
        yield from (done.result() for done in as_completed([pool.submit(run, *one) for one in wanted]))


def main() -> int:
    """Run what is not in the file yet, and print the table of everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b", help="an installed embedded model")
    parser.add_argument("--aider", help="the aider command, from an environment of its own")
    parser.add_argument("--aider-temperature", type=float, default=0.2)
    parser.add_argument("--seeds", type=int, default=5, help="0 prints the table of the file")
    parser.add_argument("--tasks", type=int, default=20, help="only so many of the tasks, spread over the kinds")
    parser.add_argument("--samples", type=int, default=4, help="Handshake's samples for one prompt")
    parser.add_argument("--only", action="append", choices=WAYS, help="only this way (may be given again)")
    parser.add_argument(
        "--server", action="append", help="the address of a llama.cpp server that serves --model (may be given again)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="so many runs at a time")
    parser.add_argument(
        "--json", type=Path, help="append each run to this file as a line, and go on from what is there"
    )
    options = parser.parse_args()
    tasks = read_tasks()
    tasks = tasks[:: max(1, len(tasks) // options.tasks)][: options.tasks]
    ways = [how for how in WAYS if options.aider or how == "handshake"]
    ways = [how for how in ways if not options.only or how in options.only]
    rows = read_rows(options.json) if options.json else []
    known = {(row["task"], row["how"], row["seed"]) for row in rows}
    every = [(task, how, seed) for seed in range(options.seeds) for task in tasks for how in ways]
    wanted = [run for run in every if (run[0]["name"], *run[1:]) not in known]
    for row in run_all(wanted, options) if wanted else ():
        said = row.pop("said")
        rows.append(row)
        print("  ".join(f"{key}={row[key]}" for key in _SHOWN), "" if row["passed"] else said, flush=True)
        if options.json:
            with options.json.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    if options.json:
        rows = read_rows(options.json)
    print("\n".join(table(rows)))
    for how in dict.fromkeys(row["how"] for row in rows):
        print(f"{how}: tries that came to nothing: {dict(failures(rows, how)) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
