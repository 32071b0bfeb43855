"""Configuration files as data with line numbers. Safe: no tags, no aliases, no double keys.

`off`, `on`, `yes`, `no` and dates stay words: `sandbox: off` means what it says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from handshake.domain.errors import ConfigError

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class ReadYaml:
    """A mapping and, for each key path in it, its 1-based line."""

    value: dict[str, Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)


@cache
def _loader() -> type[Any]:
    import yaml

    class WordsStayWords(yaml.SafeLoader):
        """The safe loader, less the booleans and dates that nobody means."""

    kept: dict[str, list[tuple[str, Any]]] = {}
    dropped = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
    for sign, rules in yaml.SafeLoader.yaml_implicit_resolvers.items():
        kept[sign] = [rule for rule in rules if rule[0] not in dropped]
    WordsStayWords.yaml_implicit_resolvers = kept
    WordsStayWords.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
    )
    return WordsStayWords


def read_yaml(text: str, name: str) -> ReadYaml:
    """Read a mapping; an empty text is an empty one. `name` stands in the errors.

    Raises:
        ConfigError: it is no YAML mapping, or uses aliases, tags, or one key twice; file and line are named.
    """
    import yaml

    try:
        loader = _loader()(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return ReadYaml({})
            lines: dict[KeyPath, int] = {}
            _walk(node, (), lines, name, set())
            value = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}" if mark else name
        said = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ConfigError(f"{place}: not YAML: {said}", next_step=f"mend {name}") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply", next_step=f"mend {name}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: a mapping of keys is wanted", next_step=f"mend {name}")
    return ReadYaml(value, lines)


def read_word(text: str) -> Any:
    """One value as YAML reads it (`3`, `true`, `[a, b]`, `{a: 1}`), or the text itself where it is none."""
    import yaml

    try:
        return yaml.load(text, Loader=_loader())  # noqa: S506 - a subclass of the safe loader
    except yaml.YAMLError:
        return text


def _walk(node: Any, path: KeyPath, lines: dict[KeyPath, int], name: str, seen: set[int]) -> None:
    import yaml

    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if id(node) in seen:
        raise ConfigError(f"{name}:{line}: an alias; aliases are not read", next_step="write the value out")
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            where = (*path, str(getattr(key, "value", "?")))
            if where in lines:
                raise ConfigError(
                    f"{name}:{key.start_mark.line + 1}: key {dotted(where)} stands twice", next_step="keep one"
                )
            lines[where] = key.start_mark.line + 1
            _walk(value, where, lines, name, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), lines, name, seen)


def dotted(path: KeyPath) -> str:
    """A key path as it is written to people, e.g. `policy.escalation_chain.0.level`."""
    return ".".join(str(part) for part in path)
