"""The daemon as a service of the user: unit file and commands, as text. Nothing is written or started here."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

from handshake.config.shipped import shipped

Manager = Literal["systemd", "launchd"]


@dataclass(frozen=True)
class Service:
    """A unit file, where it goes, and what to type then."""

    path: Path
    text: str
    start: tuple[str, ...]
    remove: tuple[str, ...]

    def script(self) -> str:
        """What `handshake daemon --install` prints: a shell script that does what it says."""
        folder, place = shlex.quote(str(self.path.parent)), shlex.quote(str(self.path))
        lines = [
            "# This is what would be done. To do it: handshake daemon --install | sh",
            f"mkdir -p {folder}",
            f"cat > {place} <<'HANDSHAKE_UNIT'",
            self.text.rstrip("\n"),
            "HANDSHAKE_UNIT",
            *self.start,
            "# To undo it:",
            *(f"#   {line}" for line in self.remove),
        ]
        return "\n".join(lines) + "\n"


def service_for(manager: Manager, root: Path, *, command: list[str], home: Path, path: str) -> Service:
    """The service that watches one repository.

    Args:
        root: the user's checkout.
        command: the daemon's program and arguments.
        path: value of PATH for the daemon and its runs: git and the TEST_PLAN's programs are found by it.
    """
    stem = re.sub(r"[^A-Za-z0-9-]+", "-", root.name).strip("-") or "repository"
    # two repositories of the same name are two services
    name = f"{stem}-{sha256(str(root).encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    if manager == "systemd":
        return _systemd(f"handshake-{name}", root, command, home, path)
    return _launchd(f"handshake.{name}", root, command, home, path)


def _systemd(name: str, root: Path, command: list[str], home: Path, path: str) -> Service:
    place = home / ".config" / "systemd" / "user" / f"{name}.service"
    text = shipped("templates", "handshake-daemon.service").read_text(encoding="utf-8")
    filled = {
        "repository": _unit_value(str(root)),
        "mount": _unit_word(str(root)).replace("$$", "$"),
        "path": _unit_word(path, assigned_to="PATH"),
        "command": " ".join(_unit_word(word) for word in command),
    }
    text = text.replace("Environment=PATH={path}", "Environment={path}")
    for key, value in filled.items():
        text = text.replace(f"{{{key}}}", value)
    start = (
        "systemctl --user daemon-reload",
        f"systemctl --user enable --now {name}.service",
        "# it starts with the machine, not only when you log in: loginctl enable-linger",
        f"# what it says: journalctl --user --unit {name} --follow",
    )
    remove = (f"systemctl --user disable --now {name}.service", f"rm {shlex.quote(str(place))}")
    return Service(place, text, start, remove)


def _unit_value(text: str) -> str:
    """A value that systemd takes as it stands, but for its specifiers: systemd.unit(5)."""
    return text.replace("%", "%%")


def _unit_word(text: str, *, assigned_to: str = "") -> str:
    """One word of a command line or assignment: quoted, with C escapes: systemd.syntax(7), systemd.service(5)."""
    word = f"{assigned_to}={text}" if assigned_to else text
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"' + (escaped if assigned_to else escaped.replace("$", "$$")) + '"'


def _launchd(label: str, root: Path, command: list[str], home: Path, path: str) -> Service:
    place = home / "Library" / "LaunchAgents" / f"{label}.plist"
    text = shipped("templates", "handshake-daemon.plist").read_text(encoding="utf-8")
    filled = {
        "label": escape(label),
        "arguments": "\n".join(f"        <string>{escape(word)}</string>" for word in command),
        "repository": escape(str(root)),
        "path": escape(path),
        "log": escape(str(home / "Library" / "Logs" / f"{label}.log")),
    }
    for key, value in filled.items():
        text = text.replace(f"{{{key}}}", value)
    quoted = shlex.quote(str(place))
    return Service(
        place,
        text,
        (f'launchctl bootstrap "gui/$(id -u)" {quoted}',),
        (f'launchctl bootout "gui/$(id -u)/{label}"', f"rm {quoted}"),
    )
