"""The configuration as data: every key with its default. Contract: `interface.md`, Configuration."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field

from handshake.domain.gate_settings import Governance, Paths, Tracking
from handshake.domain.policy import ExecutionPolicy
from handshake.domain.record import Record


class ForbiddenPattern(Record):
    """A regular expression that no line may match. `include` are paths, folders or globs; empty: every source."""

    pattern: str = Field(min_length=1)
    what: str = ""
    include: tuple[str, ...] = ()


class Scan(Record):
    """What `scan` reads and what it forbids beyond its defaults. Without `include`: every source file."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = (
        "**/vendor/**",
        "**/third_party/**",
        "**/node_modules/**",
        "**/dist/**",
        "**/build/**",
        "**/generated/**",
    )
    forbid: tuple[ForbiddenPattern, ...] = ()


class ErrorCodes(Record):
    """What an error code looks like, and the files that declare them."""

    pattern: str = r"\bHSK-[0-9]{3}(?:-[A-Z0-9]+)*\b"
    declared_in: tuple[str, ...] = ("docs/ERROR_CODES.md",)


class Validators(Record):
    """Which validators the post-work gate runs, and what they look for. `own` maps a name to a command."""

    post_work: tuple[str, ...] = ()
    scan: Scan = Field(default_factory=Scan)
    spec_anchors: tuple[str, ...] = ()
    error_codes: ErrorCodes = Field(default_factory=ErrorCodes)
    own: dict[str, str] = Field(default_factory=dict)


class Price(Record):
    """Money for a million tokens, in one currency of the user's choice."""

    prompt: float = 0.0
    completion: float = 0.0


class ModelConfig(Record):
    """One entry of `models:`."""

    provider: Literal["openai", "embedded", "command", "replay", "scripted"] = "openai"
    base_url: str | None = None
    model: str | None = None
    api_key_env: str | None = None
    context_window: int | None = Field(default=None, ge=512)
    timeout_s: float = Field(default=120.0, gt=0)
    temperature: float | None = None
    seed: int | None = None
    max_output_tokens: int | None = Field(default=None, ge=16)
    price: Price | None = None
    profile: Literal["tiny", "small", "standard"] | None = None
    samples: Annotated[int, Field(ge=1, le=8)] | None = None
    grammar: bool | None = None
    edit_forms: Annotated[tuple[Literal["whole", "search_replace"], ...], Field(min_length=1)] | None = None
    command: tuple[str, ...] | None = None
    file: str | None = None
    script: str | None = None
    is_cloud: bool = False


class LoraConfig(Record):
    """One adapter that a server offers. Contract: `models.md`, LoRA choice."""

    id: str
    version: str = "1"
    base_model: str
    served_as: str
    trained_on_task_types: tuple[str, ...] = ()
    specialization: tuple[str, ...] = ()
    weak_on_task_types: tuple[str, ...] = ()
    training_priority: Literal["low", "normal", "high"] = "normal"
    last_trained_at: str | None = None
    eval_metrics: dict[str, float] = Field(default_factory=dict)
    experimental: bool = False


class Commands(Record):
    """Programs that a verify command may run."""

    allow: tuple[str, ...] = ("pytest", "python", "ruff")


class DropBack(Record):
    """Whether what earlier drop-backs came to moves the `smart` strategy."""

    learned: bool = False


class Daemon(Record):
    """The watcher. `polling`: look at the files again and again, where a network drive sends no events."""

    max_parallel: int = Field(default=1, ge=1)
    polling: bool = False


class Worktrees(Record):
    """Where worktrees are made; `{repo}` is the repository's folder name."""

    dir: str = "../{repo}.worktrees"


class Recorder(Record):
    """The queryable store."""

    retention_days: int = Field(default=30, ge=1)


class Context(Record):
    """How prompts are compiled. Globs cross folders; nothing here can start a program."""

    determinism: Literal["replay", "strict"] = "replay"
    index: bool = True
    index_files: int = Field(default=50_000, ge=0)
    injection_patterns: tuple[str, ...] = ()
    not_exportable: tuple[str, ...] = ()
    local_only: tuple[str, ...] = ()
    templates: str | None = None


class Identity(Record):
    """Who machine-written commits are by."""

    name: str = "Handshake"
    email: str = "handshake@localhost"


class Settings(Record):
    """The merged configuration."""

    version: Literal[1] = 1
    base_branch: str = "main"
    paths: Paths = Field(default_factory=Paths)
    governance: Governance = Field(default_factory=Governance)
    validators: Validators = Field(default_factory=Validators)
    policy: ExecutionPolicy = Field(default_factory=ExecutionPolicy)
    models: dict[str, ModelConfig] = Field(default_factory=dict)
    loras: tuple[LoraConfig, ...] = ()
    commands: Commands = Field(default_factory=Commands)
    sandbox: Literal["auto", "require", "off", "external"] = "auto"
    drop_back: DropBack = Field(default_factory=DropBack)
    daemon: Daemon = Field(default_factory=Daemon)
    worktrees: Worktrees = Field(default_factory=Worktrees)
    tracking: Tracking = Field(default_factory=Tracking)
    context: Context = Field(default_factory=Context)
    recorder: Recorder = Field(default_factory=Recorder)
    identity: Identity = Field(default_factory=Identity)


def _is_here(url: str) -> bool:
    return re.match(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/|$)", url) is not None


def starts_programs(raw: dict[str, Any]) -> list[str]:
    """The keys of a repository's raw configuration that can start a program, or name a secret to send away."""
    found = []
    for name, entry in (raw.get("models") or {}).items():
        if isinstance(entry, dict):
            found += [f"models.{name}.{key}" for key in ("command", "file", "script") if entry.get(key)]
            if entry.get("api_key_env") and not _is_here(str(entry.get("base_url") or "")):
                found.append(f"models.{name}.api_key_env")
    if (raw.get("commands") or {}).get("allow") is not None:
        found.append("commands.allow")
    if (raw.get("validators") or {}).get("own"):
        found.append("validators.own")
    if raw.get("sandbox") in ("off", "external"):
        found.append("sandbox")
    return found
