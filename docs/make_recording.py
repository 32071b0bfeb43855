"""Record `docs/kill_and_resume.cast` and its text, `docs/kill_and_resume.md`, in a real terminal.

    python docs/make_recording.py

A daemon runs a dropped packet; both are killed with `kill -9` in the middle of a model call; a new daemon goes
on; the logs of both branches are shown. tmux holds the terminal, and what stands on its screen is looked at
twenty times a second. A scripted model answers, slowly. Needs tmux; Linux and macOS.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COLUMNS, LINES = 110, 40
WP = "WP-1-Shop-Prices-v1"
HERE = Path(__file__).parent
CAST, TEXT = HERE / "kill_and_resume.cast", HERE / "kill_and_resume.md"
PIDS = "grep -ho '\"pid\":[0-9]*' .git/handshake/locks/*.heartbeat | cut -d: -f2"
LOG = "git log --graph --format='%h %s'"

# what is typed, what must then stand on the screen, and for how long at most, in seconds
SCENES = (
    ("handshake daemon &", "watching docs/task_packets", 30),
    (f"cp ../{WP}.md docs/task_packets/", "MT-003 iter 1: asking", 60),
    (f"kill -9 $({PIDS}); wait", "Killed", 10),
    ("handshake status", "resume: handshake run", 30),
    ("handshake daemon --once", f"{WP}: completed", 90),
    (f"{LOG} main..feat/{WP}", "the packet as signed", 10),
    (f"{LOG} handshake/track/{WP}", f"{WP} starts", 10),
)

# after these the daemon goes on writing
GOES_ON = (SCENES[0][0], SCENES[1][0])

INTRODUCTION = f"""# Killed in the middle, and resumed

A daemon notices a packet and runs it; daemon and run are killed with `kill -9` while the model is answering; the
next daemon puts the records right and goes on. No step is done twice, and no reply is paid for twice. At the end
stand the commits of the code branch and of the run's log.

`python docs/make_recording.py` recorded this in a terminal, a scripted model answered. To see it move:
`asciinema play docs/{CAST.name}`.

```console
"""


class Screen:
    """A terminal in tmux, and what was on it when."""

    def __init__(self, root: Path, socket: str, environment: dict[str, str]) -> None:
        self._tmux = ["tmux", "-L", socket, "-f", os.devnull]
        self._environment = environment
        self._began = time.monotonic()
        self._last = ""
        self.frames: list[tuple[float, str]] = []
        size = ["-x", str(COLUMNS), "-y", str(LINES)]
        self._do(
            "new-session",
            "-d",
            "-s",
            "rec",
            *size,
            "-c",
            str(root),
            "env",
            "TERM=dumb",
            "bash",
            "--norc",
            "--noprofile",
        )

    def _do(self, *arguments: str) -> str:
        command = [*self._tmux, *arguments]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=True).stdout

    def look(self) -> str:
        """What stands on the screen now; kept if it is another picture."""
        shown = self._do("capture-pane", "-p", "-t", "rec").rstrip("\n")
        if shown != self._last:
            self._last = shown
            self.frames.append((time.monotonic() - self._began, shown))
        return shown

    def type(self, line: str) -> None:
        """As a person types, then Enter."""
        for start in range(0, len(line), 6):
            typed = line[start : start + 6]
            if typed.endswith(";"):  # at the end of an argument it would end tmux's own command
                typed = typed[:-1] + "\\;"
            self._do("send-keys", "-t", "rec", "-l", "--", typed)
            self.look()
        self._do("send-keys", "-t", "rec", "Enter")

    def until(self, words: str, timeout: float, *, prompt: bool = True) -> None:
        """Look until the words stand there, and the prompt below them."""
        give_up = time.monotonic() + timeout
        while words not in (shown := self.look()) or (prompt and shown.splitlines()[-1].strip() != "$"):
            if time.monotonic() > give_up:
                raise SystemExit(f"{words!r} did not come:\n{self._last}")
            time.sleep(0.05)

    def whole(self) -> str:
        """Everything that was on it, from the first line on."""
        return self._do("capture-pane", "-p", "-J", "-S", "-", "-t", "rec").rstrip("\n")

    def close(self) -> None:
        """End the terminal and what runs in it."""
        subprocess.run([*self._tmux, "kill-server"], env=self._environment, capture_output=True, check=False)


def serve(script: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a scripted model on loopback; the process and its address."""
    model = subprocess.Popen(
        [sys.executable, "-m", "handshake.models.scripted", str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # it complains of those who hang up in the middle of a reply
        text=True,
    )
    assert model.stdout is not None
    return model, model.stdout.readline().split()[1]


def project(folder: Path, urls: dict[str, str], *, entry: dict[str, object], policy: dict[str, object]) -> Path:
    """The demo's shop in a repository; a level for each model, then a human. The packet lies beside it.

    Args:
        urls: the address of each model; they serve it under its own name.
        entry: more of each model's configuration.
        policy: more of the policy.
    """
    from handshake.config.shipped import shipped

    root = folder / "shop"
    shutil.copytree(shipped("templates", "demo", "project"), root, ignore=shutil.ignore_patterns("__pycache__"))
    packet = shipped("templates", "demo", "packet.md").read_text(encoding="utf-8")
    packet = packet.format(date="2026-01-22", requestor="User", signature="user-signed-this")
    (folder / f"{WP}.md").write_text(packet, encoding="utf-8")
    usual = {"provider": "openai", "profile": "tiny", "samples": 1, "grammar": False, **entry}
    models = {name: {**usual, "base_url": url, "model": name} for name, url in urls.items()}
    chain = [*urls, "HARD_GATE"]
    levels = [{"level": n, "model_id": name, "is_hard_gate": name == "HARD_GATE"} for n, name in enumerate(chain)]
    config = {"version": 1, "models": models, "policy": {"escalation_chain": levels, **policy}}
    (root / ".handshake").mkdir()
    (root / ".handshake" / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    (root / ".gitignore").write_text("__pycache__/\n", encoding="utf-8")
    for arguments in (["init", "-qb", "main"], ["add", "-A"], ["commit", "-qm", "a shop with three bugs"]):
        who = ["-c", "user.name=User", "-c", "user.email=user@example.org"]
        subprocess.run(["git", "-C", str(root), *who, *arguments], check=True)
    return root


def record(folder: Path) -> Screen:
    """Play the scenes; the screen that saw them, closed."""
    from handshake.config.shipped import shipped

    shutil.copytree(shipped("templates", "demo", "solution"), folder / "solution")
    script = folder / "script.yaml"
    script.write_text("rules:\n  - {solve: solution, delay_ms: 4000}\n", encoding="utf-8")
    model, url = serve(script)
    root = project(folder, {"small": url}, entry={}, policy={})
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "PS1": "$ ",
        "TERM": "xterm-256color",
        "GIT_PAGER": "cat",
        "BASH_SILENCE_DEPRECATION_WARNING": "1",
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
    }
    screen = Screen(root, f"handshake-{os.getpid()}", environment)
    try:
        screen.until("$", 10)
        for typed, words, timeout in SCENES:
            screen.type(typed)
            screen.until(words, timeout, prompt=typed not in GOES_ON)
            pause = time.monotonic() + 1.2
            while time.monotonic() < pause:
                screen.look()
                time.sleep(0.05)
        write(screen)
    finally:
        screen.close()
        model.kill()
        model.wait()
    return screen


def write(screen: Screen) -> None:
    """The recording in asciinema's form, version 2, and its text."""
    head = {"version": 2, "width": COLUMNS, "height": LINES, "title": "Killed in the middle, and resumed"}
    rows = [json.dumps(head)]
    for when, shown in screen.frames:
        rows.append(
            json.dumps([round(when, 2), "o", "\x1b[H\x1b[2J" + shown.replace("\n", "\r\n")], ensure_ascii=False)
        )
    CAST.write_text("\n".join(rows) + "\n", encoding="utf-8")
    lines = [line.rstrip() for line in screen.whole().splitlines()]
    while lines and lines[-1] in ("", "$"):
        lines.pop()
    TEXT.write_text(INTRODUCTION + "\n".join(lines) + "\n```\n", encoding="utf-8")


def main() -> int:
    """Record."""
    if shutil.which("tmux") is None:
        sys.stderr.write("tmux was not found: install it, then run this again\n")
        return 7
    folder = Path(tempfile.mkdtemp(prefix="handshake-recording-"))
    try:
        screen = record(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(f"wrote {CAST.name} ({len(screen.frames)} pictures) and {TEXT.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
