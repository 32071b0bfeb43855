"""A program as a provider: prompt on stdin, reply on stdout, exit code checked. Contract: `models.md`, Providers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from handshake.domain.clock import Clock, SystemClock
from handshake.domain.errors import EnvironmentProblem, ModelFailed
from handshake.domain.modelcall import ModelReply, ModelRequest, Sample, TokenUsage
from handshake.domain.settings import ModelConfig
from handshake.models.children import clean_environment
from handshake.models.endpoint import DEFAULT_WINDOW
from handshake.models.profiles import profile_of
from handshake.models.provider import ModelFacts, OnText, estimate_tokens

_MAX_BYTES = 16 * 1024 * 1024
_POLL_S = 0.1


class CommandProvider:
    """Runs `config.command` once for each sample, in an empty folder, with a clean environment.

    Only the variable that `api_key_env` names is passed on beyond it. Token counts are estimates.

    Raises:
        EnvironmentProblem: no command is configured, or its program is not there.
    """

    def __init__(self, model_id: str, config: ModelConfig, *, clock: Clock | None = None) -> None:
        self._command = (found_program(model_id, config), *(config.command or ())[1:])
        self._config = config
        self._clock = clock or SystemClock()
        self.facts = ModelFacts(
            model_id=model_id,
            served_as=config.model or model_id,
            context_window=config.context_window or DEFAULT_WINDOW,
            tier="cloud" if config.is_cloud else "local",
            profile=profile_of(config, model_id).name,
            supports_grammar=False,
            supports_n=False,
            exact_tokens=False,
        )

    def count_tokens(self, text: str) -> int:
        """The estimate."""
        return estimate_tokens(text)

    def complete(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        """One run of the program for each sample.

        Raises:
            ModelFailed: it took longer than `request.timeout_s` (`model_timeout`), failed, or said nothing.
        """
        started = self._clock.monotonic()
        texts = [self._run(request) for _ in range(request.sampling.samples)]
        if on_text is not None:
            on_text(texts[0])
        spent_in = estimate_tokens(request.prompt) * len(texts)
        spent_out = sum(estimate_tokens(text) for text in texts)
        return ModelReply(
            content_key=request.content_key,
            model_id=request.model_id,
            samples=tuple(Sample(text=text) for text in texts),
            usage=TokenUsage(
                prompt_tokens=spent_in,
                completion_tokens=spent_out,
                total_tokens=spent_in + spent_out,
                estimated=True,
            ),
            latency_ms=max(0, round((self._clock.monotonic() - started) * 1000)),
        )

    def close(self) -> None:
        """Nothing is held between calls."""

    def _run(self, request: ModelRequest) -> str:
        name = self._config.api_key_env
        extra = {name: os.environ[name]} if name and name in os.environ else {}
        with tempfile.TemporaryDirectory(prefix="handshake-command-") as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            prompt = Path(folder, "prompt")
            prompt.write_bytes(request.prompt.encode("utf-8", "replace"))
            work = Path(folder, "work")
            work.mkdir()
            with prompt.open("rb") as given, out.open("wb") as said, err.open("wb") as complained:
                process = subprocess.Popen(  # noqa: S603 - the operator's own command, trusted by `handshake trust`
                    self._command,
                    stdin=given,
                    stdout=said,
                    stderr=complained,
                    env=clean_environment(extra),
                    cwd=work,
                    start_new_session=True,
                )
                self._wait(process, request.timeout_s, out)
            return self._checked(process.returncode, out, err)

    def _wait(self, process: subprocess.Popen[bytes], timeout_s: float, out: Path) -> None:
        deadline = self._clock.monotonic() + timeout_s
        try:
            while process.poll() is None:
                if self._clock.monotonic() > deadline:
                    raise ModelFailed(
                        f"{self._command[0]} gave no reply within {timeout_s:g} s",
                        category="model_timeout",
                        transient=True,
                        next_step="raise `timeout_s` of its entry in .handshake/config.yaml",
                    )
                if out.stat().st_size > _MAX_BYTES:
                    raise self._failed(f"{self._command[0]} says more than {_MAX_BYTES // (1024 * 1024)} MiB")
                try:
                    process.wait(timeout=_POLL_S)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                _kill_tree(process)

    def _checked(self, code: int, out: Path, err: Path) -> str:
        with err.open("rb") as complained:
            said = " ".join(complained.read(4096).decode("utf-8", "replace").split())[:300]
        if code != 0:
            raise self._failed(f"{self._command[0]} ended with exit code {code}: {said or 'no message'}")
        with out.open("rb") as file:
            text = file.read(_MAX_BYTES).decode("utf-8", "replace")
        if not text.strip():
            raise self._failed(f"{self._command[0]} said nothing{': ' + said if said else ''}")
        return text

    def _failed(self, what: str) -> ModelFailed:
        return ModelFailed(
            what, category="model_error", transient=False, next_step="run the command by hand with a short prompt"
        )


def found_program(model_id: str, config: ModelConfig) -> str:
    """The path of the program of a `command` entry.

    Raises:
        EnvironmentProblem: there is none.
    """
    name = config.command[0] if config.command else ""
    program = shutil.which(name) if name else None
    if program is None:
        raise EnvironmentProblem(
            f"model {model_id!r}: " + (f"no program {name!r} on PATH" if name else "its entry has no `command`"),
            next_step=f"install it, or mend `models.{model_id}.command` in .handshake/config.yaml",
        )
    return program


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.kill()
    else:
        process.kill()
    process.wait()
