"""The scripted model as a provider: a child process of ours, asked through the same client."""

from __future__ import annotations

import os
from pathlib import Path

from handshake.domain.clock import Clock, SystemClock
from handshake.domain.errors import EnvironmentProblem, ModelFailed
from handshake.domain.modelcall import ModelReply, ModelRequest
from handshake.domain.settings import LoraConfig, ModelConfig
from handshake.models.children import start_serving
from handshake.models.openai import OpenAiProvider
from handshake.models.provider import ModelFacts, OnText
from handshake.models.retry import RetryRule
from handshake.models.scripted.script import load_script

COUNT_VARIABLE = "HANDSHAKE_SCRIPTED_CALLS"
"""Names the file that the child appends one line to for each completed call."""


def script_file(config: ModelConfig, root: Path | None = None) -> Path:
    """The script of an entry, checked.

    Raises:
        EnvironmentProblem: the entry names none.
        ConfigError: the script is wrong.
    """
    if config.script is None:
        raise EnvironmentProblem(
            "a `scripted` entry has no `script`", next_step="set `script:` to its path in .handshake/config.yaml"
        )
    path = Path(config.script).expanduser()
    path = path if path.is_absolute() or root is None else root / path
    load_script(path)
    return path.resolve()


class ScriptedProvider:
    """A scripted model in a child process that dies with us.

    Raises:
        EnvironmentProblem: the child does not start.
        ConfigError: the script is wrong.
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
    ) -> None:
        clock = clock or SystemClock()
        count_file = os.environ.get(COUNT_VARIABLE)
        self._child = start_serving(
            "handshake.models.scripted",
            {
                "script": str(script_file(config, root)),
                "count_file": str(Path(count_file).resolve()) if count_file else None,
            },
            what=f"the scripted model {config.script}",
            clock=clock,
            mend="check its script",
        )
        served = config.model_copy(update={"base_url": self._child.address + "/v1"})
        try:
            self._inner = OpenAiProvider(model_id, served, lora=lora, clock=clock, retry=retry)
        except ModelFailed:
            self._child.close()
            raise

    @property
    def facts(self) -> ModelFacts:
        """What is known of the model."""
        return self._inner.facts

    @property
    def address(self) -> str:
        """Where the child serves."""
        return self._child.address

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def count_tokens(self, text: str) -> int:
        """Tokens by the child's tokenizer."""
        return self._inner.count_tokens(text)

    def complete(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        """One call; see `OpenAiProvider.complete`."""
        return self._inner.complete(request, on_text)

    def close(self) -> None:
        """End the child."""
        self._inner.close()
        self._child.close()
