"""Canonical JSON: the bytes that are hashed, and the line-per-item layout that is committed.

Contract: `context.md` (hashes: sorted keys, stable array order, UTC `Z` times, floats to 6 decimals,
NFC) and `state.md` (laid out so that a step is a few lines of diff).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import unicodedata
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from pydantic import BaseModel


def utc_text(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and `Z`, e.g. `2026-01-22T08:43:59.016Z`.

    Raises:
        ValueError: the moment has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a time without a zone has no UTC form")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def plain(value: Any) -> Any:
    """The JSON value of a record: dicts, lists, strings (NFC), numbers, booleans, None."""
    kind = type(value)
    # by exact type first: a record has tens of thousands of values, and most are of these
    if kind is str:
        return value if value.isascii() else unicodedata.normalize("NFC", value)
    if kind is int or kind is bool or value is None:
        return value
    if kind is dict:
        return {_nfc(str(key)): plain(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [plain(item) for item in value]
    if isinstance(value, BaseModel) or dataclasses.is_dataclass(kind):
        return {
            name: plain(item)
            for name, left_out_if_none in _fields(kind)
            if (item := getattr(value, name)) is not None or not left_out_if_none
        }
    return _plain_of_others(value)


_FIELDS: dict[type[Any], tuple[tuple[str, bool], ...]] = {}


def _fields(kind: type[Any]) -> tuple[tuple[str, bool], ...]:
    """A record's field names, each with whether None is its default: then a None is left out."""
    known = _FIELDS.get(kind)
    if known is None:
        if issubclass(kind, BaseModel):
            defaults = {name: field.default for name, field in kind.model_fields.items()}
        else:
            defaults = {field.name: field.default for field in dataclasses.fields(kind)}
        known = _FIELDS[kind] = tuple((name, default is None) for name, default in defaults.items())
    return known


def _plain_of_others(value: Any) -> Any:
    if isinstance(value, dict):
        return {_nfc(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = [plain(item) for item in value]
        return sorted(items, key=_one_line) if isinstance(value, set | frozenset) else items
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, str):
        return _nfc(value)
    if isinstance(value, float):
        rounded = round(value, 6)
        return int(rounded) if rounded.is_integer() else rounded
    return value


def _nfc(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


# made once: an encoder for each small value took longer than the value
_one_line = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_spaced = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(", ", ": "), allow_nan=False).encode


def canonical_json(value: Any) -> bytes:
    """The bytes that are hashed: compact, sorted, UTF-8, no newline."""
    return _one_line(plain(value)).encode("utf-8")


def sha256_hex(data: bytes | str) -> str:
    """SHA-256 in lower-case hex of bytes, or of a text's UTF-8."""
    return hashlib.sha256(data.encode("utf-8") if isinstance(data, str) else data).hexdigest()


def hash_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of a record or plain value."""
    return sha256_hex(canonical_json(value))


def committed_json(value: Any) -> bytes:
    """The layout committed on the tracking branch: the same value, one list item a line, final newline."""
    return (_laid_out(plain(value), "") + "\n").encode("utf-8")


def _holds_rows(value: Any) -> bool:
    """Whether a dict has a non-empty list of dicts: then it is opened, else it stays on its line."""
    return isinstance(value, dict) and any(
        isinstance(item, list) and item and all(isinstance(row, dict) for row in item) for item in value.values()
    )


def _laid_out(value: Any, indent: str, *, top: bool = True) -> str:
    deeper = indent + " "
    if isinstance(value, dict) and value and (top or _holds_rows(value)):
        rows = [f"{deeper}{_spaced(key)}: {_laid_out(value[key], deeper, top=False)}" for key in sorted(value)]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(deeper + _laid_out(item, deeper, top=False) for item in value) + f"\n{indent}]"
    return _spaced(value)
