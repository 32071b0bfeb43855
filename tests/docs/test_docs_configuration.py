"""The configuration page names every key with its default, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.fields import FieldInfo

from handshake.domain.policy import EscalationLevel
from handshake.domain.settings import LoraConfig, ModelConfig, Settings

ROW = re.compile(r"^\| `([a-z][\w.*\[\]]*)` \| ?(.*?) ?\|", re.MULTILINE)


def record_in(annotation: Any) -> type[Any] | None:
    """The record that a field holds: itself, or as the other side of `| None`."""
    candidates = (annotation, *(get_args(annotation) if type(None) in get_args(annotation) else ()))
    return next(
        (c for c in candidates if isinstance(c, type) and (issubclass(c, BaseModel) or is_dataclass(c))), None
    )


def fields_of(record: type[Any]) -> dict[str, FieldInfo]:
    """The fields of a record, or of a section that is a plain dataclass, as pydantic sees them."""
    if is_dataclass(record):
        return dict(pydantic_dataclass(frozen=True)(record).__pydantic_fields__)
    return dict(record.model_fields)


def keys(model: type[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key that can be set, dotted, with its field."""
    for name, field in fields_of(model).items():
        if name == "models":
            yield from keys(ModelConfig, "models.*.")
        elif name == "loras":
            yield from keys(LoraConfig, "loras[].")
        else:
            inner = record_in(field.annotation)
            if inner is None or field.annotation is not inner:
                yield prefix + name, field
            if inner is not None:
                yield from keys(inner, f"{prefix}{name}.")


def documented(text: str) -> dict[str, str]:
    return dict(ROW.findall(text))


@pytest.fixture(scope="module")
def page(documents: dict[str, str]) -> str:
    return documents["docs/configuration.md"]


def test_every_key_is_documented(page: str) -> None:
    told = documented(page)
    assert [key for key, _ in keys(Settings) if key not in told] == []


def test_every_key_of_a_level_is_documented(page: str) -> None:
    level = page[page.index("### A level of") : page.index("## `models`")]
    assert set(documented(level)) == set(EscalationLevel.model_fields)


def test_no_documented_key_is_gone(page: str) -> None:
    known = {key for key, _ in keys(Settings)} | set(EscalationLevel.model_fields)
    assert sorted(set(documented(page)) - known) == []


def test_defaults_are_told_as_they_are(page: str) -> None:
    told = documented(page)
    for key, field in keys(Settings):
        default = field.get_default(call_default_factory=True)
        if field.is_required() or key == "policy.escalation_chain":
            continue
        shown = told[key].strip("`").strip('"')
        if isinstance(default, tuple):
            assert shown == "[" + ", ".join(default) + "]", key
        elif isinstance(default, str):
            assert shown == default, key
        elif isinstance(default, float):
            assert float(shown) == default, key
        else:
            assert shown == json.dumps(default), key


def test_the_examples_are_configurations(documents: dict[str, str]) -> None:
    found = 0
    for path in ("README.md", "docs/configuration.md"):
        for block in re.findall(r"^```yaml\n(.*?)^```$", documents[path], flags=re.DOTALL | re.MULTILINE):
            value = yaml.safe_load(block)
            Settings.model_validate(value if set(value) <= set(Settings.model_fields) else {"policy": value})
            found += 1
    assert found >= 3


def test_every_variable_that_is_no_setting_is_told(documents: dict[str, str]) -> None:
    from handshake.config.places import NO_SETTINGS

    internal = {"HANDSHAKE_NAMESPACE", "HANDSHAKE_OP", "HANDSHAKE_SCRIPTED_CALLS"}
    told = set(re.findall(r"`(HANDSHAKE_[A-Z_]+)`", documents["docs/commands.md"]))
    assert sorted(NO_SETTINGS - internal) == sorted(told & NO_SETTINGS)
