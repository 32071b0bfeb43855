"""Where configuration, trust and what is kept of them lie. Contract: `interface.md`, Configuration.

They are platformdirs' folders. On Linux they are named here without its import: git hooks ask at each commit.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

REPOSITORY_FILE = ".handshake/config.yaml"
# beside the configuration: what engines may do, so it can widen what a command may
REGISTRY_FILE = ".handshake/mechanical_engines.json"
PREFIX = "HANDSHAKE_"
TRUST_VARIABLE = "HANDSHAKE_TRUST"

# Variables that are no settings: switches of the process itself.
NO_SETTINGS = frozenset(
    PREFIX + name
    for name in ("FAILPOINT", "TRUST", "SKIP", "MODELS", "DEBUG", "NAMESPACE", "OP", "SCRIPTED_CALLS", "LANGUAGES")
)


def user_config_file(env: Mapping[str, str]) -> Path:
    """The user's own configuration file, e.g. `~/.config/handshake/config.yaml`."""
    return _folder("config", "XDG_CONFIG_HOME", ".config", env) / "config.yaml"


def trust_file(env: Mapping[str, str]) -> Path:
    """Where trust is recorded, e.g. `~/.local/state/handshake/trust.json`."""
    return _folder("state", "XDG_STATE_HOME", ".local/state", env) / "trust.json"


def cache_folder(env: Mapping[str, str]) -> Path:
    """What may be lost, e.g. `~/.cache/handshake`."""
    return _folder("cache", "XDG_CACHE_HOME", ".cache", env)


def _folder(kind: str, variable: str, usual: str, env: Mapping[str, str]) -> Path:
    if sys.platform in ("win32", "darwin"):
        import platformdirs

        return Path(getattr(platformdirs, f"user_{kind}_dir")("handshake", appauthor=False))
    home = env.get(variable, "").strip()
    return (Path(home) if home else Path.home() / usual) / "handshake"
