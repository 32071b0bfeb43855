"""What a step leaves, without its secrets; what held one is kept as it was in this clone. Contract: `events.md`.

The verbatim files lie in the git folder, readable by their owner alone. Git does not push them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handshake.domain.canonical import plain
from handshake.domain.settings import Settings
from handshake.recorder.secrets import SecretMask
from handshake.repo.atomic import write_durably

_KEPT = frozenset({"prompt_payload", "transcript"})


def known_secrets(settings: Settings, env: Mapping[str, str]) -> dict[str, str]:
    """The API keys that the configuration names, by the names of their variables."""
    names = sorted({m.api_key_env for m in settings.models.values() if m.api_key_env})
    return {name: env[name] for name in names if env.get(name)}


class StepSecrets:
    """Masks the artifacts and records of one run, and remembers which held a secret.

    Args:
        directory: where verbatim prompts and replies are kept, by their paths on the branch.
        settings: name the variables that hold API keys.
    """

    def __init__(self, directory: Path, settings: Settings) -> None:
        self._directory = directory
        self._mask = SecretMask(known_secrets(settings, os.environ))
        self._found: dict[str, tuple[str, ...]] = {}
        self._shown: dict[str, bytes] = {}
        self._withheld: set[str] = set()

    def masked(self, value: Any) -> Any:
        """A record, JSON value or text as plain JSON, its texts without secrets."""
        return self._mask.value(plain(value))

    def shown(self, path: str, data: bytes, kind: str) -> bytes:
        """An artifact as it may be published; a prompt or reply that held a secret is kept first.

        Raises:
            ResourceExhausted, EnvironmentProblem: it cannot be kept.
        """
        if self._shown.get(path) == data:  # stored again as it was shown: the flag stays
            return data
        masked = self._mask.text(data.decode("utf-8", errors="replace"))
        if not masked.kinds:
            self._found.pop(path, None)
            return data
        if kind in _KEPT and path not in self._withheld:
            write_durably(self._place(path), data, mode=0o600)
        self._found[path] = masked.kinds
        self._shown[path] = masked.text.encode("utf-8")
        return self._shown[path]

    def withhold(self, path: str, data: bytes) -> None:
        """Keep a prompt as it is; what is published in its place is not the prompt, and never takes its place here.

        Raises:
            ResourceExhausted, EnvironmentProblem: it cannot be kept.
        """
        write_durably(self._place(path), data, mode=0o600)
        self._withheld.add(path)

    def kept(self, path: str) -> bytes | None:
        """The verbatim prompt or reply of that path, if this clone kept one."""
        place = self._place(path)
        return place.read_bytes() if place.is_file() else None

    def flags_path(self, path: str) -> str:
        """Where the flags of an artifact's step stand."""
        return f"{path.rpartition('/')[0]}/secrets.json"

    def flags_of(self, path: str) -> list[dict[str, Any]]:
        """The artifacts of that artifact's step which held a secret, with the kinds that were found."""
        folder = path.rpartition("/")[0] + "/"
        return [
            {"path": name, "kinds": list(kinds), "classification": "high", "exportable": False}
            for name, kinds in sorted(self._found.items())
            if name.startswith(folder)
        ]

    def _place(self, path: str) -> Path:
        return self._directory.joinpath(*path.split("/"))
