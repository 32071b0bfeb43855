"""Which model file is meant; and the half-billion model itself, where it is installed (`-m embedded`)."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time

import pytest

from handshake.domain.errors import EnvironmentProblem
from handshake.domain.settings import ModelConfig
from handshake.models.embedded import EmbeddedProvider, embedded_file
from handshake.models.install import install_from_file, installed_model

has_runtime = importlib.util.find_spec("xllamacpp") is not None
needs_runtime = pytest.mark.skipif(not has_runtime, reason="xllamacpp is not installed")
needs_model = pytest.mark.skipif(
    not has_runtime or installed_model("qwen2.5-coder-0.5b") is None,
    reason="run: handshake model install qwen2.5-coder-0.5b",
)


@needs_runtime
def test_no_model_installed_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("HANDSHAKE_MODELS", str(tmp_path))
    with pytest.raises(EnvironmentProblem) as refused:
        embedded_file(ModelConfig(provider="embedded"))
    assert refused.value.next_step == "handshake model install"
    with pytest.raises(EnvironmentProblem, match=r"model '1\.5b'"):
        embedded_file(ModelConfig(provider="embedded", model="1.5b"))
    mine = tmp_path / "x.gguf"
    mine.write_bytes(b"GGUF")
    kept = install_from_file("mine", mine, directory=tmp_path)
    assert embedded_file(ModelConfig(provider="embedded")) == kept.path
    assert embedded_file(ModelConfig(provider="embedded", file="x.gguf"), tmp_path) == mine


def test_no_runtime_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="runtime is not installed") as refused:
        embedded_file(ModelConfig(provider="embedded"))
    assert "handshake[embedded]" in refused.value.next_step


@needs_model
@pytest.mark.embedded
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_the_half_billion_model_answers_under_a_grammar(a_request, quick):
    config = ModelConfig(provider="embedded", model="qwen2.5-coder-0.5b", profile="tiny", context_window=2048)
    provider = EmbeddedProvider("e", config, retry=quick)
    try:
        facts = provider.facts
        assert (facts.context_window, facts.supports_n, facts.supports_grammar, facts.exact_tokens) == (
            2048,
            True,
            True,
            True,
        )
        assert provider.count_tokens("hello world") == 2
        request = a_request(
            "Name a colour.", samples=3, grammar='root ::= "red" | "blue"', max_output_tokens=8, timeout_s=60
        )
        reply = provider.complete(request)
        assert len(reply.samples) == 3
        assert {sample.text for sample in reply.samples} <= {"red", "blue"}
        assert not reply.usage.estimated
        os.kill(provider.pid, signal.SIGKILL)
        time.sleep(0.3)
        assert provider.complete(request).samples, "a dead child is started again"
    finally:
        provider.close()
