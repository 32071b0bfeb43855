"""The merged configuration: repository, user, variables, flags; later wins. Contract: `interface.md`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from handshake.config.places import NO_SETTINGS, PREFIX, REPOSITORY_FILE, read_settings, user_config_file
from handshake.config.trust import dropped_untrusted, refuse_untrusted, untrusted_keys
from handshake.config.yaml_text import KeyPath, ReadYaml, dotted, read_word, read_yaml
from handshake.domain.errors import ConfigError
from handshake.domain.settings import Settings

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")  # of a record, of a plain dataclass


@dataclass(frozen=True)
class LoadedSettings:
    """The merged settings. `origins` maps a dotted key to where its value comes from, e.g. `config.yaml:3`.

    `untrusted` are keys of the repository's file that can start a program and were left out.
    """

    settings: Settings
    origins: dict[str, str] = field(default_factory=dict)
    untrusted: tuple[str, ...] = ()


@dataclass
class _Merge:
    value: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)

    def add(self, layer: dict[str, Any], origin: Any) -> None:
        """Lay a layer over what is there; `origin` gives the place of a key path."""
        self._merge(self.value, layer, (), origin)

    def _merge(self, into: dict[str, Any], layer: dict[str, Any], path: KeyPath, origin: Any) -> None:
        for key, value in layer.items():
            where = (*path, key)
            if isinstance(value, dict) and value:
                if not isinstance(into.get(key), dict):
                    into[key] = {}
                self.origins.setdefault(where, origin(where))
                self._merge(into[key], value, where, origin)
            else:
                into[key] = value
                self._note(value, where, origin)

    def _note(self, value: Any, where: KeyPath, origin: Any) -> None:
        for known in [path for path in self.origins if path[: len(where)] == where]:
            del self.origins[known]
        self.origins[where] = origin(where)
        if isinstance(value, list):
            for index, item in enumerate(value):
                self._note(item, (*where, index), origin)
        elif isinstance(value, dict):
            for key, item in value.items():
                self._note(item, (*where, key), origin)


def load_settings(
    repo_root: Path,
    *,
    env: Mapping[str, str],
    overrides: Mapping[str, Any] | None = None,
    require_trust: bool = True,
    committed: bytes | None = None,
) -> LoadedSettings:
    """Merge and check the configuration of a repository.

    Args:
        repo_root: top of the checkout; `.handshake/config.yaml` below it is read.
        env: the environment; `HANDSHAKE_<KEY>` variables count, `__` between levels.
        overrides: what flags say, nested as in the file.
        require_trust: refuse a repository's file that can start programs and is not trusted; without it
            those keys are left out and named in `untrusted`.
        committed: the repository's file as a commit has it, in place of the one on the disk.

    Raises:
        ConfigError: a key is unknown or a value has the wrong type; file, line and key are named.
        NotTrusted: see `require_trust`.
    """
    merge = _Merge()
    if committed is None:
        repository = _read_file(repo_root / REPOSITORY_FILE, REPOSITORY_FILE)
    else:
        repository = _read_bytes(committed, REPOSITORY_FILE)
    layer: dict[str, Any] = {} if repository is None else repository.value
    untrusted = untrusted_keys(repo_root, layer, env)
    if untrusted and require_trust:
        if repository is not None:
            _checked(_only(repository), {})
        refuse_untrusted(repo_root, layer, untrusted, env)
    if repository is not None:
        layer = dropped_untrusted(layer, untrusted)
        merge.add(layer, _place(repository, REPOSITORY_FILE))
    user_file = user_config_file(env)
    user = _read_file(user_file, str(user_file))
    if user is not None:
        merge.add(user.value, _place(user, str(user_file)))
    for name in sorted(env):
        _add_variable(merge, name, env[name])
    if overrides:
        merge.add(dict(overrides), lambda path: f"flag {dotted(path)}")
    settings = _checked(merge, env)
    return LoadedSettings(settings, {dotted(path): origin for path, origin in merge.origins.items()}, untrusted)


def read_repository_file(repo_root: Path) -> dict[str, Any]:
    """The repository's configuration as it stands, unmerged and unchecked; empty where there is no file.

    Raises:
        ConfigError: it is no YAML mapping.
    """
    found = _read_file(repo_root / REPOSITORY_FILE, REPOSITORY_FILE)
    return {} if found is None else found.value


def _read_file(path: Path, name: str) -> ReadYaml | None:
    try:
        data = read_settings(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror or error}", next_step=f"make {name} readable") from None
    return _read_bytes(data, name)


def _read_bytes(data: bytes, name: str) -> ReadYaml:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: byte {error.start} is not UTF-8", next_step=f"save {name} as UTF-8") from None
    return read_yaml(text, name)


def _place(read: ReadYaml, name: str) -> Any:
    def origin(path: KeyPath) -> str:
        while path not in read.lines and path:
            path = path[:-1]
        return f"{name}:{read.lines.get(path, 1)}"

    return origin


def _only(read: ReadYaml) -> _Merge:
    merge = _Merge()
    merge.add(read.value, _place(read, REPOSITORY_FILE))
    return merge


def _add_variable(merge: _Merge, name: str, text: str) -> None:
    if not name.startswith(PREFIX) or name in NO_SETTINGS:
        return
    keys = [part.lower() for part in name.removeprefix(PREFIX).split("__")]
    value: Any = read_word(text)
    known: Any = merge.value
    for position, key in enumerate(keys):
        same = [k for k in known if isinstance(k, str) and k.lower() == key] if isinstance(known, dict) else []
        keys[position] = same[0] if same else key
        known = known.get(keys[position]) if isinstance(known, dict) else None
    for key in reversed(keys):
        value = {key: value}
    merge.add(value, lambda _: name)


def _checked(merge: _Merge, env: Mapping[str, str]) -> Settings:
    """The settings; a variable whose text YAML reads as a number or a word is given as text where text is wanted."""
    try:
        return Settings.model_validate(merge.value)
    except ValidationError as error:
        problems = error.errors(include_url=False)
    if _as_text(merge, problems, env):
        return _checked(merge, {})
    first = problems[0]
    path: KeyPath = tuple(first["loc"])
    place = path
    while place not in merge.origins and place:
        place = place[:-1]
    where = merge.origins.get(place, "configuration")
    said = "unknown key" if first["type"] in _UNKNOWN else first["msg"].removeprefix("Value error, ")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    raise ConfigError(
        f"{where}: key {dotted(path) or '(all)'}: {said}{more}",
        next_step="handshake config schema shows every key and its type",
    )


def _as_text(merge: _Merge, problems: list[Any], env: Mapping[str, str]) -> bool:
    changed = False
    for problem in problems:
        path: KeyPath = tuple(problem["loc"])
        name = merge.origins.get(path, "")
        if name not in env or problem["type"] not in ("string_type", "literal_error"):
            continue
        into: Any = merge.value
        for key in path[:-1]:
            into = into[key]
        if not isinstance(into, dict):
            continue
        changed = changed or into[path[-1]] != env[name]
        into[path[-1]] = env[name]
    return changed
