"""Which repositories may start programs by their configuration. Contract: `interface.md`, Configuration.

The record lies outside the repository: what a clone brings along cannot vouch for itself.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from handshake.config.places import REGISTRY_FILE, TRUST_VARIABLE, trust_file
from handshake.domain.canonical import hash_of, sha256_hex
from handshake.domain.errors import ConfigError, NotTrusted
from handshake.domain.settings import Commands, starts_programs


def program_keys(raw: dict[str, Any], repo_root: Path | None = None) -> list[str]:
    """The keys that need trust, and the engine registry if the repository has one.

    An allow-list that only narrows the default one does not.
    """
    own_registry = [REGISTRY_FILE] if repo_root is not None and (repo_root / REGISTRY_FILE).is_file() else []
    try:
        keys = starts_programs(raw)
    except AttributeError:
        return own_registry  # not the mapping it should be: the check of types names it
    commands = raw.get("commands")
    allow = commands.get("allow") if isinstance(commands, dict) else None
    harmless = isinstance(allow, list) and all(isinstance(name, str) for name in allow)
    if harmless and set(allow or ()) <= set(Commands().allow):
        keys = [key for key in keys if key != "commands.allow"]
    return keys + own_registry


def trust_hash(raw: dict[str, Any], repo_root: Path | None = None) -> str:
    """SHA-256 of the part of a configuration that can start programs: it changes when that part does.

    Raises:
        ConfigError: the engine registry cannot be read.
    """
    return hash_of({key: _value_at(raw, key, repo_root) for key in program_keys(raw, repo_root)})


def _value_at(raw: dict[str, Any], key: str, repo_root: Path | None) -> Any:
    if key == REGISTRY_FILE and repo_root is not None:
        try:
            return sha256_hex((repo_root / REGISTRY_FILE).read_bytes())
        except OSError as error:
            raise ConfigError(f"{REGISTRY_FILE}: {error.strerror}", next_step="make it readable") from None
    if key.startswith("models."):
        name, _, field = key.removeprefix("models.").rpartition(".")
        return raw["models"][name][field]
    value: Any = raw
    for part in key.split("."):
        value = value[part]
    return value


def is_trusted(repo_root: Path, raw: dict[str, Any], env: Mapping[str, str] | None = None) -> bool:
    """Whether nothing in the configuration starts a program, or a person trusted exactly this.

    Raises:
        ConfigError: the record of trust cannot be read.
    """
    if not program_keys(raw, repo_root):
        return True
    wanted = trust_hash(raw, repo_root)
    variables = os.environ if env is None else env
    return variables.get(TRUST_VARIABLE) == wanted or _records(variables).get(_name(repo_root)) == wanted


def untrusted_keys(repo_root: Path, raw: dict[str, Any], env: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The keys that do not count yet. Raises as `is_trusted`."""
    return () if is_trusted(repo_root, raw, env) else tuple(program_keys(raw, repo_root))


def refuse_untrusted(
    repo_root: Path, raw: dict[str, Any], keys: tuple[str, ...], env: Mapping[str, str] | None = None
) -> None:
    """Refuse, naming the keys; whoever trusted something else before is told that it changed.

    Raises:
        NotTrusted: always.
    """
    variables = os.environ if env is None else env
    names = ", ".join(keys)
    if variables.get(TRUST_VARIABLE):
        raise NotTrusted(
            f"{TRUST_VARIABLE} is not the hash of what can start programs here: {names}",
            next_step=f"read it; if it may: {TRUST_VARIABLE}={trust_hash(raw, repo_root)}",
        )
    changed = " any more: it changed" if _name(repo_root) in _records(variables) else ""
    raise NotTrusted(
        f".handshake/ can start programs and is not trusted{changed}: {names}",
        next_step=f"read it, then: handshake trust (in CI {TRUST_VARIABLE}=<hash>: handshake trust --show)",
    )


def dropped_untrusted(raw: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The configuration without those keys; a model that would start a program is left out whole."""
    if not keys:
        return raw
    kept = copy.deepcopy(raw)
    for key in keys:
        if key == REGISTRY_FILE:
            continue
        if key.startswith("models."):
            kept["models"].pop(key.removeprefix("models.").rpartition(".")[0], None)
        elif key in ("commands.allow", "validators.own"):
            section, _, name = key.partition(".")
            kept[section].pop(name, None)
        else:
            kept.pop(key, None)
    return kept


def trust(repo_root: Path, raw: dict[str, Any], env: Mapping[str, str] | None = None) -> str:
    """Record that a person trusts this configuration of this repository; returns its hash.

    Raises:
        ConfigError: the record cannot be read or written.
    """
    variables = os.environ if env is None else env
    digest = trust_hash(raw, repo_root)
    with _changing(variables) as records:
        records[_name(repo_root)] = digest
    return digest


def revoke(repo_root: Path, env: Mapping[str, str] | None = None) -> bool:
    """Forget that this repository was trusted; returns whether it was.

    Raises:
        ConfigError: the record cannot be read or written.
    """
    with _changing(os.environ if env is None else env) as records:
        return records.pop(_name(repo_root), None) is not None


def trusted_repositories(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """The hash that was trusted, by repository, sorted. Raises as `is_trusted`."""
    return dict(sorted(_records(os.environ if env is None else env).items()))


@contextmanager
def _changing(env: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The records, written back at the end as one file; two at once wait for each other."""
    from filelock import FileLock

    path = trust_file(env)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")):
            records = _records(env)
            yield records
            half = path.with_name(f"{path.name}.{os.getpid()}")
            half.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            half.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}", next_step=f"make {path.parent} writable") from None


def _name(repo_root: Path) -> str:
    return str(repo_root.resolve())


def _records(env: Mapping[str, str]) -> dict[str, str]:
    path = trust_file(env)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: the record of trust cannot be read: {error}", next_step=f"delete {path}, then: handshake trust"
        ) from None
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}
