"""Capabilities and the white lists that grant them. Contract: `tool-bus.md`, Capabilities.

A capability is `axis[:scope]`. A grant of the axis covers its scopes; a scoped grant covers that scope alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from handshake.domain.errors import ConfigError
from handshake.domain.operation import CapabilityCheck
from handshake.domain.record import Record

PROFILES_FILE = ".handshake/capabilities.yaml"
AXES = frozenset(
    {
        "fs.read",
        "fs.write",
        "proc.exec",
        "net.http",
        "device",
        "secrets.use",
        "artifact.read",
        "artifact.write",
    }
)
# these reach beyond the worktree: a profile alone is not enough, a human said yes on record
CONSENT_AXES = frozenset({"net.http", "device", "secrets.use"})

Stage = Literal["creation", "iteration", "validation"]


class CapabilityProfile(Record):
    """A white list. `grants` are capabilities; what is not covered is denied."""

    profile_id: str
    grants: tuple[str, ...] = ()

    def covers(self, capability: str) -> bool:
        """Whether some grant covers `capability`."""
        axis, _, _ = capability.partition(":")
        return capability in self.grants or axis in self.grants


def is_known(capability: str) -> bool:
    """Whether the text is a capability at all: a known axis, and if there is a colon, a scope after it."""
    axis, colon, scope = capability.partition(":")
    return axis in AXES and (not colon or (bool(scope) and scope == scope.strip() and scope.isprintable()))


def needs_consent(capability: str) -> bool:
    """Whether a human must have said yes on record."""
    return capability.partition(":")[0] in CONSENT_AXES


def decide(
    profile: CapabilityProfile | None, capability: str, *, op_id: str | None = None, stage: Stage | None = None
) -> CapabilityCheck:
    """One check: `allow` only for a known capability that the profile covers. Without a profile: deny."""
    allowed = profile is not None and is_known(capability) and profile.covers(capability)
    return CapabilityCheck(
        capability_id=capability,
        actor_id=profile.profile_id if profile is not None else "none",
        decision_outcome="allow" if allowed else "deny",
        op_id=op_id,
        stage=stage,
    )


def profile_for(allow: tuple[str, ...]) -> CapabilityProfile:
    """The `Coder` profile of a configuration: files, artifacts, and the programs of `commands.allow`."""
    programs = tuple(f"proc.exec:{program}" for program in sorted(set(allow)))
    return CapabilityProfile(
        profile_id="Coder", grants=("fs.read", "fs.write", "artifact.read", "artifact.write", *programs)
    )


def default_profiles(allow: tuple[str, ...]) -> Mapping[str, CapabilityProfile]:
    """The three profiles where the repository has no `.handshake/capabilities.yaml`."""
    return {
        "Coder": profile_for(allow),
        "Reviewer": CapabilityProfile(profile_id="Reviewer", grants=("fs.read", "artifact.read")),
        "Analyst": CapabilityProfile(profile_id="Analyst", grants=("fs.read", "artifact.read", "artifact.write")),
    }


def profiles_of(repo_root: Path, allow: tuple[str, ...]) -> Mapping[str, CapabilityProfile]:
    """The profiles of a repository: the defaults, narrowed by its `.handshake/capabilities.yaml` if there is one.

    Raises:
        ConfigError: the file is wrong, or grants what the defaults do not.
    """
    file = repo_root / PROFILES_FILE
    if not file.is_file():
        return default_profiles(allow)
    return read_profiles(file.read_text(encoding="utf-8", errors="replace"), PROFILES_FILE, allow)


def read_profiles(text: str, where: str, allow: tuple[str, ...]) -> Mapping[str, CapabilityProfile]:
    """The profiles of a `capabilities.yaml` (`profiles: {Coder: [fs.read, …]}`); what it leaves out is the default.

    The file narrows: a profile that grants what the default of its name does not is refused, so that
    `commands.allow`, which needs trust, stays the only list of programs.

    Raises:
        ConfigError: no mapping, an unknown profile or capability, or a grant beyond the default.
    """
    import yaml

    try:
        raw: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not YAML: {' '.join(str(error).split())}") from None
    named = raw.get("profiles") if isinstance(raw, dict) else None
    if not isinstance(named, dict) or set(raw) != {"profiles"}:
        raise ConfigError(f"{where}: it must hold one key, profiles, a mapping of names to lists")
    profiles = dict(default_profiles(allow))
    for name, grants in named.items():
        if name not in profiles:
            raise ConfigError(f"{where}: unknown profile {name!r}", next_step=f"use {', '.join(sorted(profiles))}")
        if not isinstance(grants, list) or not all(isinstance(grant, str) for grant in grants):
            raise ConfigError(f"{where}: {name} must be a list of capabilities")
        for grant in grants:
            if not is_known(grant):
                raise ConfigError(f"{where}: {name}: unknown capability {grant!r} (HSK-4001)")
            if not profiles[name].covers(grant):
                raise ConfigError(
                    f"{where}: {name}: {grant} is beyond what the profile may have",
                    next_step="programs are allowed by commands.allow in .handshake/config.yaml",
                )
        profiles[name] = CapabilityProfile(profile_id=name, grants=tuple(grants))
    return profiles
