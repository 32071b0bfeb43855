"""The configuration as a git hook needs it: at once.

Checking the whole takes longer than a commit may, and it is the same at each commit. So what came of it is kept, in
the user's cache folder, under a digest of all that was read for it; any other byte, and the whole is read anew.
Contract: `interface.md`, Configuration; `packets-and-gates.md`, Hooks: a broken configuration refuses.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from handshake import __version__
from handshake.config.places import (
    NO_SETTINGS,
    PREFIX,
    REGISTRY_FILE,
    REPOSITORY_FILE,
    TRUST_VARIABLE,
    cache_folder,
    read_settings,
    trust_file,
    user_config_file,
)
from handshake.domain.gate_settings import GateSettings, Governance, HookSettings, Paths, Tracking

if TYPE_CHECKING:
    from handshake.domain.settings import Settings

# the rules by which a configuration is read and checked: where one was edited, what is kept was made by others
_RULES = (
    *("config/loading.py", "config/trust.py", "config/yaml_text.py"),
    *("domain/gate_settings.py", "domain/policy.py", "domain/settings.py"),
)


def hook_settings(repo_root: Path, env: Mapping[str, str]) -> GateSettings:
    """What `load_settings` gives a gate, keys that lack trust left out.

    Raises:
        ConfigError: as `load_settings`.
    """
    files = (repo_root / REPOSITORY_FILE, user_config_file(env))
    if all(map(_is_absent, files)) and not any(map(_is_setting, env)):
        return HookSettings()
    place, read = _kept_in(repo_root, env), _digest(repo_root, env)
    kept = _kept(place, read) if place and read else None
    if kept is not None:
        return kept
    from handshake.config.loading import load_settings

    settings = load_settings(repo_root, env=env, require_trust=False).settings
    # what a gate runs by the configuration needs the whole of it; and a file that changed meanwhile is another
    if place and read and not settings.validators.post_work and _digest(repo_root, env) == read:
        _keep(place, read, settings)
    return settings


def _is_setting(name: str) -> bool:
    return name.startswith(PREFIX) and name not in NO_SETTINGS


def _is_absent(file: Path) -> bool:
    """Whether there is no such file; one that cannot be looked at is left to `load_settings` to name."""
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _digest(repo_root: Path, env: Mapping[str, str]) -> str | None:
    """Of everything that decides what `load_settings` says; None where a file cannot be read: it says so itself."""
    files = (repo_root / REPOSITORY_FILE, user_config_file(env), trust_file(env), repo_root / REGISTRY_FILE)
    facts: list[object] = [__version__, str(repo_root), str(files[1])]
    package = Path(__file__).parents[1]
    try:
        for rule in _RULES:
            found = (package / rule).stat()
            facts += [rule, found.st_size, found.st_mtime_ns]
        facts += [_bytes(file) for file in files]
    except OSError:
        return None
    facts += [(name, env[name]) for name in sorted(env) if _is_setting(name) or name == TRUST_VARIABLE]
    return sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()


def _bytes(file: Path) -> bytes | None:
    try:
        return read_settings(file)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _kept_in(repo_root: Path, env: Mapping[str, str]) -> Path | None:
    """One file for each checkout; None where that would lie in the checkout itself, which may be a stranger's."""
    folder = Path(os.path.realpath(cache_folder(env)))
    root = Path(os.path.realpath(repo_root))
    if folder.is_relative_to(root):
        return None
    return folder / "settings" / f"{sha256(os.fsencode(root)).hexdigest()[:32]}.json"


def _kept(place: Path, read: str) -> HookSettings | None:
    import json

    try:
        if _may_be_others(place):
            return None
        value = json.loads(read_settings(place))
        if value["read"] != read:
            return None
        return HookSettings(
            base_branch=value["base_branch"],
            paths=Paths(**value["paths"]),
            governance=Governance(**value["governance"]),
            tracking=Tracking(**value["tracking"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # nothing is lost: the whole is read


def _may_be_others(place: Path) -> bool:
    """Whether another user wrote it or may have: a cache folder can be shared. Windows guards the user's folders."""
    if os.name == "nt":
        return False
    found = place.lstat()
    return found.st_uid != os.geteuid() or bool(found.st_mode & 0o022)


def _keep(place: Path, read: str, settings: Settings) -> None:
    import json
    from dataclasses import asdict

    parts = {name: asdict(getattr(settings, name)) for name in ("paths", "governance", "tracking")}
    text = json.dumps({"read": read, "base_branch": settings.base_branch, **parts}, indent=1)
    half = place.with_name(f"{place.name}.{os.getpid()}")
    with suppress(OSError):  # a full or read-only disk costs the next hook its time, and nothing else
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            half.write_text(text + "\n", encoding="utf-8")
            half.chmod(0o600)
            half.replace(place)
        finally:
            half.unlink(missing_ok=True)
