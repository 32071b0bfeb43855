"""Where configuration, trust and what is kept of them lie. Contract: `interface.md`, Configuration.

They are platformdirs' folders. On Linux they are named here without its import: git hooks ask at each commit.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from handshake.config.regular_file import read_regular_file
from handshake.domain.errors import EnvironmentProblem

REPOSITORY_FILE = ".handshake/config.yaml"
# beside the configuration: what engines may do, so it can widen what a command may
REGISTRY_FILE = ".handshake/mechanical_engines.json"
PREFIX = "HANDSHAKE_"
TRUST_VARIABLE = "HANDSHAKE_TRUST"
_MOST_BYTES = 4 << 20

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


def read_settings(file: Path) -> bytes:
    """A settings file's bytes. It may be a stranger's link to `/dev/zero`: then there is no end to read to.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger than any settings are.
    """
    return read_regular_file(file, _MOST_BYTES)


def _folder(kind: str, variable: str, usual: str, env: Mapping[str, str]) -> Path:
    if sys.platform in ("win32", "darwin"):
        import platformdirs

        return Path(getattr(platformdirs, f"user_{kind}_dir")("handshake", appauthor=False))
    home = env.get(variable, "").strip()
    if home:
        return Path(home) / "handshake"
    try:
        return Path.home() / usual / "handshake"
    except RuntimeError:  # a user without an entry in the password file, as in a container
        raise EnvironmentProblem("this user has no home folder", next_step=f"set HOME or {variable}") from None
