"""What is sent, what is understood, what is known of a server."""

from __future__ import annotations

import pytest

from handshake.domain.errors import ModelFailed, PromptTooLong
from handshake.domain.settings import LoraConfig, ModelConfig
from handshake.models.endpoint import default_base_url, is_loopback
from handshake.models.openai import OpenAiProvider
from handshake.models.provider import estimate_tokens


def test_a_streamed_reply_with_usage(faults, quick, a_request):
    faults.script = [lambda call: call.good("hello there")]
    provider = OpenAiProvider("small", faults.config(context_window=4096), retry=quick)
    heard = []
    request = a_request(temperature=0.3, seed=5, max_output_tokens=99, stop=("END",))
    reply = provider.complete(request, heard.append)
    assert [sample.text for sample in reply.samples] == ["hello there"]
    assert reply.samples[0].finish_reason == "stop"
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.estimated) == (11, 7, False)
    assert reply.content_key == request.content_key
    assert "".join(heard) == "hello there"
    body = faults.calls[0].body
    assert body["messages"] == [{"role": "user", "content": "say hello"}]
    assert (body["model"], body["temperature"], body["seed"]) == ("m", 0.3, 5)
    assert (body["max_tokens"], body["stop"], body["stream"]) == (99, ["END"], True)
    assert "n" not in body and "grammar" not in body
    assert provider.facts.context_window == 4096
    assert not provider.facts.exact_tokens
    provider.close()
    provider.close()


def test_length_is_kept_as_length(faults, quick, a_request):
    faults.script = [lambda call: call.good("half a", finish="length")]
    reply = OpenAiProvider("small", faults.config(), retry=quick).complete(a_request())
    assert reply.samples[0].finish_reason == "length"


def test_reasoning_is_kept_inside_think_tags(faults, quick, a_request):
    def think(call):
        call.start_stream()
        call.event({"choices": [{"index": 0, "delta": {"reasoning_content": "hm, "}}]})
        call.event({"choices": [{"index": 0, "delta": {"reasoning_content": "so"}}]})
        call.text("answer")
        call.text("", finish="stop")
        call.event("[DONE]")

    faults.script = [think]
    reply = OpenAiProvider("small", faults.config(), retry=quick).complete(a_request())
    assert reply.samples[0].text == "<think>hm, so</think>\nanswer"


def test_several_samples_in_one_call_add_up_per_sample_usage(faults, quick, a_request):
    def two(call):
        assert call.body["n"] == 2
        call.start_stream()
        for index in (1, 0):
            call.text(f"s{index}", index=index)
            call.text("", index=index, finish="stop")
            call.event({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 3}})
        call.event("[DONE]")

    faults.script = [two]
    reply = OpenAiProvider("small", faults.config(), retry=quick).complete(a_request(samples=2))
    assert [sample.text for sample in reply.samples] == ["s0", "s1"]
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (10, 6)


def test_a_server_that_refuses_n_is_asked_one_by_one_with_other_seeds(faults, quick, a_request):
    def single_only(call):
        if call.body.get("n"):
            call.json({"error": {"message": "n must be 1"}}, 400)
        else:
            call.good(f"seed {call.body['seed']}")

    faults.script = [single_only]
    provider = OpenAiProvider("small", faults.config(), retry=quick)
    reply = provider.complete(a_request(samples=3, seed=40))
    assert [sample.text for sample in reply.samples] == ["seed 40", "seed 41", "seed 42"]
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (33, 21)
    provider.complete(a_request(samples=2, seed=1))
    assert [call.body.get("n") for call in faults.calls] == [3, None, None, None, None, None]


def test_a_server_that_ignores_n_is_asked_again(faults, quick, a_request):
    faults.script = [lambda call: call.good("one"), lambda call: call.good("two")]
    reply = OpenAiProvider("small", faults.config(), retry=quick).complete(a_request(samples=2))
    assert [sample.text for sample in reply.samples] == ["one", "two"]


def test_samples_that_were_paid_for_are_kept_when_a_later_call_fails(faults, quick, a_request):
    faults.script = [lambda call: call.good("one"), lambda call: call.json({"error": "no"}, 404)]
    reply = OpenAiProvider("small", faults.config(), retry=quick).complete(a_request(samples=2))
    assert [sample.text for sample in reply.samples] == ["one"]


def test_an_answer_in_one_piece(faults, quick, a_request):
    payload = {
        "choices": [{"index": 0, "message": {"content": "whole"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 2},
    }
    faults.script = [lambda call: call.json(payload)]
    reply = OpenAiProvider("small", faults.config(), retry=quick).complete(a_request())
    assert (reply.samples[0].text, reply.usage.total_tokens, reply.usage.estimated) == ("whole", 6, False)


def test_a_lone_surrogate_can_be_stored(faults, quick, a_request):
    def odd(call):
        call.start_stream()
        call.event('{"choices": [{"index": 0, "delta": {"content": "a\\ud800b"}, "finish_reason": "stop"}]}')
        call.event("[DONE]")

    faults.script = [odd]
    reply = OpenAiProvider("small", faults.config(), retry=quick).complete(a_request())
    assert reply.samples[0].text == "a?b"


def test_the_key_is_read_at_the_call_and_never_shown(faults, quick, a_request, monkeypatch):
    faults.script = [
        lambda call: call.good(),
        lambda call: call.json({"error": f"bad header {call.headers['Authorization']}"}, 400),
    ]
    monkeypatch.setenv("TEST_KEY", "first-secret")
    provider = OpenAiProvider("small", faults.config(api_key_env="TEST_KEY"), retry=quick)
    provider.complete(a_request())
    monkeypatch.setenv("TEST_KEY", "second-secret")
    with pytest.raises(ModelFailed) as failed:
        provider.complete(a_request())
    assert [call.headers["Authorization"] for call in faults.calls] == ["Bearer first-secret", "Bearer second-secret"]
    assert "second-secret" not in failed.value.line()
    assert "secret" not in repr(provider.facts)
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(ModelFailed, match="TEST_KEY") as unset:
        provider.complete(a_request())
    assert not unset.value.transient


def test_a_model_that_is_not_served_is_named_with_what_is(faults, quick):
    with pytest.raises(ModelFailed, match="does not serve 'other'; it serves m") as failed:
        OpenAiProvider("small", ModelConfig(base_url=faults.url, model="other"), retry=quick)
    assert not failed.value.transient


def test_a_server_without_a_model_list_is_believed(faults, quick, a_request):
    del faults.gets["/v1/models"]
    faults.script = [lambda call: call.good()]
    provider = OpenAiProvider("small", faults.config(), retry=quick)
    assert provider.facts.context_window == 8192
    assert provider.complete(a_request()).samples[0].text == "hello"


def test_a_server_that_is_not_there(quick):
    with pytest.raises(ModelFailed, match="cannot be reached") as failed:
        OpenAiProvider("small", ModelConfig(base_url="http://127.0.0.1:9/v1", model="m"), retry=quick)
    assert failed.value.transient


def test_llama_cpp_tells_window_slots_and_tokens(faults, quick, a_request):
    faults.gets["/v1/models"] = {"data": [{"id": "/models/x.gguf", "owned_by": "llamacpp"}]}
    faults.gets["/props"] = {"default_generation_settings": {"n_ctx": 2048}, "total_slots": 2}
    faults.posts["/tokenize"] = {"tokens": [1, 2, 3]}
    faults.script = [lambda call: call.good()]
    provider = OpenAiProvider("small", faults.config(context_window=32768), retry=quick)
    facts = provider.facts
    assert (facts.context_window, facts.supports_n, facts.supports_grammar, facts.exact_tokens) == (
        2048,
        True,
        True,
        True,
    )
    assert provider.count_tokens("whatever this is") == 3
    provider.complete(a_request(samples=3, grammar='root ::= "x"'))
    assert [call.body.get("n") for call in faults.calls] == [2, 2, None]
    assert faults.calls[0].body["grammar"] == 'root ::= "x"'


def test_a_numbered_lora_of_llama_cpp_goes_into_the_call(faults, quick, a_request):
    faults.gets["/v1/models"] = {"data": [{"id": "m", "owned_by": "llamacpp"}]}
    faults.gets["/props"] = {"default_generation_settings": {"n_ctx": 2048}, "total_slots": 1}
    faults.posts["/tokenize"] = {"tokens": [1]}
    faults.script = [lambda call: call.good()]
    lora = LoraConfig(id="l", base_model="small", served_as="3")
    provider = OpenAiProvider("small", faults.config(), lora=lora, retry=quick)
    request = a_request().model_copy(update={"lora_id": "l", "served_as": provider.facts.served_as})
    provider.complete(request)
    assert faults.calls[0].body["lora"] == [{"id": 3, "scale": 1.0}]


def test_vllm_tells_its_window(faults, quick):
    faults.gets["/v1/models"] = {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 16384}]}
    assert OpenAiProvider("small", faults.config(), retry=quick).facts.context_window == 16384


def test_ollama_is_asked_in_its_own_dialect_with_the_window_set(faults, quick, a_request):
    faults.gets["/v1/models"] = {"data": [{"id": "m:latest", "owned_by": "library"}]}
    faults.gets["/api/version"] = {"version": "0.9.0"}
    faults.posts["/api/show"] = {"model_info": {"qwen2.context_length": 20000}}

    def chat(call):
        call.start_stream("application/x-ndjson")
        for line in (
            b'{"message": {"role": "assistant", "content": "he"}, "done": false}\n',
            b'{"message": {"content": "llo"}, "done": false}\n',
            b'{"message": {"content": ""}, "done": true, "done_reason": "length",'
            b' "prompt_eval_count": 9, "eval_count": 4}\n',
        ):
            call.handler.wfile.write(line)

    faults.script = [chat]
    provider = OpenAiProvider("small", faults.config(context_window=32768), retry=quick)
    assert provider.facts.context_window == 20000
    reply = provider.complete(a_request(max_output_tokens=50, seed=3))
    assert (reply.samples[0].text, reply.samples[0].finish_reason) == ("hello", "length")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (9, 4)
    call = faults.calls[0]
    assert call.path == "/api/chat"
    assert (call.body["options"]["num_ctx"], call.body["options"]["num_predict"]) == (20000, 50)


def test_a_prompt_that_does_not_fit_is_refused_before_it_is_sent(faults, quick, a_request):
    faults.script = [lambda call: call.good()]
    provider = OpenAiProvider("small", faults.config(context_window=512), retry=quick)
    with pytest.raises(PromptTooLong, match="does not fit the window of 512"):
        provider.complete(a_request("word " * 600))
    assert faults.calls == []


@pytest.mark.parametrize(
    "said",
    [
        {"message": "This model's maximum context length is 8192 tokens. However, you requested 9000", "code": 400},
        {"message": "the request exceeds the available context size", "type": "exceed_context_size_error"},
        {"message": "too long", "code": "context_length_exceeded"},
    ],
)
def test_a_server_that_finds_the_prompt_too_long_is_understood(faults, quick, a_request, said):
    faults.script = [lambda call: call.json({"error": said}, 400)]
    provider = OpenAiProvider("small", faults.config(), retry=quick)
    with pytest.raises(PromptTooLong) as refused:
        provider.complete(a_request(samples=2))
    assert not refused.value.transient and len(faults.calls) == 1


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434/v1"),
        ("0.0.0.0", "http://127.0.0.1:11434/v1"),
        ("box:9999", "http://box:9999/v1"),
        ("https://box.example/", "https://box.example:443/v1"),
        ("http://[::1]:1234", "http://[::1]:1234/v1"),
    ],
)
def test_the_default_endpoint_respects_ollama_host(host, url):
    assert default_base_url({"OLLAMA_HOST": host}) == url


def test_loopback_is_known_so_that_no_proxy_comes_between(faults, quick, a_request, monkeypatch):
    assert is_loopback("http://localhost:1/v1") and is_loopback("http://[::1]:1/v1")
    assert not is_loopback("https://models.example/v1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    faults.script = [lambda call: call.good()]
    assert OpenAiProvider("small", faults.config(), retry=quick).complete(a_request()).samples


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0, 0),
        ("def add(a, b):\n    return a + b\n", 12, 22),
        ("1234567890", 10, 12),
        ("机器学习", 4, 8),
        ("get_user_by_id", 5, 9),
    ],
)
def test_the_estimate_errs_high_and_not_wildly(text, least, most):
    assert least <= estimate_tokens(text) <= most
