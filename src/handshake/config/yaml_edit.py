"""One value of a configuration file changed in place: comments, order and every other byte stay as they are."""

from __future__ import annotations

import json
import re
from typing import Any

from handshake.config.yaml_text import read_yaml
from handshake.domain.errors import ConfigError


def set_item_key(text: str, name: str, where: tuple[str, str, str], key: str, value: Any) -> str:
    """Set `key` of the mapping in list `where[0]` whose `where[1]` is `where[2]`, and give the new text.

    Args:
        name: stands in the errors.
        value: what JSON can write; it is written in YAML's flow style.

    Raises:
        ConfigError: there is no such mapping, or the file cannot be edited by itself.
    """
    import yaml

    list_key, id_key, wanted = where
    before = read_yaml(text, name).value
    items = before.get(list_key)
    index = _index(items, id_key, wanted)
    if index is None or items is None:
        raise ConfigError(f"{name}: {list_key} has no {id_key} {wanted}", next_step=f"add it to {name}")
    items[index][key] = value
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    sequence = next(node for at, node in root.value if at.value == list_key)
    edited = _set(text, sequence.value[index], key, json.dumps(value, ensure_ascii=False))
    if read_yaml(edited, name).value != before:
        raise ConfigError(
            f"{name}: {list_key} {wanted} is written in a way that is not edited by itself",
            next_step=f"set {key}: {json.dumps(value)} there by hand",
        )
    return edited


def set_entry_key(text: str, name: str, where: tuple[str, str], key: str, value: Any) -> str:
    """Set `key` of the entry `where[1]` in the mapping `where[0]`, both made where missing, and give the new text.

    Args:
        name: stands in the errors.
        value: what JSON can write; it is written in YAML's flow style.

    Raises:
        ConfigError: the file cannot be edited by itself.
    """
    import yaml

    section, entry = where
    before = read_yaml(text, name).value
    wanted = {**before, section: {**(before.get(section) or {})}}
    wanted[section][entry] = {**(wanted[section].get(entry) or {}), key: value}
    written = json.dumps(value, ensure_ascii=False)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    entries = _child(root, section)
    fields = _child(entries, entry)
    if _is_filled(fields):
        edited = _set(text, fields, key, written)
    elif _is_filled(entries) and fields is None:
        edited = _set(text, entries, entry, f"{{{key}: {written}}}")
    else:
        break_before = "" if not text or text.endswith("\n") else "\n"
        edited = f"{text}{break_before}{section}:\n  {_key(entry)}: {{{key}: {written}}}\n"
    if _as_read(edited, name) != wanted:
        raise ConfigError(
            f"{name}: {section}.{entry} is written in a way that is not edited by itself",
            next_step=f"set {key}: {written} there by hand",
        )
    return edited


def _as_read(text: str, name: str) -> Any:
    try:
        return read_yaml(text, name).value
    except ConfigError:
        return None


def _child(node: Any, key: str) -> Any:
    rows = node.value if node is not None and isinstance(node.value, list) else []
    return next((row[1] for row in rows if isinstance(row, tuple) and row[0].value == key), None)


def _is_filled(node: Any) -> bool:
    return node is not None and isinstance(node.value, list) and bool(node.value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z][\w.-]*", key) else json.dumps(key, ensure_ascii=False)


def _index(items: Any, id_key: str, wanted: str) -> int | None:
    rows = items if isinstance(items, list) else []
    return next((i for i, row in enumerate(rows) if isinstance(row, dict) and row.get(id_key) == wanted), None)


def _set(text: str, mapping: Any, key: str, written: str) -> str:
    for at, node in mapping.value:
        if at.value != key:
            continue
        start, end = node.start_mark.index, node.end_mark.index
        if getattr(node, "flow_style", None) is False:  # a block list ends after its last line break
            end = start + len(text[start:end].rstrip())
            start = at.end_mark.index + 1
            return f"{text[:start]} {written}{text[end:]}"
        space = "" if text[start - 1 : start] == " " else " "
        return f"{text[:start]}{space}{written}{text[end:]}"
    last = mapping.value[-1][1]
    end = last.start_mark.index + len(text[last.start_mark.index : last.end_mark.index].rstrip())
    if mapping.flow_style:
        return f"{text[:end]}, {_key(key)}: {written}{text[end:]}"
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end
    indent = " " * mapping.value[0][0].start_mark.column
    newline = "\r\n" if "\r\n" in text else "\n"
    place = line_end - 1 if text[line_end - 1 : line_end] == "\r" else line_end
    return f"{text[:place]}{newline}{indent}{_key(key)}: {written}{text[place:]}"
