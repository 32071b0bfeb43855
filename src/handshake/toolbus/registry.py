"""The engine registry: which engines there are and the most they may ever do. Contract: `tool-bus.md`, Registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import Field, ValidationError

from handshake.config.places import REGISTRY_FILE
from handshake.domain.errors import ConfigError
from handshake.domain.operation import Determinism, OperationBudget
from handshake.domain.record import Record

GATES = ("G-SCHEMA", "G-CAP", "G-INTEGRITY", "G-BUDGET", "G-PROVENANCE", "G-DET")
SHIPPED = Path(__file__).with_name("mechanical_engines.json")
LEVELS: tuple[Determinism, ...] = ("D0", "D1", "D2", "D3")


class EngineOp(Record):
    """One operation of an engine; `capabilities` come on top of the engine's own."""

    name: str
    schema_ref: str
    capabilities: tuple[str, ...] = ()
    output_types: tuple[str, ...] = ()


class EngineEntry(Record):
    """One engine. `budget_ceiling` is the most an operation may ask for; where missing, the default is."""

    engine_id: str
    engine_version: str
    implementation: str
    determinism_ceiling: Determinism
    required_caps: tuple[str, ...] = ()
    required_gates: tuple[str, ...] = GATES
    default_budget: OperationBudget
    budget_ceiling: OperationBudget | None = None
    ops: tuple[EngineOp, ...] = Field(min_length=1)

    def op(self, name: str) -> EngineOp | None:
        """The operation of that name, if there is one."""
        return next((op for op in self.ops if op.name == name), None)

    def required(self, op: EngineOp) -> tuple[str, ...]:
        """Every capability that `op` must ask for, in order."""
        return (*self.required_caps, *op.capabilities)

    @property
    def ceiling(self) -> OperationBudget:
        """The most an operation may ask for."""
        return self.budget_ceiling or self.default_budget


class Registry(Record):
    """All engines, by id."""

    schema_version: str = "1.0"
    engines: tuple[EngineEntry, ...]

    def engine(self, engine_id: str) -> EngineEntry | None:
        """The engine of that id, if there is one."""
        return next((entry for entry in self.engines if entry.engine_id == engine_id), None)


def read_registry(text: str, where: str) -> Registry:
    """A registry from its JSON.

    Raises:
        ConfigError: not JSON, a wrong shape, an engine twice, or an engine that skips a gate.
    """
    try:
        registry = Registry.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where}:{error.lineno}: not JSON: {error.msg}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    ids = [entry.engine_id for entry in registry.engines]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise ConfigError(f"{where}: engine {twice[0]} stands there twice")
    for entry in registry.engines:
        if entry.required_gates != GATES:
            raise ConfigError(f"{where}: {entry.engine_id}: required_gates must be {', '.join(GATES)}, in this order")
    return registry


@cache
def shipped_registry() -> Registry:
    """The registry of the package.

    Raises:
        ConfigError: the installation is damaged.
    """
    return read_registry(SHIPPED.read_text(encoding="utf-8"), SHIPPED.name)


def registry_of(repo_root: Path) -> Registry:
    """The registry of a repository: its own file if there is one, which load_settings found trusted; else ours.

    Raises:
        ConfigError: its file is wrong, or wants what no trust can give.
    """
    file = repo_root / REGISTRY_FILE
    if not file.is_file():
        return shipped_registry()
    wish = read_registry(file.read_text(encoding="utf-8", errors="replace"), REGISTRY_FILE)
    return narrowed(shipped_registry(), wish, REGISTRY_FILE, trusted=True)


def narrowed(base: Registry, wish: Registry, where: str, *, trusted: bool = False) -> Registry:
    """`wish`, if it does nowhere allow more than `base`: a repository may narrow the registry, never widen it.

    Args:
        trusted: a person vouched for it: then its budgets may be larger. An engine cannot do more by that.

    Raises:
        ConfigError: it names an engine or operation that is not there, drops a required capability,
            or lifts a ceiling.
    """
    for entry in wish.engines:
        known = base.engine(entry.engine_id)
        if known is None:
            raise ConfigError(f"{where}: {entry.engine_id} is no engine of this installation")
        if (entry.engine_version, entry.implementation) != (known.engine_version, known.implementation):
            raise ConfigError(
                f"{where}: {entry.engine_id}: version and implementation are not the repository's to set"
            )
        if LEVELS.index(entry.determinism_ceiling) > LEVELS.index(known.determinism_ceiling):
            raise ConfigError(f"{where}: {entry.engine_id}: determinism_ceiling is above {known.determinism_ceiling}")
        unbounded = sorted(_figures(known.ceiling) - _figures(entry.ceiling))
        if unbounded and not trusted:
            raise ConfigError(f"{where}: {entry.engine_id}: the ceiling lacks {', '.join(unbounded)}")
        over = over_budget(entry.ceiling, known.ceiling) or over_budget(entry.default_budget, known.ceiling)
        if over and not trusted:
            raise ConfigError(f"{where}: {entry.engine_id}: {over}")
        for op in entry.ops:
            theirs = known.op(op.name)
            if theirs is None or theirs.schema_ref != op.schema_ref:
                raise ConfigError(f"{where}: {entry.engine_id} has no operation {op.name} ({op.schema_ref})")
            if not set(known.required(theirs)) <= set(entry.required(op)):
                raise ConfigError(f"{where}: {entry.engine_id}/{op.name}: a required capability was left out")
            if not set(op.output_types) <= set(theirs.output_types):
                raise ConfigError(f"{where}: {entry.engine_id}/{op.name}: an output type was added")
    return wish


def _figures(budget: OperationBudget) -> set[str]:
    return {name for name, value in budget.model_dump().items() if value is not None}


def over_budget(asked: OperationBudget, ceiling: OperationBudget) -> str | None:
    """The first figure of `asked` that is above `ceiling`, as a sentence; a figure the ceiling lacks is free."""
    limits: Mapping[str, int | None] = ceiling.model_dump()
    for name, value in asked.model_dump().items():
        limit = limits[name]
        if value is not None and limit is not None and value > limit:
            return f"{name} {value} is above {limit}"
    return None
