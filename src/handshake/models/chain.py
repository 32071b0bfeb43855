"""Which model serves which level, whether it is there, and its opened provider. Contract: `models.md`, The chain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from handshake.domain.clock import Clock, SystemClock
from handshake.domain.errors import EnvironmentProblem, HandshakeError
from handshake.domain.policy import EscalationLevel, ExecutionPolicy
from handshake.domain.settings import LoraConfig, ModelConfig, Settings
from handshake.models.command import CommandProvider, found_program
from handshake.models.embedded import EmbeddedProvider, embedded_file
from handshake.models.endpoint import default_base_url
from handshake.models.openai import OpenAiProvider
from handshake.models.profiles import profile_of
from handshake.models.provider import Progress, Provider
from handshake.models.replay import RecordedRun, ReplayProvider
from handshake.models.retry import RetryRule
from handshake.models.scripted.provider import ScriptedProvider, script_file


@dataclass(frozen=True)
class ResolvedLevel:
    """A level of the chain, the entry that serves it (None at a hard gate), and what is wrong with it."""

    level: EscalationLevel
    config: ModelConfig | None
    problem: str | None = None
    served_by: str = ""
    loras: tuple[LoraConfig, ...] = ()
    """The adapters that may be chosen there."""


def config_for(model_id: str, settings: Settings) -> ModelConfig:
    """The entry of that name, or one for the default endpoint (Ollama, `OLLAMA_HOST` respected).

    Its profile is filled in.
    """
    config = settings.models.get(model_id)
    if config is None:
        config = ModelConfig(provider="openai", model=model_id)
    if config.provider == "openai" and config.base_url is None:
        config = config.model_copy(update={"base_url": default_base_url()})
    return config.model_copy(update={"profile": profile_of(config, model_id).name})


def resolve_chain(policy: ExecutionPolicy, settings: Settings) -> tuple[ResolvedLevel, ...]:
    """Every level with the entry that serves it. Looks at the configuration only; asks no server."""
    return tuple(_resolved(level, policy, settings) for level in policy.escalation_chain)


def check_levels(levels: Iterable[ResolvedLevel], root: Path | None = None) -> tuple[ResolvedLevel, ...]:
    """The levels with `problem` filled for each whose model, or an adapter of it, is not there.

    Each distinct model and adapter is asked for once.
    """
    answers: dict[tuple[str, str | None], str | None] = {}
    checked = []
    for resolved in levels:
        model_id = resolved.level.model_id
        if resolved.config is None or resolved.problem is not None:
            checked.append(resolved)
            continue
        wanted = [None, *resolved.loras] if resolved.config.provider == "openai" else [None]
        problems = []
        for lora in wanted:
            key = (model_id, lora.id if lora else None)
            if key not in answers:
                answers[key] = _absence(model_id, resolved.config, root, lora)
            problems.append(answers[key])
            if problems[0] is not None:
                break  # without the model there is no adapter
        checked.append(replace(resolved, problem=next(filter(None, problems), None)))
    return tuple(checked)


def preflight(levels: Iterable[ResolvedLevel], root: Path | None = None) -> tuple[ResolvedLevel, ...]:
    """The levels, all of whose models are there. Called before the first iteration.

    Raises:
        EnvironmentProblem: names every level whose model is missing, and how to mend it.
    """
    checked = check_levels(levels, root)
    missing = [resolved for resolved in checked if resolved.problem is not None]
    if missing:
        lines = "; ".join(
            f"level {resolved.level.level} ({resolved.level.model_id}): {resolved.problem}" for resolved in missing
        )
        raise EnvironmentProblem(
            f"the escalation chain cannot be served: {lines}",
            next_step="mend that, or shorten policy.escalation_chain; `handshake doctor` shows all levels",
        )
    return checked


class ProviderPool:
    """Opens providers when they are first asked for and keeps them; one for each model and LoRA.

    Args:
        root: what relative paths in the configuration (`file`, `script`) are relative to.
        recorded: where a `replay` entry finds its replies.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        root: Path | None = None,
        clock: Clock | None = None,
        retry: RetryRule | None = None,
        recorded: RecordedRun | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._settings = settings
        self._root = root
        self._clock = clock or SystemClock()
        self._retry = retry
        self._recorded = recorded
        self._progress = progress
        self._open: dict[tuple[str, str | None], Provider] = {}

    def provider(self, model_id: str, lora: LoraConfig | None = None) -> Provider:
        """The provider of that model, with that adapter.

        Raises:
            EnvironmentProblem: a file or program of it is missing.
            ModelFailed: its server does not answer or does not serve it.
        """
        key = (model_id, lora.id if lora else None)
        if key not in self._open:
            self._open[key] = self._opened(model_id, lora)
        return self._open[key]

    def close_all(self) -> None:
        """Close every provider, children included. The pool can be used again after."""
        while self._open:
            self._open.popitem()[1].close()

    def __enter__(self) -> ProviderPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_all()

    def _opened(self, model_id: str, lora: LoraConfig | None) -> Provider:
        config = config_for(model_id, self._settings)
        if config.provider == "openai":
            return OpenAiProvider(model_id, config, lora=lora, clock=self._clock, retry=self._retry)
        if config.provider == "embedded":
            return EmbeddedProvider(
                model_id,
                config,
                root=self._root,
                lora=lora,
                clock=self._clock,
                retry=self._retry,
                progress=self._progress,
            )
        if config.provider == "scripted":
            return ScriptedProvider(
                model_id, config, root=self._root, lora=lora, clock=self._clock, retry=self._retry
            )
        if config.provider == "command":
            return CommandProvider(model_id, config, clock=self._clock)
        if self._recorded is None:
            raise EnvironmentProblem(
                f"model {model_id!r} replays a recorded run, and there is none outside of a run",
                next_step="name another provider in .handshake/config.yaml",
            )
        return ReplayProvider(model_id, config, self._recorded, self._recorded)


def _resolved(level: EscalationLevel, policy: ExecutionPolicy, settings: Settings) -> ResolvedLevel:
    if policy.stops_for_human(level.level):
        reason = "a person" if level.is_hard_gate else "a person (cloud escalation is not allowed)"
        return ResolvedLevel(level, None, served_by=reason)
    config = config_for(level.model_id, settings)
    problem = None
    if config.is_cloud and not level.is_cloud:
        problem = "the model is a cloud model and the level does not say is_cloud: true"
    elif policy.selector_at(level.level) == "explicit" and not any(
        lora.id == level.lora_id and lora.base_model == level.model_id for lora in settings.loras
    ):
        problem = f"`loras:` has no {level.lora_id!r} for this base model"
    return ResolvedLevel(
        level, config, problem, _served_by(level.model_id, config), _adapters(level, policy, settings)
    )


def _adapters(level: EscalationLevel, policy: ExecutionPolicy, settings: Settings) -> tuple[LoraConfig, ...]:
    selector = policy.selector_at(level.level)
    if selector == "none":
        return ()
    mine = (lora for lora in settings.loras if lora.base_model == level.model_id)
    return tuple(lora for lora in mine if selector != "explicit" or lora.id == level.lora_id)


def _served_by(model_id: str, config: ModelConfig) -> str:
    if config.provider == "openai":
        return f"{config.model or model_id} at {config.base_url}"
    if config.provider == "command":
        return f"command {' '.join(config.command or ())}"
    return f"{config.provider} {config.file or config.script or config.model or 'default model'}"


def _absence(model_id: str, config: ModelConfig, root: Path | None, lora: LoraConfig | None) -> str | None:
    """Why the model cannot be used now, with the mend, or None."""
    try:
        if config.provider == "embedded":
            embedded_file(config, root)
        elif config.provider == "scripted":
            script_file(config, root)
        elif config.provider == "command":
            found_program(model_id, config)
        elif config.provider == "openai":
            OpenAiProvider(model_id, config, lora=lora, retry=RetryRule(attempts=1)).close()
    except HandshakeError as failure:
        return f"{failure.what} (mend: {failure.next_step})" if failure.next_step else failure.what
    return None
