"""The embedded default: a GGUF file served by a child of ours, asked by the same client. Contract: `models.md`."""

from __future__ import annotations

import importlib.util
import os
import secrets
from pathlib import Path

from handshake.domain.clock import Clock, SystemClock
from handshake.domain.errors import EnvironmentProblem, ModelFailed
from handshake.domain.modelcall import ModelReply, ModelRequest
from handshake.domain.settings import LoraConfig, ModelConfig
from handshake.models.children import ServingChild, start_serving
from handshake.models.install import default_model, installed_model, verify_unchanged
from handshake.models.openai import OpenAiProvider
from handshake.models.profiles import profile_of
from handshake.models.provider import ModelFacts, OnText, Progress
from handshake.models.retry import RetryRule

DEFAULT_WINDOW = 8192
_LOAD_WITHIN_S = 300.0
_INSTALL = "handshake model install"


def embedded_file(config: ModelConfig, root: Path | None = None) -> Path:
    """The GGUF file that an entry means: its `file`, else the installed one of its `model`, else the best installed.

    Raises:
        EnvironmentProblem: there is none, or the runtime is not installed.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise EnvironmentProblem(
            "the embedded runtime is not installed", next_step="pip install 'handshake[embedded]', then " + _INSTALL
        )
    if config.file is not None:
        path = Path(config.file).expanduser()
        path = path if path.is_absolute() or root is None else root / path
        if not path.is_file():
            raise EnvironmentProblem(f"{path}: no such model file", next_step="mend `file`, or " + _INSTALL)
        return path
    found = installed_model(config.model) if config.model else default_model()
    if found is None:
        wanted = f"model {config.model!r}" if config.model else "a model"
        raise EnvironmentProblem(f"{wanted} for the embedded runtime is not installed", next_step=_INSTALL)
    verify_unchanged(found)
    return found.path


class EmbeddedProvider:
    """A model in a child process of ours. The child dies with us; a dead child is started again.

    Raises:
        EnvironmentProblem: no runtime, no file, or the file does not load.
    """

    def __init__(
        self,
        model_id: str,
        config: ModelConfig,
        *,
        root: Path | None = None,
        lora: LoraConfig | None = None,
        clock: Clock | None = None,
        retry: RetryRule | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._model_id = model_id
        self._config = config
        self._lora = lora
        self._clock = clock or SystemClock()
        self._retry = retry
        self._progress = progress
        self._file = embedded_file(config, root)
        self._child, self._inner = self._start()

    @property
    def facts(self) -> ModelFacts:
        """What is known of the model."""
        return self._inner.facts

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def count_tokens(self, text: str) -> int:
        """Tokens by the model's own tokenizer."""
        return self._inner.count_tokens(text)

    def complete(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        """One call; see `OpenAiProvider.complete`."""
        if not self._child.alive:
            self.close()
            self._child, self._inner = self._start()
        return self._inner.complete(request, on_text)

    def close(self) -> None:
        """End the child."""
        self._inner.close()
        self._child.close()

    def _start(self) -> tuple[ServingChild, OpenAiProvider]:
        config = self._config
        profile = profile_of(config, self._model_id)
        key = secrets.token_urlsafe(24)
        name = config.model or self._model_id
        settings = {
            "file": str(self._file),
            "name": name,
            "api_key": key,
            "context_window": config.context_window or DEFAULT_WINDOW,
            "samples": config.samples or profile.samples,
            "max_output_tokens": config.max_output_tokens or profile.max_output_tokens,
            "threads": max(1, (os.cpu_count() or 2) - 1),
        }
        child = start_serving(
            "handshake.models.embedded_server",
            settings,
            what=f"the embedded model {self._file.name}",
            clock=self._clock,
            mend=f"{_INSTALL}, or check the memory that is free",
            within_s=_LOAD_WITHIN_S,
            progress=self._progress,
        )
        served = config.model_copy(
            update={
                "base_url": child.address + "/v1",
                "model": name,
                "context_window": settings["context_window"],
                "profile": profile.name,
            }
        )
        try:
            inner = OpenAiProvider(
                self._model_id, served, lora=self._lora, clock=self._clock, retry=self._retry, api_key=key
            )
        except ModelFailed:
            child.close()
            raise
        return child, inner
