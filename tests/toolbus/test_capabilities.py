"""White lists: what is covered, what is unknown, and how little a repository may add."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from handshake.domain.errors import ConfigError
from handshake.toolbus.capabilities import (
    CapabilityProfile,
    decide,
    default_profiles,
    is_known,
    needs_consent,
    profile_for,
    profiles_of,
    read_profiles,
)
from handshake.toolbus.registry import SHIPPED, narrowed, read_registry, registry_of, shipped_registry


@pytest.mark.parametrize(
    ("capability", "known"),
    [
        ("fs.read", True),
        ("proc.exec:pytest", True),
        ("proc.exec:./run.sh", True),
        ("device:usb", True),
        ("proc.exec:", False),
        ("proc.exec: pytest", False),
        ("fs.erase", False),
        ("fs", False),
        ("", False),
        (":x", False),
        ("fs.read:\n", False),
    ],
)
def test_a_capability_is_a_known_axis_with_an_optional_scope(capability: str, known: bool) -> None:
    assert is_known(capability) is known


@pytest.mark.parametrize(
    ("grants", "capability", "outcome"),
    [
        (("proc.exec",), "proc.exec:pytest", "allow"),
        (("proc.exec",), "proc.exec", "allow"),
        (("proc.exec:pytest",), "proc.exec:pytest", "allow"),
        (("proc.exec:pytest",), "proc.exec:pytest2", "deny"),
        (("proc.exec:pytest",), "proc.exec", "deny"),
        (("fs.read",), "fs.write", "deny"),
        (("fs.erase",), "fs.erase", "deny"),
        ((), "fs.read", "deny"),
    ],
)
def test_a_grant_covers_its_scopes_and_a_scope_itself(grants: tuple[str, ...], capability: str, outcome: str) -> None:
    check = decide(CapabilityProfile(profile_id="Coder", grants=grants), capability, op_id="o", stage="iteration")
    assert (check.decision_outcome, check.actor_id, check.op_id, check.stage) == (outcome, "Coder", "o", "iteration")


def test_without_a_profile_everything_is_denied() -> None:
    assert decide(None, "fs.read").decision_outcome == "deny"


def test_the_three_profiles() -> None:
    profiles = default_profiles(("pytest", "python"))
    assert profiles["Coder"] == profile_for(("python", "pytest"))
    assert profiles["Coder"].covers("proc.exec:pytest")
    assert not profiles["Coder"].covers("proc.exec:rm")
    assert not profiles["Reviewer"].covers("fs.write")
    assert profiles["Analyst"].covers("artifact.write")


@pytest.mark.parametrize("capability", ["net.http", "device:gpu", "secrets.use:x"])
def test_what_reaches_out_needs_a_human(capability: str) -> None:
    assert needs_consent(capability)


def test_a_repository_may_narrow_a_profile() -> None:
    profiles = read_profiles(
        "profiles: {Coder: [fs.read, fs.write, 'proc.exec:pytest']}", "c.yaml", ("pytest", "ruff")
    )
    assert not profiles["Coder"].covers("proc.exec:ruff")
    assert profiles["Reviewer"].covers("fs.read")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("profiles: {Coder: ['proc.exec:rm']}", "beyond"),
        ("profiles: {Coder: [proc.exec]}", "beyond"),
        ("profiles: {Reviewer: [fs.write]}", "beyond"),
        ("profiles: {Coder: [fs.erase]}", "HSK-4001"),
        ("profiles: {Root: [fs.read]}", "unknown profile"),
        ("profiles: {Coder: fs.read}", "list"),
        ("[]", "mapping"),
        ("profiles: {", "YAML"),
    ],
)
def test_a_repository_may_not_widen_one(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_profiles(text, "capabilities.yaml", ("pytest",))
    assert says in caught.value.what
    assert "capabilities.yaml" in caught.value.what


def test_the_shipped_registry_is_the_contracts() -> None:
    registry = shipped_registry()
    assert [entry.engine_id for entry in registry.engines] == ["engine.shell", "engine.workspace", "engine.context"]
    shell = registry.engine("engine.shell")
    assert shell is not None
    assert shell.determinism_ceiling == "D1"
    assert shell.default_budget.model_dump() == {
        "cpu_time_ms": 60_000,
        "wall_time_ms": 300_000,
        "memory_bytes": 1024**3,
        "output_bytes": 10 * 1024**2,
    }
    assert shell.required(shell.ops[0]) == ("fs.read", "fs.write", "proc.exec")


def changed(**change: object) -> str:
    raw = json.loads(SHIPPED.read_text(encoding="utf-8"))
    raw["engines"] = [raw["engines"][0] | change]
    return json.dumps(raw)


CEILING = json.loads(SHIPPED.read_text(encoding="utf-8"))["engines"][0]["budget_ceiling"]


def test_trust_may_give_larger_budgets_and_no_more(tmp_path: Path) -> None:
    assert registry_of(tmp_path) is shipped_registry()
    file = tmp_path / ".handshake" / "mechanical_engines.json"
    file.parent.mkdir()
    file.write_text(changed(budget_ceiling={**CEILING, "wall_time_ms": 10**7}))
    entry = registry_of(tmp_path).engine("engine.shell")
    assert entry is not None
    assert entry.ceiling.wall_time_ms == 10**7
    assert registry_of(tmp_path).engine("engine.workspace") is None
    file.write_text(changed(required_caps=["fs.read"]))
    with pytest.raises(ConfigError, match=r"mechanical_engines\.json.*left out"):
        registry_of(tmp_path)


def test_a_repositorys_profiles_narrow_the_defaults(tmp_path: Path) -> None:
    assert profiles_of(tmp_path, ("pytest",))["Coder"].covers("proc.exec:pytest")
    file = tmp_path / ".handshake" / "capabilities.yaml"
    file.parent.mkdir()
    file.write_text("profiles: {Coder: [fs.read]}\n")
    assert profiles_of(tmp_path, ("pytest",))["Coder"].grants == ("fs.read",)


def test_a_repository_may_narrow_the_registry() -> None:
    wish = read_registry(changed(determinism_ceiling="D0"), "mechanical_engines.json")
    assert narrowed(shipped_registry(), wish, "m").engines[0].determinism_ceiling == "D0"


@pytest.mark.parametrize(
    "change",
    [
        {"engine_id": "engine.rocket"},
        {"implementation": "evil"},
        {"determinism_ceiling": "D3"},
        {"required_caps": ["fs.read"]},
        {"budget_ceiling": {**CEILING, "wall_time_ms": 10**9}},
        {"budget_ceiling": {"wall_time_ms": 1000}},
        {"ops": [{"name": "launch", "schema_ref": "shell.exec/1"}]},
        {
            "ops": [
                {
                    "name": "exec",
                    "schema_ref": "shell.exec/1",
                    "capabilities": ["proc.exec"],
                    "output_types": ["artifact.x"],
                }
            ]
        },
    ],
)
def test_a_repository_may_not_widen_the_registry(change: dict[str, object]) -> None:
    wish = read_registry(changed(**change), "m")
    with pytest.raises(ConfigError):
        narrowed(shipped_registry(), wish, "m")


@pytest.mark.parametrize("text", ["{", "[]", '{"engines": [{}]}', changed(required_gates=["G-SCHEMA"])])
def test_a_damaged_registry_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        read_registry(text, "m")
