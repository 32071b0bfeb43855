"""A small real project in a real repository, run by the real command with a scripted model server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from handshake.config.shipped import shipped

sys.path.insert(0, str(Path(__file__).parent))

from warm_command import WarmCommands, WarmProcess

# a shell that starts the suite in the background has it ignore Ctrl-C, and children inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)

WP = "WP-1-Shop-Prices-v1"
PATIENCE_S = 120.0
BRANCH = f"feat/{WP}"
TRACK = f"handshake/track/{WP}"


class Served:
    """The scripted model in a process of its own: it outlives the runs that are killed, and counts calls."""

    def __init__(self, script: Path, counts: Path) -> None:
        self.counts = counts
        self.process = subprocess.Popen(
            [sys.executable, "-m", "handshake.models.scripted", str(script), "--count-file", str(counts)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[1]

    def calls(self) -> list[dict[str, Any]]:
        """A row for each reply that was given."""
        if not self.counts.exists():
            return []
        return [json.loads(line) for line in self.counts.read_text().splitlines()]

    def is_asked(self) -> bool:
        """Whether a call has come in, answered or not: `calls` is told only when the reply is whole."""
        counters = httpx.get(self.url.removesuffix("/v1") + "/handshake/calls").json()
        return bool(counters["received"])

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Shop:
    """The demo's project, in the hands of a user."""

    def __init__(self, root: Path, warm: WarmCommands | None = None) -> None:
        self.root = root
        self.warm = warm
        self.home = root.parent / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        shutil.copytree(shipped("templates", "demo", "project"), root, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(shipped("templates", "demo", "solution"), root.parent / "solution")
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "User")
        self.git("config", "user.email", "user@example.org")
        (root / ".gitignore").write_text("__pycache__/\n")
        self.git("add", "-A")
        self.git("commit", "-qm", "a shop with three bugs")
        self.server: Served | None = None
        self.owns_server = True
        self.patience_s = PATIENCE_S

    @property
    def worktree(self) -> Path:
        return self.root.parent / f"{self.root.name}.worktrees" / WP

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HANDSHAKE_", "GIT_"))}
        # git's and Handshake's files of the user live in a home of the test's own
        places = {"HOME": self.home, "XDG_CONFIG_HOME": self.home / "config", "XDG_STATE_HOME": self.home / "state"}
        # a `python` that a version manager puts on the path looks for its versions in the home, which is another here
        kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
        models = os.environ.get("HANDSHAKE_MODELS")
        return {**kept, **{k: str(v) for k, v in places.items()}, **({"HANDSHAKE_MODELS": models} if models else {})}

    def git(self, *args: str, at: Path | None = None) -> str:
        done = subprocess.run(["git", "-C", str(at or self.root), *args], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def bytes_of(self, named: str) -> bytes:
        """The content that `<commit>:<path>` names."""
        return subprocess.run(["git", "-C", str(self.root), "show", named], capture_output=True, check=True).stdout

    def serve(self, *rules: dict[str, Any], **more: Any) -> Served:
        """Start the scripted server with these rules, the solution last."""
        script = self.root.parent / "script.yaml"
        script.write_text(yaml.safe_dump({"rules": [*rules, {"solve": "solution"}], **more}))
        if self.server is not None and self.owns_server:
            self.server.stop()
        self.owns_server = True
        self.server = Served(script, self.root.parent / "calls.jsonl")
        return self.server

    def served_by(self, *models: str, policy: dict[str, Any] | None = None, **entry: Any) -> None:
        """Configure a level for each model that the server knows by this name, then a human."""
        self.configure(levels=len(models), policy=policy or {})
        place = self.root / ".handshake" / "config.yaml"
        config = yaml.safe_load(place.read_text())
        for number, name in enumerate(models):
            config["models"][f"m{number}"].update(model=name, **entry)
        place.write_text(yaml.safe_dump(config))

    def borrow(self, server: Served) -> None:
        """Use a server that others use too."""
        self.server, self.owns_server = server, False

    def configure(self, *, levels: int = 2, **more: Any) -> None:
        """Write the configuration: `levels` scripted models, then a human."""
        assert self.server is not None
        models = {
            f"m{n}": {
                "provider": "openai",
                "base_url": self.server.url,
                "model": f"m{n}",
                "profile": "tiny",
                "samples": 1,
                "grammar": False,
                "context_window": 16384,
            }
            for n in range(levels)
        }
        chain = [{"level": n, "model_id": f"m{n}"} for n in range(levels)]
        chain.append({"level": levels, "model_id": "HARD_GATE", "is_hard_gate": True})
        policy = {"escalation_chain": chain, **more.pop("policy", {})}
        config = {"version": 1, "commands": {"allow": ["python"]}, "models": models, "policy": policy, **more}
        (self.root / ".handshake").mkdir(exist_ok=True)
        (self.root / ".handshake" / "config.yaml").write_text(yaml.safe_dump(config))

    def drop(self, change: Callable[[str], str] = lambda text: text) -> Path:
        """Put the packet there."""
        text = shipped("templates", "demo", "packet.md").read_text()
        text = text.format(date="2026-01-22", requestor="User", signature="user-signed-this")
        place = self.root / "docs" / "task_packets" / f"{WP}.md"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(change(text))
        return place

    def start(self, *args: str, cold: bool = False, **env: str) -> subprocess.Popen[str] | WarmProcess:
        """Start a command in a process group of its own; `cold` in an interpreter of its own."""
        if self.warm is not None and not cold:
            return self.warm.start(["-C", str(self.root), *args], {**self.environment, **env})
        return subprocess.Popen(
            [sys.executable, "-m", "handshake", "-C", str(self.root), *args],
            env={**self.environment, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def handshake(
        self, *args: str, code: int | None = 0, cold: bool = False, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        child = self.start(*args, cold=cold, **env)
        try:
            out, err = child.communicate(timeout=self.patience_s)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            raise
        if code is not None:
            assert child.returncode == code, f"exit {child.returncode}\n{out}\n{err}"
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(child.args, child.returncode, out, err)

    def json(self, *args: str, code: int | None = 0) -> Any:
        """What a command says with `--json`."""
        return json.loads(self.handshake(*args, "--json", code=code).stdout)

    def until_reply_stored(self, timeout: float = 60) -> None:
        """Wait until a run has a reply on the disk; with `edit.file:before:delay=…` nothing is done with it yet."""
        give_up = time.monotonic() + timeout
        while not list((self.root / ".git" / "handshake" / "replies").glob("*/*")):
            assert time.monotonic() < give_up, "no reply was stored in time"
            time.sleep(0.02)

    def events(self, *args: str) -> list[dict[str, Any]]:
        """Recorded events."""
        lines = self.handshake("events", *args, "--json").stdout.splitlines()
        return [json.loads(line) for line in lines]

    def tree(self, ref: str = BRANCH) -> str:
        """The WP branch's tree, the packet left out: its evidence holds durations."""
        rows = self.git("ls-tree", "-r", ref).splitlines()
        return "\n".join(row for row in rows if "docs/task_packets" not in row)

    def event_rows(self, event_type: str) -> list[dict[str, Any]]:
        """The payloads of one type in the newest job's journal on the tracking branch."""
        job = self.git("ls-tree", "--name-only", f"{TRACK}:jobs").splitlines()[-1]
        chunks = self.git("ls-tree", "--name-only", f"{TRACK}:jobs/{job}/events").splitlines()
        lines = [self.git("show", f"{TRACK}:jobs/{job}/events/{chunk}").splitlines() for chunk in chunks]
        rows = [json.loads(line) for part in lines for line in part]
        return [row["payload"] for row in rows if row["event_type"] == event_type]

    def on_track(self, path: str) -> Any:
        """A JSON file of the newest job on the tracking branch."""
        job = self.git("ls-tree", "--name-only", f"{TRACK}:jobs").splitlines()[-1]
        return json.loads(self.git("show", f"{TRACK}:jobs/{job}/{path}"))

    def user_state(self) -> dict[str, str]:
        """All that must never change: HEAD, index, stash, status, config, and the files."""
        return {
            "head": (self.root / ".git" / "HEAD").read_text(),
            "main": self.git("rev-parse", "main"),
            "index": self.git("ls-files", "--stage"),
            "stash": self.git("stash", "list"),
            "status": self.git("status", "--porcelain"),
            "config": (self.root / ".git" / "config").read_text(),
        }


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmCommands | None]:
    """Commands start by forking a process that has imported them; not on Windows."""
    if not hasattr(os, "fork"):
        yield None
        return
    commands = WarmCommands()
    yield commands
    commands.stop()


@pytest.fixture(scope="session")
def make_server(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[dict[str, Any]]], Served]:
    """Starts a scripted server with these rules; give it to shops by `borrow`, and stop it."""

    def make(rules: list[dict[str, Any]]) -> Served:
        folder = tmp_path_factory.mktemp("server")
        shutil.copytree(shipped("templates", "demo", "solution"), folder / "solution")
        (folder / "script.yaml").write_text(yaml.safe_dump({"rules": rules}))
        return Served(folder / "script.yaml", folder / "calls.jsonl")

    return make


@pytest.fixture(scope="module")
def solver(make_server: Callable[[list[dict[str, Any]]], Served]) -> Iterator[Served]:
    """One server that solves everything, for all tests of a module."""
    served = make_server([{"solve": "solution"}])
    yield served
    served.stop()


@pytest.fixture(scope="session")
def make_shop(warm: WarmCommands | None) -> Callable[[Path], Shop]:
    """Makes the project in a folder, without server and configuration."""
    return lambda root: Shop(root, warm)


@pytest.fixture
def shop(tmp_path: Path, make_shop: Callable[[Path], Shop]) -> Iterator[Shop]:
    """The project, without server and configuration."""
    made = make_shop(tmp_path / "shop")
    yield made
    if made.server is not None and made.owns_server:
        made.server.stop()


@pytest.fixture
def ready(shop: Shop) -> Shop:
    """The project with a model that solves everything, configured, its packet dropped."""
    shop.serve()
    shop.configure()
    shop.drop()
    return shop
