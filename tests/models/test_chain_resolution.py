"""Which level is served by what, and what is said when it is not."""

from __future__ import annotations

import sys

import pytest

from handshake.domain.errors import EnvironmentProblem, ModelFailed
from handshake.domain.settings import LoraConfig, ModelConfig, Settings
from handshake.models.chain import ProviderPool, config_for, preflight, resolve_chain
from handshake.models.openai import OpenAiProvider
from handshake.models.replay import RecordedModel
from handshake.models.replies import ReplyStore

GATE = {"model_id": "HARD_GATE", "is_hard_gate": True}


class Recorded(ReplyStore):
    """A store that knows what a model was like."""

    def model(self, model_id: str) -> RecordedModel:
        return RecordedModel(context_window=1234, takes_grammar=False)


def settings(models: dict | None = None, *levels: dict, **more) -> Settings:
    policy = more.pop("policy", {})
    chain = [{"level": number, **level} for number, level in enumerate((*levels, GATE))]
    return Settings.model_validate({"models": models or {}, "policy": {"escalation_chain": chain, **policy}, **more})


def test_a_model_without_an_entry_is_looked_up_at_the_default_endpoint(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "box:99")
    config = config_for("qwen2.5-coder:7b", Settings())
    assert (config.provider, config.base_url, config.model) == ("openai", "http://box:99/v1", "qwen2.5-coder:7b")


@pytest.mark.parametrize(
    ("entry", "profile"),
    [
        ({"model": "qwen2.5-coder:0.5b"}, "tiny"),
        ({"model": "gemma3:270m"}, "tiny"),
        ({"model": "Qwen/Qwen2.5-Coder-1.5B-Instruct"}, "tiny"),
        ({"model": "starcoder2:3b"}, "small"),
        ({"model": "qwen2.5-coder:7b"}, "small"),
        ({"model": "qwen2.5-coder:13b"}, "small"),
        ({"model": "qwen2.5-coder:14b"}, "standard"),
        ({"model": "Qwen3-30B-A3B"}, "standard"),
        ({"model": "mixtral:8x7b"}, "standard"),
        ({"model": "v2b-4096"}, "standard"),
        ({}, "small"),  # the entry's own name
        ({"provider": "embedded", "file": "models/coder-0.5b-q4.gguf"}, "tiny"),
        ({"provider": "embedded", "file": "7b/mine.gguf"}, "tiny"),
        ({"provider": "embedded", "model": "coder-7b"}, "small"),
        ({"model": "qwen2.5-coder:0.5b", "profile": "standard"}, "standard"),
    ],
)
def test_the_profile_goes_by_the_size_in_the_name_unless_it_is_given(entry, profile):
    assert config_for("coder:7b", settings({"coder:7b": entry}, {"model_id": "coder:7b"})).profile == profile


def test_levels_gates_and_what_serves_them(faults):
    chosen = settings(
        {"here": {"base_url": faults.url, "model": "m"}, "far": {"is_cloud": True}},
        {"model_id": "here"},
        {"model_id": "far", "is_cloud": True},
    )
    levels = resolve_chain(chosen.policy, chosen)
    assert [resolved.served_by for resolved in levels] == [
        f"m at {faults.url}",
        "a person (cloud escalation is not allowed)",
        "a person",
    ]
    assert [resolved.config is None for resolved in levels] == [False, True, True]
    assert preflight(levels) == levels


def test_a_cloud_model_at_a_level_that_does_not_say_so_is_a_problem():
    chosen = settings({"far": {"is_cloud": True}}, {"model_id": "far"})
    assert "is_cloud: true" in (resolve_chain(chosen.policy, chosen)[0].problem or "")


def test_an_explicit_lora_must_be_offered():
    chosen = settings(
        {},
        {"model_id": "base", "lora_selector": "explicit", "lora_id": "l"},
        loras=[{"id": "l", "base_model": "other", "served_as": "l"}],
    )
    assert "'l'" in (resolve_chain(chosen.policy, chosen)[0].problem or "")


def test_every_missing_level_is_named_before_the_first_iteration(faults, tmp_path, monkeypatch):
    monkeypatch.setenv("HANDSHAKE_MODELS", str(tmp_path))
    chosen = settings(
        {
            "here": {"base_url": faults.url, "model": "m"},
            "absent": {"base_url": faults.url, "model": "absent"},
            "down": {"base_url": "http://127.0.0.1:9/v1"},
            "program": {"provider": "command", "command": ["no-such-program-here"]},
            "nothing": {"provider": "command"},
            "script": {"provider": "scripted", "script": "none.yaml"},
            "own": {"provider": "embedded", "file": "none.gguf"},
            "inside": {"provider": "embedded"},
        },
        {"model_id": "here"},
        {"model_id": "absent"},
        {"model_id": "down"},
        {"model_id": "program"},
        {"model_id": "nothing"},
        {"model_id": "script"},
        {"model_id": "own"},
        {"model_id": "inside"},
        {"model_id": "down", "lora_selector": "none"},
    )
    with pytest.raises(EnvironmentProblem) as refused:
        preflight(resolve_chain(chosen.policy, chosen), tmp_path)
    said = refused.value.what
    assert "level 0" not in said
    for number, part in enumerate(
        [
            "does not serve 'absent'",
            "cannot be reached",
            "no program 'no-such-program-here'",
            "has no `command`",
            "none.yaml",
            "no such model file",
            "handshake model install",
            "cannot be reached",
        ],
        start=1,
    ):
        assert f"level {number} (" in said and part in said
    assert refused.value.exit_code == 7


def test_the_pool_opens_once_and_closes_all(tmp_path, quick, a_request):
    (tmp_path / "s.yaml").write_text("rules:\n - reply: hello\n")
    chosen = settings(
        {
            "s": {"provider": "scripted", "script": "s.yaml"},
            "c": {"provider": "command", "command": [sys.executable, "-c", "print('from a program')"]},
            "r": {"provider": "replay"},
        },
        {"model_id": "s"},
    )
    with ProviderPool(chosen, root=tmp_path, retry=quick) as pool:
        first = pool.provider("s")
        assert pool.provider("s") is first
        assert first.complete(a_request()).samples[0].text == "hello"
        assert pool.provider("c").complete(a_request()).samples[0].text == "from a program\n"
        with pytest.raises(EnvironmentProblem, match="replays a recorded run, and there is none"):
            pool.provider("r")
        child = first._child
        assert child.alive
    assert not child.alive
    with ProviderPool(chosen, recorded=Recorded(tmp_path)) as pool:
        facts = pool.provider("r").facts
        assert (facts.model_id, facts.context_window, facts.supports_grammar) == ("r", 1234, False)


VLLM = [
    {"id": "m", "object": "model", "owned_by": "vllm", "root": "org/m", "max_model_len": 16384},
    {"id": "sql-lora", "object": "model", "owned_by": "vllm", "root": "/adapters/sql", "parent": "m"},
]


def test_an_adapter_that_no_server_has_is_missed_before_the_first_iteration(faults):
    faults.gets["/v1/models"] = {"object": "list", "data": VLLM}
    here = {"base_url": faults.url, "model": "m"}
    loras = [{"id": name, "base_model": "here", "served_as": name} for name in ("sql-lora", "gone-lora")]
    chosen = settings(
        {"here": here}, {"model_id": "here"}, {"model_id": "here", "lora_selector": "none"}, loras=loras
    )
    with pytest.raises(EnvironmentProblem, match=r"level 0 \(here\): .*'gone-lora'; it has m, sql-lora") as refused:
        preflight(resolve_chain(chosen.policy, chosen))
    assert "level 1" not in refused.value.what
    preflight(resolve_chain(chosen.policy.model_copy(update={"lora_selection": "none"}), chosen))
    assert (
        resolve_chain(chosen.policy, settings({"here": here}, {"model_id": "here"}, loras=loras[:1]))[0].problem
        is None
    )


def test_llama_cpp_knows_its_adapters_by_number(faults, quick):
    faults.gets["/v1/models"] = {"data": [{"id": "m", "owned_by": "llamacpp"}]}
    faults.gets["/lora-adapters"] = [{"id": 0, "path": "sql.gguf", "scale": 1.0}]
    config = faults.config()
    OpenAiProvider("m", config, lora=LoraConfig(id="sql", base_model="m", served_as="0"), retry=quick).close()
    for served_as in ("1", "sql"):
        with pytest.raises(ModelFailed, match=r"does not serve the adapter 'sql'.*it has 0") as refused:
            OpenAiProvider("m", config, lora=LoraConfig(id="sql", base_model="m", served_as=served_as), retry=quick)
        assert "/lora-adapters" in refused.value.next_step


def test_a_lora_is_served_under_its_own_name(faults, quick):
    faults.gets["/v1/models"] = {"object": "list", "data": [{"id": "m"}, {"id": "m-lora"}]}
    chosen = settings({"here": {"base_url": faults.url, "model": "m"}}, {"model_id": "here"})
    lora = LoraConfig(id="l", base_model="here", served_as="m-lora")
    with ProviderPool(chosen, retry=quick) as pool:
        assert pool.provider("here", lora).facts.served_as == "m-lora"
        assert pool.provider("here").facts.served_as == "m"


def test_an_entry_of_ones_own_keeps_its_address():
    chosen = Settings(models={"x": ModelConfig(base_url="http://127.0.0.1:1/v1")})
    assert config_for("x", chosen).base_url == "http://127.0.0.1:1/v1"
